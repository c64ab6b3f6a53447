//! The rows of a store, as the decisions see them.

use ccnode_appraise::HardwarePolicy;
use ccnode_evidence::{Code, DataName, EvidenceKind, Layout, Nonce, Sha256Digest};
use ccnode_protocol::admin::{
    AllowOnce, Counters, HardwareRecord, NodeState, OnUnknown, Pinned, ProposalAction, RefusalRecord,
    RotationState, Rule, TrustLevel, VolumeRecord, VolumeState,
};
use ccnode_protocol::grants::{Cluster, OnForeignDisk};
use ccnode_protocol::{NodeName, PoolName, ResourceUri, TeePubKey};
use serde::{Deserialize, Serialize};

/// A pool's own settings; roots and pairs are rows of their own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolRow {
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
    /// What it demands of hardware.
    pub hardware: HardwarePolicy,
    /// The cluster of its own.
    pub cluster: Option<Cluster>,
    /// Seconds since 1970.
    pub created: u64,
}

/// A registered tuple with its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tuple<T> {
    /// The tuple's own id.
    pub id: Sha256Digest,
    /// Seconds since 1970.
    pub registered: u64,
    /// The tuple.
    pub tuple: T,
}

/// What a proven quote said that put a node in quarantine; an approval takes it over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Seen {
    /// Name of the attestation key.
    pub ak_name: String,
    /// Its counters.
    pub counters: Counters,
    /// What the evidence was worth; `None` in records of before it was kept.
    #[serde(default)]
    pub level: Option<TrustLevel>,
}

/// A node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeRow {
    /// SHA-256 of the endorsement key's Name; of the attestation key's on Azure; of what is that boot's alone without a TPM. Of stock
    /// clients, a digest of the attestation key with a label of its own.
    pub identity: Sha256Digest,
    /// The name that the service chose.
    pub name: NodeName,
    /// Its pool.
    pub pool: PoolName,
    /// Where it stands.
    pub state: NodeState,
    /// Why.
    pub reason: Option<String>,
    /// Of its last verdict.
    pub level: Option<TrustLevel>,
    /// Kind of its last evidence; `None` in records of before it was kept.
    pub kind: Option<EvidenceKind>,
    /// What its last report said.
    pub hardware: Option<HardwareRecord>,
    /// Name of its attestation key, hex; SHA-256 of the key of a stock client; empty without a TPM.
    pub ak_name: String,
    /// Of its last verdict.
    pub counters: Option<Counters>,
    /// What an approval takes over.
    pub seen: Option<Seen>,
    /// Of its last verdict.
    pub platform: Option<Sha256Digest>,
    /// Of its last verdict.
    pub image: Option<Sha256Digest>,
    /// The reset count that `releases` counts for.
    pub release_reset: u32,
    /// Sessions with a release in that boot.
    pub releases: u32,
    /// Seconds since 1970.
    pub created: u64,
    /// Last verdict, seconds since 1970.
    pub attested: Option<u64>,
    /// When the record of a node of one boot goes, seconds since 1970.
    pub expires: Option<u64>,
}

impl NodeRow {
    /// Whether the record of a node of one boot has ended by `now`.
    pub fn ended(&self, now: u64) -> bool {
        self.expires.is_some_and(|expires| expires < now)
    }
}

/// A volume and its sealed unlock key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VolumeRow {
    /// Whose.
    pub identity: Sha256Digest,
    /// What an administrator sees.
    pub record: VolumeRecord,
    /// Sealed for [`VolumeRow::place`]; none once retired.
    pub unlock_key: Option<Vec<u8>>,
    /// The key that is to take its place.
    pub next: Option<NextKey>,
    /// What recovers it, sealed for [`VolumeRow::recovery_place`]; none where it was made without custodians.
    pub recovery: Option<Vec<u8>>,
}

/// A key that is to take the place of a volume's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NextKey {
    /// Sealed for [`VolumeRow::next_place`].
    pub key: Vec<u8>,
    /// Digest of the header under it that a node has put on record, and may have written.
    pub digest: Option<Sha256Digest>,
}

/// What a swap of a volume compares: state, generation, and the header on record beside the current one.
pub type VolumeVersion = (VolumeState, u64, Option<Sha256Digest>);

impl VolumeRow {
    /// The additional data of its sealed key: moved to another node's row or another volume's, it does not open.
    pub fn place(identity: &Sha256Digest, id: &str) -> String {
        format!("nodes/{identity}/volumes/{id}/unlock-key")
    }

    /// The same of its next key.
    pub fn next_place(identity: &Sha256Digest, id: &str) -> String {
        format!("nodes/{identity}/volumes/{id}/next-key")
    }

    /// The same of what recovers it.
    pub fn recovery_place(identity: &Sha256Digest, id: &str) -> String {
        format!("nodes/{identity}/volumes/{id}/recovery")
    }

    /// What a swap compares.
    pub fn version(&self) -> VolumeVersion {
        (self.record.state, self.record.generation, self.next.as_ref().and_then(|next| next.digest))
    }

    /// What an administrator sees, the change of its key in it.
    pub fn shown(self) -> VolumeRecord {
        let rotation = self.next.map(|next| match next.digest {
            None => RotationState::Asked,
            Some(_) => RotationState::Pending,
        });
        VolumeRecord { rotation, ..self.record }
    }
}

/// What an accepted session may ask for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SessionVerdict {
    /// TPM boot that attested; `None` without a TPM.
    pub reset_count: Option<u32>,
    /// The key that grants are encrypted to.
    pub tee_pubkey: TeePubKey,
    /// The platform that matched; without a TPM the launch stands for platform and image.
    pub platform: Option<Sha256Digest>,
    /// The image that matched.
    pub image: Sha256Digest,
    /// What the evidence was worth; absent in sessions of before it was kept.
    #[serde(default)]
    pub level: Option<TrustLevel>,
    /// Kind of the evidence.
    #[serde(default)]
    pub kind: Option<EvidenceKind>,
    /// Whether the identity ends with this boot: nothing that persists is granted.
    #[serde(default)]
    pub ephemeral: bool,
    /// dm-verity root hash of the attested image.
    pub verity_hash: Sha256Digest,
    /// How the attested image keeps its root.
    #[serde(default)]
    pub layout: Layout,
    /// Volumes for data that the attested image has.
    #[serde(default)]
    pub data: Vec<DataName>,
    /// Digest of the bound certificate request.
    pub csr: Option<Sha256Digest>,
    /// What of the pool's demands the hardware was judged by, see [`crate::enrol::judged_by`]; absent in sessions of before it was kept,
    /// which are given nothing.
    #[serde(default)]
    pub judged_by: Option<Sha256Digest>,
    /// What let it through, where no pair did.
    #[serde(default)]
    pub once: Option<Once>,
}

/// What lets a session through that no pair allows: it gets nothing before it has spent that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Once {
    /// Number of the proposal.
    pub proposal: u64,
    /// Why it would be refused else.
    pub code: Code,
}

impl SessionVerdict {
    /// What the root volume of the attested image is filled from.
    pub fn populated_from(&self) -> Sha256Digest {
        self.layout.populated_from(self.verity_hash)
    }
}

/// What an accepted session of a stock client may ask for: resources, and nothing that a [`SessionVerdict`] is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StockAccepted {
    /// The TPM's reset count: the boot that attested; `None` without a TPM.
    #[serde(default)]
    pub reset_count: Option<u32>,
    /// The key that resources are encrypted to.
    pub tee_pubkey: TeePubKey,
    /// What the evidence was worth.
    pub level: TrustLevel,
    /// Kind of the evidence.
    pub kind: EvidenceKind,
    /// The platform that matched by its values.
    pub platform: Option<Sha256Digest>,
    /// The image that matched, by its values or by its launch.
    pub image: Option<Sha256Digest>,
    /// What of the pool's demands it was judged by, see [`crate::enrol::judged_by`], and what reference values.
    pub judged_by: Sha256Digest,
}

/// A resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResourceRow {
    /// Its name.
    pub name: ResourceUri,
    /// Sealed for [`ResourceRow::place`]; empty in lists.
    pub content: Vec<u8>,
    /// Bytes of the content itself.
    pub size: u64,
    /// Seconds since 1970.
    pub updated: u64,
}

impl ResourceRow {
    /// The additional data of its sealed content: moved to another resource's row, it does not open.
    pub fn place(name: &ResourceUri) -> String {
        format!("resources/{name}/content")
    }
}

/// A spent nonce.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// The challenge's nonce.
    pub nonce: Nonce,
    /// Who attested.
    pub identity: Sha256Digest,
    /// Seconds since 1970; gone afterwards.
    pub expires: u64,
    /// None where the evidence was refused, or was a stock client's.
    pub verdict: Option<SessionVerdict>,
    /// None where the evidence was refused, or was no stock client's.
    pub stock: Option<StockAccepted>,
    /// The grants as first released, sealed for [`SessionRow::place`]; empty once their keys were destroyed.
    pub grants: Option<Vec<u8>>,
}

impl SessionRow {
    /// The additional data of its sealed grants.
    pub fn place(nonce: &Nonce) -> String {
        format!("sessions/{}/grants", nonce.text())
    }
}

/// A sealed value, wherever it lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// Where.
    pub at: SealedAt,
    /// Its additional data.
    pub place: String,
    /// Sealed for the place.
    pub value: Vec<u8>,
}

/// Where a sealed value lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SealedAt {
    /// The unlock key of the volume of this id.
    Volume(String),
    /// The next key of the volume of this id.
    NextKey(String),
    /// What recovers the volume of this id.
    Recovery(String),
    /// The grants of the session of this nonce.
    Session(String),
    /// The content of the resource of this name.
    Resource(String),
}

/// What a grant is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantKind {
    /// Format and fill one volume.
    Format,
    /// Put one volume's next key in force.
    Rotate,
    /// One certificate.
    Certificate,
}

/// A grant; of its secret only the hash is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantRow {
    /// Public identifier.
    pub id: String,
    /// What it is for.
    pub kind: GrantKind,
    /// SHA-256 of the secret.
    pub secret_hash: Sha256Digest,
    /// Whose.
    pub identity: Sha256Digest,
    /// The session that was granted; None in grants of earlier versions.
    pub session: Option<Nonce>,
    /// The volume of a grant to format or to rotate.
    pub volume: Option<String>,
    /// The generation of a format grant; of a rotation's the one that comes.
    pub generation: Option<u64>,
    /// What a volume of the attested image is filled from: [`Layout::populated_from`].
    pub populated_from: Sha256Digest,
    /// Digest of the bound request of a certificate grant.
    pub csr_digest: Option<Sha256Digest>,
    /// Seconds since 1970.
    pub expires: u64,
    /// What was issued for it.
    pub certificate: Option<String>,
}

/// A refusal with what the keeping rules need.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusalRow {
    /// What an administrator sees.
    pub record: RefusalRecord,
    /// Whether the EK chain and the activation were proven: such rows have a quota of their own.
    pub proven: bool,
    /// The TPM that proved who was refused; `None` in records of before it was kept.
    pub machine: Option<Machine>,
}

/// A TPM whose activation was proven.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// See [`NodeRow::identity`].
    pub identity: Sha256Digest,
    /// Name of its attestation key, hex.
    pub ak_name: String,
}

/// What one administrator proposed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProposalRow {
    /// Its number.
    pub id: u64,
    /// What was asked for.
    pub action: ProposalAction,
    /// What exactly that is.
    pub pinned: Pinned,
    /// Why.
    pub reason: Option<String>,
    /// Who, by the certificate's name.
    pub proposer: String,
    /// Who, by the certificate's key.
    pub proposer_key: Sha256Digest,
    /// Seconds since 1970.
    pub proposed: u64,
    /// Seconds since 1970.
    pub expires: u64,
}

/// What a node was allowed once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllowanceRow {
    /// Number of the proposal.
    pub proposal: u64,
    /// The state, and whose.
    pub state: AllowOnce,
    /// Seconds since 1970.
    pub expires: u64,
    /// What became of it.
    pub used: Option<AllowanceUsed>,
}

/// A session that spent an allowance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AllowanceUsed {
    /// Its nonce.
    pub session: Nonce,
    /// Seconds since 1970.
    pub at: u64,
    /// The boot, by the TPM's reset count.
    pub reset: u32,
}

/// What goes into an audit row; sequence and hashes are the log's.
#[derive(Clone, PartialEq, Debug)]
pub struct AuditEntry<'a> {
    /// Who.
    pub actor: String,
    /// What.
    pub action: &'static str,
    /// On what.
    pub object: String,
    /// Values; never a secret.
    pub detail: serde_json::Value,
    /// The request's.
    pub correlation_id: &'a str,
}

/// A node's last evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EvidenceRow {
    /// The text of a `LastEvidence`, without what is beside it.
    pub record: String,
    /// The firmware's log as it was sent, and the digest that its transcript bound.
    pub log: Option<(Sha256Digest, String)>,
    /// The text of the `OfferedKeys`, and its digest.
    pub keys: Option<(Sha256Digest, String)>,
}
