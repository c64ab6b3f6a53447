//! One node's connection: TLS anew for each session, HTTP/1.1 within it.

use anyhow::{Context as _, Result, bail};
use ccnode_protocol::COOKIE;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, COOKIE as COOKIE_HEADER, HOST, SET_COOKIE};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where the service is, and the CA that it must show.
#[derive(Clone)]
pub(crate) struct Peer {
    address: SocketAddr,
    tls: TlsConnector,
}

/// An open connection with its session's cookie.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    cookie: Option<String>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr, ca: &[u8]) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A node that boots remembers no session.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self { address, tls: TlsConnector::from(Arc::new(config)) })
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await.context("connecting")?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = self.tls.connect(name, stream).await.context("TLS")?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender, cookie: None })
    }
}

impl Connection {
    pub(crate) async fn post<T: DeserializeOwned>(&mut self, path: &str, body: &impl Serialize) -> Result<T> {
        self.send(Method::POST, path, serde_json::to_vec(body)?).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T> {
        self.send(Method::GET, path, Vec::new()).await
    }

    async fn send<T: DeserializeOwned>(&mut self, method: Method, path: &str, body: Vec<u8>) -> Result<T> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, "trust");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(cookie) = &self.cookie {
            request = request.header(COOKIE_HEADER, cookie);
        }
        let response =
            self.sender.send_request(request.body(Full::new(body.into()))?).await.context("HTTP")?;
        let status = response.status();
        let set = response.headers().get(SET_COOKIE).and_then(|value| value.to_str().ok());
        if let Some(cookie) = set.and_then(|text| text.split(';').next()) {
            self.cookie = Some(cookie.to_owned());
        }
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{path}: {status}: {}", String::from_utf8_lossy(&body));
        }
        let body = if body.is_empty() { b"null".as_slice() } else { &body };
        serde_json::from_slice(body).with_context(|| format!("{path}: {COOKIE}"))
    }
}
