//! TD quotes and Intel's collateral under test roots: a platform whose keys anybody can read.
//!
//! [`Platform`] has the certificates, [`TdQuote`] the fields of a quote, [`Collateral`] those of Intel's answers; each starts out
//! good, tests change what they please, and the platform signs it.

mod collateral;
mod pki;
mod quote;

pub use collateral::Collateral;
pub use pki::{Faults, Platform};
pub use quote::{QeReport, TdFields, TdQuote};

/// A time within the validity of all that this module makes, unless it was asked for otherwise: 2025-06-15.
pub const NOW: u64 = crate::NOW;
/// FMSPC of the platform.
pub const FMSPC: [u8; 6] = [0xb0, 0xc0, 0x6f, 0, 0, 0];
/// SVN of each SGX component of the platform; its PCESVN is 11.
pub const SGX_SVN: u8 = 5;
