//! What is done on the service's machine itself leaves its row in the audit log, too: no administrator's certificate stands behind it.

use crate::audit;
use crate::service::DATABASE;
use crate::store::{AuditEntry, SqliteStore, Store as _, StoreError, Tx as _};
use serde_json::Value;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a command on the service's machine failed.
#[derive(Debug, thiserror::Error)]
pub enum HostError<E: std::error::Error + 'static> {
    /// The audit log can't be written, so nothing was done.
    #[error("the audit log can't be written, and nothing was done: {0}")]
    Audit(#[source] StoreError),
    /// What was asked for failed; it left no row.
    #[error("{0}")]
    Work(#[source] E),
    /// It was done, and its row is missing.
    #[error("it was done, and its row of the audit log could not be written: {0}")]
    Unaudited(#[source] StoreError),
}

/// What is done, by the name that the audit log has for it, and on what.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// `host.renew`, `host.rotate`, `host.client`.
    pub action: &'static str,
    /// On what.
    pub object: &'a str,
}

/// Does `work`, whose answer is the row's detail, while nobody else writes to the audit log.
pub async fn audited<E: std::error::Error + 'static>(
    dir: &Path,
    deed: Deed<'_>,
    work: impl FnOnce() -> Result<Value, E>,
) -> Result<(), HostError<E>> {
    let store = SqliteStore::open(&dir.join(DATABASE), false).await.map_err(HostError::Audit)?;
    let mut tx = store.write().await.map_err(HostError::Audit)?;
    let detail = work().map_err(HostError::Work)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let entry = AuditEntry {
        actor: actor(),
        action: deed.action,
        object: deed.object.to_owned(),
        detail,
        correlation_id: "",
    };
    audit::append(&mut tx, now, entry).await.map_err(HostError::Unaudited)?;
    tx.commit().await.map_err(HostError::Unaudited)?;
    store.close().await;
    Ok(())
}

/// The user of this process; who stands behind it, the machine knows.
fn actor() -> String {
    let user = std::fs::metadata("/proc/self").map(|own| own.uid().to_string());
    format!("host:uid {}", user.unwrap_or_else(|_| "?".to_owned()))
}
