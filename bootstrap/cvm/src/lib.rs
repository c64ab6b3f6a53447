//! What a confidential VM can say of itself: hardware reports by configfs-tsm, the CCEL log, the runtime registers of TDX.
//!
//! Files alone, no network and no TPM. [`Cvm::detect`] looks what is there; what a platform may lack is a capability that is
//! asked for: [`Cvm::supports_svsm`], [`Cvm::supports_event_log`], [`Cvm::supports_runtime_register`]. Nothing here judges a
//! report; it is only seen to that it is the one that was asked for.

mod ccel;
mod error;
mod hcl;
mod report;
mod rtmr;
mod tree;
mod tsm;

pub use ccel::{CcEventLog, Ccel, MAX_LOG};
pub use error::{CvmError, LogFault, RegisterFault, ReportFault};
pub use hcl::{HclKind, HclReport};
pub use report::{Provider, Report, ReportData, SVSM_VTPM_GUID, SvsmReport};
pub use rtmr::{Rtmr3, RuntimeRegister, cap_digest};
pub use tree::{ConfigFs, ReportTree};
pub use tsm::{ATTEMPTS, MAX_BLOB, MAX_MANIFEST, SvsmReports, Tsm};

use std::path::{Path, PathBuf};

/// Where the kernel shows its interfaces; another place in tests.
#[derive(Clone, Debug)]
pub struct Places {
    /// `/sys/kernel/config/tsm/report`.
    pub tsm: PathBuf,
    /// `/sys/firmware/acpi/tables`.
    pub acpi: PathBuf,
    /// `/sys/devices/virtual/misc/tdx_guest/measurements`.
    pub measurements: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            tsm: "/sys/kernel/config/tsm/report".into(),
            acpi: "/sys/firmware/acpi/tables".into(),
            measurements: "/sys/devices/virtual/misc/tdx_guest/measurements".into(),
        }
    }
}

/// The interfaces of this confidential VM.
#[derive(Debug)]
pub struct Cvm<T = ConfigFs> {
    tsm: Tsm<T>,
    ccel: Option<Ccel>,
    rtmr: Option<Rtmr3>,
}

impl Cvm {
    /// What `places` show; `None` on a machine that is no confidential VM, or whose kernel has no driver loaded for it.
    ///
    /// A provider that this version does not know is [`CvmError::ProviderUnknown`].
    pub fn detect(places: &Places) -> Result<Option<Self>, CvmError> {
        Self::on(ConfigFs::at(&places.tsm), &places.acpi, &places.measurements)
    }
}

impl<T: ReportTree> Cvm<T> {
    /// As [`Cvm::detect`] over another tree of reports.
    pub fn on(tree: T, acpi: &Path, measurements: &Path) -> Result<Option<Self>, CvmError> {
        let tsm = match Tsm::open(tree) {
            Err(CvmError::ProviderMissing) => return Ok(None),
            tsm => tsm?,
        };
        let tdx = tsm.provider() == Provider::Tdx;
        let ccel = if tdx { Ccel::find(acpi)? } else { None };
        let rtmr = if tdx { Rtmr3::find(measurements) } else { None };
        Ok(Some(Self { tsm, ccel, rtmr }))
    }

    /// Whose reports they are.
    pub fn provider(&self) -> Provider {
        self.tsm.provider()
    }

    /// A report over `data`, of the least privilege level that the kernel may ask for. Blocks for as long as the hardware takes.
    pub fn report(&self, data: &ReportData) -> Result<Report, CvmError> {
        self.tsm.report(data)
    }

    /// Reports of an SVSM that vouch for its vTPM, where this guest runs under one.
    pub fn supports_svsm(&self) -> Option<&dyn SvsmReports> {
        self.tsm.supports_svsm()
    }

    /// The log behind the runtime registers, where the firmware left one.
    pub fn supports_event_log(&self) -> Option<&dyn CcEventLog> {
        self.ccel.as_ref().map(|ccel| ccel as &dyn CcEventLog)
    }

    /// The runtime register that is ours to extend, where the kernel lets us (TDX, Linux 6.16).
    pub fn supports_runtime_register(&self) -> Option<&dyn RuntimeRegister> {
        self.rtmr.as_ref().map(|rtmr| rtmr as &dyn RuntimeRegister)
    }
}
