//! Hardware reports as bytes, and the one look at them: whether they cover what was asked for.

use crate::error::{CvmError, ReportFault};
use sha2::{Digest as _, Sha512};

/// The 64 bytes that a report covers.
pub type ReportData = [u8; 64];

/// The service of an SVSM that is its vTPM (Secure VM Service Module for SEV-SNP Guests 1.00, 8.3.1); its manifest is the
/// endorsement key's TPMT_PUBLIC.
pub const SVSM_VTPM_GUID: &str = "c476f1eb-0123-45a5-9641-b4e7dde5bfe3";

/// REPORT_DATA of ATTESTATION_REPORT (SEV-SNP Firmware ABI 1.55, table 22), in every version.
const SNP_DATA: usize = 0x50;
/// REPORTDATA in a quote of version 4: a header of 48 bytes, 520 bytes into the TD report body.
const TDX_DATA_V4: usize = 48 + 520;
/// A quote of version 5 has type and size between the two.
const TDX_DATA_V5: usize = TDX_DATA_V4 + 6;

/// Whose reports they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Provider {
    /// AMD SEV-SNP: the report is an ATTESTATION_REPORT, what comes beside it a certificate table.
    Snp,
    /// Intel TDX: the report is a quote, and nothing comes beside it.
    Tdx,
}

impl Provider {
    /// As the kernel names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snp => "sev_guest",
            Self::Tdx => "tdx_guest",
        }
    }

    pub(crate) fn named(text: &str) -> Result<Self, CvmError> {
        match text {
            "sev_guest" => Ok(Self::Snp),
            "tdx_guest" => Ok(Self::Tdx),
            other => Err(CvmError::ProviderUnknown(shown(other))),
        }
    }

    /// Whether `report` covers `data`.
    pub(crate) fn check(self, report: &[u8], data: &ReportData) -> Result<(), CvmError> {
        let foreign = |fault| CvmError::Foreign { provider: self.as_str(), fault };
        let at = match (self, report.get(..2)) {
            (Self::Snp, _) => Some(SNP_DATA),
            (Self::Tdx, Some([4, 0])) => Some(TDX_DATA_V4),
            (Self::Tdx, Some([5, 0])) => Some(TDX_DATA_V5),
            (Self::Tdx, _) => None,
        };
        let covered = at.and_then(|at| report.get(at..at + data.len()));
        match covered {
            None => Err(foreign(ReportFault::Form { len: report.len() })),
            Some(covered) if covered == data => Ok(()),
            Some(_) => Err(foreign(ReportFault::Data)),
        }
    }
}

/// A report and what came beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// SNP: ATTESTATION_REPORT, 1184 bytes. TDX: the quote, with whatever padding the host added.
    pub report: Vec<u8>,
    /// SNP: the certificate table of the GHCB specification (2.03, 4.1.8.1), empty where the host gives none. TDX: empty.
    pub certificates: Vec<u8>,
}

/// A report of an SVSM: it covers SHA-512(nonce ‖ manifest).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SvsmReport {
    /// The report.
    pub report: Report,
    /// The service that the manifest is of, as [`SVSM_VTPM_GUID`].
    pub service: &'static str,
    /// Version of the manifest.
    pub version: u32,
    /// TPMT_PUBLIC of the vTPM's endorsement key.
    pub manifest: Vec<u8>,
}

impl SvsmReport {
    /// Whether the manifest is `ek`, the endorsement key's TPMT_PUBLIC as this machine's TPM gives it.
    pub fn require_ek(&self, ek: &[u8]) -> Result<(), CvmError> {
        match self.manifest == ek {
            true => Ok(()),
            false => Err(CvmError::ManifestForeign { manifest: self.manifest.len(), ek: ek.len() }),
        }
    }
}

/// What a report of an SVSM covers.
pub(crate) fn svsm_data(nonce: &ReportData, manifest: &[u8]) -> ReportData {
    Sha512::new().chain_update(nonce).chain_update(manifest).finalize().into()
}

/// Foreign text, short and without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().map(|c| if ccnode_evidence::is_obeyed(c) { ' ' } else { c }).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_can_not_steer_the_console() {
        assert_eq!(shown("a\u{1b}b\u{202e}c\u{200b}"), "a b c ");
    }

    fn at(offset: usize, version: u8, len: usize) -> Vec<u8> {
        let mut report = vec![0; len];
        report[0] = version;
        report[offset..offset + 64].copy_from_slice(&[7; 64]);
        report
    }

    #[test]
    fn t24_a_report_over_other_data_is_told() {
        let fault = |provider: Provider, report: &[u8]| match provider.check(report, &[7; 64]) {
            Ok(()) => None,
            Err(CvmError::Foreign { fault, .. }) => Some(fault),
            Err(other) => panic!("{other}"),
        };
        let cases = [
            (Provider::Snp, at(0x50, 2, 1184)),
            (Provider::Tdx, at(568, 4, 1020)),
            (Provider::Tdx, at(574, 5, 1020)),
        ];
        for (provider, report) in cases {
            assert_eq!(fault(provider, &report), None);
            let mut other = report.clone();
            let last = report.iter().rposition(|b| *b == 7).unwrap();
            other[last] = 8;
            assert_eq!(fault(provider, &other), Some(ReportFault::Data));
            assert_eq!(fault(provider, &report[..last]), Some(ReportFault::Form { len: last }));
        }
        assert_eq!(fault(Provider::Tdx, &at(568, 3, 1020)), Some(ReportFault::Form { len: 1020 }));
        assert_eq!(fault(Provider::Tdx, &[]), Some(ReportFault::Form { len: 0 }));
    }

    #[test]
    fn unknown_providers_are_named_without_steering_a_terminal() {
        assert_eq!(Provider::named("sev_guest").unwrap(), Provider::Snp);
        assert_eq!(Provider::named("tdx_guest").unwrap(), Provider::Tdx);
        match Provider::named("arm_cca_guest\x1b[2J").unwrap_err() {
            CvmError::ProviderUnknown(name) => assert_eq!(name, "arm_cca_guest [2J"),
            other => panic!("{other}"),
        }
    }
}
