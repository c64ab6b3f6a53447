//! Hardware reports, what goes with them, and the JSON that carries them.

use crate::printable;
use ccnode_evidence::{CcnodeEvidence, SnpReport, TdxEvidence, TpmEvidence};
use ccnode_hcl::{HardwareReport, HclReport};
use ccnode_snp::{Certificates, ReportParsed};
use ccnode_tdx::{Collateral, Quote, TdReport};

pub(crate) fn snp_report(bytes: &[u8]) {
    match ReportParsed::parse(bytes) {
        Ok(parsed) => {
            let report = parsed.report();
            assert!((2..=5).contains(&report.version));
            assert!(report.chip_id().is_none_or(|id| id != [0; 64]));
            // The JSON form says the same bytes.
            if let Ok(form) = SnpReport::from_bytes(bytes) {
                assert!(form.to_bytes().is_ok_and(|again| again == bytes));
            }
        }
        Err(error) => printable(&error.to_string()),
    }
}

pub(crate) fn snp_certificates(bytes: &[u8]) {
    if let Err(error) = Certificates::parse(bytes) {
        drop(error.to_string());
    }
}

pub(crate) fn tdx_quote(bytes: &[u8]) {
    match Quote::parse(bytes) {
        Ok(quote) => {
            assert!(matches!(quote.version(), 4 | 5));
            let _ = quote.unproven_platform();
        }
        Err(error) => printable(&error.to_string()),
    }
    if let Err(error) = TdReport::parse(bytes) {
        printable(&error.to_string());
    }
}

pub(crate) fn tdx_collateral(bytes: &[u8]) {
    if let Err(error) = Collateral::from_json(bytes) {
        drop(error.to_string());
    }
}

pub(crate) fn hcl_report(bytes: &[u8]) {
    match HclReport::parse(bytes) {
        Ok(report) => {
            assert!(matches!(report.version(), 1 | 2));
            assert!(report.unproven_runtime().len() <= bytes.len());
            match report.hardware() {
                HardwareReport::Snp(hardware) => snp_report(hardware),
                HardwareReport::Tdx(hardware) => tdx_quote(hardware),
            }
            if let Err(error) = report.unproven_claims() {
                drop(error.to_string());
            }
        }
        Err(error) => printable(&error.to_string()),
    }
}

pub(crate) fn json(bytes: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    if let Ok(Some(ours)) = CcnodeEvidence::of(&value) {
        // What is bound is what is judged.
        let (bytes, text) = (ours.logs.digest(), ours.logs.digest_within(&value));
        assert_eq!(bytes.ok(), text.ok());
    }
    if let Ok(tpm) = serde_json::from_value::<TpmEvidence>(value.clone()) {
        drop(tpm.tpm_quote.values());
        crate::tpm::attest(&tpm.tpm_quote.message.0);
        crate::tpm::signature(&tpm.tpm_quote.signature.0);
    }
    if let Ok(tdx) = serde_json::from_value::<TdxEvidence>(value.clone()) {
        tdx_quote(&tdx.quote.0);
        if let Some(log) = tdx.cc_eventlog {
            crate::logs::ccel(&log.0);
        }
    }
    if let Ok(snp) = serde_json::from_value::<ccnode_evidence::SnpEvidence>(value.clone())
        && let Ok(report) = snp.attestation_report.to_bytes()
    {
        snp_report(&report);
    }
    if let Ok(azure) = serde_json::from_value::<ccnode_evidence::AzSnpEvidence>(value.clone()) {
        hcl_report(&azure.hcl_report.0);
    }
    if let Ok(azure) = serde_json::from_value::<ccnode_evidence::AzTdxEvidence>(value) {
        hcl_report(&azure.hcl_report.0);
        tdx_quote(&azure.td_quote.0);
    }
}
