//! The session's own gates: the nonce, the transcripts, the activation value, and that what was sent is what is bound.

use crate::sent::Sent;
use crate::{Member, NonceFresh, Rejection, TpmIdentity};
use ccnode_evidence::transcript::{ActivationProven, RuntimeExt, Transcript, TranscriptError};
use ccnode_evidence::{CcnodeEvidence, EvidenceKind, Nonce, ReportData, Secret, Sha256Digest};
use ccnode_protocol::{Attestation, TeePubKey};

/// What the service remembers of its challenge.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// The challenge's nonce.
    pub nonce: &'a Nonce,
    /// The kind of evidence that was announced.
    pub kind: EvidenceKind,
    /// The TPM that was offered; every kind but `snp` and `tdx` has one.
    pub tpm: Option<Offered<'a>>,
}

impl<'a> Session<'a> {
    /// A session whose evidence is a TPM's quote alone.
    pub fn of_tpm(nonce: &'a Nonce, identity: &'a TpmIdentity, secret: &'a Secret<32>) -> Self {
        Self { nonce, kind: EvidenceKind::Tpm, tpm: Some(Offered { identity, secret }) }
    }
}

/// A TPM that was offered, and what it was asked to open.
#[derive(Clone, Copy, Debug)]
pub struct Offered<'a> {
    /// Whom the challenge was made for.
    pub identity: &'a TpmIdentity,
    /// What the credential holds.
    pub secret: &'a Secret<32>,
}

/// Evidence that is of this session's form.
pub(crate) struct Opened {
    pub(crate) sent: Sent,
    pub(crate) fresh: NonceFresh,
}

/// The transcript, rebuilt: what the parts of the evidence must cover.
#[derive(Debug)]
pub(crate) struct Covered {
    /// Proof that the credential was activated, where a TPM was offered.
    pub(crate) activated: Option<ActivationProven>,
    /// What the TPM must quote.
    pub(crate) quoted: ReportData,
    /// What the hardware must report; the same unless the quote stands beside the report.
    pub(crate) reported: ReportData,
}

/// Whether the answer is one of this transcript to this session's nonce; nothing is proven yet.
pub(crate) fn fresh(session: &Session<'_>, attestation: &Attestation) -> Result<NonceFresh, Rejection> {
    let runtime = &attestation.runtime_data;
    if runtime.ccnode.is_none() {
        return Err(Rejection::StockTranscript);
    }
    NonceFresh::check(&runtime.stock.nonce, session.nonce)
}

/// Reads the request's members and compares the nonce; nothing is proven yet.
pub(crate) fn open(session: &Session<'_>, attestation: &Attestation) -> Result<Opened, Rejection> {
    let fresh = fresh(session, attestation)?;
    if session.tpm.is_none() && !session.kind.takes_additional() {
        return Err(malformed(
            "extra-params.ccnode",
            "evidence of this kind needs a TPM, and none was offered",
        ));
    }
    let sent = Sent::read(session.kind, session.tpm.is_some(), attestation)?;
    Ok(Opened { sent, fresh })
}

/// The proof of activation alone, where there is something to activate; a refusal is the one that [`covered`] would give.
pub(crate) fn activated(
    session: &Session<'_>,
    attestation: &Attestation,
    fresh: &NonceFresh,
) -> Result<(), Rejection> {
    let runtime = &attestation.runtime_data;
    let ext = runtime.ccnode.as_ref().ok_or(Rejection::StockTranscript)?;
    let Some(Offered { secret, .. }) = session.tpm else {
        return covered(session, attestation, fresh).map(drop);
    };
    // The quote beside a report can't cover the text that it stands in.
    let beside = session.kind.takes_additional();
    let additional = (!beside).then_some(attestation.tee_evidence.additional_evidence.as_str());
    let key = &runtime.stock.tee_pubkey;
    let form = Transcript { additional_evidence: additional, nonce: session.nonce, tee_pubkey: key };
    form.activated(ext, secret).map(drop).map_err(rejected)
}

/// The transcripts, rebuilt: proof of activation, and the report data that must be quoted and reported.
pub(crate) fn covered(
    session: &Session<'_>,
    attestation: &Attestation,
    _fresh: &NonceFresh,
) -> Result<Covered, Rejection> {
    let runtime = &attestation.runtime_data;
    let ext = runtime.ccnode.as_ref().ok_or(Rejection::StockTranscript)?;
    let form = |additional_evidence| -> Transcript<'_, TeePubKey> {
        Transcript { additional_evidence, nonce: session.nonce, tee_pubkey: &runtime.stock.tee_pubkey }
    };
    let whole = form(Some(attestation.tee_evidence.additional_evidence.as_str()));
    match session.tpm {
        Some(Offered { secret, .. }) if session.kind.takes_additional() => {
            let (activated, quoted) = form(None).verify(ext, secret).map_err(rejected)?;
            let reported = whole.cover(ext).map_err(rejected)?;
            Ok(Covered { activated: Some(activated), quoted, reported })
        }
        Some(Offered { secret, .. }) => {
            let (activated, quoted) = whole.verify(ext, secret).map_err(rejected)?;
            Ok(Covered { activated: Some(activated), quoted, reported: quoted })
        }
        None => {
            no_activation(ext)?;
            let reported = whole.cover(ext).map_err(rejected)?;
            Ok(Covered { activated: None, quoted: reported, reported })
        }
    }
}

fn no_activation(ext: &RuntimeExt) -> Result<(), Rejection> {
    match ext.activation {
        None => Ok(()),
        Some(_) => Err(malformed("runtime-data.ccnode.activation", "no TPM was offered that could activate")),
    }
}

fn rejected(error: TranscriptError) -> Rejection {
    match error {
        TranscriptError::Activation => Rejection::ActivationFailed,
        TranscriptError::Version(version) => Rejection::TranscriptVersion(version),
        TranscriptError::Canonical(e) => malformed("runtime-data", e),
    }
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
    let logs = ours.logs.digest_within(&attestation.tee_evidence.primary_evidence);
    let logs = logs.map_err(|e| malformed("tee-evidence.primary_evidence.ccnode", e))?;
    is(Member::EventLogs, Some(logs), bound.event_logs)?;
    Ok(MembersBound { init_data })
}

pub(crate) fn malformed(member: &'static str, reason: impl std::fmt::Display) -> Rejection {
    Rejection::MalformedRequest { member, reason: reason.to_string().chars().take(200).collect() }
}
