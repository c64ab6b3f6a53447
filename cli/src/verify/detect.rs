//! Which kind of evidence a file is, found in its bytes: binary forms by their magic, text forms by what they spell out.

use super::input::{decode_base64, decode_hex};
use ccnode_tpm_eventlog::EventLog;
use clap::ValueEnum;
use serde_json::Value;

/// The kinds of evidence that are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// What a ccnode/1 node sent, or what the service kept of it
    Ccnode,
    /// Evidence `tpm` of the key broker protocol (JSON)
    KbsTpm,
    /// Evidence `snp` of the key broker protocol (JSON)
    KbsSnp,
    /// Evidence `tdx` of the key broker protocol (JSON)
    KbsTdx,
    /// Evidence of an Azure VM on SEV-SNP (JSON)
    AzSnpVtpm,
    /// Evidence of an Azure VM on TDX (JSON)
    AzTdxVtpm,
    /// SEV-SNP attestation report
    Snp,
    /// TDX quote
    Tdx,
    /// Azure HCL report
    Hcl,
    /// TPMS_ATTEST, or an attestation of go-tpm-tools
    TpmQuote,
    /// TCG or CC event log
    EventLog,
}

impl Kind {
    /// As `--kind` and the JSON name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ccnode => "ccnode",
            Self::KbsTpm => "kbs-tpm",
            Self::KbsSnp => "kbs-snp",
            Self::KbsTdx => "kbs-tdx",
            Self::AzSnpVtpm => "az-snp-vtpm",
            Self::AzTdxVtpm => "az-tdx-vtpm",
            Self::Snp => "snp",
            Self::Tdx => "tdx",
            Self::Hcl => "hcl",
            Self::TpmQuote => "tpm-quote",
            Self::EventLog => "event-log",
        }
    }
}

/// A kind, and the bytes that are of it: those of the file, or what its hex or base64 text spells out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Detected {
    pub(crate) kind: Kind,
    pub(crate) bytes: Vec<u8>,
}

const SNP_REPORT: usize = 1184;
/// TDREPORT_STRUCT: what the TDX module gives a guest, proven by a MAC on that machine alone.
pub(crate) const TD_REPORT: usize = 1024;
/// Types of TPMS_ATTEST and REPORTTYPE.
const TPM_GENERATED: &[u8] = b"\xffTCG";
const TEE_TYPE_TDX: u8 = 0x81;

/// The kind of `bytes`; `None` where it is none of them.
pub(crate) fn detect(bytes: &[u8]) -> Option<Detected> {
    let found = |kind, bytes: &[u8]| Some(Detected { kind, bytes: bytes.to_vec() });
    if let Some(kind) = binary(bytes) {
        return found(kind, bytes);
    }
    if let Ok(value @ Value::Object(_)) = serde_json::from_slice(bytes) {
        return json(&value).and_then(|kind| found(kind, bytes));
    }
    for decoded in [decode_hex(bytes), decode_base64(bytes)].into_iter().flatten() {
        if let Some(kind) = binary(&decoded) {
            return found(kind, &decoded);
        }
    }
    None
}

/// Bytes that somebody says are of `kind`: text forms of the binary ones are decoded alike.
pub(crate) fn of_kind(kind: Kind, bytes: Vec<u8>) -> Detected {
    match detect(&bytes) {
        Some(found) if found.kind == kind => found,
        _ => Detected { kind, bytes },
    }
}

fn binary(bytes: &[u8]) -> Option<Kind> {
    // An empty disk or a cut-off download would read as a log of events without digests, and nothing of it is wrong.
    if bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    let word = |at: usize| bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes);
    if bytes.starts_with(b"HCLA") {
        return Some(Kind::Hcl);
    }
    if bytes.starts_with(TPM_GENERATED) {
        return Some(Kind::TpmQuote);
    }
    // Version, then the type of the attestation key (ECDSA P-256 or P-384), then the type of the TEE.
    if let (Some(head), Some(tee)) = (word(0), word(4))
        && matches!(head & 0xffff, 4 | 5)
        && matches!(head >> 16, 2 | 3)
        && tee == u32::from(TEE_TYPE_TDX)
    {
        return Some(Kind::Tdx);
    }
    if bytes.len() == TD_REPORT && bytes.first() == Some(&TEE_TYPE_TDX) {
        return Some(Kind::Tdx);
    }
    // An SGX quote is of version 3, and nothing that a node of ours could send; its judge says so.
    if let (Some(head), Some(tee)) = (word(0), word(4))
        && matches!(head & 0xffff, 3..=5)
        && matches!(head >> 16, 2 | 3)
        && tee == 0
    {
        return Some(Kind::Tdx);
    }
    if bytes.len() == SNP_REPORT && word(0).is_some_and(|version| (1..=16).contains(&version)) {
        return Some(Kind::Snp);
    }
    let log = |read: Result<EventLog<'_>, _>| read.is_ok_and(|log| !log.events.is_empty());
    if log(EventLog::parse(bytes)) || log(EventLog::parse_ccel(bytes)) || log_head(bytes) {
        return Some(Kind::EventLog);
    }
    ccnode_appraise::standalone::Attestation::parse(bytes).is_ok().then_some(Kind::TpmQuote)
}

/// The first record of a log, TCG_PCClientPCREvent: a Spec ID event, or at least its type and a plausible size.
fn log_head(bytes: &[u8]) -> bool {
    bytes.get(32..47).is_some_and(|signature| signature.starts_with(b"Spec ID Event"))
}

/// The kind of a JSON object, by its members.
pub(crate) fn json(value: &Value) -> Option<Kind> {
    let has = |name: &str| value.get(name).is_some();
    let of_azure = |value: &Value| value.get("hcl_report").or_else(|| value.get("report")).is_some();
    if has("attestation") || has("tee-evidence") {
        Some(Kind::Ccnode)
    } else if has("td_quote") {
        Some(Kind::AzTdxVtpm)
    } else if of_azure(value) && (has("tpm_quote") || has("quote")) {
        Some(Kind::AzSnpVtpm)
    } else if has("attestation_report") {
        Some(Kind::KbsSnp)
    } else if has("tpm_quote") {
        Some(Kind::KbsTpm)
    } else if has("quote") || has("tdx") {
        Some(Kind::KbsTdx)
    } else {
        None
    }
}
