//! What can fail between the node and the interfaces of its confidential VM, with the code that a refusal shows.

use ccnode_evidence::Code;
use std::io;
use std::path::PathBuf;

/// A failure of the interfaces, or of what they answer.
#[derive(Debug, thiserror::Error)]
pub enum CvmError {
    /// There is no configfs-tsm, or no provider behind it.
    #[error("the kernel has no provider of confidential VM reports")]
    ProviderMissing,
    /// The provider's reports are of a form that this version does not know.
    #[error("the kernel's provider of reports is `{0}`; known are sev_guest and tdx_guest")]
    ProviderUnknown(String),
    /// An operation on a report entry failed.
    #[error("configfs-tsm: {operation} {attribute}: {source}")]
    Report {
        /// `making`, `writing`, `reading` or `removing`.
        operation: &'static str,
        /// The attribute; `the entry` for the folder itself.
        attribute: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// An attribute holds more than any of its kind.
    #[error("configfs-tsm: {attribute} has more than {limit} bytes")]
    Oversized {
        /// The attribute.
        attribute: &'static str,
        /// The most that is read.
        limit: usize,
    },
    /// An attribute can't be understood.
    #[error("configfs-tsm: {attribute} holds `{text}`")]
    Attribute {
        /// The attribute.
        attribute: &'static str,
        /// Its text, shortened.
        text: String,
    },
    /// Somebody else wrote to the entry, each time.
    #[error("configfs-tsm: another writer kept changing the report, {attempts} times in a row")]
    Race {
        /// How often a report was asked for.
        attempts: usize,
    },
    /// What came is not the report that was asked for.
    #[error("the {provider} report is not the one that was asked for: {fault}")]
    Foreign {
        /// The provider, as the kernel names it.
        provider: &'static str,
        /// How it differs.
        fault: ReportFault,
    },
    /// The manifest of the SVSM does not name the endorsement key of this vTPM.
    #[error("the SVSM's manifest of {manifest} bytes is not the endorsement key of this vTPM ({ek} bytes)")]
    ManifestForeign {
        /// Length of the manifest.
        manifest: usize,
        /// Length of the endorsement key's TPMT_PUBLIC.
        ek: usize,
    },
    /// The CCEL table, or its log, can't be used.
    #[error("{path}: {fault}", path = .path.display())]
    EventLog {
        /// The file.
        path: PathBuf,
        /// Why.
        fault: LogFault,
    },
    /// The runtime register can't be extended.
    #[error("{path}: {fault}", path = .path.display())]
    Register {
        /// The register's file.
        path: PathBuf,
        /// Why.
        fault: RegisterFault,
    },
    /// What the paravisor left in the vTPM is no report.
    #[error("the HCL report: {0}")]
    Hcl(&'static str),
}

/// How a report differs from the one that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReportFault {
    /// It is too short for its kind, or of a version whose layout is unknown.
    #[error("{len} bytes, no report of a known version")]
    Form {
        /// Its length.
        len: usize,
    },
    /// It covers other data.
    #[error("it covers other data")]
    Data,
}

/// Why a CCEL table or log can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LogFault {
    /// The file can't be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// The table is none of the ACPI specification, or for another kind of machine.
    #[error("no CCEL table of a TDX guest: {0}")]
    Table(&'static str),
    /// The log is larger than any that is sent.
    #[error("the log has more than {limit} bytes")]
    Oversized {
        /// The most that is read.
        limit: usize,
    },
}

/// Why a runtime register can't be extended.
#[derive(Debug, thiserror::Error)]
pub enum RegisterFault {
    /// The file can't be read or written.
    #[error("{operation}: {source}")]
    Io {
        /// `reading` or `extending`.
        operation: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// It has not the size of a SHA-384 digest.
    #[error("{0} bytes where 48 are due")]
    Length(usize),
    /// It does not hold what the extension leads to.
    #[error("it was extended and holds another value than that leads to")]
    Value,
}

impl CvmError {
    /// The refusal code of this failure.
    pub fn code(&self) -> Code {
        match self {
            Self::ProviderMissing => Code::CvmProviderMissing,
            Self::ProviderUnknown(_) => Code::CvmProviderUnknown,
            Self::Report { .. } | Self::Oversized { .. } | Self::Attribute { .. } => Code::CvmReportFailed,
            Self::Race { .. } => Code::CvmReportRace,
            Self::Foreign { .. } => Code::CvmReportForeign,
            Self::ManifestForeign { .. } => Code::SvsmManifestForeign,
            Self::EventLog { .. } => Code::CcelMalformed,
            Self::Register { .. } => Code::RtmrFailed,
            Self::Hcl(_) => Code::HclReportMalformed,
        }
    }
}
