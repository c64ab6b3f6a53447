//! Nodes: listed, approved, revoked, given a new root, retired.

use super::{Admin, absent, conflict};
use crate::audit;
use crate::erase::{self, DestroyedKey};
use crate::extract::{Filter, Json, Part};
use crate::last;
use crate::problem::{Refusal, printable};
use crate::release::new_volume;
use crate::service::Service;
use crate::store::{NodeRow, Store, Tx, VolumeRow};
use axum::extract::State;
use axum::http::StatusCode;
use ccnode_evidence::Code;
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{
    Allowance, LastEvidence, NodeAction, NodeFilter, NodeRecord, NodeState, Regrant, VolumeRecord,
    VolumeState,
};
use serde_json::json;
use std::sync::Arc;

const REASON: usize = 1024;

pub(super) type Answer = Result<axum::Json<NodeRecord>, Refusal>;

pub(super) async fn list<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Filter(filter): Filter<NodeFilter>,
) -> Result<axum::Json<Vec<NodeRecord>>, Refusal> {
    let mut tx = service.store.read().await?;
    let mut out = Vec::new();
    for row in tx.nodes(&filter).await? {
        out.push(assemble(&mut tx, row).await?);
    }
    Ok(axum::Json(out))
}

pub(super) async fn show<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(name): Part<NodeName>,
) -> Answer {
    let mut tx = service.store.read().await?;
    let row = find(&mut tx, &name).await?;
    assemble(&mut tx, row).await.map(axum::Json)
}

/// What the node sent last, and what came of it.
pub(super) async fn last_evidence<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(name): Part<NodeName>,
) -> Result<axum::Json<LastEvidence>, Refusal> {
    let mut tx = service.store.read().await?;
    let row = find(&mut tx, &name).await?;
    let kept = tx.last_evidence(&row.identity).await?;
    let kept = kept.ok_or_else(|| absent("evidence of node", &name))?;
    last::read(kept).map(axum::Json).map_err(Refusal::internal)
}

/// What put it in quarantine becomes the record: the next boot is compared with it.
pub(super) async fn approve<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<NodeName>,
    Json(action): Json<NodeAction>,
) -> Answer {
    let reason = reason(action)?;
    let mut tx = service.store.write().await?;
    let mut row = find(&mut tx, &name).await?;
    let from = row.state;
    if matches!(from, NodeState::Active | NodeState::Retired) {
        return Err(conflict(format!("node `{name}` is {}", word(from))));
    }
    if let Some(seen) = row.seen.take() {
        row.ak_name = seen.ak_name;
        row.counters = Some(seen.counters);
        row.level = seen.level.or(row.level);
    }
    row.state = NodeState::Active;
    row.reason = None;
    tx.update_node(&row).await?;
    let detail = json!({"from": from, "reason": reason, "ak-name": row.ak_name, "counters": row.counters, "level": row.level});
    done(&service, tx, row, admin.entry("node.approve", &name, detail)).await
}

pub(super) async fn revoke<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<NodeName>,
    Json(action): Json<NodeAction>,
) -> Answer {
    let reason = reason(action)?;
    let mut tx = service.store.write().await?;
    let mut row = find(&mut tx, &name).await?;
    let from = row.state;
    if matches!(from, NodeState::Revoked | NodeState::Retired) {
        return Err(conflict(format!("node `{name}` is {}", word(from))));
    }
    row.state = NodeState::Revoked;
    row.reason = reason.clone();
    tx.update_node(&row).await?;
    let entry = admin.entry("node.revoke", &name, json!({"from": from, "reason": reason}));
    done(&service, tx, row, entry).await
}

/// Every volume, or the one that is asked for, gets a new key and the state `none`; the old key is forgotten, and with it what is on the
/// disk.
pub(super) async fn regrant<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<NodeName>,
    Json(Regrant { reason: why, volume }): Json<Regrant>,
) -> Answer {
    let reason = reason(NodeAction { reason: why })?;
    let mut tx = service.store.write().await?;
    let row = unretired(&mut tx, &name).await?;
    let mut volumes = tx.volumes(&row.identity).await?;
    if let Some(volume) = volume {
        let id = format!("{name}/{volume}");
        volumes.retain(|volume| volume.record.id == id);
        if volumes.is_empty() {
            return Err(absent("volume", printable(&id)));
        }
    }
    let destroyed: Vec<_> = volumes.iter().filter_map(DestroyedKey::of).collect();
    for volume in volumes {
        let fresh = new_volume(&service, &row, volume.record.id.clone())?;
        // The generation goes on, and beyond every grant that is still out.
        let generation = volume.record.generation.saturating_add(1);
        let fresh = VolumeRow { record: VolumeRecord { generation, ..fresh.record }, ..fresh };
        swap(&mut tx, &volume, &fresh).await?;
    }
    tx.forget_session_grants(&row.identity).await?;
    let entry = admin.entry("node.regrant", &name, json!({"reason": reason, erase::MEMBER: destroyed}));
    let answer = done(&service, tx, row, entry).await?;
    erase::scrub(&service).await;
    Ok(answer)
}

/// Its keys and its own resources are destroyed; the record stays, so that it is refused by name.
pub(super) async fn retire<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<NodeName>,
    Json(action): Json<NodeAction>,
) -> Answer {
    let reason = reason(action)?;
    let mut tx = service.store.write().await?;
    let row = unretired(&mut tx, &name).await?;
    let (row, detail) = destroy(&mut tx, row, reason).await?;
    let answer = done(&service, tx, row, admin.entry("node.retire", &name, detail)).await?;
    erase::scrub(&service).await;
    Ok(answer)
}

/// First like [`retire`]; deleted once more, the record goes too.
pub(super) async fn delete<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<NodeName>,
) -> Result<StatusCode, Refusal> {
    let mut tx = service.store.write().await?;
    let row = find(&mut tx, &name).await?;
    let entry = if row.state == NodeState::Retired {
        tx.delete_node(&row.identity).await?;
        admin.entry("node.delete", &name, json!({"identity": row.identity}))
    } else {
        let (_, detail) = destroy(&mut tx, row, None).await?;
        admin.entry("node.retire", &name, detail)
    };
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await?;
    erase::scrub(&service).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes keys and resources of a node out of the database, and answers what the audit log says of that.
async fn destroy<T: Tx>(
    tx: &mut T,
    row: NodeRow,
    reason: Option<String>,
) -> Result<(NodeRow, serde_json::Value), Refusal> {
    let volumes = tx.volumes(&row.identity).await?;
    let destroyed: Vec<_> = volumes.iter().filter_map(DestroyedKey::of).collect();
    for volume in &volumes {
        let record = VolumeRecord { state: VolumeState::Retired, ..volume.record.clone() };
        swap(
            tx,
            volume,
            &VolumeRow { record, unlock_key: None, next: None, recovery: None, ..volume.clone() },
        )
        .await?;
    }
    // What was released is there once more, sealed for the sessions that asked.
    tx.forget_session_grants(&row.identity).await?;
    let resources = tx.delete_resources_of(&row.name).await?;
    let row = NodeRow { state: NodeState::Retired, reason: reason.clone(), ..row };
    tx.update_node(&row).await?;
    let detail = json!({
        "identity": row.identity, "reason": reason, "resources": resources, erase::MEMBER: destroyed,
    });
    Ok((row, detail))
}

pub(super) async fn swap<T: Tx>(tx: &mut T, from: &VolumeRow, to: &VolumeRow) -> Result<(), Refusal> {
    match tx.swap_volume(from.version(), to).await? {
        true => Ok(()),
        false => Err(conflict(format!("volume `{}` moved on", from.record.id))),
    }
}

pub(super) fn reason(action: NodeAction) -> Result<Option<String>, Refusal> {
    match action.reason {
        Some(text) if text.len() > REASON => Err(Refusal::new(
            Code::MalformedRequest,
            format!("reason: {} bytes, {REASON} at most", text.len()),
        )),
        reason => Ok(reason.map(|text| printable(&text))),
    }
}

pub(super) fn word(state: NodeState) -> &'static str {
    match state {
        NodeState::Pending => "pending",
        NodeState::Active => "active",
        NodeState::Quarantined => "quarantined",
        NodeState::Revoked => "revoked",
        NodeState::Retired => "retired",
    }
}

pub(super) async fn find<T: Tx>(tx: &mut T, name: &NodeName) -> Result<NodeRow, Refusal> {
    tx.node_named(name).await?.ok_or_else(|| absent("node", name))
}

/// One whose keys can still be asked for.
pub(super) async fn unretired<T: Tx>(tx: &mut T, name: &NodeName) -> Result<NodeRow, Refusal> {
    let row = find(tx, name).await?;
    match row.state {
        NodeState::Retired => Err(conflict(format!("node `{name}` is retired"))),
        _ => Ok(row),
    }
}

pub(super) async fn done<S: Store>(
    service: &Service<S>,
    mut tx: S::Tx,
    row: NodeRow,
    entry: crate::store::AuditEntry<'_>,
) -> Answer {
    audit::append(&mut tx, service.now(), entry).await?;
    let record = assemble(&mut tx, row).await?;
    tx.commit().await?;
    Ok(axum::Json(record))
}

pub(super) async fn assemble<T: Tx>(tx: &mut T, row: NodeRow) -> Result<NodeRecord, Refusal> {
    let volumes = tx.volumes(&row.identity).await?.into_iter().map(VolumeRow::shown).collect();
    let reset = row.counters.map(|counters| counters.reset_count);
    let allowed_once = tx.allowance(&row.identity).await?.map(|allowed| Allowance {
        proposal: allowed.proposal,
        refusal: allowed.state.refusal,
        expires: allowed.expires,
        used: allowed.used.as_ref().map(|used| used.at),
        this_boot: allowed.used.is_some_and(|used| Some(used.reset) == reset),
    });
    Ok(NodeRecord {
        allowed_once,
        identity: row.identity,
        name: row.name,
        pool: row.pool,
        state: row.state,
        reason: row.reason,
        level: row.level,
        kind: row.kind,
        hardware: row.hardware,
        counters: row.counters,
        platform: row.platform,
        image: row.image,
        volumes,
        created: row.created,
        attested: row.attested,
        expires: row.expires,
    })
}
