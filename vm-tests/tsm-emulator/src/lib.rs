//! An emulator of configfs-tsm for tests: in memory, or as a FUSE file system where the kernel's own would be.
//!
//! It keeps the kernel's rules (Linux 6.12, drivers/virt/coco/tsm.c): which attributes an entry has, what counts a generation,
//! when a report is made, which error says what. Whose reports they are is a [`Platform`]'s part. No shipped crate knows it.

mod fuse;
mod platform;
mod state;
mod told;
mod tree;

pub use fuse::mount;
pub use platform::{Blobs, Platform, Request, Snp, Svsm, Tdx};
pub use state::{Emulator, Interloper};
pub use told::{TABLES, says, told};
