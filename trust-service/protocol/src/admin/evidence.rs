//! The last evidence of a node, as it was sent, with what was decided over it.

use ccnode_evidence::{Base64Url, Code, EvidenceKind, Nonce, Sha256Digest};
use serde::{Deserialize, Serialize};

use super::{HardwareRecord, TrustLevel};
use crate::{Attestation, NodeName, PoolName};

/// The record's version.
pub const LAST_EVIDENCE_VERSION: u32 = 1;
/// The record's `kind`, by which tools tell it from other files.
pub const LAST_EVIDENCE_KIND: &str = "ccnode";

/// What a node sent last. It holds no secret: the credential's stays out, so nobody can check the activation again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastEvidence {
    /// [`LAST_EVIDENCE_VERSION`].
    pub version: u32,
    /// [`LAST_EVIDENCE_KIND`].
    pub kind: String,
    /// When it was judged, seconds since 1970.
    pub time: u64,
    /// What the session was about.
    pub session: SessionOffer,
    /// The body of `POST /kbs/v0/attest`; `null` where it was larger than the service keeps.
    pub attestation: Option<Attestation>,
    /// What followed.
    pub verdict: EvidenceVerdict,
}

/// The challenge, and who was offered for it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SessionOffer {
    /// The challenge's nonce, standard base64.
    pub nonce: Nonce,
    /// Kind of the primary evidence.
    pub tee: EvidenceKind,
    /// Whether it is a session of the stock transcript, which nobody offers a TPM in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stock: bool,
    /// EK certificate, DER.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_cert: Option<Base64Url>,
    /// TPMT_PUBLIC of an endorsement key without a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek: Option<Base64Url>,
    /// The attestation key's TPMT_PUBLIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ak: Option<Base64Url>,
}

/// A decision over evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EvidenceVerdict {
    /// Whether the node may go on: the evidence satisfied the pool, and its record allows it.
    pub accepted: bool,
    /// Why not.
    pub code: Option<Code>,
    /// The sentence with its values.
    pub detail: Option<String>,
    /// The node.
    pub node: NodeName,
    /// The pool that judged.
    pub pool: PoolName,
    /// The level that was derived, as far as it was.
    pub level: Option<TrustLevel>,
    /// The platform that matched.
    pub platform: Option<Sha256Digest>,
    /// The image that matched.
    pub image: Option<Sha256Digest>,
    /// What the hardware report said, where it was proven.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware: Option<HardwareRecord>,
    /// Finds the decision in log and audit.
    pub correlation_id: String,
}
