//! What takes two administrators: one proposes it, another one approves it, and that transaction does it.

mod allow_once;
mod rebind;

use super::nodes::reason;
use super::{Admin, absent, conflict};
use crate::audit;
use crate::extract::{Json, Part};
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{ProposalRow, Store, StoreError, Tx as _};
use axum::extract::State;
use axum::http::StatusCode;
use ccnode_evidence::{Code, UnixTime};
use ccnode_protocol::admin::{NodeAction, Pinned, Proposal, ProposalAction, ProposalMake};
use serde_json::json;
use std::sync::Arc;

/// Proposals that are open at a time.
const MOST: usize = 32;

pub(super) async fn list<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
) -> Result<axum::Json<Vec<Proposal>>, Refusal> {
    let now = service.now();
    let rows = service.store.read().await?.proposals().await?;
    Ok(axum::Json(rows.into_iter().filter(|row| row.expires >= now).map(|row| shown(row, None)).collect()))
}

pub(super) async fn show<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(id): Part<u32>,
) -> Result<axum::Json<Proposal>, Refusal> {
    let row = service.store.read().await?.proposal(id.into()).await?;
    let row = row.filter(|row| row.expires >= service.now()).ok_or_else(|| absent("proposal", id))?;
    Ok(axum::Json(shown(row, None)))
}

pub(super) async fn make<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Json(wish): Json<ProposalMake>,
) -> Result<(StatusCode, axum::Json<Proposal>), Refusal> {
    let reason = reason(NodeAction { reason: wish.reason })?;
    let now = service.now();
    let mut tx = service.store.write().await?;
    tx.purge_proposals(now).await?;
    let open = tx.proposals().await?;
    if let Some(same) = open.iter().find(|row| row.action == wish.action) {
        return Err(conflict(format!("proposal {} by `{}` asks for that already", same.id, same.proposer)));
    }
    if open.len() >= MOST {
        return Err(conflict(format!("{MOST} proposals are open: approve or withdraw some first")));
    }
    let pinned = match &wish.action {
        ProposalAction::AllowOnce { node, refusal } => {
            Pinned::AllowOnce(allow_once::pin(&service, &mut tx, node, *refusal).await?)
        }
        ProposalAction::Rebind { from, to } => Pinned::Rebind(rebind::pin(&mut tx, from, to).await?),
    };
    let mut row = ProposalRow {
        id: 0,
        action: wish.action,
        pinned,
        reason,
        proposer: admin.name.clone(),
        proposer_key: admin.key,
        proposed: now,
        expires: now.saturating_add(service.config.proposal_lifetime.seconds()),
    };
    row.id = tx.insert_proposal(&row).await?;
    let detail = json!({"pinned": row.pinned, "reason": row.reason, "expires": row.expires});
    audit::append(&mut tx, now, admin.entry("proposal.make", row.id, detail)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, axum::Json(shown(row, None))))
}

/// Does what another administrator proposed, if all that it depends on is as it was.
pub(super) async fn approve<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(id): Part<u32>,
) -> Result<axum::Json<Proposal>, Refusal> {
    let now = service.now();
    let mut tx = service.store.write().await?;
    let row = tx.proposal(id.into()).await?.ok_or_else(|| absent("proposal", id))?;
    if row.expires < now {
        return Err(conflict(format!("proposal {id} ended at {}", UnixTime(row.expires))));
    }
    if let Err(refusal) = another(&admin, &row) {
        drop(tx);
        denied(&service, &admin, &row).await?;
        return Err(refusal);
    }
    let (action, object) = match &row.pinned {
        Pinned::AllowOnce(state) => {
            allow_once::unchanged(&mut tx, state).await?;
            allow_once::allow(&mut tx, row.id, state, now).await?;
            ("node.allow-once", state.node.to_string())
        }
        Pinned::Rebind(pinned) => {
            rebind::unchanged(&mut tx, pinned).await?;
            rebind::go_over(&service, &mut tx, pinned, now).await?;
            ("node.rebind", pinned.node.to_string())
        }
    };
    tx.delete_proposal(row.id).await?;
    let detail = json!({
        "proposal": row.id, "proposed-by": row.proposer, "approved-by": admin.name, "reason": row.reason,
        "pinned": row.pinned,
    });
    audit::append(&mut tx, now, admin.entry(action, object, detail)).await?;
    tx.commit().await?;
    Ok(axum::Json(shown(row, Some(admin.name))))
}

/// Any administrator may: nothing is done by it.
pub(super) async fn withdraw<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(id): Part<u32>,
) -> Result<StatusCode, Refusal> {
    let mut tx = service.store.write().await?;
    let row = tx.proposal(id.into()).await?.ok_or_else(|| absent("proposal", id))?;
    tx.delete_proposal(row.id).await?;
    let detail = json!({"proposed-by": row.proposer, "withdrawn-by": admin.name, "action": row.action});
    audit::append(&mut tx, service.now(), admin.entry("proposal.withdraw", row.id, detail)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Two certificates are two administrators where both name and key differ: a renewed certificate has another key, a copied key another name.
fn another(admin: &Admin, row: &ProposalRow) -> Result<(), Refusal> {
    let (name, proposer) = (folded(&admin.name), folded(&row.proposer));
    if name != proposer && admin.key != row.proposer_key {
        return Ok(());
    }
    let what = if name == proposer { "name" } else { "key" };
    let text = format!("`{}` proposed {}, and this certificate has the same {what}", row.proposer, row.id);
    Err(Refusal::new(Code::SecondAdministrator, text))
}

/// A name as people tell it from others.
fn folded(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

async fn denied<S: Store>(service: &Service<S>, admin: &Admin, row: &ProposalRow) -> Result<(), StoreError> {
    let mut tx = service.store.write().await?;
    let entry = admin.entry("proposal.denied", row.id, json!({"proposed-by": row.proposer}));
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await
}

fn shown(row: ProposalRow, approved_by: Option<String>) -> Proposal {
    Proposal {
        id: row.id,
        action: row.action,
        pinned: row.pinned,
        reason: row.reason,
        proposed_by: row.proposer,
        proposed: row.proposed,
        expires: row.expires,
        approved_by,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Sha256Digest;

    #[test]
    fn t26_one_person_with_two_certificates_is_one() {
        let key = Sha256Digest::of;
        let action = ProposalAction::AllowOnce { node: "a".parse().unwrap(), refusal: 1 };
        let state = ccnode_protocol::admin::AllowOnce {
            node: "a".parse().unwrap(),
            identity: Sha256Digest::ZERO,
            pool: "p".parse().unwrap(),
            ak_name: String::new(),
            refusal: 1,
            code: Code::PlatformUnknown,
            event: None,
            platform: None,
            image: Sha256Digest::ZERO,
            pcrs: Default::default(),
            lifetime: 1,
        };
        let row = ProposalRow {
            id: 1,
            action,
            pinned: Pinned::AllowOnce(state),
            reason: None,
            proposer: "Ada Lovelace".into(),
            proposer_key: key(b"one"),
            proposed: 0,
            expires: 0,
        };
        let of = |name: &str, key| {
            let admin = Admin { name: name.into(), key, correlation_id: String::new() };
            another(&admin, &row).map_err(|refusal| refusal.code)
        };
        assert_eq!(of("Grace", key(b"two")), Ok(()));
        for (name, key) in [
            ("Ada Lovelace", key(b"one")),
            ("Ada Lovelace", key(b"renewed")),
            ("ada  lovelace ", key(b"two")),
            ("Grace", key(b"one")),
        ] {
            assert_eq!(of(name, key), Err(Code::SecondAdministrator), "{name}");
        }
    }
}
