//! Boots virtual machines for tests and gives them a TPM, disks to spoil, services to reach and faults to meet.
//!
//! The crate knows nothing of what runs in the guest. A scenario describes a [`Machine`], boots it with
//! [`Vm::boot`], waits for text on its console and for its end, and looks at what it left behind.

pub mod acpi;
pub mod apiserver;
pub mod canned;
pub mod certs;
pub mod image;
pub mod machine;
pub mod proxy;
pub mod qmp;
pub mod relay;
pub mod run;
pub mod serial;
pub mod swtpm;
pub mod tap;
pub mod tpm_log;
pub mod vm;
pub mod write_log;

pub use apiserver::ApiServer;
pub use canned::{Canned, CannedHttps};
pub use certs::{Ca, CertKey};
pub use image::{Image, Partition};
pub use machine::{Disk, Firmware, Machine, Net, Tpm};
pub use proxy::{Fault, FaultProxy};
pub use run::{Scenario, Skip, Story, artefact, run};
pub use swtpm::{Swtpm, TpmMaker, TpmState};
pub use tap::{Passing, Tap};
pub use vm::{Off, Vm, patience};
pub use write_log::WriteLog;
