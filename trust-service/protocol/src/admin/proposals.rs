//! Proposals: what one administrator asks for, and another one approves.

use ccnode_evidence::{Code, PcrValues, Sha256Digest};
use serde::{Deserialize, Serialize};

use super::{NodeState, TrustLevel, VolumeRecord};
use crate::{NodeName, PoolName};

/// A proposal to make.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProposalMake {
    /// What is to be done.
    pub action: ProposalAction,
    /// Why: free text, 1024 bytes at most; whoever approves reads it, and the audit log keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What takes two administrators.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProposalAction {
    /// Let one node through once, in the very state in which it was refused.
    AllowOnce {
        /// The node.
        node: NodeName,
        /// Number of the refusal that kept the state.
        refusal: u64,
    },
    /// Hand a node over to another machine, which its disk was moved to.
    Rebind {
        /// The node.
        from: NodeName,
        /// The name under which the other machine waits for approval, or was refused as unknown.
        to: NodeName,
    },
}

/// A proposal as the service holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Proposal {
    /// Its number.
    pub id: u64,
    /// What was asked for.
    pub action: ProposalAction,
    /// What exactly will be done, as the objects stood when it was proposed.
    pub pinned: Pinned,
    /// Why.
    pub reason: Option<String>,
    /// The name in the certificate of who proposed it.
    pub proposed_by: String,
    /// When, seconds since 1970.
    pub proposed: u64,
    /// Until when it can be approved, seconds since 1970.
    pub expires: u64,
    /// Who approved it just now; `null` while it is open.
    pub approved_by: Option<String>,
}

/// An action with all that it depends on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pinned {
    /// See [`ProposalAction::AllowOnce`].
    AllowOnce(AllowOnce),
    /// See [`ProposalAction::Rebind`].
    Rebind(Rebind),
}

/// A state that one node may be let through in, once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AllowOnce {
    /// The node.
    pub node: NodeName,
    /// Its identity.
    pub identity: Sha256Digest,
    /// Its pool.
    pub pool: PoolName,
    /// Name of its attestation key.
    pub ak_name: String,
    /// Number of the refusal.
    pub refusal: u64,
    /// Why it was refused: `platform-unknown` or `pair-not-allowed`.
    pub code: Code,
    /// How it differed from the closest platform, in words.
    pub event: Option<String>,
    /// The platform, where one matched.
    pub platform: Option<Sha256Digest>,
    /// The image.
    pub image: Sha256Digest,
    /// The quoted values, sha256:0-15: the next quote must hold these and no others.
    pub pcrs: PcrValues,
    /// For how long after the approval, seconds.
    pub lifetime: u64,
}

/// A node that goes over to another machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rebind {
    /// The node, which keeps its name.
    pub node: NodeName,
    /// Its pool, which is the other machine's as well.
    pub pool: PoolName,
    /// Its identity so far, which is retired.
    pub from: Sha256Digest,
    /// Where it stands.
    pub from_state: NodeState,
    /// What its evidence was worth.
    pub from_level: Option<TrustLevel>,
    /// Identity of the other machine.
    pub to: Sha256Digest,
    /// Name that it has until then.
    pub to_name: NodeName,
    /// What its evidence was worth; `null` where it is not on record, and then the node's own counts.
    pub to_level: Option<TrustLevel>,
    /// Name of the other machine's attestation key.
    pub ak_name: String,
    /// What goes over.
    pub volumes: Vec<VolumeRecord>,
    /// Name under which the identity so far stays on record, retired.
    pub retired_as: NodeName,
}

/// What a node was allowed once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Allowance {
    /// Number of the proposal.
    pub proposal: u64,
    /// Number of the refusal.
    pub refusal: u64,
    /// Until when it can be used, seconds since 1970.
    pub expires: u64,
    /// When it was used, seconds since 1970.
    pub used: Option<u64>,
    /// Whether the boot that attested last is the one that was let through.
    pub this_boot: bool,
}
