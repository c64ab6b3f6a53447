//! What recovers a volume, for an administrator to take to its custodians.

use super::nodes::{find, reason};
use super::{Admin, absent};
use crate::audit;
use crate::extract::{Json, Part};
use crate::problem::Refusal;
use crate::recovery::record;
use crate::service::Service;
use crate::store::{Store, Tx as _};
use axum::extract::State;
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{NodeAction, RecoveryFetch, RecoveryRecord};
use serde_json::json;
use std::sync::Arc;

/// Answers the sealed shares of one of the node's volumes, with the header that belongs to them, and puts on record who took them. A node
/// that is revoked or in quarantine is as good as any other: its machine may be lost.
pub(super) async fn fetch<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<NodeName>,
    Json(RecoveryFetch { volume, reason: why }): Json<RecoveryFetch>,
) -> Result<axum::Json<RecoveryRecord>, Refusal> {
    let why = reason(NodeAction { reason: why })?;
    let mut tx = service.store.write().await?;
    let node = find(&mut tx, &name).await?;
    let id = format!("{name}/{volume}");
    let row = tx.volume(&id).await?.filter(|row| row.identity == node.identity);
    let row = row.ok_or_else(|| absent("volume", crate::problem::printable(&id)))?;
    let record = record(&service, &row)?.ok_or_else(|| absent("recovery key of volume", &id))?;
    let detail = json!({
        "volume": record.volume, "reason": why, "threshold": record.recovery.threshold,
        "custodians": record.recovery.shares.iter().map(|share| share.custodian).collect::<Vec<_>>(),
    });
    audit::append(&mut tx, service.now(), admin.entry("node.recovery", &name, detail)).await?;
    tx.commit().await?;
    Ok(axum::Json(record))
}
