//! Error bodies: the stock `type` and `detail`, and what ours adds.

use ccnode_evidence::Code;
use serde::{Deserialize, Serialize};

/// Every `type` of the protocol starts with this.
pub const PROBLEM_TYPE_BASE: &str = "https://github.com/confidential-containers/kbs/errors/";

/// The body of every error. A client decides on `type` and `code`, never on the status alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Problem {
    /// [`PROBLEM_TYPE_BASE`] and the stock variant's name.
    #[serde(rename = "type")]
    pub kind: String,
    /// A sentence for people.
    pub detail: String,
    /// Our stable code; absent from a stock service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Finds the decision in the service's log and audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// After a successful activation alone: the PCR at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pcr: Option<u8>,
    /// After a successful activation alone: the event at fault, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// After a successful activation alone: the closest known image or platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closest: Option<String>,
}

/// Body of `POST /ccnode/v1/refusals`: a refusal that the node decided itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeRefusal {
    /// What the node's console says.
    pub code: Code,
    /// The sentence beside it, [`crate::limits::REFUSAL_DETAIL`] bytes at most.
    pub detail: String,
    /// The node's own correlation id, printed on its console.
    pub correlation_id: String,
}
