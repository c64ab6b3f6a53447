//! A TPM in software, its maker's CA and a boot with a log of its own: evidence for tests, never for anything that ships.
//!
//! [`SoftTpm`] opens credentials, extends PCRs and quotes as a TPM does, with keys that anybody can read, and lies on demand
//! ([`Lies`]). [`Boot`] writes the event log of a machine and the tuples that expect it.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "dev-only: a test whose fixture fails must fail loudly"
)]

mod ak;
mod boot;
mod composite;
mod ek;
mod fleet;
pub mod hcl;
mod machine;
mod maker;
mod many_primes;
mod marshal;
mod scene;
mod session;
mod signed;
pub mod snp;
mod stock;
pub mod tdx;
mod tpm;

pub use ak::AkKind;
pub use boot::{Boot, CAP, pcr};
pub use composite::Reply;
pub use ek::EkKind;
pub use fleet::{Fleet, FleetTpm};
pub use machine::{Hardware, Machine, SVSM_VTPM};
pub use maker::{EkProfile, MakerCa, NOW, add_extension, resign};
pub use scene::Scene;
pub use session::{Answer, attest, attest_with, attest_with_init_data, auth_request, kubelet_csr};
pub use signed::{CERTIFICATE, CRL, signed_fields};
pub use stock::{StockReply, stock_attest, stock_request};
pub use tpm::{AK_ATTRIBUTES, Lies, Seat, SoftTpm, SoftTpmError};
