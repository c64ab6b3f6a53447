//! Keys that take the place of others while the service runs: what began under the old ones goes on.

use crate::audit;
use crate::issuer::ClusterCa;
use crate::keys::{Kek, KeyError, Sealer};
use crate::service::{AT_REST, COOKIES, OpenError, Service, read};
use crate::store::{AuditEntry, Sealed, Store, StoreError, Tx as _};
use crate::token::{CHAIN, Retired, TokenKey};
use serde_json::json;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// The key-encryption key.
pub const KEK: &str = "kek.key";
/// The one before it, until nothing is sealed under it any more.
pub const OLD_KEK: &str = "kek.old";
/// The cluster CA.
pub const CLUSTER_CA: &str = "cluster-ca/cert.pem";
/// Its key.
pub const CLUSTER_CA_KEY: &str = "cluster-ca/key.pem";
/// Public halves of the token keys before the one in use.
pub const RETIRED: &str = "token/retired.json";

/// Beyond the lifetime of a session: requests that were under way.
const GRACE: Duration = Duration::from_secs(60);

/// Why a rotation does not come to its end. The old key stays beside the new one.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// The folder's keys can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Neither key opens a value.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The old key's file can't be removed.
    #[error("{OLD_KEK}: {0}")]
    Remove(#[source] std::io::Error),
}

/// The keys of the folder that a rotation replaces.
#[derive(Debug)]
pub struct Keys {
    /// Seals what lies in the store.
    pub at_rest: Sealer,
    /// Seals session cookies.
    pub cookies: Sealer,
    /// Signs tokens and checkpoints.
    pub token: TokenKey,
    /// Signs kubelet certificates.
    pub cluster_ca: ClusterCa,
}

impl Keys {
    /// Reads them all; kubelet certificates are to live for `lifetime`.
    pub fn load(dir: &Path, lifetime: Duration) -> Result<Self, OpenError> {
        let kek = Kek::load(&dir.join(KEK)).map_err(OpenError::Key)?;
        let old = match dir.join(OLD_KEK).exists() {
            true => Some(Kek::load(&dir.join(OLD_KEK)).map_err(OpenError::Key)?),
            false => None,
        };
        let token = TokenKey::from_pem(&read(dir.join("token/key.pem"))?).map_err(OpenError::Token)?;
        // Folders of before there were such chains have none.
        let token = match dir.join(CHAIN).exists() {
            true => token.with_chain(&read(dir.join(CHAIN))?).map_err(OpenError::TokenChain)?,
            false => token,
        };
        let cluster_ca = (read(dir.join(CLUSTER_CA))?, read(dir.join(CLUSTER_CA_KEY))?);
        Ok(Self {
            cluster_ca: ClusterCa::new(&cluster_ca.0, &cluster_ca.1, lifetime)
                .map_err(OpenError::ClusterCa)?,
            at_rest: kek.sealer_after(old.as_ref(), AT_REST),
            cookies: kek.sealer_after(old.as_ref(), COOKIES),
            token: token.after(retired(dir)?),
        })
    }
}

/// The token keys before the one in use.
pub fn retired(dir: &Path) -> Result<Vec<Retired>, OpenError> {
    match dir.join(RETIRED).exists() {
        true => serde_json::from_str(&read(dir.join(RETIRED))?).map_err(OpenError::Retired),
        false => Ok(Vec::new()),
    }
}

/// Takes keys that were read from the folder, and seals anew what lies under an old one.
pub async fn take<S: Store>(service: &Service<S>, keys: Keys) -> Result<(), RotationError> {
    service.at_rest.replace(&keys.at_rest);
    service.cookies.replace(&keys.cookies);
    service.token.set(keys.token);
    service.cluster_ca.set(keys.cluster_ca);
    resume(service, Instant::now()).await
}

/// Seals anew what a rotation left under the old key, and once no session can need that any more, removes it. A crash on the way
/// changes nothing: the old key is there until the transaction is on the disk.
pub async fn resume<S: Store>(service: &Service<S>, now: Instant) -> Result<(), RotationError> {
    let path = service.dir.join(OLD_KEK);
    if !path.exists() {
        return Ok(());
    }
    let since = *service.rotated.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(now);
    let moved = reseal(service).await?;
    // What was sealed by a request that was under way is seen the next time.
    let over = now.saturating_duration_since(since) > service.config.session_lifetime.0 + GRACE;
    if moved > 0 || !over {
        return Ok(());
    }
    std::fs::remove_file(&path).map_err(RotationError::Remove)?;
    let keys = service.load_keys()?;
    service.at_rest.replace(&keys.at_rest);
    service.cookies.replace(&keys.cookies);
    *service.rotated.lock().unwrap_or_else(PoisonError::into_inner) = None;
    tracing::info!("nothing is sealed under the old key-encryption key any more; {OLD_KEK} is removed");
    Ok(())
}

/// One transaction; answers how many values it moved.
async fn reseal<S: Store>(service: &Service<S>) -> Result<usize, RotationError> {
    let mut tx = service.store.write().await?;
    let mut moved = 0;
    for row in tx.sealed().await? {
        if let Some(value) = service.at_rest.reseal(&row.place, &row.value)? {
            tx.set_sealed(&Sealed { value, ..row }).await?;
            moved += 1;
        }
    }
    if moved == 0 {
        return Ok(0);
    }
    let entry = AuditEntry {
        actor: "service".into(),
        action: "keys.resealed",
        object: KEK.into(),
        detail: json!({"values": moved}),
        correlation_id: "",
    };
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await?;
    tracing::info!(moved, "values lie under the new key-encryption key");
    Ok(moved)
}
