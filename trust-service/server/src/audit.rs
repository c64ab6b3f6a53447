//! The audit log: each decision a row in its own transaction, chained by hashes, anchored by signed checkpoints.

use crate::store::{AuditEntry, Store, StoreError, Tx};
use crate::token::TokenKey;
use ccnode_evidence::canonical::{self, Member};
use ccnode_evidence::{Base64Url, Sha256Digest};
use ccnode_protocol::admin::AuditRow;
use serde::{Deserialize, Serialize};

/// Name of the checkpoint file in the service's folder.
pub const CHECKPOINT: &str = "audit-checkpoint.json";

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum AuditFault {
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// Rows are missing.
    #[error("row {due} is missing; the next one is row {found}")]
    Gap {
        /// The first missing row.
        due: u64,
        /// What comes instead.
        found: u64,
    },
    /// A row does not hash to its own hash.
    #[error("row {0} was changed")]
    Changed(u64),
    /// A row does not follow on the one before.
    #[error("row {0} does not follow on the row before it")]
    Unchained(u64),
    /// A row has no canonical form.
    #[error("row {seq} has no canonical form: {source}")]
    Canonical {
        /// Which row.
        seq: u64,
        /// Why.
        source: serde_json::Error,
    },
    /// Rows that a checkpoint vouches for are gone.
    #[error("the log ends at row {last}, and a checkpoint vouches for row {checkpoint}: its end was cut off")]
    Truncated {
        /// Last row there is.
        last: u64,
        /// Last row there was.
        checkpoint: u64,
    },
    /// The log was rewritten.
    #[error("row {0} is not the one that the checkpoint vouches for: the log was rewritten")]
    Rewritten(u64),
    /// A key that the log says was destroyed is there.
    #[error(
        "row {seq} says that the key of {volume} was destroyed, and it is in the database: the database was put back"
    )]
    Undead {
        /// Which row.
        seq: u64,
        /// Whose.
        volume: String,
    },
    /// The checkpoint was not signed by this service.
    #[error("the checkpoint's signature is not this service's")]
    Signature,
}

/// Appends an entry; the row commits or rolls back with the caller's transaction.
pub async fn append<T: Tx>(tx: &mut T, now: u64, entry: AuditEntry<'_>) -> Result<(), StoreError> {
    let end = tx.audit_end().await?;
    let (seq, prev) = end.map_or((1, Sha256Digest::ZERO), |(seq, hash)| (seq.saturating_add(1), hash));
    let mut row = AuditRow {
        seq,
        time: now,
        actor: entry.actor,
        action: entry.action.to_owned(),
        object: entry.object,
        detail: entry.detail,
        correlation_id: entry.correlation_id.to_owned(),
        prev,
        hash: Sha256Digest::ZERO,
    };
    row.hash = hash(&row).map_err(|source| StoreError::Corrupt { column: "audit.detail", source })?;
    match tx.insert_audit(&row).await? {
        true => Ok(()),
        false => Err(StoreError::NotTheEnd(row.seq)),
    }
}

/// SHA-256 over the canonical JSON (RFC 8785) of all members but `hash`.
pub fn hash(row: &AuditRow) -> Result<Sha256Digest, serde_json::Error> {
    let AuditRow { seq, time, actor, action, object, detail, correlation_id, prev, hash: _ } = row;
    let hashed = [
        ("seq", Member::Whole(*seq)),
        ("time", Member::Whole(*time)),
        ("actor", Member::Text(actor)),
        ("action", Member::Text(action)),
        ("object", Member::Text(object)),
        ("detail", Member::Json(detail)),
        ("correlation-id", Member::Text(correlation_id)),
        ("prev", Member::Text(&prev.to_string())),
    ];
    canonical::object(hashed).map(|bytes| Sha256Digest::of(&bytes))
}

/// A signed statement that the log had this row.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The newest row's number.
    pub seq: u64,
    /// Its hash.
    pub hash: Sha256Digest,
    /// When this was signed, seconds since 1970.
    pub time: u64,
    /// ECDSA P-256 with SHA-256 over the canonical JSON of the other members, by the token key.
    pub signature: Base64Url,
}

impl Checkpoint {
    /// Signs the state of a log that no checkpoint vouches for yet; `None` for an empty one.
    pub async fn first<S: Store>(store: &S, key: &TokenKey, now: u64) -> Result<Option<Self>, AuditFault> {
        let (seq, hash) = walk(store, (0, Sha256Digest::ZERO), None).await?;
        Ok((seq > 0).then(|| Self::sign(seq, hash, key, now)))
    }

    /// Signs what the log has become since this checkpoint, and only if all that it vouches for is still there: a changed
    /// log must never get a fresh signature.
    pub async fn next<S: Store>(&self, store: &S, key: &TokenKey, now: u64) -> Result<Self, AuditFault> {
        self.check(key)?;
        let row = store.read().await.map_err(AuditFault::Store)?.audit_from(self.seq).await;
        match row.map_err(AuditFault::Store)?.first() {
            Some(row) if row.seq == self.seq && row.hash == self.hash => {}
            Some(row) if row.seq == self.seq => return Err(AuditFault::Rewritten(self.seq)),
            Some(row) => return Err(AuditFault::Gap { due: self.seq, found: row.seq }),
            None => {
                let end = store.read().await.map_err(AuditFault::Store)?.audit_end().await;
                let last = end.map_err(AuditFault::Store)?.map_or(0, |(seq, _)| seq);
                return Err(AuditFault::Truncated { last, checkpoint: self.seq });
            }
        }
        let (seq, hash) = walk(store, (self.seq, self.hash), None).await?;
        Ok(Self::sign(seq, hash, key, now))
    }

    fn sign(seq: u64, hash: Sha256Digest, key: &TokenKey, time: u64) -> Self {
        Self { seq, hash, time, signature: key.sign(&statement(seq, &hash, time)).into() }
    }

    fn check(&self, key: &TokenKey) -> Result<(), AuditFault> {
        match key.verify(&statement(self.seq, &self.hash, self.time), &self.signature.0) {
            true => Ok(()),
            false => Err(AuditFault::Signature),
        }
    }
}

fn statement(seq: u64, hash: &Sha256Digest, time: u64) -> Vec<u8> {
    format!("ccnode audit/1 {seq} {hash} {time}").into_bytes()
}

/// Walks the whole log, and compares it with a checkpoint where there is one. Answers the number of rows.
pub async fn verify<S: Store>(
    store: &S,
    checkpoint: Option<(&Checkpoint, &TokenKey)>,
) -> Result<u64, AuditFault> {
    if let Some((checkpoint, key)) = checkpoint {
        checkpoint.check(key)?;
    }
    let checkpoint = checkpoint.map(|(checkpoint, _)| checkpoint);
    let (last, _) = walk(store, (0, Sha256Digest::ZERO), checkpoint).await?;
    match checkpoint {
        Some(checkpoint) if checkpoint.seq > last => {
            Err(AuditFault::Truncated { last, checkpoint: checkpoint.seq })
        }
        _ => Ok(last),
    }
}

/// Checks every row after `from` (a row's number and hash); answers those of the last one.
async fn walk<S: Store>(
    store: &S,
    from: (u64, Sha256Digest),
    checkpoint: Option<&Checkpoint>,
) -> Result<(u64, Sha256Digest), AuditFault> {
    let mut tx = store.read().await.map_err(AuditFault::Store)?;
    let (mut last, mut prev) = from;
    loop {
        let rows = tx.audit_from(last + 1).await.map_err(AuditFault::Store)?;
        if rows.is_empty() {
            return Ok((last, prev));
        }
        for row in rows {
            let due = last + 1;
            if row.seq != due {
                return Err(AuditFault::Gap { due, found: row.seq });
            }
            if row.prev != prev {
                return Err(AuditFault::Unchained(row.seq));
            }
            let hash = hash(&row).map_err(|source| AuditFault::Canonical { seq: row.seq, source })?;
            if hash != row.hash {
                return Err(AuditFault::Changed(row.seq));
            }
            if let Some(checkpoint) = checkpoint
                && checkpoint.seq == row.seq
                && checkpoint.hash != row.hash
            {
                return Err(AuditFault::Rewritten(row.seq));
            }
            (last, prev) = (row.seq, row.hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Databases have such hashes: the form must stay what it is.
    #[test]
    fn a_rows_hash_is_that_of_its_canonical_form() {
        let plain = AuditRow {
            seq: 7,
            time: 1_700_000_000,
            actor: "node:workers-abc".into(),
            action: "session.accepted".into(),
            object: "workers".into(),
            detail: json!({"state": "active", "new": true, "code": null, "counters": {"reset": 1}}),
            correlation_id: "0123".into(),
            prev: Sha256Digest([0x11; 32]),
            hash: Sha256Digest::ZERO,
        };
        let odd = AuditRow {
            seq: 8,
            time: 1_700_000_001,
            actor: "admin:\"a\\b\"".into(),
            action: "pool.updated".into(),
            object: "\u{e9}\u{2028}\u{1f}\n".into(),
            detail: json!({"\u{e9}": 1.5, "a": []}),
            correlation_id: "4567".into(),
            prev: Sha256Digest([0x22; 32]),
            hash: Sha256Digest::ZERO,
        };
        for (row, due) in [
            (plain, "020b1ae3b94047e1dba8001f715513d0576e519bb2c9042eb6dd18ebb4285e40"),
            (odd, "6e96ec0f71b1998f23562dd3a8c0132d234bbfc2d188c3ad9b53ccc8deb13d5e"),
        ] {
            assert_eq!(hash(&row).unwrap().to_string(), due);
        }
    }
}
