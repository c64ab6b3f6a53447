//! What can fail between the node and its TPM, with the code that a refusal shows.

use ccnode_evidence::Code;
use ccnode_tpm_eventlog::LogError;
use std::fmt;
use tss_esapi::constants::response_code::Tss2ResponseCode;
use tss_esapi::{Error as TssError, WrapperErrorKind};

/// A failure of the TPM, or of what lies in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DeviceError {
    /// There is no TPM 2.0 device, or nothing answers at the given address.
    #[error("there is no TPM 2.0: nothing at {0}")]
    TpmMissing(String),
    /// A TPM command failed.
    #[error("{command} failed: {rc}")]
    TpmFailed {
        /// The command by its name in TPM 2.0 Part 3, or `TCTI` for the transport.
        command: &'static str,
        /// The response code.
        rc: TpmRc,
    },
    /// A TPM command succeeded with an answer that can't be read, or its parameters could not be encoded.
    #[error("{command}: unusable parameter or answer ({kind:?})")]
    TpmAnswer {
        /// The command by its name in TPM 2.0 Part 3.
        command: &'static str,
        /// What the TSS wrapper found wrong.
        kind: WrapperErrorKind,
    },
    /// The thread that owns the TPM could not be started or is gone.
    #[error("the thread that owns the TPM is gone")]
    ThreadGone,
    /// The TPM did not answer within the time that the caller gave.
    #[error("the TPM did not answer in time")]
    TimedOut,
    /// No endorsement key certificate at NV index 0x01c00002.
    #[error("the TPM has no endorsement key certificate at NV index 0x01c00002")]
    EkCertMissing,
    /// What lies at NV index 0x01c00002 is no DER certificate.
    #[error("NV index 0x01c00002 holds no DER certificate")]
    EkCertMalformed,
    /// Who vouches for the endorsement key, in a certificate's place, means another key.
    #[error("{by} names another endorsement key than the one that this TPM makes from the template L-1")]
    EkForeign {
        /// Who it is.
        by: Vouches,
    },
    /// The certificate is for another key than the TPM's endorsement key.
    #[error("the endorsement key certificate is not for the key that this TPM makes from the template L-1")]
    EkCertForeign,
    /// Another object lies where the attestation key belongs.
    #[error("the object at 0x81010002 is no attestation key: {0}; remove what lies at 0x81010002")]
    AkForeign(AkFault),
    /// The paravisor's attestation key is not there, or is none.
    #[error("the paravisor's attestation key at 0x81000003: {0}")]
    HclAk(AkFault),
    /// An NV index can't be used.
    #[error("NV index {index:#010x} {fault}")]
    Nv {
        /// The index.
        index: u32,
        /// Why.
        fault: NvFault,
    },
    /// Credential or secret are not what TPM2_MakeCredential writes, or not for this TPM and attestation key.
    #[error("the TPM could not open the credential: {0}")]
    CredentialRefused(CredentialFault),
    /// PCRs changed between reading and quoting, each time.
    #[error("PCRs changed between reading and quoting, {attempts} times in a row")]
    QuoteRace {
        /// How often PCRs were read and quoted.
        attempts: usize,
    },
    /// The TPM has no SHA-256 bank, or a PCR is not allocated in it.
    #[error("the TPM's SHA-256 bank does not hold every PCR that is needed")]
    Sha256BankMissing,
    /// The event can't be written to the node's own log; nothing was extended.
    #[error("the event can't be logged")]
    Event(#[source] LogError),
    /// `logs` was asked of a handle that was given no boot records.
    #[error("the handle was given no boot records")]
    RecordsMissing,
}

/// Who may vouch for an endorsement key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Vouches {
    /// An SVSM, by its manifest.
    #[error("the SVSM's manifest")]
    Manifest,
    /// A paravisor, by its report.
    #[error("the HCL report")]
    Hcl,
}

/// How the object at the attestation key's handle differs from an attestation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AkFault {
    /// Another type, scheme, attribute or policy.
    #[error("its public area differs from the template")]
    Public,
    /// The right kind of key, outside the endorsement hierarchy.
    #[error("it is not a primary of the endorsement hierarchy")]
    Hierarchy,
    /// Nothing lies there.
    #[error("nothing lies there")]
    Missing,
}

/// Why an NV index can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NvFault {
    /// It is not defined.
    #[error("is not defined")]
    Missing,
    /// It was never written.
    #[error("was never written")]
    Unwritten,
    /// It is larger than anything of its kind.
    #[error("has {size} bytes, {limit} at most are read")]
    Oversized {
        /// Its size.
        size: usize,
        /// The most that is read.
        limit: usize,
    },
    /// It is too small for what belongs there.
    #[error("has {size} bytes where {least} are due")]
    Undersized {
        /// Its size.
        size: usize,
        /// The least that serves.
        least: usize,
    },
}

/// Why a credential was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialFault {
    /// The credential is no TPM2B_ID_OBJECT.
    #[error("it is no TPM2B_ID_OBJECT")]
    Blob,
    /// The encrypted secret is no TPM2B_ENCRYPTED_SECRET.
    #[error("the encrypted secret is no TPM2B_ENCRYPTED_SECRET")]
    Secret,
    /// TPM2_ActivateCredential refused one of the two.
    #[error("{0}")]
    Tpm(TpmRc),
    /// It opened, and does not hold 32 bytes.
    #[error("it holds {0} bytes where 32 are due")]
    Length(usize),
}

impl DeviceError {
    /// The refusal code of this failure.
    pub fn code(&self) -> Code {
        match self {
            Self::TpmMissing(_) => Code::TpmMissing,
            Self::EkCertMissing => Code::EkCertMissing,
            Self::AkForeign(_) | Self::HclAk(_) => Code::AkAttributes,
            Self::EkForeign { by: Vouches::Manifest } => Code::SvsmManifestForeign,
            Self::EkForeign { by: Vouches::Hcl } => Code::HclEkForeign,
            Self::Nv { .. } => Code::HclReportMalformed,
            Self::CredentialRefused(_) => Code::CredentialRefused,
            Self::QuoteRace { .. } => Code::QuoteRace,
            Self::EkCertMalformed => Code::EkCertMalformed,
            Self::TpmFailed { .. }
            | Self::TpmAnswer { .. }
            | Self::ThreadGone
            | Self::TimedOut
            | Self::EkCertForeign
            | Self::Sha256BankMissing
            | Self::Event(_)
            | Self::RecordsMissing => Code::TpmFailed,
        }
    }

    /// The response code, where this is a failed command.
    pub(crate) fn rc(&self) -> Option<TpmRc> {
        match self {
            Self::TpmFailed { rc, .. } => Some(*rc),
            _ => None,
        }
    }
}

/// Names the command that an error of tss-esapi belongs to.
pub(crate) fn failed(command: &'static str) -> impl Fn(TssError) -> DeviceError {
    move |error| match error {
        TssError::Tss2Error(code) => DeviceError::TpmFailed { command, rc: TpmRc::new(code) },
        TssError::WrapperError(kind) => DeviceError::TpmAnswer { command, kind },
    }
}

/// A response code of the TPM or of the TSS below it (TPM 2.0 Part 2, 6.6; TSS 2.0 Overview, 4).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TpmRc(u32);

impl TpmRc {
    fn new(code: Tss2ResponseCode) -> Self {
        // The wrapper keeps the number private and prints it: `Response code value: 0x18b`.
        let text = match code {
            Tss2ResponseCode::Success => return Self(0),
            Tss2ResponseCode::FormatZero(inner) => inner.to_string(),
            Tss2ResponseCode::FormatOne(inner) => inner.to_string(),
        };
        let hex = text.rsplit("0x").next().unwrap_or_default();
        Self(u32::from_str_radix(hex, 16).unwrap_or(u32::MAX))
    }

    /// The number, layer included: `0x18b`.
    pub fn value(self) -> u32 {
        self.0
    }

    /// The error without the handle, session or parameter that it is about; `None` where the code is not the TPM's own.
    fn base(self) -> Option<u32> {
        const LAYERS: u32 = 0x00ff_0000;
        const FORMAT_ONE: u32 = 0x80;
        match self.0 {
            rc if rc & LAYERS != 0 => None,
            rc if rc & FORMAT_ONE != 0 => Some(rc & 0xbf),
            rc => Some(rc & 0xfff),
        }
    }

    /// TPM_RC_HANDLE, or TPM_RC_REFERENCE_H0: nothing lies at the handle.
    pub(crate) fn is_absent(self) -> bool {
        matches!(self.base(), Some(0x8b | 0x910))
    }

    /// TPM_RC_VALUE.
    pub(crate) fn is_value(self) -> bool {
        self.base() == Some(0x84)
    }

    /// TPM_RC_NV_UNINITIALIZED: the index is defined and was never written.
    pub(crate) fn is_unwritten(self) -> bool {
        self.base() == Some(0x14a)
    }

    /// TPM_RC_NV_RANGE: the index is shorter than what was asked for.
    pub(crate) fn is_nv_range(self) -> bool {
        self.base() == Some(0x146)
    }

    /// TPM_RC_NV_AUTHORIZATION, _AUTH_TYPE, _AUTH_UNAVAILABLE: not this way of authorization.
    pub(crate) fn is_nv_access(self) -> bool {
        matches!(self.base(), Some(0x149 | 0x124 | 0x12f))
    }

    /// The hierarchy's authorization is not ours, the hierarchy is off, in lockout, or NV is full.
    pub(crate) fn forbids_persisting(self) -> bool {
        const AUTH_FAIL: u32 = 0x8e;
        const BAD_AUTH: u32 = 0xa2;
        const HIERARCHY: u32 = 0x85;
        const LOCKOUT: u32 = 0x921;
        const NV_SPACE: u32 = 0x14b;
        matches!(self.base(), Some(AUTH_FAIL | BAD_AUTH | HIERARCHY | LOCKOUT | NV_SPACE))
    }

    /// TPM_RC_FAILURE.
    pub(crate) fn is_failure(self) -> bool {
        self.base() == Some(0x101)
    }

    /// Whether the error is about a command parameter (bits 7 and 6: format one, parameter).
    pub(crate) fn is_parameter(self) -> bool {
        self.base().is_some() && self.0 & 0xc0 == 0xc0
    }

    /// The TCTI could not reach the TPM: TSS2_BASE_RC_IO_ERROR, whichever layer passes it on.
    pub(crate) fn is_io(self) -> bool {
        self.base().is_none() && self.0 & 0xffff == 0x000a
    }
}

impl fmt::Display for TpmRc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.base() {
            Some(_) => write!(f, "0x{:03x}, {}", self.0, Tss2ResponseCode::from(self.0)),
            None => write!(f, "0x{:x}, from the TSS", self.0),
        }
    }
}

impl fmt::Debug for TpmRc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TpmRc(0x{:x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rc(number: u32) -> TpmRc {
        TpmRc::new(Tss2ResponseCode::from(number))
    }

    #[test]
    fn numbers_survive_the_wrapper() {
        for number in [0, 0x101, 0x18b, 0x2c4, 0x922, 0x14a, 0xa000a, 0x0006_0007] {
            assert_eq!(rc(number).value(), number);
        }
    }

    #[test]
    fn kinds_ignore_what_the_error_is_about() {
        assert!(rc(0x18b).is_absent() && rc(0x28b).is_absent());
        assert!(rc(0x1c4).is_value() && rc(0x2c4).is_value());
        assert!(rc(0x9a2).forbids_persisting() && rc(0x98e).forbids_persisting());
        assert!(rc(0x1df).is_parameter() && !rc(0x98e).is_parameter() && !rc(0x101).is_parameter());
        assert!(rc(0xa000a).is_io() && !rc(0x00a).is_io());
        assert!(!rc(0x7018b).is_absent(), "an error of another layer is no TPM error");
    }

    #[test]
    fn text_names_command_number_and_meaning() {
        let error = failed("TPM2_Quote")(TssError::Tss2Error(Tss2ResponseCode::from(0x18b)));
        let text = error.to_string();
        assert!(text.starts_with("TPM2_Quote failed: 0x18b, "), "{text}");
        assert!(text.contains("handle"), "{text}");
    }
}
