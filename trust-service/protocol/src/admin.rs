//! The administration interface: its paths and JSON types, shared by the service and the administrators' tool.
//!
//! Mutual TLS on a listener of its own; base path [`BASE`]. Objects are answered as they stand after the change; a
//! deletion answers 204. Every error is a [`crate::Problem`] with a code: 401 without a certificate, 403 without the
//! role, 404 for what does not exist, 409 for what is in the way, 400 for what can't be read.

use ccnode_evidence::{Code, EventLogs, ImageTuple, PcrValues, PlatformTuple, Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::grants::{Cluster, OnForeignDisk};
use crate::{NodeName, PoolName};

/// Every path of the administration interface starts with this.
pub const BASE: &str = "/ccnode/v1/admin";
/// Pools: GET lists [`Pool`]s, POST makes one of a [`PoolCreate`].
pub const POOLS: &str = "/ccnode/v1/admin/pools";
/// One pool: GET, PATCH with a [`PoolEdit`], DELETE.
pub const POOL: &str = "/ccnode/v1/admin/pools/{pool}";
/// A pool's allowed pairs: POST a [`Pair`] allows it; answers the [`Pool`].
pub const PAIRS: &str = "/ccnode/v1/admin/pools/{pool}/pairs";
/// One allowed pair: DELETE disallows it.
pub const PAIR: &str = "/ccnode/v1/admin/pools/{pool}/pairs/{platform}/{image}";
/// A pool's endorsement key roots: POST an [`EkRootAdd`] adds one; answers the [`Pool`].
pub const EK_ROOTS: &str = "/ccnode/v1/admin/pools/{pool}/ek-roots";
/// One endorsement key root: DELETE removes it.
pub const EK_ROOT: &str = "/ccnode/v1/admin/pools/{pool}/ek-roots/{id}";
/// Image tuples: GET lists [`ImageRecord`]s, POST registers an [`ImageTuple`].
pub const IMAGES: &str = "/ccnode/v1/admin/images";
/// One image: GET, DELETE.
pub const IMAGE: &str = "/ccnode/v1/admin/images/{id}";
/// Platform tuples: GET lists [`PlatformRecord`]s, POST registers a [`PlatformTuple`].
pub const PLATFORMS: &str = "/ccnode/v1/admin/platforms";
/// One platform: GET, DELETE.
pub const PLATFORM: &str = "/ccnode/v1/admin/platforms/{id}";
/// Nodes: GET with a [`NodeFilter`] as query lists [`NodeRecord`]s.
pub const NODES: &str = "/ccnode/v1/admin/nodes";
/// One node: GET, DELETE (forgets its keys for good).
pub const NODE: &str = "/ccnode/v1/admin/nodes/{node}";
/// POST with a [`NodeAction`]: pending, quarantined or revoked → active, with the key and counters last seen.
pub const NODE_APPROVE: &str = "/ccnode/v1/admin/nodes/{node}/approve";
/// POST with a [`NodeAction`]: no release and no certificate any more.
pub const NODE_REVOKE: &str = "/ccnode/v1/admin/nodes/{node}/revoke";
/// POST with a [`NodeAction`]: the root is made anew at the next boot; what is on it is lost.
pub const NODE_REGRANT: &str = "/ccnode/v1/admin/nodes/{node}/regrant";
/// Refusals: GET with a [`RefusalFilter`] as query lists [`RefusalRecord`]s, newest first, without `kept`.
pub const REFUSALS: &str = "/ccnode/v1/admin/refusals";
/// One refusal, with what was kept of its evidence: GET.
pub const REFUSAL: &str = "/ccnode/v1/admin/refusals/{id}";
/// The audit log: GET with an [`AuditFilter`] as query lists [`AuditRow`]s, newest first.
pub const AUDIT: &str = "/ccnode/v1/admin/audit";

/// A path with its `{placeholders}` filled in order; values are names, digests and numbers, which need no escaping.
///
/// `path(admin::PAIR, &[&pool, &platform, &image])`
pub fn path(template: &str, values: &[&dyn std::fmt::Display]) -> String {
    let mut values = values.iter();
    template
        .split('/')
        .map(|part| match part.starts_with('{') {
            true => values.next().map(|v| v.to_string()).unwrap_or_default(),
            false => part.to_owned(),
        })
        .collect::<Vec<_>>()
        .join("/")
}

/// What a piece of evidence is worth; derived by the service, never claimed by the node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustLevel {
    /// A TPM that the host's hypervisor emulates: protects against disk thieves and other tenants, not against the host.
    HypervisorVtpm,
    /// A TPM chip.
    DiscreteTpm,
    /// A confidential VM's report alone.
    Tee,
    /// A vTPM whose key is in a confidential VM's report.
    TeeBoundVtpm,
}

/// What a pool does with a TPM that it does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// Refuses it (`node-unknown`).
    #[default]
    Refuse,
    /// Records it as pending and refuses it (`node-pending`) until an administrator approves.
    Ask,
    /// Enrols it, if the evidence satisfies the pool.
    Enrol,
}

/// Rules that loosen a pool; each name says what is given up.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Nodes of level `hypervisor-vtpm` may enrol by themselves: whoever runs the host can read their disks.
    DangerHostIsTrusted,
}

/// A platform and an image that a pool allows together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// [`PlatformTuple::id`].
    pub platform: Sha256Digest,
    /// [`ImageTuple::id`].
    pub image: Sha256Digest,
}

/// A CA above endorsement key certificates, to be trusted by a pool.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EkRootAdd {
    /// One certificate, PEM.
    pub certificate: String,
    /// What a TPM below it is worth.
    pub level: TrustLevel,
}

/// A CA above endorsement key certificates that a pool trusts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EkRoot {
    /// SHA-256 of the certificate in DER.
    pub id: Sha256Digest,
    /// Its subject, for people.
    pub subject: String,
    /// End of its validity, seconds since 1970.
    pub not_after: u64,
    /// What a TPM below it is worth.
    pub level: TrustLevel,
    /// The certificate, PEM.
    pub certificate: String,
}

/// A pool to make.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PoolCreate {
    /// Its name, with which node.toml refers to it.
    pub name: PoolName,
    /// What happens to unknown TPMs.
    #[serde(default)]
    pub on_unknown: OnUnknown,
    /// What is loosened.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What a root partition that holds something else means.
    #[serde(default)]
    pub on_foreign_disk: OnForeignDisk,
    /// Whether PCR 8 may hold init-data.
    #[serde(default)]
    pub allow_init_data: bool,
    /// The cluster that its nodes join; the service's configured one where absent.
    #[serde(default)]
    pub cluster: Option<Cluster>,
}

/// Changes to a pool; what is absent stays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PoolEdit {
    /// What happens to unknown TPMs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
    /// The whole new list of rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<Rule>>,
    /// What a root partition that holds something else means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_foreign_disk: Option<OnForeignDisk>,
    /// Whether PCR 8 may hold init-data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_init_data: Option<bool>,
    /// The cluster that its nodes join.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
}

/// A pool as the service holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// What happens to unknown TPMs.
    pub on_unknown: OnUnknown,
    /// What is loosened.
    pub rules: Vec<Rule>,
    /// What a root partition that holds something else means.
    pub on_foreign_disk: OnForeignDisk,
    /// Whether PCR 8 may hold init-data.
    pub allow_init_data: bool,
    /// The cluster of its own, where it has one.
    pub cluster: Option<Cluster>,
    /// Endorsement key roots.
    pub ek_roots: Vec<EkRoot>,
    /// Allowed pairs.
    pub pairs: Vec<Pair>,
    /// Number of nodes.
    pub nodes: u64,
    /// When it was made, seconds since 1970.
    pub created: u64,
}

/// A registered image.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageRecord {
    /// [`ImageTuple::id`].
    pub id: Sha256Digest,
    /// When it was registered, seconds since 1970.
    pub registered: u64,
    /// Pools that allow it with some platform.
    pub pools: Vec<PoolName>,
    /// The tuple.
    pub tuple: ImageTuple,
}

/// A registered platform.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlatformRecord {
    /// [`PlatformTuple::id`].
    pub id: Sha256Digest,
    /// When it was registered, seconds since 1970.
    pub registered: u64,
    /// Pools that allow it with some image.
    pub pools: Vec<PoolName>,
    /// The tuple.
    pub tuple: PlatformTuple,
}

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
    /// Counts formats.
    pub generation: u64,
    /// Of the header on disk, from `formatted` on.
    pub header_digest: Option<Sha256Digest>,
    /// Verity root hash that its content was copied from, from `ready` on.
    pub populated_from: Option<Sha256Digest>,
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

/// Why an administrator acts on a node; kept in the audit log.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeAction {
    /// Free text, 1024 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A node as the service holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeRecord {
    /// SHA-256 of the endorsement key's Name.
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
    /// Counters of its last verdict.
    pub counters: Option<Counters>,
    /// Platform of its last verdict.
    pub platform: Option<Sha256Digest>,
    /// Image of its last verdict.
    pub image: Option<Sha256Digest>,
    /// Its volumes.
    pub volumes: Vec<VolumeRecord>,
    /// When it was first seen, seconds since 1970.
    pub created: u64,
    /// When it last had a verdict, seconds since 1970.
    pub attested: Option<u64>,
}

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
    /// Who: `admin:<common name>`, `node:<name>`, `unproven:<name>`, `service`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_filled_in_order() {
        let pool: PoolName = "workers".parse().unwrap();
        let (p, i) = (Sha256Digest::of(b"p"), Sha256Digest::of(b"i"));
        assert_eq!(
            path(PAIR, &[&pool, &p, &i]),
            format!("/ccnode/v1/admin/pools/workers/pairs/{}/{}", p.hex(), i.hex())
        );
        assert_eq!(path(NODES, &[]), NODES);
    }

    #[test]
    fn a_pool_needs_only_a_name_and_is_strict() {
        let pool: PoolCreate = serde_json::from_str(r#"{"name":"workers"}"#).unwrap();
        assert_eq!((pool.on_unknown, pool.on_foreign_disk), (OnUnknown::Refuse, OnForeignDisk::Refuse));
        let text = r#"{"name":"w","on-unknown":"enrol","rules":["danger-host-is-trusted"]}"#;
        let pool: PoolCreate = serde_json::from_str(text).unwrap();
        assert_eq!(pool.rules, [Rule::DangerHostIsTrusted]);
        assert!(serde_json::from_str::<PoolCreate>(r#"{"name":"w","on-unknow":"enrol"}"#).is_err());
    }
}
