//! Pure appraisal: evidence and references go in, a verdict or the reason against it comes out.
//!
//! No I/O, no clock, no TPM library. Each gate has a proof type that its check alone makes; [`appraise()`] composes them and
//! alone makes a [`Verdict`]. The order of the gates is the order in which a [`Rejection`] is found.

mod ak;
mod appraisal;
mod boot;
mod credential;
mod csr;
mod ek;
mod identity;
mod ima;
mod quote;
mod reader;
mod references;
mod rejection;
mod session;
mod tpm_types;
#[cfg(test)]
mod vectors;
mod verdict;

pub use ak::{AkGuarded, Attribute, AttributeFault};
pub use appraisal::{activated, appraise};
pub use boot::BootEvents;
pub use ccnode_evidence::UnixTime;
pub use csr::{Csr, CsrError};
pub use ek::{EkCertError, EkChainValid, EkRoot, TrustLevel};
pub use identity::TpmIdentity;
pub use ima::boot_aggregate_pcrs;
pub use quote::{NonceFresh, SelectionExact, SignatureValid};
pub use references::{References, ReferencesSatisfied};
pub use rejection::{Explanation, LogKind, Member, Rejection};
pub use session::Session;
pub use tpm_types::{ClockInfo, PublicError, QuoteError};
pub use verdict::{Counters, Kept, Refused, Verdict};
