//! A confidential VM in software: a TPM or none, and reports of a chip or platform whose keys anybody can read.

use crate::hcl::{HclSpec, runtime_data};
use crate::snp::{ReportSpec, TestChip};
use crate::tdx::{Platform, TdFields, TdQuote};
use crate::tpm::SoftTpmError;
use crate::{Seat, SoftTpm};
use ccnode_evidence::{EventLogs, EvidenceKind, EvidenceSource, Identity, ReportParts, ReportSource, Svsm};
use rsa::RsaPublicKey;
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha512};
use std::fmt;
use std::sync::Arc;

/// The service of an SVSM that keeps its vTPM.
pub const SVSM_VTPM: &str = "c476f1eb-0123-45a5-9641-b4e7dde5bfe3";

type Change<T> = Arc<dyn Fn(&mut T) + Send + Sync>;

/// What makes a machine's reports. Each change lies in what is reported before it is signed.
#[derive(Clone)]
pub enum Hardware {
    /// SEV-SNP.
    Snp {
        /// The chip.
        chip: TestChip,
        /// The manifest of an SVSM that asks in the guest's stead.
        svsm: Option<Vec<u8>>,
        /// Changes the report.
        change: Change<ReportSpec>,
    },
    /// TDX.
    Tdx {
        /// The platform.
        platform: Arc<Platform>,
        /// The CCEL.
        ccel: Option<Vec<u8>>,
        /// Changes the quote.
        change: Change<TdFields>,
    },
    /// Azure on SEV-SNP.
    AzSnp {
        /// The chip.
        chip: TestChip,
        /// Changes the runtime data before the report covers them.
        runtime: Change<Value>,
        /// Changes the report.
        change: Change<ReportSpec>,
    },
    /// Azure on TDX.
    AzTdx {
        /// The platform.
        platform: Arc<Platform>,
        /// Changes the runtime data before the report covers them.
        runtime: Change<Value>,
        /// Changes TD report and quote alike.
        change: Change<TdFields>,
    },
}

impl Hardware {
    /// An honest guest on `chip`.
    pub fn snp(chip: TestChip) -> Self {
        Self::Snp { chip, svsm: None, change: Arc::new(|_| ()) }
    }

    /// The same under an SVSM with this manifest.
    pub fn svsm(chip: TestChip, manifest: Vec<u8>) -> Self {
        Self::Snp { chip, svsm: Some(manifest), change: Arc::new(|_| ()) }
    }

    /// An honest TD on `platform`.
    pub fn tdx(platform: &Arc<Platform>) -> Self {
        Self::Tdx { platform: platform.clone(), ccel: None, change: Arc::new(|_| ()) }
    }

    /// An honest Azure VM on `chip`.
    pub fn az_snp(chip: TestChip) -> Self {
        Self::AzSnp { chip, runtime: Arc::new(|_| ()), change: Arc::new(|_| ()) }
    }

    /// An honest Azure VM on `platform`.
    pub fn az_tdx(platform: &Arc<Platform>) -> Self {
        Self::AzTdx { platform: platform.clone(), runtime: Arc::new(|_| ()), change: Arc::new(|_| ()) }
    }

    /// The same whose SEV-SNP reports lie.
    #[must_use]
    pub fn reporting(mut self, lie: impl Fn(&mut ReportSpec) + Send + Sync + 'static) -> Self {
        match &mut self {
            Self::Snp { change, .. } | Self::AzSnp { change, .. } => *change = Arc::new(lie),
            Self::Tdx { .. } | Self::AzTdx { .. } => panic!("no SEV-SNP report"),
        }
        self
    }

    /// The same whose TD quotes lie.
    #[must_use]
    pub fn quoting(mut self, lie: impl Fn(&mut TdFields) + Send + Sync + 'static) -> Self {
        match &mut self {
            Self::Tdx { change, .. } | Self::AzTdx { change, .. } => *change = Arc::new(lie),
            Self::Snp { .. } | Self::AzSnp { .. } => panic!("no TD quote"),
        }
        self
    }

    /// The same whose paravisor says something else.
    #[must_use]
    pub fn saying(mut self, lie: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        match &mut self {
            Self::AzSnp { runtime, .. } | Self::AzTdx { runtime, .. } => *runtime = Arc::new(lie),
            Self::Snp { .. } | Self::Tdx { .. } => panic!("no paravisor"),
        }
        self
    }

    fn kind(&self) -> EvidenceKind {
        match self {
            Self::Snp { .. } => EvidenceKind::Snp,
            Self::Tdx { .. } => EvidenceKind::Tdx,
            Self::AzSnp { .. } => EvidenceKind::AzSnpVtpm,
            Self::AzTdx { .. } => EvidenceKind::AzTdxVtpm,
        }
    }
}

impl fmt::Debug for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hardware({})", self.kind())
    }
}

/// A machine whose reports lead its evidence.
pub struct Machine {
    /// Its TPM, where it has one.
    pub tpm: Option<SoftTpm>,
    /// What reports.
    pub hardware: Hardware,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tpm = if self.tpm.is_some() { "with a TPM" } else { "without a TPM" };
        write!(f, "{} {tpm}", self.hardware.kind())
    }
}

impl Machine {
    /// A machine with a TPM.
    pub fn with(tpm: SoftTpm, hardware: Hardware) -> Self {
        Self { tpm: Some(tpm), hardware }
    }

    /// A machine without.
    pub fn bare(hardware: Hardware) -> Self {
        Self { tpm: None, hardware }
    }

    /// What it offers of its TPM.
    pub fn offer(&self) -> Option<Identity> {
        self.tpm.as_ref().map(SoftTpm::offer)
    }

    /// A report over `report_data`, as the machine's kernel or paravisor gives it.
    pub fn report_over(&self, report_data: [u8; 64]) -> ReportParts {
        match &self.hardware {
            Hardware::Snp { chip, svsm, change } => {
                let data = match svsm {
                    None => report_data,
                    Some(manifest) => {
                        Sha512::new().chain_update(report_data).chain_update(manifest).finalize().into()
                    }
                };
                let svsm = svsm.clone().map(|manifest| Svsm {
                    service: SVSM_VTPM.into(),
                    version: 0,
                    manifest: manifest.into(),
                });
                ReportParts::Snp { report: snp(chip, data, change), certs: chip.certs_table(), svsm }
            }
            Hardware::Tdx { platform, ccel, change } => {
                let mut quote = TdQuote::v4();
                quote.td.report_data = report_data;
                change(&mut quote.td);
                ReportParts::Tdx { quote: quote.sign(platform), ccel: ccel.clone() }
            }
            Hardware::AzSnp { chip, runtime, change } => {
                let runtime = self.runtime(report_data, runtime);
                let mut hcl = HclSpec::snp(chip, &runtime);
                hcl.hardware = snp(chip, hash(&runtime), change);
                ReportParts::AzSnp { hcl_report: hcl.bytes(), vcek: chip.vek_der() }
            }
            Hardware::AzTdx { platform, runtime, change } => {
                let runtime = self.runtime(report_data, runtime);
                let mut quote = TdQuote::v4();
                quote.td.report_data = hash(&runtime);
                change(&mut quote.td);
                let mut hcl = HclSpec::tdx(&runtime);
                hcl.hardware = quote.td.report();
                ReportParts::AzTdx { hcl_report: hcl.bytes(), td_quote: quote.sign(platform) }
            }
        }
    }

    /// Runtime data that name this machine's TPM.
    fn runtime(&self, report_data: [u8; 64], change: &Change<Value>) -> Value {
        let seat = self.tpm.as_ref().map_or(Seat::A, SoftTpm::seat);
        let [ak, ek] = [seat.ak(), seat.ek()].map(|key| RsaPublicKey::from(&key));
        let mut runtime = runtime_data(&ak, &ek, &report_data);
        change(&mut runtime);
        runtime
    }
}

fn snp(chip: &TestChip, report_data: [u8; 64], change: &Change<ReportSpec>) -> Vec<u8> {
    let mut spec = chip.spec(report_data, 0);
    change(&mut spec);
    chip.sign(&spec)
}

/// SHA-256 of the runtime data, then zeros.
fn hash(runtime: &Value) -> [u8; 64] {
    let mut data = [0; 64];
    data.iter_mut().zip(Sha256::digest(runtime.to_string())).for_each(|(to, from)| *to = from);
    data
}

impl ReportSource for Machine {
    type Error = SoftTpmError;

    fn kind(&self) -> EvidenceKind {
        self.hardware.kind()
    }

    async fn report(&self, report_data: [u8; 64]) -> Result<ReportParts, SoftTpmError> {
        Ok(self.report_over(report_data))
    }
}

impl EvidenceSource for Machine {
    type Error = SoftTpmError;
    type Tpm = SoftTpm;
    type Report = Self;

    fn supports_tpm(&self) -> Option<&SoftTpm> {
        self.tpm.as_ref()
    }

    fn supports_report(&self) -> Option<&Self> {
        Some(self)
    }

    async fn logs(&self) -> Result<EventLogs, SoftTpmError> {
        Ok(self.logs())
    }
}

impl Machine {
    /// Its logs: the TPM's boot's, or none.
    pub fn logs(&self) -> EventLogs {
        self.tpm.as_ref().map(SoftTpm::read_logs).unwrap_or_default()
    }
}
