//! SEV-SNP in software: a chip that signs reports of versions 2 to 5, and its certificates under a test chain.
//!
//! [`TestChip::report`], [`TestChip::certs_table`] and [`TestChip::ark_der`] are what an emulator of the kernel's interface
//! needs; the `…_with` functions lie for tests of a verifier. The chain looks like AMD's but for its organization's name.

mod certs;
mod chip;
mod der;
mod report;
mod table;

pub use certs::{CertSpec, CrlSpec, amd_extension, any_extension, der_ia5, der_integer, der_octets};
pub use chip::{ChipModel, POLICY_RESERVED, TestChip};
pub use report::{REPORT, ReportSpec, SIGNED, Tcb};
pub use table::{ARK, ASK, CRL, VCEK, VLEK, certs_table, guid_bytes};
