//! Headers of LUKS2: read, judged, inspected, compared with cryptsetup's reading of them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and reports where it does not"
)]

mod common;
mod differential;
mod inspect;
mod judge;
mod parse;
mod passphrase;
mod vectors;
