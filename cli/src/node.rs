//! `ccnode node`: who is enrolled, and what is decided about them.

use crate::admin::{confirmed, connect, of_pool};
use crate::args::{Global, Node, OnNode};
use crate::client::Client;
use crate::hardware;
use crate::output::{self, or_dash, short, time, word};
use crate::proposal;
use anyhow::{Context as _, Result};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{
    self, LastEvidence, NodeAction, NodeFilter, NodeRecord, ProposalAction, Regrant, RotationState,
    VolumeRecord,
};
use std::path::PathBuf;

pub(crate) async fn run(global: &Global, command: Node) -> Result<()> {
    may_lose(&command)?;
    let client = connect(global)?;
    match command {
        Node::List { pool } => list(global, &client, &NodeFilter { pool, state: None }).await,
        Node::Show { name } => shown(global, &client.get(&admin::path(admin::NODE, &[&name])).await?),
        Node::LastEvidence { name, output } => last_evidence(global, &client, &name, output).await,
        Node::Approve(on) => act(global, &client, admin::NODE_APPROVE, on).await,
        Node::Revoke(on) => act(global, &client, admin::NODE_REVOKE, on).await,
        Node::RotateKey(on) => act(global, &client, admin::NODE_ROTATE_KEY, on).await,
        Node::Regrant { on, volume, .. } => {
            let path = admin::path(admin::NODE_REGRANT, &[&on.name]);
            shown(global, &client.post(&path, &Regrant { reason: on.reason, volume }).await?)
        }
        Node::Retire { on, .. } => act(global, &client, admin::NODE_RETIRE, on).await,
        Node::AllowOnce { name, refusal, reason } => {
            proposal::make(global, &client, ProposalAction::AllowOnce { node: name, refusal }, reason).await
        }
        Node::Rebind { old, new, reason } => {
            proposal::make(global, &client, ProposalAction::Rebind { from: old, to: new }, reason).await
        }
        Node::Delete { name, .. } => client.delete(&admin::path(admin::NODE, &[&name])).await,
    }
}

/// What costs the content of a disk.
fn may_lose(command: &Node) -> Result<()> {
    match command {
        Node::Regrant { on, volume, yes } => confirmed(*yes, || match volume {
            Some(volume) => format!("what is on {}/{volume} is lost when it is made anew", on.name),
            None => format!("what is on the volumes of {} is lost when they are made anew", on.name),
        }),
        Node::Retire { on, yes } => {
            confirmed(*yes, || format!("what is on the disk of {} can't be read any more then", on.name))
        }
        Node::Delete { name, yes } => {
            confirmed(*yes, || format!("deleting {name} forgets its keys, and what is on its disk is lost"))
        }
        _ => Ok(()),
    }
}

async fn act(global: &Global, client: &Client, path: &str, on: OnNode) -> Result<()> {
    let path = admin::path(path, &[&on.name]);
    shown(global, &client.post(&path, &NodeAction { reason: on.reason }).await?)
}

async fn list(global: &Global, client: &Client, filter: &NodeFilter) -> Result<()> {
    let nodes: Vec<NodeRecord> = client.list(admin::NODES, filter).await?;
    let nodes = of_pool(client, filter.pool.as_ref(), nodes).await?;
    if global.json {
        return output::json(&nodes);
    }
    let rows: Vec<[String; 6]> = nodes
        .iter()
        .map(|node| {
            [
                node.name.to_string(),
                node.pool.to_string(),
                state(node),
                node.level.as_ref().map_or_else(|| "-".into(), word),
                node.root().map_or_else(|| "-".into(), stands),
                or_dash(node.attested.map(time)),
            ]
        })
        .collect();
    output::table(["name", "pool", "state", "level", "root", "attested"], &rows)
}

/// A node that runs what no pair allows is not like the others.
fn state(node: &NodeRecord) -> String {
    let let_through = node.allowed_once.as_ref().is_some_and(|once| once.this_boot);
    format!("{}{}", word(&node.state), if let_through { ", let through once" } else { "" })
}

/// Where a volume stands, and the change of its key.
fn stands(volume: &VolumeRecord) -> String {
    let change = match volume.rotation {
        None => "",
        Some(RotationState::Asked) => ", key change asked",
        Some(RotationState::Pending) => ", key change pending",
    };
    format!("{}{change}", word(&volume.state))
}

async fn last_evidence(
    global: &Global,
    client: &Client,
    name: &NodeName,
    output: Option<PathBuf>,
) -> Result<()> {
    let record: LastEvidence = client.get(&admin::path(admin::NODE_EVIDENCE, &[name])).await?;
    if let Some(path) = output {
        let mut text = serde_json::to_vec_pretty(&record)?;
        text.push(b'\n');
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    if global.json {
        return output::json(&record);
    }
    output::fields(&evidence_fields(&record))
}

fn evidence_fields(record: &LastEvidence) -> Vec<(&'static str, String)> {
    let verdict = &record.verdict;
    let outcome = match (verdict.accepted, verdict.code) {
        (true, _) => "accepted".to_owned(),
        (false, None) => "refused".to_owned(),
        (false, Some(code)) => format!("refused: {code}"),
    };
    let mut fields = vec![
        ("node", verdict.node.to_string()),
        ("pool", verdict.pool.to_string()),
        ("judged", time(record.time)),
        ("evidence", record.session.tee.to_string()),
        ("verdict", outcome),
    ];
    if let Some(code) = verdict.code {
        fields.push(("detail", or_dash(verdict.detail.as_ref())));
        fields.push(("meaning", code.meaning().to_owned()));
        fields.push(("next", code.action().to_owned()));
    }
    fields.extend([
        ("level", verdict.level.as_ref().map_or_else(|| "-".into(), word)),
        ("platform", or_dash(verdict.platform.as_ref().map(short))),
        ("image", or_dash(verdict.image.as_ref().map(short))),
        ("correlation", verdict.correlation_id.clone()),
    ]);
    fields.extend(verdict.hardware.iter().flat_map(hardware::proven));
    if record.attestation.is_none() {
        fields.push(("note", "the evidence was larger than the service keeps".to_owned()));
    }
    fields
}

fn shown(global: &Global, node: &NodeRecord) -> Result<()> {
    if global.json {
        return output::json(node);
    }
    let mut fields = vec![
        ("node", node.name.to_string()),
        ("identity", node.identity.hex()),
        ("pool", node.pool.to_string()),
        ("state", state(node)),
        ("reason", or_dash(node.reason.as_ref())),
        ("level", node.level.as_ref().map_or_else(|| "-".into(), word)),
        ("evidence", or_dash(node.kind)),
        ("platform", or_dash(node.platform.as_ref().map(short))),
        ("image", or_dash(node.image.as_ref().map(short))),
        ("enrolled", time(node.created)),
        ("attested", or_dash(node.attested.map(time))),
    ];
    if let Some(expires) = node.expires {
        fields.push(("ends", time(expires)));
    }
    fields.extend(node.hardware.iter().flat_map(hardware::proven));
    if let Some(counters) = &node.counters {
        let text = format!(
            "reset {}, restart {}, clock {} ms",
            counters.reset_count, counters.restart_count, counters.clock
        );
        fields.push(("counters", text));
    }
    if let Some(once) = &node.allowed_once {
        let used = once.used.map_or_else(
            || format!("not used, until {}", time(once.expires)),
            |used| format!("used {}", time(used)),
        );
        fields
            .push(("allowed once", format!("refusal {}, proposal {}, {used}", once.refusal, once.proposal)));
    }
    for volume in &node.volumes {
        let from = or_dash(volume.populated_from.as_ref().map(short));
        let text =
            format!("{}  {}  generation {}  from {from}", volume.id, stands(volume), volume.generation);
        fields.push(("volume", text));
    }
    output::fields(&fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_protocol::admin::VolumeState;

    #[test]
    fn a_change_of_key_is_said_beside_the_state() {
        let shown = |rotation| {
            let (id, uuid) = (String::new(), String::new());
            let (header_digest, populated_from) = (None, None);
            let state = VolumeState::Ready;
            stands(&VolumeRecord { id, uuid, state, generation: 1, header_digest, populated_from, rotation })
        };
        assert_eq!(shown(None), "ready");
        assert_eq!(shown(Some(RotationState::Asked)), "ready, key change asked");
        assert_eq!(shown(Some(RotationState::Pending)), "ready, key change pending");
    }
}
