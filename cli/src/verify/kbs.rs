//! The key broker protocol's JSON forms of evidence: `tpm`, `snp`, `tdx`.

use super::input::{decode_base64, decode_hex};
use super::report::{Branch, Report};
use super::{Given, certs, snp as raw_snp, tdx as raw_tdx, tpm as raw_tpm};
use anyhow::Result;
use ccnode_appraise::standalone::KbsTpm;
use ccnode_evidence::{
    CcnodeEvidence, Code, ReportData, Sha256Digest, SnpEvidence, TdxEvidence, TpmEvidence,
};
use ccnode_snp::{SnpProven, SvsmManifest};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads the form; what is none counts against the evidence.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], report: &mut Report) -> Option<T> {
    match serde_json::from_slice(bytes) {
        Ok(evidence) => Some(evidence),
        Err(error) => {
            report.wrong(Code::MalformedRequest, format!("not evidence of this form: {error}"));
            None
        }
    }
}

/// Evidence `tpm`: its key comes along, so nobody vouches for it.
pub(crate) fn tpm(bytes: &[u8], given: &Given) -> Result<Report> {
    let mut report = Report::new("kbs-tpm", "evidence `tpm` of the key broker protocol");
    let Some(evidence) = read::<TpmEvidence>(bytes, &mut report) else { return Ok(report) };
    match KbsTpm::new(evidence) {
        Ok(evidence) => {
            let mut quote = evidence.quote(given.nonce.as_deref());
            // The log that was asked for counts, whatever came along.
            quote.log = given.log.as_deref().or(quote.log.filter(|log| !log.is_empty()));
            raw_tpm::tell(&quote.verify(), given.log.is_some(), &mut report);
            report.unproven("whose key it is: the evidence brings it along, and no certificate is beside it");
        }
        Err(error) => report.wrong(error.code(), error),
    }
    Ok(report)
}

/// Evidence `snp`: the report as numbers, certificates beside it.
pub(crate) fn snp(bytes: &[u8], given: &Given) -> Result<Report> {
    let mut report = Report::new("kbs-snp", "evidence `snp` of the key broker protocol");
    if let Some((_, proven)) = snp_proven(bytes, given, &mut report)? {
        raw_snp::bound(&proven, given, &mut report);
    }
    Ok(report)
}

/// The same in a session: bound to its report data, or, by an SVSM, to its manifest with it.
pub(crate) fn snp_in_session(bytes: &[u8], data: &ReportData, given: &Given) -> Result<Report> {
    let mut report = Report::new("kbs-snp", "evidence `snp` of the key broker protocol");
    let Some((primary, proven)) = snp_proven(bytes, given, &mut report)? else { return Ok(report) };
    let svsm = match CcnodeEvidence::of(&primary) {
        Ok(ours) => ours.and_then(|ours| ours.svsm),
        Err(error) => {
            report.wrong(Code::MalformedRequest, format!("ccnode: {error}"));
            return Ok(report);
        }
    };
    let bound = match &svsm {
        None => proven.binds(data).map(|_| "REPORT_DATA is the session's".to_owned()),
        Some(svsm) => {
            let manifest =
                SvsmManifest { service: &svsm.service, version: svsm.version, manifest: &svsm.manifest.0 };
            let key = proven.binds_svsm(data, manifest);
            key.map(|key| {
                let name = Sha256Digest::of(key.tpmt_public());
                format!("REPORT_DATA covers the session and the SVSM's manifest: the vTPM's endorsement key {name}")
            })
        }
    };
    match bound {
        Ok(words) => report.push(Branch::proven(words)),
        Err(rejection) => report.wrong(rejection.code(), &rejection),
    }
    Ok(report)
}

fn snp_proven(bytes: &[u8], given: &Given, report: &mut Report) -> Result<Option<(Value, SnpProven)>> {
    let Some(evidence) = read::<SnpEvidence>(bytes, report) else { return Ok(None) };
    let Some(mut certificates) = certs::given(given, report) else { return Ok(None) };
    for cert in evidence.cert_chain.iter().flatten() {
        if let Err(error) = certificates.add(&cert.data) {
            report.wrong(Code::SnpCertMalformed, format!("cert_chain: {error}"));
            return Ok(None);
        }
    }
    let raw = match evidence.attestation_report.to_bytes() {
        Ok(raw) => raw,
        Err(error) => {
            report.wrong(Code::SnpReportMalformed, error);
            return Ok(None);
        }
    };
    let proven = raw_snp::prove(&raw, &certificates, given, report)?;
    Ok(proven.map(|proven| (serde_json::from_slice(bytes).unwrap_or_default(), proven)))
}

/// Evidence `tdx`: the quote in base64, the CCEL beside it. Other tools' JSON with a quote in hex is read alike.
pub(crate) fn tdx(bytes: &[u8], given: &Given) -> Result<Report> {
    let mut report = Report::new("kbs-tdx", "evidence `tdx` of the key broker protocol");
    let (quote, log) = match foreign_quote(bytes) {
        Some(quote) => (quote, None),
        None => match read::<TdxEvidence>(bytes, &mut report) {
            Some(evidence) => (evidence.quote.0, evidence.cc_eventlog.map(|log| log.0)),
            None => return Ok(report),
        },
    };
    if let Some(proven) = raw_tdx::prove(&quote, given, &mut report)? {
        raw_tdx::bound(&proven, given, &mut report);
        if let Some(log) = given.log.as_deref().or(log.as_deref()) {
            raw_tdx::replays(&proven, log, &mut report);
        }
    }
    Ok(report)
}

/// What other tools write: a member `quote` in hex, or one in base64 below `tdx`.
fn foreign_quote(bytes: &[u8]) -> Option<Vec<u8>> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    let text =
        |value: &Value| value.get("quote").and_then(Value::as_str).map(|text| text.as_bytes().to_vec());
    match value.get("tdx") {
        Some(below) => decode_base64(&text(below)?),
        None => decode_hex(&text(&value)?),
    }
}
