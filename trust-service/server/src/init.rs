//! `ccnode-trust init`: a folder with everything that a service needs, made once.

use crate::audit::{self, AuditFault, CHECKPOINT, Checkpoint};
use crate::config::{self, ClusterConfig, Config};
use crate::files::{create, replace_json};
use crate::keys::Kek;
use crate::pki::{self, CLUSTER_ADMIN, Identity, PkiError};
use crate::store::{AuditEntry, SqliteStore, Store as _, StoreError, Tx as _};
use crate::token::{CHAIN, TokenKey, TokenKeyError};
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// What `init` is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Host names and addresses by which nodes and administrators reach the service.
    pub names: Vec<String>,
    /// Where nodes come in.
    pub listen: SocketAddr,
    /// Where administrators come in.
    pub admin_listen: SocketAddr,
    /// URL of the API server of pools that name no cluster.
    pub cluster_server: Option<String>,
    /// PEM file with the CA above the API server's certificate; the service's own cluster CA where absent.
    pub cluster_server_ca: Option<PathBuf>,
}

/// Why the folder was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is something already.
    #[error("{}: holds something already; nothing was changed", .0.display())]
    Exists(PathBuf),
    /// A file or folder can't be read or made.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate can't be made, or the given CA can't be read.
    #[error(transparent)]
    Pki(PkiError),
    /// The database can't be made.
    #[error(transparent)]
    Store(StoreError),
    /// The audit log just begun can't be vouched for.
    #[error("audit log: {0}")]
    Audit(#[source] AuditFault),
    /// The token key just made can't be read back.
    #[error("token/key.pem: {0}")]
    Token(#[source] TokenKeyError),
    /// The API server's URL is not one.
    #[error("--cluster-server `{0}`: give the API server's URL, which starts with https://")]
    ClusterServer(String),
    /// The configuration has no TOML form.
    #[error("config.toml: {0}")]
    Toml(#[source] toml::ser::Error),
}

/// Makes `dir`, which must be absent or empty.
pub async fn init(dir: &Path, options: &Options) -> Result<(), InitError> {
    let file = |path: &Path, source| InitError::File { path: path.to_owned(), source };
    match std::fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(InitError::Exists(dir.to_owned()));
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(file(dir, source)),
    }
    // All that can be wrong with the options comes out before anything is made.
    let now = OffsetDateTime::now_utc();
    let (ca, issuer) = pki::ca("ccnode-trust CA", now).map_err(InitError::Pki)?;
    let server = pki::server(&names(options), &issuer, now).map_err(InitError::Pki)?;
    let admin = pki::admin("admin", CLUSTER_ADMIN, &issuer, now).map_err(InitError::Pki)?;
    let (cluster_ca, _) = pki::ca("ccnode cluster CA", now).map_err(InitError::Pki)?;
    let token = pki::new_key().map_err(InitError::Pki)?;
    let token_cert = pki::token(&token, &issuer, now).map_err(InitError::Pki)?;
    let cluster = cluster(options)?;

    // A folder that was there already may be open to others.
    match std::fs::set_permissions(dir, Permissions::from_mode(0o700)) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(file(dir, source)),
        _ => {}
    }
    for sub in ["", "tls", "cluster-ca", "token", "admin"] {
        let path = dir.join(sub);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|e| file(&path, e))?;
    }
    let write = |name: &str, content: &[u8]| {
        let path = dir.join(name);
        create(&path, content).map_err(|source| InitError::File { path, source })
    };
    let pair = |name: &str, key: &str, cert: &str, made: &Identity| {
        write(&format!("{name}/{cert}"), made.cert.as_bytes())?;
        write(&format!("{name}/{key}"), made.key.expose())
    };

    write("kek.key", Kek::generate().to_text().as_bytes())?;
    pair("tls", "ca.key", "ca.pem", &ca)?;
    pair("tls", "key.pem", "cert.pem", &server)?;
    pair("cluster-ca", "key.pem", "cert.pem", &cluster_ca)?;
    pair("admin", "key.pem", "cert.pem", &admin)?;
    let token_pem = zeroize::Zeroizing::new(token.serialize_pem());
    write("token/key.pem", token_pem.as_bytes())?;
    write(CHAIN, format!("{token_cert}{}", ca.cert).as_bytes())?;
    write("admin/ca.pem", ca.cert.as_bytes())?;
    write("admin/url", format!("{}\n", admin_url(options)).as_bytes())?;
    let mut config = Config::new(options.listen, options.admin_listen);
    if let Some((cluster, ca)) = cluster {
        if let Some(pem) = ca {
            write("cluster-server-ca.pem", &pem)?;
        }
        config.cluster = Some(cluster);
    }
    let text = toml::to_string(&config).map_err(InitError::Toml)?;
    write(config::FILE, text.as_bytes())?;
    let database = dir.join(crate::service::DATABASE);
    create(&database, b"").map_err(|e| file(&database, e))?;
    let store = SqliteStore::open(&database, true).await.map_err(InitError::Store)?;
    let key = TokenKey::from_pem(&token_pem).map_err(InitError::Token)?;
    let checkpoint = first_row(&store, &key, now).await?;
    let path = dir.join(CHECKPOINT);
    replace_json(&path, &checkpoint).map_err(|e| file(&path, e))?;
    store.close().await;
    Ok(())
}

/// The audit log begins with the folder, so that there is a row for a checkpoint to vouch for.
async fn first_row(
    store: &SqliteStore,
    key: &TokenKey,
    now: OffsetDateTime,
) -> Result<Option<Checkpoint>, InitError> {
    let now = u64::try_from(now.unix_timestamp()).unwrap_or(0);
    let mut tx = store.write().await.map_err(InitError::Store)?;
    let entry = AuditEntry {
        actor: "service".into(),
        action: "service.init",
        object: "folder".into(),
        detail: serde_json::json!({"version": env!("CARGO_PKG_VERSION")}),
        correlation_id: "",
    };
    audit::append(&mut tx, now, entry).await.map_err(InitError::Store)?;
    tx.commit().await.map_err(InitError::Store)?;
    Checkpoint::first(store, key, now).await.map_err(InitError::Audit)
}

/// The names asked for, and loopback, by which the administrator on this machine comes in.
fn names(options: &Options) -> Vec<String> {
    let mut names = options.names.clone();
    for always in ["127.0.0.1", "localhost"] {
        if !names.iter().any(|name| name == always) {
            names.push(always.into());
        }
    }
    names
}

/// Where administrators reach the service: by its first name where it listens on every address, else at the one address.
fn admin_url(options: &Options) -> String {
    let address = options.admin_listen;
    match options.names.first().filter(|_| address.ip().is_unspecified()) {
        Some(name) => format!("https://{name}:{}", address.port()),
        None if address.ip().is_unspecified() => format!("https://127.0.0.1:{}", address.port()),
        None => format!("https://{address}"),
    }
}

/// The `[cluster]` section, and the CA's PEM where it has to be copied.
type ClusterPart = Option<(ClusterConfig, Option<Vec<u8>>)>;

fn cluster(options: &Options) -> Result<ClusterPart, InitError> {
    let Some(server) = options.cluster_server.clone() else { return Ok(None) };
    if !server.starts_with("https://") {
        return Err(InitError::ClusterServer(server));
    }
    let Some(path) = &options.cluster_server_ca else {
        return Ok(Some((ClusterConfig { server, ca_file: "cluster-ca/cert.pem".into() }, None)));
    };
    let pem =
        std::fs::read_to_string(path).map_err(|source| InitError::File { path: path.clone(), source })?;
    pki::der_of_pem(&pem).map_err(InitError::Pki)?;
    let config = ClusterConfig { server, ca_file: "cluster-server-ca.pem".into() };
    Ok(Some((config, Some(pem.into_bytes()))))
}
