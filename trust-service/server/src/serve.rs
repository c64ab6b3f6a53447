//! Two listeners, their accept loops with bounds, and an orderly end.

use crate::ahead::ReadAhead;
use crate::collateral::{self, BundleFault};
use crate::current::Current;
use crate::finish::{self, Side, finish};
use crate::problem::Refusal;
use crate::rotate::{NEXT_CA, OLD_CA};
use crate::rotation::{self, RotationError};
use crate::routes::{ELSEWHERE, routes};
use crate::service::{OpenError, Service, read};
use crate::shares::network;
use crate::store::{SqliteStore, Store};
use crate::tls::{self, Client, Material, Peer, TlsError};
use crate::{admin, audit, stock};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::any;
use ccnode_evidence::{Code, UnixTime};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

/// Bytes of a body that holds no event log: the largest EK certificate, key and certificate request in base64, and the rest.
const SMALL_BODY: usize = 32 * 1024;
/// How long open requests may take after the signal to end.
const GRACE: Duration = Duration::from_secs(10);
/// How often a checkpoint of the audit log is written.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Pause after a failed accept (no file descriptors, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The folder can't be used.
    #[error(transparent)]
    Open(OpenError),
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(TlsError),
    /// What a rotation left under the old key can't be sealed anew.
    #[error(transparent)]
    Rotation(RotationError),
    /// The bundle of collateral can't be used.
    #[error(transparent)]
    Collateral(BundleFault),
    /// The address can't be listened on.
    #[error("{address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A bound service, not yet accepting.
pub struct Server {
    dir: PathBuf,
    service: Arc<Service<SqliteStore>>,
    node: Endpoint,
    admin: Endpoint,
}

struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
    side: Side,
    /// Of connections to come; those that are open keep theirs.
    tls: Arc<Current<ServerConfig>>,
    router: Router,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({}, admin {})", self.node.address, self.admin.address)
    }
}

impl Server {
    /// Opens the folder and both ports.
    pub async fn bind(dir: &Path) -> Result<Self, ServeError> {
        let service = Arc::new(Service::open(dir).await.map_err(ServeError::Open)?);
        let (node_tls, admin_tls) = tls_of(dir)?;
        if let Err(error) = rotation::resume(&service, Instant::now()).await {
            // Both keys are at hand: one bad row must not keep all nodes out.
            tracing::error!(%error, "the rotation of the key-encryption key is not over");
        }
        crate::expiry::warn(dir, service.now());
        if let Some(config) = &service.config.collateral {
            let shelf = collateral::load(dir, config, UnixTime(service.now()));
            service.collateral.replace(shelf.map_err(ServeError::Collateral)?);
        }
        let node = Endpoint::bind(service.config.listen, Side::Node, node_tls, node_router(&service)).await?;
        let admin_router = wrap(admin::router(&service), &service, Side::Admin, service.config.limits.body);
        let admin = Endpoint::bind(service.config.admin_listen, Side::Admin, admin_tls, admin_router).await?;
        Ok(Self { dir: dir.to_owned(), service, node, admin })
    }

    /// What has the running service read its keys and certificates again.
    pub fn reload(&self) -> Reload {
        let (node, admin) = (self.node.tls.clone(), self.admin.tls.clone());
        Reload { service: self.service.clone(), node, admin }
    }

    /// Where nodes come in; the port is the real one where the configuration says 0.
    pub fn address(&self) -> SocketAddr {
        self.node.address
    }

    /// Where administrators come in.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address
    }

    /// The service behind the listeners.
    pub fn service(&self) -> &Arc<Service<SqliteStore>> {
        &self.service
    }

    /// Serves until `stop` is ready, lets open requests end, and closes the store.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (ending, end) = watch::channel(false);
        let Self { dir, service, node, admin } = self;
        let mut tasks = JoinSet::new();
        tasks.spawn(node.accept(service.clone(), end.clone()));
        tasks.spawn(admin.accept(service.clone(), end.clone()));
        tasks.spawn(checkpoints(dir.clone(), service.clone(), end));
        stop.await;
        tracing::info!("ending");
        let _ = ending.send(true);
        while tasks.join_next().await.is_some() {}
        left_out(&service).await;
        checkpoint(&dir, &service).await;
        service.store.close().await;
    }
}

/// Reads keys and certificates of a running service's folder again. Configuration stays what it was.
#[derive(Clone, Debug)]
pub struct Reload {
    service: Arc<Service<SqliteStore>>,
    node: Arc<Current<ServerConfig>>,
    admin: Arc<Current<ServerConfig>>,
}

impl Reload {
    /// Takes what is in the folder now; where that can't be read, nothing is changed.
    pub async fn reload(&self) -> Result<(), ServeError> {
        let (node, admin) = tls_of(&self.service.dir)?;
        let keys = self.service.load_keys().map_err(ServeError::Open)?;
        self.node.set(node);
        self.admin.set(admin);
        rotation::take(&self.service, keys).await.map_err(ServeError::Rotation)?;
        tracing::info!("keys and certificates were read again");
        Ok(())
    }
}

/// TLS for nodes and for administrators; the next CA and the one before count for these beside the one in use.
fn tls_of(dir: &Path) -> Result<(Arc<ServerConfig>, Arc<ServerConfig>), ServeError> {
    let file = |name: &str| read(dir.join(name)).map_err(ServeError::Open);
    let (cert, key) = (file("tls/cert.pem")?, file("tls/key.pem")?);
    let others = [NEXT_CA, OLD_CA].into_iter().filter(|name| dir.join(name).exists());
    let cas: Vec<_> = ["tls/ca.pem"].into_iter().chain(others).map(file).collect::<Result<_, _>>()?;
    let material = Material { cert: &cert, key: &key, cas: &cas };
    Ok((tls::node(&material).map_err(ServeError::Tls)?, tls::admin(&material).map_err(ServeError::Tls)?))
}

fn node_router<S: Store>(service: &Arc<Service<S>>) -> Router {
    let router = routes::<S>(service.config.limits.body)
        .into_iter()
        .chain(ELSEWHERE.map(|path| (path, any(stock::elsewhere))))
        .fold(Router::new(), |router, (path, handlers)| router.route(path, handlers))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(service.clone());
    wrap(router, service, Side::Node, SMALL_BODY)
}

/// What both listeners have around their routes; the last layer is the outermost.
fn wrap<S: Store>(router: Router, service: &Arc<Service<S>>, side: Side, body: usize) -> Router {
    router.layer(DefaultBodyLimit::max(body)).layer(from_fn_with_state((service.clone(), side), finish::<S>))
}

pub(crate) async fn unknown() -> Refusal {
    Refusal::new(Code::NotFound, "there is nothing at this path")
}

/// Ready once the service ends.
async fn ended(end: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, which is an end too.
    let _ = end.wait_for(|ended| *ended).await;
}

/// Open connections by address.
type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection's place among those of its address; given back on drop.
struct Place(Counts, IpAddr);

impl Place {
    fn take(counts: &Counts, address: IpAddr, total: usize, per_address: usize) -> Option<Self> {
        let mut map = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if map.values().sum::<usize>() >= total {
            return None;
        }
        let count = map.entry(address).or_default();
        if *count >= per_address {
            return None;
        }
        *count += 1;
        Some(Self(counts.clone(), address))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = map.get_mut(&self.1) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                map.remove(&self.1);
            }
        }
    }
}

impl Endpoint {
    async fn bind(
        address: SocketAddr,
        side: Side,
        tls: Arc<ServerConfig>,
        router: Router,
    ) -> Result<Self, ServeError> {
        let fail = |source| ServeError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Self { listener, address, side, tls: Arc::new(Current::new(tls)), router })
    }

    async fn accept<S: Store>(self, service: Arc<Service<S>>, mut end: watch::Receiver<bool>) {
        let counts = Counts::default();
        let limits = &service.config.limits;
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = open.join_next() => continue,
                () = ended(&mut end) => break,
            };
            let (stream, peer) = match accepted {
                Ok(pair) => pair,
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) =
                Place::take(&counts, network(peer.ip()), limits.connections, limits.connections_per_address)
            else {
                tracing::debug!(%peer, "too many connections");
                continue;
            };
            let (acceptor, router) = (TlsAcceptor::from(self.tls.get()), self.router.clone());
            let (service, end) = (service.clone(), end.clone());
            let counted = service.metrics.connection(self.side);
            open.spawn(async move {
                let whole = connection(stream, peer, acceptor, router, &service, end);
                if tokio::time::timeout(service.config.limits.connection_time.0, whole).await.is_err() {
                    tracing::debug!(%peer, "connection took too long");
                }
                drop((place, counted));
            });
        }
        drop(self.listener);
        let rest = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, rest).await.is_err() {
            tracing::warn!("requests were cut off");
        }
    }
}

async fn connection<S: Store>(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    service: &Service<S>,
    mut end: watch::Receiver<bool>,
) {
    let limits = &service.config.limits;
    // Small responses would wait for the peer's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    // rustls asks for 4 KiB at a time: an attestation would take twenty reads.
    let stream = ReadAhead::new(stream);
    let stream = match tokio::time::timeout(limits.handshake.0, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%address, "TLS handshake took too long"),
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let client = certificates.and_then(|chain| chain.first()).and_then(Client::of);
    let peer = Peer { address, client };
    let requests = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer.clone());
        router.clone().call(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time.0)
        .max_headers(limits.headers)
        .max_buf_size(limits.head)
        .serve_connection(TokioIo::new(stream), requests);
    let mut connection = std::pin::pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = ended(&mut end) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = done {
        tracing::debug!(%address, %error, "connection ended");
    }
}

async fn checkpoints(dir: PathBuf, service: Arc<Service<SqliteStore>>, mut end: watch::Receiver<bool>) {
    loop {
        left_out(&service).await;
        checkpoint(&dir, &service).await;
        tokio::select! {
            () = tokio::time::sleep(CHECKPOINT_EVERY) => {}
            () = ended(&mut end) => return,
        }
        refresh(&dir, &service).await;
        rotated(&service).await;
    }
}

/// Goes on with a rotation of the key-encryption key, whether or not somebody asked for a reload.
async fn rotated(service: &Arc<Service<SqliteStore>>) {
    if !service.dir.join(rotation::OLD_KEK).exists() {
        return;
    }
    let done = match service.load_keys() {
        Ok(keys) => rotation::take(service, keys).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = done {
        tracing::error!(%error, "the rotation of the key-encryption key is not over");
    }
}

/// Reads the bundle of collateral again, if there is one.
async fn refresh(dir: &Path, service: &Arc<Service<SqliteStore>>) {
    let (dir, service) = (dir.to_owned(), service.clone());
    let work = move || {
        if let Some(config) = &service.config.collateral {
            service.collateral.refresh(&dir, config, UnixTime(service.now()));
        }
    };
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::error!(%error, "collateral was not read again");
    }
}

async fn left_out<S: Store>(service: &Service<S>) {
    if let Err(error) = finish::left_out(service).await {
        tracing::error!(%error, "refusals that were left out could not be audited");
    }
}

/// Writes a signed checkpoint of the audit log; a copy of it elsewhere shows later whether the log was cut off. Where the log
/// no longer holds what the last one vouches for, that one stays.
async fn checkpoint<S: Store>(dir: &Path, service: &Service<S>) {
    let path = dir.join(audit::CHECKPOINT);
    let (store, key, now) = (&service.store, &service.token.get(), service.now());
    let next = match std::fs::read(&path) {
        Ok(text) => match serde_json::from_slice::<audit::Checkpoint>(&text) {
            Ok(last) => last.next(store, key, now).await.map(Some),
            Err(error) => return tracing::error!(%error, "{}: no checkpoint; it stays", audit::CHECKPOINT),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tracing::warn!("there is no {}; a new one is made", audit::CHECKPOINT);
            audit::Checkpoint::first(store, key, now).await
        }
        Err(error) => return tracing::error!(%error, "{}: can't be read", audit::CHECKPOINT),
    };
    let written = match next {
        Ok(Some(checkpoint)) => crate::files::replace_json(&path, &checkpoint),
        Ok(None) => Ok(()),
        Err(audit::AuditFault::Store(error)) => {
            return tracing::error!(%error, "no checkpoint of the audit log");
        }
        Err(fault) => {
            return tracing::error!(%fault, "the audit log was tampered with; the last checkpoint stays");
        }
    };
    if let Err(error) = written {
        tracing::error!(%error, "no checkpoint of the audit log");
    }
}
