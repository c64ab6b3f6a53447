//! What appraisal ends in: a verdict, or a refusal with what is worth keeping of it.

use crate::level::LaunchMatched;
use crate::references::ReferencesSatisfied;
use crate::{Csr, Rejection, TrustLevel};
use ccnode_evidence::{DataName, EventLogs, EvidenceKind, Layout, PcrValues, Sha256Digest};
use ccnode_protocol::TeePubKey;
use ccnode_protocol::admin::HardwareRecord;

/// The quote's counters: (reset, restart, clock) only grow on one TPM, in this order of comparison.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Counters {
    /// TPM resets since the TPM was cleared.
    pub reset_count: u32,
    /// TPM restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Milliseconds that the TPM was powered.
    pub clock: u64,
    /// Whether `clock` is surely no value that was seen before.
    pub safe: bool,
}

/// What a TPM's quote proved.
#[derive(Clone, Debug)]
pub struct TpmVerdict {
    /// The attestation key's Name, 34 or 50 bytes.
    pub ak_name: Vec<u8>,
    /// The quote's counters.
    pub counters: Counters,
    /// Id of the platform tuple; `None` where none matches and the state was allowed once.
    pub platform: Option<Sha256Digest>,
    /// sha256:0-15 as quoted.
    pub pcrs: PcrValues,
}

/// Evidence that satisfied every gate. [`crate::appraise()`] alone makes one.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Derived from the proofs.
    pub level: TrustLevel,
    /// Kind of the primary evidence.
    pub kind: EvidenceKind,
    /// Who: SHA-256 of the EK's Name; on Azure of the attestation key's; without a TPM a digest of what is that boot's alone.
    pub node_id: Sha256Digest,
    /// Whether that is nobody any more at the next boot.
    pub ephemeral: bool,
    /// What the TPM proved, where there is one.
    pub tpm: Option<TpmVerdict>,
    /// What the hardware proved, where there was a report.
    pub hardware: Option<HardwareRecord>,
    /// Id of the image tuple.
    pub image: Sha256Digest,
    /// The image tuple's name and version: "debian-12-worker 1".
    pub image_name: String,
    /// dm-verity root hash that the image declares.
    pub verity_hash: Sha256Digest,
    /// How the image keeps its root.
    pub layout: Layout,
    /// Volumes for data that the image has.
    pub data: Vec<DataName>,
    /// The kubelet's request, its signature checked; the name in it is the node's wish.
    pub csr: Option<Csr>,
    /// The key that grants may be encrypted to.
    pub tee_pubkey: TeePubKey,
    /// Digest of the init-data, where the pool allows it and the node sent some.
    pub init_data: Option<Sha256Digest>,
    /// Whether no pair of the pool allows this, and an [`crate::AllowedOnce`] alone does.
    pub allowed_once: bool,
    pub(crate) _proof: ImageProof,
}

/// What proves the image: its PCRs, or the launch that covers it whole.
#[derive(Clone, Debug)]
pub(crate) enum ImageProof {
    Pcrs(ReferencesSatisfied),
    Launch(LaunchMatched),
}

/// A refusal: why, and what an administrator may want to see.
#[derive(Debug, thiserror::Error)]
#[error("{rejection}")]
pub struct Refused {
    /// Why.
    #[source]
    pub rejection: Rejection,
    /// What is worth keeping.
    pub kept: Kept,
}

/// What is kept of refused evidence, filled as far as the gates were passed.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// The logs as sent, once `activation_proven`; a claim until `log_proven`.
    pub logs: Option<EventLogs>,
    /// sha256:0-15, once `quote_proven`.
    pub pcrs: Option<PcrValues>,
    /// The counters of the quote, once it is proven.
    pub counters: Option<Counters>,
    /// The credential was activated, and EK chain or hardware report say whose TPM it is; without a TPM, the report is one that the
    /// pool lists: from here on, an answer may explain.
    pub activation_proven: bool,
    /// The quote is this TPM's and of this session.
    pub quote_proven: bool,
    /// The logs replay to the quoted PCRs: a tuple may be recorded from them.
    pub log_proven: bool,
    /// Derived level, once `activation_proven`.
    pub level: Option<TrustLevel>,
    /// What the hardware proved, once it did.
    pub hardware: Option<HardwareRecord>,
    /// The platform tuple that matched.
    pub platform: Option<Sha256Digest>,
    /// The image tuple that matched.
    pub image: Option<Sha256Digest>,
}
