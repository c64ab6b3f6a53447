//! A node whose disk was moved to another machine: name, volumes and resources go over to that machine's identity, in one transaction.

use crate::admin::conflict;
use crate::admin::nodes::{find, word};
use crate::enrol::registered;
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{Machine, NodeRow, Store, Tx, VolumeRow};
use crate::{admin, last, recovery, rekey};
use ccnode_evidence::Code;
use ccnode_protocol::admin::{NodeState, Rebind, RefusalFilter, RefusedBy, TrustLevel};
use ccnode_protocol::{NodeName, PoolName};

/// Characters of a name that is kept with what tells it from its successor.
const NAME: usize = 48;

/// All that goes over, as it stands now.
pub(super) async fn pin<T: Tx>(tx: &mut T, from: &NodeName, to: &NodeName) -> Result<Rebind, Refusal> {
    let old = find(tx, from).await?;
    if !matches!(old.state, NodeState::Active | NodeState::Quarantined | NodeState::Revoked) {
        return Err(conflict(format!("node `{from}` is {}: it has nothing to hand over", word(old.state))));
    }
    let volumes = tx.volumes(&old.identity).await?;
    if volumes.is_empty() || volumes.iter().any(|volume| volume.unlock_key.is_none()) {
        return Err(conflict(format!("node `{from}` has no volume with a key to hand over")));
    }
    let (machine, to_level) = machine(tx, to, &old.pool).await?;
    let retired_as = retired_name(&old)?;
    if tx.node_named(&retired_as).await?.is_some() {
        return Err(conflict(format!("there is a node `{retired_as}` already: delete it first")));
    }
    Ok(Rebind {
        node: old.name,
        pool: old.pool,
        from: old.identity,
        from_state: old.state,
        from_level: old.level,
        to: machine.identity,
        to_name: to.clone(),
        to_level,
        ak_name: machine.ak_name,
        volumes: volumes.into_iter().map(|volume| volume.record).collect(),
        retired_as,
    })
}

/// The machine that goes by this name: it satisfied the pool, and nobody let it in yet.
async fn machine<T: Tx>(
    tx: &mut T,
    name: &NodeName,
    pool: &PoolName,
) -> Result<(Machine, Option<TrustLevel>), Refusal> {
    let Some(node) = tx.node_named(name).await? else {
        return Ok((unknown(tx, name, pool).await?, None));
    };
    let no = |why: &str| conflict(format!("node `{name}` {why}"));
    if node.state != NodeState::Pending {
        return Err(no(&format!(
            "is {}: only a machine that waits for approval takes over",
            word(node.state)
        )));
    }
    if node.pool != *pool {
        return Err(no(&format!("waits in pool {}, and the node is of pool {pool}", node.pool)));
    }
    if node.expires.is_some() {
        return Err(no("is of one boot"));
    }
    // A stock client's key is nobody's: no credential was activated for it.
    let evidence = tx.last_evidence(&node.identity).await?;
    let evidence = evidence.map(last::read).transpose().map_err(Refusal::internal)?;
    if node.attested.is_none() || evidence.is_none_or(|evidence| evidence.session.stock) {
        return Err(no("has not proven yet that its key is a TPM's"));
    }
    Ok((Machine { identity: node.identity, ak_name: node.ak_name }, node.level))
}

/// The machine whose newest refusal is that nobody knows it.
async fn unknown<T: Tx>(tx: &mut T, name: &NodeName, pool: &PoolName) -> Result<Machine, Refusal> {
    let absent = || admin::absent("node or refused machine", name);
    let filter = RefusalFilter { node: Some(name.clone()), limit: Some(1), ..RefusalFilter::default() };
    let row = tx.refusals(&filter).await?.pop().ok_or_else(absent)?;
    let record = &row.record;
    if record.code != Code::NodeUnknown || record.by != RefusedBy::Service || !row.proven {
        let text = format!(
            "the newest refusal of `{name}` is `{}`: a machine that takes over was refused as `node-unknown` and for nothing else",
            record.code
        );
        return Err(conflict(text));
    }
    if record.pool.as_ref() != Some(pool) {
        return Err(conflict(format!("`{name}` was refused by another pool than {pool}")));
    }
    let machine = row.machine.clone().ok_or_else(absent)?;
    match tx.node(&machine.identity).await? {
        Some(node) => Err(conflict(format!("that machine is on record as `{}`", node.name))),
        None => Ok(machine),
    }
}

/// Under which the old identity stays: the name goes to its successor.
fn retired_name(old: &NodeRow) -> Result<NodeName, Refusal> {
    let name: String = old.name.as_str().chars().take(NAME).collect();
    let identity: String = old.identity.hex().chars().take(8).collect();
    format!("{}-was-{identity}", name.trim_end_matches('-')).parse().map_err(Refusal::internal)
}

/// Whether both still are what they were.
pub(super) async fn unchanged<T: Tx>(tx: &mut T, pinned: &Rebind) -> Result<(), Refusal> {
    match pin(tx, &pinned.node, &pinned.to_name).await {
        Ok(now) if now == *pinned => Ok(()),
        Ok(_) => Err(conflict("node or machine is not what it was when this was proposed: propose it anew")),
        Err(refusal) if refusal.code == Code::Internal => Err(refusal),
        Err(refusal) => Err(conflict(format!(
            "not what it was when this was proposed: {}; propose it anew",
            refusal.detail
        ))),
    }
}

/// Hands everything over. The old identity stays on record as retired, so that it is refused by name and never comes back by itself.
pub(super) async fn go_over<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
    pinned: &Rebind,
    now: u64,
) -> Result<(), Refusal> {
    let gone = || Refusal::internal("a row is gone in its own transaction");
    let old = tx.node(&pinned.from).await?.ok_or_else(gone)?;
    let pool = tx.pool(&pinned.pool).await?.ok_or_else(gone)?;
    let retired = NodeRow {
        name: pinned.retired_as.clone(),
        state: NodeState::Retired,
        reason: Some(format!("{} went over to the machine {}", pinned.node, pinned.to)),
        seen: None,
        ..old
    };
    done(tx.update_node(&retired).await?)?;
    // Its counters are its own: those of its last verdict, or none yet.
    let waiting = tx.node(&pinned.to).await?;
    let is_new = waiting.is_none();
    let base =
        waiting.unwrap_or_else(|| registered(&pool, &pinned.node, pinned.to, pinned.ak_name.clone(), now));
    let new = NodeRow {
        name: pinned.node.clone(),
        state: NodeState::Active,
        reason: None,
        seen: None,
        // What it attests with next must be worth no less.
        level: pinned.to_level.or(pinned.from_level),
        release_reset: 0,
        releases: 0,
        ..base
    };
    done(if is_new { tx.insert_node(&new).await? } else { tx.update_node(&new).await? })?;
    for volume in tx.volumes(&pinned.from).await? {
        let key = service.unlock_key(&volume).map_err(Refusal::internal)?.ok_or_else(gone)?;
        let place = VolumeRow::place(&pinned.to, &volume.record.id);
        let sealed = service.at_rest.seal(&place, key.expose()).map_err(Refusal::internal)?;
        let next = rekey::moved(service, &volume, &pinned.to)?;
        let recovery = recovery::moved(service, &volume, &pinned.to)?;
        let row = VolumeRow { identity: pinned.to, unlock_key: Some(sealed), next, recovery, ..volume };
        done(tx.move_volume(&pinned.from, &row).await?)?;
    }
    tx.forget_session_grants(&pinned.from).await?;
    tx.move_readers(&pinned.from, &pinned.to).await?;
    Ok(())
}

fn done(written: bool) -> Result<(), Refusal> {
    match written {
        true => Ok(()),
        false => Err(conflict("another row has this name")),
    }
}
