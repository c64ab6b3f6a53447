//! What this machine proves itself by: a TPM, hardware reports, or both, the strongest of what is there.

pub mod azure;
mod hardware;
pub mod imds;

pub use azure::{Azure, AzureError};
pub use hardware::{Hardware, Reports};

use crate::refusal::Coded;
use ccnode_cvm::CvmError;
use ccnode_evidence::{
    Activated, Code, EventLogs, EvidenceKind, EvidenceSource, ExtraData, Identity, PcrSet, QuoteParts,
    ReportParts, ReportSource, TpmSource,
};
use ccnode_tpm_device::{DeviceError, DeviceHandle};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Why evidence can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] DeviceError),
    /// The confidential VM's reports.
    #[error(transparent)]
    Cvm(#[from] CvmError),
    /// Azure's reports.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// The thread that made a report is gone.
    #[error("the task that made a report was lost")]
    Lost,
}

impl Coded for ProofError {
    fn code(&self) -> Code {
        match self {
            Self::Tpm(error) => error.code(),
            Self::Cvm(error) => error.code(),
            Self::Azure(error) => error.code(),
            Self::Lost => Code::NodeInternal,
        }
    }
}

impl Coded for CvmError {
    fn code(&self) -> Code {
        Self::code(self)
    }
}

/// What is sent: for the console, and for whoever looks later. The trust level is the service's to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The primary evidence.
    pub kind: EvidenceKind,
    /// Whether a TPM proves itself, too.
    pub tpm: bool,
    /// Whether the report is an SVSM's.
    pub svsm: bool,
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evidence {}", self.kind)?;
        f.write_str(if self.svsm { " of an SVSM" } else { "" })?;
        f.write_str(match (self.kind.takes_additional(), self.tpm) {
            (true, true) => ", tpm beside it",
            (true, false) => ", no TPM",
            (false, _) => "",
        })
    }
}

/// The machine as the exchange asks it; it counts what it waits for.
#[derive(Debug)]
pub struct Prover {
    tpm: Option<TpmProver>,
    report: Option<ReportProver>,
    cmdline: String,
}

/// Its TPM.
#[derive(Debug)]
pub struct TpmProver {
    device: DeviceHandle,
    waited: Waited,
}

/// Its hardware reports.
#[derive(Debug)]
pub struct ReportProver {
    hardware: Hardware,
    waited: Waited,
}

/// Microseconds.
#[derive(Debug, Default)]
struct Waited(AtomicU64);

impl Waited {
    async fn count<T>(&self, command: impl Future<Output = T> + Send) -> T {
        let since = Instant::now();
        let answer = command.await;
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_add(micros, Ordering::Relaxed);
        answer
    }

    fn ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed) / 1000
    }
}

impl Prover {
    /// A machine with these; `cmdline` is what goes into the logs where no TPM has any.
    pub fn new(device: Option<DeviceHandle>, hardware: Option<Hardware>, cmdline: String) -> Self {
        let tpm = device.map(|device| TpmProver { device, waited: Waited::default() });
        let report = hardware.map(|hardware| ReportProver { hardware, waited: Waited::default() });
        Self { tpm, report, cmdline }
    }

    /// What it sends.
    pub fn sent(&self) -> Sent {
        let kind = self.report.as_ref().map_or(EvidenceKind::Tpm, ReportSource::kind);
        let svsm = self.report.as_ref().is_some_and(|report| report.hardware.is_svsm());
        Sent { kind, tpm: self.tpm.is_some(), svsm }
    }

    /// Milliseconds that TPM commands were waited for.
    pub fn tpm_ms(&self) -> u64 {
        self.tpm.as_ref().map_or(0, |tpm| tpm.waited.ms())
    }

    /// Milliseconds that hardware reports were waited for.
    pub fn report_ms(&self) -> u64 {
        self.report.as_ref().map_or(0, |report| report.waited.ms())
    }
}

impl EvidenceSource for Prover {
    type Error = ProofError;
    type Tpm = TpmProver;
    type Report = ReportProver;

    fn supports_tpm(&self) -> Option<&TpmProver> {
        self.tpm.as_ref()
    }

    fn supports_report(&self) -> Option<&ReportProver> {
        self.report.as_ref()
    }

    async fn logs(&self) -> Result<EventLogs, ProofError> {
        match &self.tpm {
            Some(tpm) => Ok(tpm.waited.count(tpm.device.logs()).await?),
            // A log that no quote proves says nothing.
            None => Ok(EventLogs { cmdline: self.cmdline.clone(), ..EventLogs::default() }),
        }
    }
}

impl TpmSource for TpmProver {
    type Error = ProofError;

    async fn identity(&self) -> Result<Identity, ProofError> {
        Ok(self.waited.count(self.device.identity()).await?)
    }

    async fn activate(&self, credential: Vec<u8>, secret: Vec<u8>) -> Result<Activated, ProofError> {
        Ok(self.waited.count(self.device.activate(credential, secret)).await?)
    }

    async fn quote_pcrs(&self, set: PcrSet, extra: ExtraData) -> Result<QuoteParts, ProofError> {
        Ok(self.waited.count(self.device.quote_pcrs(set, extra)).await?)
    }
}

impl ReportSource for ReportProver {
    type Error = ProofError;

    fn kind(&self) -> EvidenceKind {
        self.hardware.kind()
    }

    async fn report(&self, report_data: [u8; 64]) -> Result<ReportParts, ProofError> {
        self.waited.count(self.hardware.report(report_data)).await
    }
}

/// Asks a confidential VM beside the runtime: its answer takes as long as the hardware takes.
pub(crate) async fn beside<T: Send + 'static>(
    reports: &Arc<dyn Reports>,
    ask: impl FnOnce(&dyn Reports) -> Result<T, CvmError> + Send + 'static,
) -> Result<T, ProofError> {
    let reports = Arc::clone(reports);
    let asked = tokio::task::spawn_blocking(move || ask(&*reports)).await;
    Ok(asked.map_err(|_| ProofError::Lost)??)
}
