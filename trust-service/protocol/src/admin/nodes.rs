//! Nodes and their volumes.

use ccnode_evidence::{EvidenceKind, Sha256Digest};
use serde::{Deserialize, Serialize};

use super::{Allowance, HardwareRecord, TrustLevel};
use crate::recovery::Recovery;
use crate::{NodeName, PoolName};

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// Seen, waiting for an administrator.
    Pending,
    /// Gets what belongs to it.
    Active,
    /// Something is wrong with it; an administrator must look.
    Quarantined,
    /// An administrator took its rights.
    Revoked,
    /// Its keys are forgotten.
    Retired,
}

/// The TPM's counters (TPMS_CLOCK_INFO) of the last accepted quote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counters {
    /// Resets of the TPM: boots of the machine.
    pub reset_count: u32,
    /// Restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Milliseconds that the TPM has been powered since its last clear.
    pub clock: u64,
    /// Whether the clock was written to non-volatile memory before it was lost.
    pub safe: bool,
}

/// Where a volume stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeState {
    /// Known, never granted, or granted anew by an administrator.
    None,
    /// A format grant is out.
    Granted,
    /// Formatted, not filled yet.
    Formatted,
    /// In use.
    Ready,
    /// Its key is forgotten.
    Retired,
}

/// A node's volume, without its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct VolumeRecord {
    /// Identifier in the journal mark and the LUKS2 token.
    pub id: String,
    /// UUID of the LUKS2 header.
    pub uuid: String,
    /// Where it stands.
    pub state: VolumeState,
    /// Counts formats and unlock keys.
    pub generation: u64,
    /// Of the header on disk, from `formatted` on.
    pub header_digest: Option<Sha256Digest>,
    /// Verity root hash that its content was copied from, from `ready` on.
    pub populated_from: Option<Sha256Digest>,
    /// Where the change of its unlock key stands, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationState>,
}

/// Where the change of an unlock key stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RotationState {
    /// The node's next boot begins it.
    Asked,
    /// The header under the next key is on record, and may be on the disk; the node's next boot ends it.
    Pending,
}

/// Which nodes to list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeFilter {
    /// Of this pool alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// In this state alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<NodeState>,
}

/// Which volumes of a node are made anew, and why.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Regrant {
    /// Free text, 1024 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// One alone, by what its id has behind the node's name: `root`, or `data/` and a name; all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
}

/// Why an administrator acts on a node; kept in the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeAction {
    /// Free text, 1024 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Which volume is to be recovered, and why; both in the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RecoveryFetch {
    /// The volume's name below the node's: `root`.
    pub volume: String,
    /// Free text, 1024 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What recovers a volume, together with its custodians' keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RecoveryRecord {
    /// The trust service's name for the volume.
    pub volume: String,
    /// UUID of its LUKS2 header.
    pub uuid: String,
    /// The generation that formatted it: what the shares are bound to.
    pub formatted: u64,
    /// Digests of the headers that its disk may hold: one, or two while its unlock key changes.
    pub header_digests: Vec<Sha256Digest>,
    /// The sealed shares.
    pub recovery: Recovery,
}

/// A node as the service holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeRecord {
    /// SHA-256 of the endorsement key's Name; of the attestation key's on Azure; of what is that boot's alone without a TPM.
    pub identity: Sha256Digest,
    /// The name that the service chose.
    pub name: NodeName,
    /// Its pool.
    pub pool: PoolName,
    /// Where it stands.
    pub state: NodeState,
    /// Why it stands there, where there is something to say.
    pub reason: Option<String>,
    /// What its evidence was worth at its last verdict.
    pub level: Option<TrustLevel>,
    /// Kind of its last evidence.
    #[serde(default)]
    pub kind: Option<EvidenceKind>,
    /// What the hardware report of its last evidence said.
    #[serde(default)]
    pub hardware: Option<HardwareRecord>,
    /// Counters of its last verdict.
    pub counters: Option<Counters>,
    /// Platform of its last verdict.
    pub platform: Option<Sha256Digest>,
    /// Image of its last verdict.
    pub image: Option<Sha256Digest>,
    /// What two administrators allowed it once, and whether it made use of that.
    #[serde(default)]
    pub allowed_once: Option<Allowance>,
    /// Its volumes.
    pub volumes: Vec<VolumeRecord>,
    /// When it was first seen, seconds since 1970.
    pub created: u64,
    /// When it last had a verdict, seconds since 1970.
    pub attested: Option<u64>,
    /// When the record of a node of one boot goes, seconds since 1970.
    #[serde(default)]
    pub expires: Option<u64>,
}

impl NodeRecord {
    /// The volume of its root, where it has one.
    pub fn root(&self) -> Option<&VolumeRecord> {
        let id = format!("{}/root", self.name);
        self.volumes.iter().find(|volume| volume.id == id)
    }
}
