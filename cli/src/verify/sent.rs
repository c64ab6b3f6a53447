//! What a ccnode/1 node sent: its session's transcript rebuilt, and every part of the evidence judged for it.

use super::report::{Branch, Report};
use super::{Given, azure, detect::Kind, kbs};
use anyhow::Result;
use ccnode_evidence::transcript::Transcript;
use ccnode_evidence::{CcnodeEvidence, Code, EvidenceKind, Nonce, ReportData, Sha256Digest};
use ccnode_protocol::Attestation;
use ccnode_protocol::admin::LastEvidence;
use serde_json::Value;

/// Judges the record that the service keeps, or the body of an attestation alone.
pub(crate) fn judge(bytes: &[u8], given: &Given) -> Result<Report> {
    let mut report = Report::new("ccnode", "evidence of a ccnode/1 node");
    let (attestation, session) = match read(bytes) {
        Ok(read) => read,
        Err(error) => {
            report.wrong(Code::MalformedRequest, format!("not what a node sends: {error}"));
            return Ok(report);
        }
    };
    if let Some(record) = &session {
        service_said(record, &mut report);
    }
    let Some(attestation) = attestation else {
        report.missing(Code::MalformedRequest, "the evidence itself: it was larger than the service keeps");
        return Ok(report);
    };
    let Some(kind) = kind_of(&attestation.tee_evidence.primary_evidence) else {
        report.wrong(Code::TeeUnsupported, "the primary evidence is of no kind that is judged here");
        return Ok(report);
    };
    report.claim("tee", kind.as_str());
    if let Some(record) = &session
        && record.session.tee != kind
    {
        report.wrong(
            Code::MalformedRequest,
            format!("the session was about {}, the evidence is {kind}", record.session.tee),
        );
    }
    let nonce = match &session {
        Some(record) => Some(record.session.nonce),
        None => serde_json::from_value(Value::String(attestation.runtime_data.stock.nonce.clone())).ok(),
    };
    let Some(nonce) = nonce else {
        report.wrong(Code::NonceMismatch, "runtime-data.nonce is not 32 bytes in standard base64");
        return Ok(report);
    };
    if attestation.runtime_data.stock.nonce != nonce.text() {
        report.wrong(Code::NonceMismatch, "runtime-data carries another nonce than the session's");
        return Ok(report);
    }
    if session.is_none() {
        report.unproven("freshness: the nonce is the evidence's own; the service knows whose it was");
    }
    bound(&attestation, &mut report);
    parts(kind, &attestation, &nonce, given, &mut report)?;
    report.unproven("the activation of the credential: its secret is the service's and the TPM's alone");
    Ok(report)
}

type Read = (Option<Attestation>, Option<Box<LastEvidence>>);

fn read(bytes: &[u8]) -> Result<Read, serde_json::Error> {
    let value: Value = serde_json::from_slice(bytes)?;
    if value.get("attestation").is_some() {
        let mut record: LastEvidence = serde_json::from_value(value)?;
        Ok((record.attestation.take(), Some(Box::new(record))))
    } else {
        Ok((Some(serde_json::from_value(value)?), None))
    }
}

fn service_said(record: &LastEvidence, report: &mut Report) {
    let verdict = &record.verdict;
    let when = crate::output::time(record.time);
    let words = match (&verdict.code, verdict.accepted) {
        (_, true) => format!("the service accepted it for {} at {when}", verdict.node),
        (Some(code), false) => format!(
            "the service refused {} at {when}: {code}: {}",
            verdict.node,
            verdict.detail.as_deref().unwrap_or_default()
        ),
        (None, false) => format!("the service refused {} at {when}", verdict.node),
    };
    report.push(Branch::plain(words));
    report.claim("service-verdict", verdict);
}

/// The kind by its members, as files are told apart.
fn kind_of(primary: &Value) -> Option<EvidenceKind> {
    Some(match super::detect::json(primary)? {
        Kind::KbsTpm => EvidenceKind::Tpm,
        Kind::KbsSnp => EvidenceKind::Snp,
        Kind::KbsTdx => EvidenceKind::Tdx,
        Kind::AzSnpVtpm => EvidenceKind::AzSnpVtpm,
        Kind::AzTdxVtpm => EvidenceKind::AzTdxVtpm,
        _ => return None,
    })
}

/// Certificate request, init-data and logs must be those that the transcript has the digests of.
fn bound(attestation: &Attestation, report: &mut Report) {
    let Some(ext) = &attestation.runtime_data.ccnode else { return };
    let ours = CcnodeEvidence::of(&attestation.tee_evidence.primary_evidence).ok().flatten();
    let Some(ours) = ours else {
        return report.wrong(Code::MalformedRequest, "the primary evidence has no whole member `ccnode`");
    };
    let init_data = attestation.init_data.as_ref().map(|data| Sha256Digest::of(data.body.as_bytes()));
    let members = [
        ("certificate request", ours.csr.as_ref().map(|csr| Sha256Digest::of(&csr.0)), ext.bound.csr),
        ("init-data", init_data, ext.bound.init_data),
        ("logs", ours.logs.digest().ok(), ext.bound.event_logs),
    ];
    for (name, sent, bound) in members {
        if sent != bound {
            report.wrong(
                Code::TranscriptMismatch,
                format!("the {name} are not those that the transcript binds"),
            );
        }
    }
}

/// Each part with the nonce that this session's transcript wants in it.
fn parts(
    kind: EvidenceKind,
    attestation: &Attestation,
    nonce: &Nonce,
    given: &Given,
    report: &mut Report,
) -> Result<()> {
    let additional = attestation.tee_evidence.additional_evidence.as_str();
    let (whole, beside) = match (cover(attestation, nonce, Some(additional)), cover(attestation, nonce, None))
    {
        (Ok(whole), Ok(beside)) => (whole, beside),
        (Err(error), _) | (_, Err(error)) => {
            report.wrong(Code::MalformedRequest, error);
            return Ok(());
        }
    };
    let primary = serde_json::to_vec(&attestation.tee_evidence.primary_evidence)?;
    let first32 = |data: &ReportData| data.qualifying_data().to_vec();
    let part = match kind {
        EvidenceKind::Tpm => kbs::tpm(&primary, &given.bound_to(first32(&whole)))?,
        EvidenceKind::Snp => kbs::snp_in_session(&primary, &whole, given)?,
        EvidenceKind::Tdx => kbs::tdx(&primary, &given.bound_to(whole.0.to_vec()))?,
        EvidenceKind::AzSnpVtpm => {
            azure::evidence(Kind::AzSnpVtpm, &primary, &given.bound_to(whole.0.to_vec()))?
        }
        EvidenceKind::AzTdxVtpm => {
            azure::evidence(Kind::AzTdxVtpm, &primary, &given.bound_to(whole.0.to_vec()))?
        }
    };
    report.absorb("primary", part);
    if !additional.is_empty() {
        match serde_json::from_str::<ccnode_evidence::AdditionalEvidence>(additional) {
            Ok(evidence) => {
                let quote = serde_json::to_vec(&evidence.tpm)?;
                report.absorb("additional", kbs::tpm(&quote, &given.bound_to(first32(&beside)))?);
            }
            Err(error) => report.wrong(Code::MalformedRequest, format!("additional_evidence: {error}")),
        }
    }
    Ok(())
}

/// Report data of the session's transcript; a stock client's has no member `ccnode`.
fn cover(attestation: &Attestation, nonce: &Nonce, additional: Option<&str>) -> Result<ReportData, String> {
    let runtime = &attestation.runtime_data;
    let transcript =
        Transcript { additional_evidence: additional, nonce, tee_pubkey: &runtime.stock.tee_pubkey };
    match &runtime.ccnode {
        Some(ext) => transcript.cover(ext),
        None => transcript.stock(),
    }
    .map_err(|error| error.to_string())
}
