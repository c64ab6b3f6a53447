//! What two administrators let one node do once: found before an appraisal, spent with the release, asked for ever after.

use crate::audit;
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{
    AllowanceRow, AllowanceUsed, AuditEntry, NodeRow, Once, SessionRow, SessionVerdict, Store, StoreError, Tx,
};
use ccnode_appraise::AllowedOnce;
use ccnode_evidence::{Nonce, Sha256Digest, UnixTime};
use serde_json::json;

/// What this node may make use of at `now`.
pub async fn open<T: Tx>(
    tx: &mut T,
    identity: &Sha256Digest,
    now: u64,
) -> Result<Option<AllowanceRow>, StoreError> {
    let row = tx.allowance(identity).await?;
    Ok(row.filter(|row| row.used.is_none() && row.expires >= now))
}

/// Whether what let evidence through can be used still.
pub async fn still_open<T: Tx>(
    tx: &mut T,
    identity: &Sha256Digest,
    once: &Once,
    now: u64,
) -> Result<(), Refusal> {
    match open(tx, identity, now).await? {
        Some(row) if row.proposal == once.proposal => Ok(()),
        _ => Err(gone(once, "is not on record any more")),
    }
}

impl AllowanceRow {
    /// As appraisal takes it.
    pub fn appraised(&self) -> AllowedOnce {
        let state = &self.state;
        AllowedOnce { pcrs: state.pcrs.clone(), platform: state.platform, image: state.image }
    }

    /// As a session that is accepted by it remembers it.
    pub fn once(&self) -> Once {
        Once { proposal: self.proposal, code: self.state.code }
    }
}

/// Spends what let this session through, in the transaction of its release: of two sessions, one does.
pub async fn spend<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
    session: &SessionRow,
    node: &NodeRow,
    verdict: &SessionVerdict,
    correlation_id: &str,
) -> Result<(), Refusal> {
    let Some(once) = verdict.once else { return Ok(()) };
    let now = service.now();
    let row = tx.allowance(&node.identity).await?.filter(|row| row.proposal == once.proposal);
    let row = row.ok_or_else(|| gone(&once, "is not on record any more"))?;
    // Only a TPM's quote has the values that were allowed.
    let reset = verdict.reset_count.ok_or_else(|| gone(&once, "is of a node with a TPM"))?;
    let used = AllowanceUsed { session: session.nonce, at: now, reset };
    if !tx.use_allowance(&row, &used).await? {
        return Err(match &row.used {
            Some(_) => gone(&once, "was used by another session"),
            None => gone(&once, format_args!("ended at {}", UnixTime(row.expires))),
        });
    }
    let entry = AuditEntry {
        actor: format!("node:{}", node.name),
        action: "node.let-through",
        object: node.pool.to_string(),
        detail: json!({
            "proposal": once.proposal, "refusal": row.state.refusal, "code": once.code,
            "image": verdict.image, "platform": verdict.platform, "reset-count": reset,
        }),
        correlation_id,
    };
    audit::append(tx, now, entry).await?;
    Ok(())
}

/// Whether this very session spent what let it through.
pub async fn spent_by<T: Tx>(
    tx: &mut T,
    identity: &Sha256Digest,
    session: &Nonce,
    once: &Once,
) -> Result<(), Refusal> {
    let row = tx.allowance(identity).await?.filter(|row| row.proposal == once.proposal);
    let used = row.and_then(|row| row.used);
    match used.is_some_and(|used| used.session == *session) {
        true => Ok(()),
        false => Err(gone(once, "was not used by this session")),
    }
}

fn gone(once: &Once, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(once.code, format!("what proposal {} allowed once {why}", once.proposal))
}
