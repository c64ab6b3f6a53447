//! Azure's HCL report: a hardware report and, bound by its report data, the runtime data that name the vTPM's keys.
//!
//! The paravisor (HCL) runs in the confidential VM above the guest, keeps the vTPM, and leaves this report at NV index 0x01400001.
//! [`HclReport::parse`] reads and believes nothing. Who has proven the hardware report inside calls [`HclReport::bound_to`] with
//! its report data: that alone makes [`RuntimeProven`]. No I/O, no C. The form: Microsoft's "Guest attestation for confidential VMs".

mod key;
mod rejection;
mod report;
mod runtime;

pub use key::{KeyFault, RsaKey};
pub use rejection::{Field, HclRejection};
pub use report::{HASH_TYPES, HardwareReport, HclReport, MAX_HCL_REPORT};
pub use runtime::{RuntimeData, RuntimeProven, VmConfiguration};
