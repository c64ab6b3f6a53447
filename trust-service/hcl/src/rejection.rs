//! Every way in which an HCL report is refused.

use crate::KeyFault;
use ccnode_evidence::Code;
use std::fmt;

/// A field of the report that is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// `HCLA`.
    Signature,
    /// Version of the header.
    Version,
    /// Bytes up to the end of the runtime data.
    ReportSize,
    /// Kind of request that made it.
    RequestType,
    /// Status of the request.
    Status,
    /// Reserved bytes of the header.
    Reserved,
    /// What follows a hardware report that is shorter than its room.
    HardwarePadding,
    /// Bytes of the request data.
    DataSize,
    /// Version of the request data.
    DataVersion,
    /// Kind of hardware report.
    ReportType,
    /// Hash over the runtime data.
    HashType,
    /// Bytes of the runtime data.
    RuntimeSize,
    /// What follows the runtime data.
    Padding,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signature => "signature",
            Self::Version => "version",
            Self::ReportSize => "report size",
            Self::RequestType => "request type",
            Self::Status => "status",
            Self::Reserved => "reserved bytes",
            Self::HardwarePadding => "padding of the hardware report",
            Self::DataSize => "data size",
            Self::DataVersion => "data version",
            Self::ReportType => "report type",
            Self::HashType => "hash type",
            Self::RuntimeSize => "size of the runtime data",
            Self::Padding => "padding",
        })
    }
}

/// Why an HCL report is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HclRejection {
    /// It ends early, or is longer than any.
    #[error("an HCL report of {0} bytes: it is cut, or none")]
    Length(usize),
    /// A field does not have a value that is read here.
    #[error("the {field} of the HCL report is {seen:#x}; {wanted} is due")]
    Field {
        /// Which.
        field: Field,
        /// Its value; of bytes that must be zero, the first that is not.
        seen: u32,
        /// In words.
        wanted: &'static str,
    },
    /// The runtime data are not the JSON that is known.
    #[error("the runtime data of the HCL report can't be read: {0}")]
    Runtime(String),
    /// The hardware report covers other data.
    #[error("the hardware report covers {covered}, the runtime data hash to {hashed}")]
    Binding {
        /// REPORT_DATA, hex.
        covered: String,
        /// What it must be: the hash, then zeros; hex.
        hashed: String,
    },
    /// A key is missing, twice there, or none.
    #[error("key `{kid}` of the runtime data: {fault}")]
    Key {
        /// Its name.
        kid: &'static str,
        /// What is wrong.
        fault: KeyFault,
    },
    /// The user data are not what the session wants.
    #[error("the user data of the runtime data are {seen}; the session wants {wanted}")]
    UserData {
        /// Hex; `(none)` where there are none.
        seen: String,
        /// Hex.
        wanted: String,
    },
    /// The attestation key is another one.
    #[error("the runtime data name another key `{kid}` than the vTPM's")]
    OtherKey {
        /// Its name.
        kid: &'static str,
    },
}

impl HclRejection {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Length(_) | Self::Field { .. } | Self::Runtime(_) => Code::HclMalformed,
            Self::Binding { .. } => Code::HclBinding,
            Self::UserData { .. } => Code::HclUserData,
            Self::Key { .. } | Self::OtherKey { .. } => Code::HclKey,
        }
    }
}
