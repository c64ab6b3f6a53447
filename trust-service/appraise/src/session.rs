//! The session's own gates: the nonce, the transcript, the activation value, and that what was sent is what is bound.

use crate::{Member, NonceFresh, Rejection, TpmIdentity};
use ccnode_evidence::transcript::{ActivationProven, Transcript, TranscriptError};
use ccnode_evidence::{CcnodeEvidence, Nonce, ReportData, Secret, Sha256Digest, TpmEvidence};
use ccnode_protocol::Attestation;
use serde::Deserialize as _;

/// What the service remembers of its challenge.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The challenge's nonce.
    pub nonce: &'a Nonce,
    /// Whom it was made for.
    pub identity: &'a TpmIdentity,
    /// What the credential holds.
    pub secret: &'a Secret<32>,
}

/// Evidence that is of this session's form, with what it is bound to.
pub(crate) struct Opened {
    pub(crate) evidence: TpmEvidence,
    pub(crate) ours: CcnodeEvidence,
    pub(crate) fresh: NonceFresh,
}

/// Reads the request's members and compares the nonce; nothing is proven yet.
pub(crate) fn open(session: &Session<'_>, attestation: &Attestation) -> Result<Opened, Rejection> {
    let runtime = &attestation.runtime_data;
    if runtime.ccnode.is_none() {
        return Err(Rejection::StockTranscript);
    }
    let fresh = NonceFresh::check(&runtime.stock.nonce, session.nonce)?;
    let composite = &attestation.tee_evidence;
    if !composite.additional_evidence.is_empty() {
        return Err(malformed("tee-evidence.additional_evidence", "devices are not appraised"));
    }
    let evidence = TpmEvidence::deserialize(&composite.primary_evidence)
        .map_err(|e| malformed("tee-evidence.primary_evidence", e))?;
    let Some(ours) = evidence.ccnode.clone() else {
        return Err(malformed("tee-evidence.primary_evidence.ccnode", "missing"));
    };
    if ours.version != 1 {
        return Err(Rejection::TranscriptVersion(ours.version));
    }
    Ok(Opened { evidence, ours, fresh })
}

/// The transcript, rebuilt: proof of activation, and the report data that must be quoted.
pub(crate) fn activation(
    session: &Session<'_>,
    attestation: &Attestation,
    _fresh: &NonceFresh,
) -> Result<(ActivationProven, ReportData), Rejection> {
    let runtime = &attestation.runtime_data;
    let ext = runtime.ccnode.as_ref().ok_or(Rejection::StockTranscript)?;
    let transcript = Transcript {
        additional_evidence: Some(&attestation.tee_evidence.additional_evidence),
        nonce: session.nonce,
        tee_pubkey: &runtime.stock.tee_pubkey,
    };
    transcript.verify(ext, session.secret).map_err(|error| match error {
        TranscriptError::Activation => Rejection::ActivationFailed,
        TranscriptError::Version(version) => Rejection::TranscriptVersion(version),
        TranscriptError::Canonical(e) => malformed("runtime-data", e),
    })
}

/// Proof that certificate request, init-data and logs are those that the transcript binds.
#[derive(Debug)]
pub(crate) struct MembersBound {
    /// SHA-256 of the init-data's body.
    pub(crate) init_data: Option<Sha256Digest>,
}

pub(crate) fn bound(attestation: &Attestation, ours: &CcnodeEvidence) -> Result<MembersBound, Rejection> {
    let bound = attestation.runtime_data.ccnode.as_ref().ok_or(Rejection::StockTranscript)?.bound;
    let is = |member, sent: Option<Sha256Digest>, bound| {
        if sent == bound { Ok(()) } else { Err(Rejection::TranscriptMismatch { member }) }
    };
    is(Member::Csr, ours.csr.as_ref().map(|csr| Sha256Digest::of(&csr.0)), bound.csr)?;
    let init_data = attestation.init_data.as_ref().map(|data| Sha256Digest::of(data.body.as_bytes()));
    is(Member::InitData, init_data, bound.init_data)?;
    let logs = ours.logs.digest().map_err(|e| malformed("tee-evidence.primary_evidence.ccnode", e))?;
    is(Member::EventLogs, Some(logs), bound.event_logs)?;
    Ok(MembersBound { init_data })
}

pub(crate) fn malformed(member: &'static str, reason: impl std::fmt::Display) -> Rejection {
    Rejection::MalformedRequest { member, reason: reason.to_string().chars().take(200).collect() }
}
