//! TPM structures as far as appraisal needs them: TPMT_PUBLIC, TPMS_ATTEST, TPMT_SIGNATURE (TPM 2.0 Library, part 2).

mod attest;
mod error;
mod legacy;
mod public;
mod scheme;
mod signature;

pub(crate) use attest::Quote;
pub use attest::{ClockInfo, Selection};
pub use error::{PublicError, QuoteError};
pub(crate) use legacy::{is_tpm12_cert, is_tpm12_key};
pub(crate) use public::SigningKey;
pub use scheme::{Scheme, SchemeKind};
pub(crate) use signature::{Signature, SignatureValue};

pub(crate) const ALG_RSA: u16 = 0x0001;
pub(crate) const ALG_AES: u16 = 0x0006;
pub(crate) const ALG_NULL: u16 = 0x0010;
pub(crate) const ALG_ECC: u16 = 0x0023;
pub(crate) const ALG_CFB: u16 = 0x0043;
