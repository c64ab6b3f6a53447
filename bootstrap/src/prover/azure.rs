//! Azure: the paravisor's report out of its vTPM, and what the host's metadata service adds to it.

use super::imds::{Imds, ImdsError};
use crate::refusal::Coded;
use ccnode_cvm::{CvmError, HclKind, HclReport};
use ccnode_evidence::{Code, EvidenceKind, ReportParts};
use ccnode_tpm_device::{DeviceError, DeviceHandle, Hcl, Voucher};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a report that takes up new user data is waited for: a paravisor makes one every few seconds at most.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum AzureError {
    /// The vTPM.
    #[error(transparent)]
    Tpm(#[from] DeviceError),
    /// What lies there.
    #[error(transparent)]
    Report(#[from] CvmError),
    /// The metadata service.
    #[error(transparent)]
    Imds(#[from] ImdsError),
    /// The report does not take up what it is to cover.
    #[error("the HCL report does not take up what it is to name, after {} s", .0.as_secs())]
    Stale(Duration),
}

impl Coded for AzureError {
    fn code(&self) -> Code {
        match self {
            Self::Tpm(error) => error.code(),
            Self::Report(error) => error.code(),
            Self::Imds(_) => Code::ImdsFailed,
            Self::Stale(_) => Code::CvmReportForeign,
        }
    }
}

/// A paravisor whose reports were looked at once.
#[derive(Clone, Debug)]
pub struct Azure {
    hcl: Hcl,
    kind: HclKind,
    imds: Imds,
    patience: Duration,
}

impl Azure {
    /// Takes kind and endorsement key from the report that lies in `device`; `None` where none does.
    pub async fn find(device: &DeviceHandle, imds: Imds) -> Result<Option<Self>, AzureError> {
        let Some(hcl) = device.supports_hcl().await? else { return Ok(None) };
        let report = HclReport::parse(hcl.report().await?)?;
        device.vouch(Voucher::Modulus(report.ek_modulus()?)).await?;
        Ok(Some(Self { hcl, kind: report.kind, imds, patience: PATIENCE }))
    }

    /// Waits as long for a report that takes up new user data; [`PATIENCE`] where this is not called.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The kind of evidence that its reports make.
    pub fn kind(&self) -> EvidenceKind {
        match self.kind {
            HclKind::Snp => EvidenceKind::AzSnpVtpm,
            HclKind::Tdx => EvidenceKind::AzTdxVtpm,
        }
    }

    /// A report that names `data`, where this paravisor takes any, with what proves its hardware.
    pub async fn report(&self, data: [u8; 64]) -> Result<ReportParts, AzureError> {
        let until = Instant::now() + self.patience;
        let taken = self.hcl.write_user_data(data).await?;
        let report = loop {
            let report = HclReport::parse(self.hcl.report().await?)?;
            if !taken || report.names(&data) {
                break report;
            }
            if Instant::now() >= until {
                return Err(AzureError::Stale(self.patience));
            }
            sleep(LOOK).await;
        };
        match (self.kind, report.td_report()) {
            (HclKind::Tdx, Some(td_report)) => {
                let td_quote = self.imds.td_quote(td_report).await?;
                Ok(ReportParts::AzTdx { hcl_report: report.bytes, td_quote })
            }
            (HclKind::Snp, None) => {
                // The service may have the certificate from elsewhere.
                let vcek = self.imds.vcek().await.unwrap_or_default();
                Ok(ReportParts::AzSnp { hcl_report: report.bytes, vcek })
            }
            _ => Err(CvmError::Hcl("of another kind than before").into()),
        }
    }
}
