//! The node's first process: it measures, attests, unlocks and hands over, or refuses.
//!
//! [`boot::Boot`] composes the steps; what each one does to disk, network and files is in a module of its own, which
//! takes paths and values and is tested without a machine.

pub mod boot;
pub mod clevis;
pub mod clock;
pub mod console;
pub mod disk;
pub mod ephemeral;
pub mod fill;
pub mod gpt;
pub mod grace;
pub mod handover;
pub mod init_data;
pub mod last;
pub mod modules;
pub mod net;
pub mod pid1;
pub mod prover;
pub mod provision;
pub mod refusal;
pub mod rotation;
pub mod state;
pub mod status;
pub mod stock;
pub mod swap;
pub mod tree;
pub mod unlock;
pub mod watchdog;

pub use ccnode_node_config as config;

use ccnode_attest_client::ClockAtLeast;
use std::path::Path;

/// The clock for certificates: never before the image was built.
pub fn boot_time_clock() -> ClockAtLeast {
    ClockAtLeast { floor: config::build_time(&Path::new(config::DIR).join("build-time")) }
}
