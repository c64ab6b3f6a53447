//! A refused state that one node is let through in, once: what can be allowed so, and what must not have changed since.

use crate::admin::nodes::{find, word};
use crate::admin::{absent, conflict};
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{AllowanceRow, NodeRow, RefusalRow, Store, Tx};
use ccnode_evidence::Code;
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{AllowOnce, NodeState, RefusedBy};

/// All that is allowed, as it stands now.
pub(super) async fn pin<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
    name: &NodeName,
    refusal: u64,
) -> Result<AllowOnce, Refusal> {
    let node = find(tx, name).await?;
    if node.state != NodeState::Active {
        return Err(conflict(format!("node `{name}` is {}", word(node.state))));
    }
    if node.expires.is_some() {
        return Err(conflict(format!("node `{name}` is on record for one boot, and has no disk to open")));
    }
    let row = tx.refusal(refusal).await?.ok_or_else(|| absent("refusal", refusal))?;
    let state = judged(&node, row, service.config.allow_once_lifetime.seconds())
        .map_err(|why| conflict(format!("refusal {refusal} can't be allowed once: {why}")))?;
    registered(tx, &state).await?;
    Ok(state)
}

/// What was refused for its state alone, and whose state is on record.
fn judged(node: &NodeRow, row: RefusalRow, lifetime: u64) -> Result<AllowOnce, String> {
    let RefusalRow { record, proven, machine } = row;
    if record.node.as_ref() != Some(&node.name) {
        let of = record.node.map_or("nobody".to_owned(), |name| format!("`{name}`"));
        return Err(format!("it is of {of}"));
    }
    if record.by != RefusedBy::Service {
        return Err("the node itself refused to go on, and no evidence of that came".into());
    }
    match record.code {
        Code::PlatformUnknown | Code::PairNotAllowed => {}
        Code::ImageUnknown => {
            return Err(
                "which root an unknown image mounts is not known: register the image, and allow it".into()
            );
        }
        code => {
            return Err(format!(
                "it is `{code}`, and all but `platform-unknown` and `pair-not-allowed` is judged without exception"
            ));
        }
    }
    let machine = machine.filter(|_| proven).ok_or("nobody proved to be this node")?;
    if machine.identity != node.identity {
        return Err("it is of another machine, which had this name then".into());
    }
    if machine.ak_name != node.ak_name {
        return Err("the node's attestation key is another one since".into());
    }
    let kept = record.kept.ok_or("the quoted values of it are not kept any more: have the node try again")?;
    let image =
        record.image.ok_or("its image is unknown, too: register the image, and have the node try again")?;
    Ok(AllowOnce {
        node: node.name.clone(),
        identity: node.identity,
        pool: node.pool.clone(),
        ak_name: machine.ak_name,
        refusal: record.id,
        code: record.code,
        event: record.event,
        platform: record.platform,
        image,
        pcrs: kept.pcrs,
        lifetime,
    })
}

async fn registered<T: Tx>(tx: &mut T, state: &AllowOnce) -> Result<(), Refusal> {
    match tx.image(&state.image).await? {
        Some(_) => Ok(()),
        None => Err(absent("image", state.image)),
    }
}

/// Whether the node still is what it was. The refusal itself never changes, and may have made room for later ones.
pub(super) async fn unchanged<T: Tx>(tx: &mut T, state: &AllowOnce) -> Result<(), Refusal> {
    let now = tx.node(&state.identity).await?;
    let same = |node: &NodeRow| {
        node.state == NodeState::Active
            && (&node.name, &node.pool, &node.ak_name) == (&state.node, &state.pool, &state.ak_name)
    };
    if !now.as_ref().is_some_and(same) {
        let text =
            format!("node `{}` is not what it was when this was proposed: propose it anew", state.node);
        return Err(conflict(text));
    }
    registered(tx, state).await
}

/// Puts it on record, in the place of what the node was allowed before.
pub(super) async fn allow<T: Tx>(
    tx: &mut T,
    proposal: u64,
    state: &AllowOnce,
    now: u64,
) -> Result<(), Refusal> {
    let expires = now.saturating_add(state.lifetime);
    tx.set_allowance(&AllowanceRow { proposal, state: state.clone(), expires, used: None }).await?;
    Ok(())
}
