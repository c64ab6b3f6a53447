//! `ccnode proposal`, and what is proposed: decisions that take two administrators.

use crate::admin::connect;
use crate::args::Global;
use crate::client::Client;
use crate::output::{self, or_dash, short, time, word};
use anyhow::Result;
use ccnode_protocol::admin::{self, AllowOnce, Pinned, Proposal, ProposalAction, ProposalMake, Rebind};
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List what waits for a second administrator
    List,
    /// Show exactly what would be done
    Show {
        /// Number, as `list` prints it
        id: u32,
    },
    /// Do what another administrator proposed
    Approve {
        /// Number, as `list` prints it
        id: u32,
    },
    /// Take a proposal back; any administrator may
    Withdraw {
        /// Number, as `list` prints it
        id: u32,
    },
}

pub(crate) async fn run(global: &Global, command: Command) -> Result<()> {
    let client = connect(global)?;
    match command {
        Command::List => list(global, &client.get::<Vec<Proposal>>(admin::PROPOSALS).await?),
        Command::Show { id } => shown(global, &client.get(&admin::path(admin::PROPOSAL, &[&id])).await?),
        Command::Approve { id } => {
            shown(global, &client.post(&admin::path(admin::PROPOSAL_APPROVE, &[&id]), &()).await?)
        }
        Command::Withdraw { id } => client.delete(&admin::path(admin::PROPOSAL, &[&id])).await,
    }
}

/// Asks for what another administrator is to approve.
pub(crate) async fn make(
    global: &Global,
    client: &Client,
    action: ProposalAction,
    reason: Option<String>,
) -> Result<()> {
    let made: Proposal = client.post(admin::PROPOSALS, &ProposalMake { action, reason }).await?;
    shown(global, &made)?;
    eprintln!("nothing is done yet: another administrator says `ccnode proposal approve {}`", made.id);
    Ok(())
}

fn list(global: &Global, proposals: &[Proposal]) -> Result<()> {
    if global.json {
        return output::json(&proposals);
    }
    let rows: Vec<[String; 6]> = proposals
        .iter()
        .map(|proposal| {
            let (what, object) = words(&proposal.pinned);
            [
                proposal.id.to_string(),
                what.to_owned(),
                object,
                proposal.proposed_by.clone(),
                time(proposal.expires),
                or_dash(proposal.reason.as_ref()),
            ]
        })
        .collect();
    output::table(["id", "action", "node", "proposed by", "until", "reason"], &rows)
}

/// What is to be done, and to what.
fn words(pinned: &Pinned) -> (&'static str, String) {
    match pinned {
        Pinned::AllowOnce(state) => ("allow-once", state.node.to_string()),
        Pinned::Rebind(pinned) => ("rebind", pinned.node.to_string()),
    }
}

fn shown(global: &Global, proposal: &Proposal) -> Result<()> {
    if global.json {
        return output::json(proposal);
    }
    let (what, _) = words(&proposal.pinned);
    let mut fields = vec![
        ("proposal", proposal.id.to_string()),
        ("action", what.to_owned()),
        ("reason", or_dash(proposal.reason.as_ref())),
        ("proposed by", format!("{}, {}", proposal.proposed_by, time(proposal.proposed))),
        ("approved by", or_dash(proposal.approved_by.as_ref())),
        ("until", time(proposal.expires)),
    ];
    match &proposal.pinned {
        Pinned::AllowOnce(state) => fields.extend(allow_once(state)),
        Pinned::Rebind(pinned) => fields.extend(rebind(pinned)),
    }
    output::fields(&fields)?;
    let Pinned::AllowOnce(state) = &proposal.pinned else { return Ok(()) };
    for (pcr, value) in &state.pcrs.0 {
        output::line(&format!("sha256:{pcr:<3} {value}", pcr = pcr.get()))?;
    }
    Ok(())
}

fn rebind(pinned: &Rebind) -> Vec<(&'static str, String)> {
    let level = |level: &Option<_>| level.as_ref().map_or_else(|| "-".into(), word);
    let mut fields = vec![
        ("node", pinned.node.to_string()),
        ("pool", pinned.pool.to_string()),
        (
            "from",
            format!("{}  {}  {}", pinned.from.hex(), word(&pinned.from_state), level(&pinned.from_level)),
        ),
        ("to", format!("{}  {}  {}", pinned.to.hex(), pinned.to_name, level(&pinned.to_level))),
        ("retires as", pinned.retired_as.to_string()),
    ];
    fields.extend(pinned.volumes.iter().map(|volume| {
        ("volume", format!("{}  {}  generation {}", volume.id, word(&volume.state), volume.generation))
    }));
    fields
}

fn allow_once(state: &AllowOnce) -> Vec<(&'static str, String)> {
    vec![
        ("node", state.node.to_string()),
        ("identity", state.identity.hex()),
        ("pool", state.pool.to_string()),
        ("refusal", format!("{} ({})", state.refusal, state.code)),
        ("event", or_dash(state.event.as_ref())),
        ("platform", or_dash(state.platform.as_ref().map(short))),
        ("image", short(&state.image)),
        ("lets through", format!("once, within {} min of the approval", state.lifetime.div_ceil(60))),
    ]
}
