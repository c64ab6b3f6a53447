//! A proxy between node and service that ends TLS with the service's own certificate, so that it knows the step it spoils.

use crate::service::Service;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, SET_COOKIE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What happens to one step of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// The connection ends, and the service has seen nothing.
    DropRequest,
    /// The service has answered, and the connection ends before a byte of it arrives.
    DropResponse,
    /// The service has answered, and the node hears nothing.
    Silence,
    /// The answer comes late.
    Delay,
    /// The service gets the request twice; the node the second answer.
    Duplicate,
    /// The service gets the request twice at the same time; the node the first one's answer.
    Twins,
    /// The connection ends in the midst of the answer.
    Cut,
    /// Half the answer comes, as if it were whole.
    Shorten,
    /// 500, and the service has seen nothing.
    Status500,
    /// The service is killed before it sees the request, and started again.
    KillBefore,
    /// The service is killed while it works on the request, and started again.
    KillAmid,
    /// The service is killed once it has answered; the answer is lost; it is started again.
    KillAnswered,
    /// The service is killed once it has answered; the answer arrives; it is started again.
    KillAfter,
    /// The service is killed and not started again.
    Down,
    /// Every write of the service fails for this request, those in place among them.
    DiskFull,
    /// Every write of the service fails from this request on.
    DiskStaysFull,
    /// The file system below the service has no space left for this request.
    SpaceGone,
    /// The file system below the service has no space left from this request on.
    SpaceStaysGone,
}

impl Fault {
    /// Whether the service is to lie on a small file system of its own.
    pub(crate) fn wants_mount(self) -> bool {
        matches!(self, Self::SpaceGone | Self::SpaceStaysGone)
    }
}

pub(crate) const FAULTS: [Fault; 18] = [
    Fault::DropRequest,
    Fault::DropResponse,
    Fault::Silence,
    Fault::Delay,
    Fault::Duplicate,
    Fault::Twins,
    Fault::Cut,
    Fault::Shorten,
    Fault::Status500,
    Fault::KillBefore,
    Fault::KillAmid,
    Fault::KillAnswered,
    Fault::KillAfter,
    Fault::Down,
    Fault::DiskFull,
    Fault::DiskStaysFull,
    Fault::SpaceGone,
    Fault::SpaceStaysGone,
];

/// The node sees its connection end.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off")
    }
}

impl std::error::Error for Broken {}

type Body = UnsyncBoxBody<Bytes, Broken>;

/// A running proxy; it passes all but the one request that [`Proxy::spoil`] names.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

struct Inner {
    service: Service,
    client: reqwest::Client,
    spoilt: Mutex<Option<(&'static str, Fault)>>,
}

/// An answer of the service.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Proxy {
    pub(crate) async fn start(service: &Service) -> Self {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&service.file("tls/cert.pem")).collect();
        let key = PrivateKeyDer::from_pem_slice(&service.file("tls/key.pem")).unwrap();
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain.unwrap(), key)
                .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let ca = reqwest::Certificate::from_pem(&service.file("tls/ca.pem")).unwrap();
        let builder = reqwest::Client::builder().use_rustls_tls().pool_max_idle_per_host(0);
        let client = builder.add_root_certificate(ca).build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner { service: service.clone(), client, spoilt: Mutex::new(None) });
        let shared = inner.clone();
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(carry(shared.clone(), acceptor.clone(), tcp));
            }
        });
        Self { address, inner, task }
    }

    /// The next request to `path` meets `fault`; those after it pass.
    pub(crate) fn spoil(&self, path: &'static str, fault: Fault) {
        *self.inner.spoilt.lock().unwrap() = Some((path, fault));
    }

    /// Whether the request came that was to be spoilt.
    pub(crate) fn met(&self) -> bool {
        self.inner.spoilt.lock().unwrap().is_none()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(inner: Arc<Inner>, acceptor: TlsAcceptor, tcp: TcpStream) {
    let Ok(tls) = acceptor.accept(tcp).await else { return };
    let meet = service_fn(move |request| inner.clone().meet(request));
    // It breaks off at will here; that is what it is for.
    let _ended = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), meet).await;
}

impl Inner {
    async fn meet(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        let sent = Sent {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            cookie: parts.headers.get(COOKIE).cloned(),
            body,
        };
        let fault = {
            let mut spoilt = self.spoilt.lock().unwrap();
            spoilt.take_if(|(path, _)| *path == sent.path).map(|(_, fault)| fault)
        };
        let Some(fault) = fault else { return self.forward(&sent).await.map(Answer::whole) };
        match fault {
            Fault::DropRequest => Err(Broken),
            Fault::DropResponse => self.forward(&sent).await.and(Err(Broken)),
            Fault::Silence => {
                let _answered = self.forward(&sent).await;
                std::future::pending().await
            }
            Fault::Delay => {
                let answer = self.forward(&sent).await;
                tokio::time::sleep(Duration::from_millis(1500)).await;
                answer.map(Answer::whole)
            }
            Fault::Duplicate => {
                let _first = self.forward(&sent).await?;
                self.forward(&sent).await.map(Answer::whole)
            }
            Fault::Twins => {
                let (one, _two) = tokio::join!(self.forward(&sent), self.forward(&sent));
                one.map(Answer::whole)
            }
            Fault::Cut => self.forward(&sent).await?.cut(),
            Fault::Shorten => self.forward(&sent).await.map(Answer::shortened),
            Fault::Status500 => Ok(Answer::of_500().whole()),
            Fault::KillBefore => {
                self.killed_and_started().await;
                Err(Broken)
            }
            Fault::KillAmid => {
                let kill = async {
                    tokio::time::sleep(Duration::from_millis(12)).await;
                    self.killed_and_started().await;
                };
                tokio::join!(self.forward(&sent), kill).0.map(Answer::whole)
            }
            Fault::KillAnswered => {
                let answer = self.forward(&sent).await;
                self.killed_and_started().await;
                answer.and(Err(Broken))
            }
            Fault::KillAfter => {
                let answer = self.forward(&sent).await;
                self.killed_and_started().await;
                answer.map(Answer::whole)
            }
            Fault::Down => {
                self.service.kill().await;
                Err(Broken)
            }
            Fault::DiskFull | Fault::SpaceGone => {
                self.service.disk_is_full(true).await;
                let answer = self.forward(&sent).await;
                self.service.disk_is_full(false).await;
                answer.map(Answer::whole)
            }
            Fault::DiskStaysFull | Fault::SpaceStaysGone => {
                self.service.disk_is_full(true).await;
                self.forward(&sent).await.map(Answer::whole)
            }
        }
    }

    /// Killed at once, and started again beside what goes on.
    async fn killed_and_started(&self) {
        self.service.kill().await;
        let service = self.service.clone();
        tokio::spawn(async move { service.start().await });
    }

    async fn forward(&self, sent: &Sent) -> Result<Answer, Broken> {
        let address = self.service.nodes().ok_or(Broken)?;
        let mut request = self.client.request(sent.method.clone(), format!("https://{address}{}", sent.path));
        if let Some(cookie) = &sent.cookie {
            request = request.header(COOKIE, cookie);
        }
        if sent.method == Method::POST {
            request = request.header(CONTENT_TYPE, "application/json").body(sent.body.clone());
        }
        let response = request.send().await.map_err(|_| Broken)?;
        let (status, all) = (response.status(), response.headers().clone());
        let mut headers = HeaderMap::new();
        for name in [CONTENT_TYPE, SET_COOKIE] {
            if let Some(value) = all.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        Ok(Answer { status, headers, body: response.bytes().await.map_err(|_| Broken)? })
    }
}

/// A request of the node.
struct Sent {
    method: Method,
    path: String,
    cookie: Option<hyper::header::HeaderValue>,
    body: Bytes,
}

impl Answer {
    fn of_500() -> Self {
        let (status, body) = (StatusCode::INTERNAL_SERVER_ERROR, Bytes::from_static(b"<html>"));
        Self { status, headers: HeaderMap::new(), body }
    }

    fn head(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        response
    }

    fn whole(self) -> Response<Body> {
        let head = self.head();
        head.map(|()| Full::new(self.body).map_err(|never| match never {}).boxed_unsync())
    }

    fn shortened(mut self) -> Response<Body> {
        self.body.truncate(self.body.len() / 2);
        self.whole()
    }

    /// Where there is no body the connection ends without a head.
    fn cut(self) -> Result<Response<Body>, Broken> {
        if self.body.is_empty() {
            return Err(Broken);
        }
        let mut head = self.head();
        head.headers_mut().insert(CONTENT_LENGTH, self.body.len().into());
        let half = self.body.slice(..self.body.len() / 2);
        let frames = stream::iter([Ok(Frame::data(half)), Err(Broken)]).then(|frame| async {
            // Time to be sent, lest the end overtake it.
            if frame.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            frame
        });
        Ok(head.map(|()| StreamBody::new(frames).boxed_unsync()))
    }
}
