//! Rows of the audit log.

use ccnode_evidence::Sha256Digest;
use serde::{Deserialize, Serialize};

/// Which audit rows to list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AuditFilter {
    /// Rows before this sequence number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// At most so many; 100 where absent, 1000 at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A row of the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuditRow {
    /// Sequence number, without gaps, from 1.
    pub seq: u64,
    /// When, seconds since 1970.
    pub time: u64,
    /// Who: `admin:<common name>`, `node:<name>`, `unproven:<name>`, `service`; `host:uid <number>` of what was done on its machine.
    pub actor: String,
    /// What was decided: `pool.create`, `session.granted`, `session.refused`, `volume.ready`, …
    pub action: String,
    /// On what: a pool, a node, a volume, a tuple.
    pub object: String,
    /// Values of the decision; never a secret.
    pub detail: serde_json::Value,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// Hash of the row before; zero for the first.
    pub prev: Sha256Digest,
    /// SHA-256 over the canonical JSON of the other members.
    pub hash: Sha256Digest,
}
