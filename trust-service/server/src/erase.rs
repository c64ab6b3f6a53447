//! Keys that are destroyed: out of their rows, out of the database's files, and in the audit log as destroyed.

use crate::audit::AuditFault;
use crate::service::Service;
use crate::store::{Store, Tx as _, VolumeRow};
use ccnode_evidence::{Sha256Digest, UnixTime};
use ccnode_protocol::admin::AuditRow;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// The member of an audit row's detail with its [`DestroyedKey`]s.
pub const MEMBER: &str = "destroyed-keys";
/// Readers are done in less.
const PAUSE: Duration = Duration::from_millis(200);
/// Tries that an answer waits for.
const TRIES: u32 = 10;

/// A volume's key that was destroyed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DestroyedKey {
    /// The volume's id.
    pub volume: String,
    /// UUID of the LUKS2 header.
    pub uuid: String,
    /// The generation that it opened.
    pub generation: u64,
    /// SHA-256 of the key as it lay in the database, sealed.
    pub sealed_key: Sha256Digest,
    /// The same of the shares that recovered the volume, where it had custodians and they were destroyed, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_recovery: Option<Sha256Digest>,
}

impl DestroyedKey {
    /// The key of a volume, where it has one, and what recovered it.
    pub fn of(row: &VolumeRow) -> Option<Self> {
        let sealed_recovery = row.recovery.as_ref().map(|sealed| Sha256Digest::of(sealed));
        Some(Self { sealed_recovery, ..Self::of_key(row)? })
    }

    /// The key of a volume, where it has one: what recovers it stays.
    pub fn of_key(row: &VolumeRow) -> Option<Self> {
        let sealed_key = Sha256Digest::of(row.unlock_key.as_ref()?);
        let record = &row.record;
        let (volume, uuid, generation) = (record.id.clone(), record.uuid.clone(), record.generation);
        Some(Self { volume, uuid, generation, sealed_key, sealed_recovery: None })
    }

    /// Whether the key or the shares are there still.
    fn is_in(&self, there: &BTreeSet<Sha256Digest>) -> bool {
        let recovery = self.sealed_recovery.is_some_and(|digest| there.contains(&digest));
        there.contains(&self.sealed_key) || recovery
    }
}

/// Takes what was overwritten out of the database's files. While somebody reads, the write-ahead log holds it still: it is tried again
/// after the answer, and at the next start.
pub async fn scrub<S: Store>(service: &Service<S>) {
    for _ in 0..TRIES {
        if done(&service.store).await {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::warn!("destroyed keys, sealed, are in the write-ahead log still: somebody reads the database");
    let store = service.store.clone();
    tokio::spawn(async move {
        while !done(&store).await {
            tokio::time::sleep(PAUSE).await;
        }
        tracing::info!("destroyed keys are out of the write-ahead log");
    });
}

/// A store that fails is as good as one that is closed: the next start does it.
async fn done<S: Store>(store: &S) -> bool {
    store.scrub().await.unwrap_or_else(|error| {
        tracing::error!(%error, "the write-ahead log was not emptied");
        true
    })
}

/// All keys that the log says were destroyed, with the row that says so; none of them is still there.
pub async fn destroyed<S: Store>(store: &S) -> Result<Vec<(AuditRow, DestroyedKey)>, AuditFault> {
    let mut tx = store.read().await.map_err(AuditFault::Store)?;
    let mut next = 1;
    let mut out = Vec::new();
    loop {
        let rows = tx.audit_from(next).await.map_err(AuditFault::Store)?;
        let Some(last) = rows.last() else { break };
        next = last.seq.saturating_add(1);
        for row in rows {
            let keys = row.detail.get(MEMBER).cloned().unwrap_or_default();
            let keys = serde_json::from_value::<Vec<DestroyedKey>>(keys).unwrap_or_default();
            out.extend(keys.into_iter().map(|key| (row.clone(), key)));
        }
    }
    let sealed = tx.sealed().await.map_err(AuditFault::Store)?;
    let there: BTreeSet<Sha256Digest> = sealed.iter().map(|sealed| Sha256Digest::of(&sealed.value)).collect();
    match out.iter().find(|(_, key)| key.is_in(&there)) {
        Some((row, key)) => Err(AuditFault::Undead { seq: row.seq, volume: key.volume.clone() }),
        None => Ok(out),
    }
}

/// A line for people.
pub fn line((row, key): &(AuditRow, DestroyedKey)) -> String {
    let DestroyedKey { volume, uuid, generation, sealed_key, sealed_recovery } = key;
    let shares =
        sealed_recovery.map(|digest| format!(", and the shares that recovered it (sealed: {digest})"));
    format!(
        "row {}, {}: {} destroyed the key of {volume}, generation {generation}, UUID {uuid} (sealed: {sealed_key}){}",
        row.seq,
        UnixTime(row.time),
        row.actor,
        shares.unwrap_or_default()
    )
}
