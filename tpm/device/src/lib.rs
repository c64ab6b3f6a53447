//! The TPM through tss-esapi: endorsement key, attestation key, quote, credential activation, extend.
//!
//! One thread owns the ESYS context; a [`DeviceHandle`] sends it commands and is the node's
//! [`ccnode_evidence::EvidenceSource`]. Keys and sessions are made once: [`DeviceHandle::prepare`] does that while the
//! network comes up, and then an activation is one TPM command and a quote three.
//!
//! The TSS writes warnings to stderr unless `TSS2_LOG=all+NONE` is in the environment before [`Device::open`]; the
//! environment belongs to the process, so setting it is the caller's part.

mod der;
mod ek_cert;
mod error;
mod flush;
mod handle;
mod hcl;
mod keys;
mod nv;
mod pcr;
mod quote;
mod session;
mod tcti;
mod thread;
mod tpm;

pub use ek_cert::EK_CERT_INDEX;
pub use error::{AkFault, CredentialFault, DeviceError, NvFault, TpmRc, Vouches};
pub use handle::{BootRecords, Device, DeviceHandle};
pub use hcl::{HCL_REPORT_INDEX, HCL_USER_DATA, HCL_USER_DATA_INDEX, Hcl, MAX_HCL_REPORT};
pub use keys::{AK_HANDLE, EK_HANDLE, HCL_AK_HANDLE, Voucher};
pub use quote::QUOTE_ATTEMPTS;
pub use tcti::{Tcti, TctiParseError};
