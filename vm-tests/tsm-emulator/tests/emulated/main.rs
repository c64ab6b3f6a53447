//! The collectors of `ccnode-cvm` on emulated guests: the same story on the emulator in memory and on its file system.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has failed, as it should"
)]

mod collect;
mod failures;
mod guest;
mod prover;
