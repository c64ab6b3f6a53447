//! The hardware reports that a machine has, whichever platform it is.

use super::azure::Azure;
use super::{ProofError, beside};
use ccnode_cvm::{Cvm, CvmError, Provider, ReportTree, RuntimeRegister};
use ccnode_evidence::{EvidenceKind, ReportParts, Svsm};
use std::fmt;
use std::sync::Arc;

/// A confidential VM's reports by files; every call blocks.
pub trait Reports: Send + Sync {
    /// The kind that they lead.
    fn kind(&self) -> EvidenceKind;

    /// Whether they are an SVSM's, and vouch for its vTPM.
    fn is_svsm(&self) -> bool;

    /// The endorsement key that the SVSM's manifest names, TPMT_PUBLIC; `None` without an SVSM.
    fn manifest(&self) -> Result<Option<Vec<u8>>, CvmError>;

    /// A report over `data`, or of an SVSM with `data` for its nonce.
    fn report(&self, data: &[u8; 64]) -> Result<ReportParts, CvmError>;

    /// The register that caps a boot without a TPM.
    fn supports_runtime_register(&self) -> Option<&dyn RuntimeRegister>;
}

impl<T: ReportTree> Reports for Cvm<T> {
    fn kind(&self) -> EvidenceKind {
        match self.provider() {
            Provider::Snp => EvidenceKind::Snp,
            Provider::Tdx => EvidenceKind::Tdx,
        }
    }

    fn is_svsm(&self) -> bool {
        self.supports_svsm().is_some()
    }

    fn manifest(&self) -> Result<Option<Vec<u8>>, CvmError> {
        // What it covers is of no interest: the session's report has the same manifest, or is refused.
        let report = self.supports_svsm().map(|svsm| svsm.vtpm_report(&[0; 64]));
        Ok(report.transpose()?.map(|report| report.manifest))
    }

    fn report(&self, data: &[u8; 64]) -> Result<ReportParts, CvmError> {
        match (self.provider(), self.supports_svsm()) {
            (Provider::Snp, Some(svsm)) => {
                let report = svsm.vtpm_report(data)?;
                let (service, version) = (report.service.to_owned(), report.version);
                let svsm = Svsm { service, version, manifest: report.manifest.into() };
                let (report, certs) = (report.report.report, report.report.certificates);
                Ok(ReportParts::Snp { report, certs, svsm: Some(svsm) })
            }
            (Provider::Snp, None) => {
                let report = self.report(data)?;
                Ok(ReportParts::Snp { report: report.report, certs: report.certificates, svsm: None })
            }
            (Provider::Tdx, _) => {
                let quote = self.report(data)?.report;
                let ccel = self.supports_event_log().map(|log| log.event_log()).transpose()?;
                Ok(ReportParts::Tdx { quote, ccel })
            }
        }
    }

    fn supports_runtime_register(&self) -> Option<&dyn RuntimeRegister> {
        self.supports_runtime_register()
    }
}

/// What reports on this machine.
#[derive(Clone)]
pub enum Hardware {
    /// The kernel, by configfs-tsm.
    Cvm {
        /// Its reports.
        reports: Arc<dyn Reports>,
        /// The manifest for which its TPM was vouched for; the session's report must have the same.
        manifest: Option<Vec<u8>>,
    },
    /// Azure's paravisor, by its vTPM.
    Azure(Azure),
}

impl Hardware {
    /// The kind that it leads.
    pub fn kind(&self) -> EvidenceKind {
        match self {
            Self::Cvm { reports, .. } => reports.kind(),
            Self::Azure(azure) => azure.kind(),
        }
    }

    /// Whether its reports are an SVSM's.
    pub fn is_svsm(&self) -> bool {
        matches!(self, Self::Cvm { reports, .. } if reports.is_svsm())
    }

    /// Whether a TPM must be part of the evidence: elsewhere a report stands alone.
    pub fn needs_tpm(&self) -> bool {
        matches!(self, Self::Azure(_))
    }

    /// A report over `data`.
    pub async fn report(&self, data: [u8; 64]) -> Result<ReportParts, ProofError> {
        match self {
            Self::Azure(azure) => Ok(azure.report(data).await?),
            Self::Cvm { reports, manifest } => {
                let report = beside(reports, move |reports| reports.report(&data)).await?;
                same_manifest(&report, manifest.as_deref())?;
                Ok(report)
            }
        }
    }
}

/// An SVSM that names another endorsement key than before does not vouch for this vTPM.
fn same_manifest(report: &ReportParts, before: Option<&[u8]>) -> Result<(), CvmError> {
    match (report, before) {
        (ReportParts::Snp { svsm: Some(svsm), .. }, Some(ek)) if svsm.manifest.0 != ek => {
            Err(CvmError::ManifestForeign { manifest: svsm.manifest.0.len(), ek: ek.len() })
        }
        _ => Ok(()),
    }
}

impl fmt::Debug for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hardware({})", self.kind())
    }
}
