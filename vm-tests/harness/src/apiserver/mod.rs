//! A Kubernetes API server as a joining node sees it: TLS with client certificates, and the few calls such a node makes.
//!
//! Debian's kubectl (1.20) makes them by `create --raw PATH -f FILE` and `replace --validate=false --raw PATH -f FILE`; without the
//! flag it asks for a schema that is not here.

mod cluster;

use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::certs::{self, CertKey};
use crate::vm::patience;
pub use cluster::User;
use cluster::{Cluster, Reply};

/// Largest request body, in bytes.
const MAX_BODY: usize = 1 << 20;

/// A call that reached the server with a certificate that it trusts.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who called.
    pub user: User,
    /// HTTP method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// Status it got.
    pub status: u16,
    /// When it came.
    pub at: SystemTime,
}

/// A node that has registered (also in vain, being there already), and after that posted its status and its lease.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The node's name.
    pub name: String,
    /// When the last of the three came.
    pub at: SystemTime,
    /// The node's calls since the event before, this one's last included.
    pub calls: Vec<Call>,
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct ApiServer {
    port: u16,
    records: Arc<Records>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Records {
    inner: Mutex<Inner>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    cluster: Cluster,
    calls: Vec<Call>,
    joined: Vec<Joined>,
    refused_handshakes: Vec<String>,
}

impl ApiServer {
    /// Starts a server on a free port of the loopback. It lets in clients whose certificate comes from one of
    /// `client_ca_pem`, and shows `server`, which should be valid for the address the guest uses (10.0.2.101).
    ///
    /// # Errors
    /// When a certificate or key cannot be used, or there is no free port.
    pub fn start(client_ca_pem: &str, server: &CertKey) -> Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(tls(client_ca_pem, server)?));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let records = Arc::new(Records::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&records);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _gone = accept(listener, acceptor, shared) => {}
                    _stop = stopped => {}
                }
            });
        });
        Ok(Self { port, records, stop: Some(stop), thread: Some(thread) })
    }

    /// The server's port on the loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every call so far, also those refused for want of rights.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.records.lock().calls.clone()
    }

    /// Every join so far, oldest first.
    #[must_use]
    pub fn joined(&self) -> Vec<Joined> {
        self.records.lock().joined.clone()
    }

    /// Why TLS handshakes failed (no certificate, a foreign one, …).
    #[must_use]
    pub fn refused_handshakes(&self) -> Vec<String> {
        self.records.lock().refused_handshakes.clone()
    }

    /// Waits for the `count`-th join since the start, counting from 1, and returns it.
    ///
    /// # Errors
    /// When it does not come; the calls that came are in the error.
    pub fn wait_joined(&self, count: usize, timeout: Duration) -> Result<Joined> {
        let until = Instant::now() + patience(timeout);
        let mut inner = self.records.lock();
        loop {
            if let Some(joined) = inner.joined.get(count.saturating_sub(1)) {
                return Ok(joined.clone());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let calls: Vec<_> = inner.calls.iter().map(Call::to_string).collect();
                bail!(
                    "{} of {count} joins came; calls: {calls:?}; handshakes: {:?}",
                    inner.joined.len(),
                    inner.refused_handshakes
                );
            }
            inner = self.records.news.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A node's object, as it stands now.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<serde_json::Value> {
        self.records.lock().cluster.node(name).cloned()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {} by {}", self.status, self.method, self.path, self.user.name)
    }
}

impl Records {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, user: &User, method: &str, path: &str, body: &[u8]) -> Reply {
        let mut inner = self.lock();
        let reply = inner.cluster.call(user, method, path, body);
        let at = SystemTime::now();
        let (method, path) = (method.to_owned(), path.to_owned());
        inner.calls.push(Call { user: user.clone(), method, path, status: reply.status, at });
        if let Some(name) = &reply.joined {
            let mut calls: Vec<Call> = inner.calls.iter().filter(|c| c.user == *user).cloned().collect();
            let before: usize = inner.joined.iter().filter(|j| j.name == *name).map(|j| j.calls.len()).sum();
            calls.drain(..before.min(calls.len()));
            inner.joined.push(Joined { name: name.clone(), at, calls });
        }
        self.news.notify_all();
        reply
    }
}

fn tls(client_ca_pem: &str, server: &CertKey) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(certs::roots(client_ca_pem).context("the clients' authority")?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certs::chain(&server.cert_pem)?, certs::key(&server.key_pem)?)?)
}

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor, records: Arc<Records>) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, records) = (acceptor.clone(), Arc::clone(&records));
        tokio::spawn(async move {
            if let Err(error) = serve(stream, acceptor, &records).await {
                records.lock().refused_handshakes.push(format!("{error:#}"));
            }
        });
    }
}

/// Serves one connection. The error is that of the handshake: what comes after is the client's affair.
async fn serve(stream: TcpStream, acceptor: TlsAcceptor, records: &Arc<Records>) -> Result<()> {
    let limit = Duration::from_secs(20);
    let stream = tokio::time::timeout(limit, acceptor.accept(stream)).await.context("slow handshake")??;
    let cert = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).context("no certificate")?;
    let user = user(cert)?;
    let service = service_fn(|request: Request<Incoming>| async {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => Bytes::new(),
        };
        let reply = records.call(&user, head.method.as_str(), head.uri.path(), &body);
        Response::builder()
            .status(reply.status)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(reply.body.to_string())))
    });
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let _client_left = http.await;
    Ok(())
}

/// The user a client certificate names: common name and organizations.
fn user(cert: &CertificateDer<'_>) -> Result<User> {
    let (_, cert) = x509_parser::parse_x509_certificate(cert)?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next().context("certificate without a common name")?;
    let name = name.as_str().context("unreadable common name")?.to_owned();
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
    groups.push("system:authenticated".to_owned());
    Ok(User { name, groups })
}

#[cfg(test)]
mod tests;
