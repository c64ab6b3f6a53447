//! Measures unlocking beside its peers: `cryptsetup`, systemd-cryptsetup with a TPM, and ccnode-init, in one machine shape.

pub mod baseline;
pub mod disk;
pub mod figures;
pub mod kernel;
pub mod ours;
pub mod peers;
pub mod program;
pub mod sizes;
