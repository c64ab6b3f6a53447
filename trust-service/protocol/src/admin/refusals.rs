//! Refusals, with what was kept of their evidence.

use ccnode_evidence::{Code, EventLogs, PcrValues, Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::{NodeName, PoolName};

/// Which refusals to list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RefusalFilter {
    /// Of this pool alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Of this node alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// Of this correlation id alone: what a node's console shows as `id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// At most so many; 100 where absent, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Who refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedBy {
    /// The trust service.
    Service,
    /// The node; what it reports is a claim.
    Node,
}

/// What the service kept of refused evidence whose activation was proven.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kept {
    /// The firmware's log, the node's own, and the command line.
    pub logs: EventLogs,
    /// The quoted values, sha256:0-15.
    pub pcrs: PcrValues,
}

/// A refusal as the service recorded it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RefusalRecord {
    /// Number of the record.
    pub id: u64,
    /// When, seconds since 1970.
    pub time: u64,
    /// Who refused.
    pub by: RefusedBy,
    /// The node's name; where nothing was proven, the name that its claimed identity would have.
    pub node: Option<NodeName>,
    /// The pool that was asked for.
    pub pool: Option<PoolName>,
    /// The stable code.
    pub code: Code,
    /// The sentence with its values.
    pub detail: String,
    /// The PCR at fault.
    pub pcr: Option<u8>,
    /// The event at fault, in words.
    pub event: Option<String>,
    /// The closest known image or platform.
    pub closest: Option<String>,
    /// Every difference from the closest, one sentence each, parts before wholes.
    pub differences: Vec<String>,
    /// The image that matched, where one did.
    pub image: Option<Sha256Digest>,
    /// The platform that matched, where one did.
    pub platform: Option<Sha256Digest>,
    /// What the node's console shows as `id`.
    pub correlation_id: String,
    /// Whether there is kept evidence: `show` has it.
    pub has_evidence: bool,
    /// The evidence; absent from lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
}
