//! Pure appraisal: evidence and references go in, a verdict or the reason against it comes out.
//!
//! No I/O, no clock, no TPM library. Each gate has a proof type that its check alone makes; [`appraise()`] composes them and
//! alone makes a [`Verdict`]. The order of the gates is the order in which a [`Rejection`] is found.

mod ak;
mod allowed;
mod appraisal;
mod boot;
mod composite;
mod credential;
mod csr;
mod ek;
mod ek_cert;
mod ek_key;
mod explanation;
mod hardware;
mod identity;
mod ima;
mod level;
mod public_key;
mod quote;
mod reader;
mod references;
mod rejection;
mod sent;
mod session;
pub mod standalone;
pub mod stock;
mod tpm;
mod verdict;
mod x509;

pub use ak::{AkGuarded, Attribute, AttributeFault};
pub use allowed::AllowedOnce;
pub use appraisal::{activated, appraise, appraise_allowing};
pub use boot::BootEvents;
pub use ccnode_evidence::UnixTime;
pub use composite::PcrDigest;
pub use csr::{Csr, CsrError};
pub use ek::{EkChainValid, EkRoot, TrustLevel};
pub use ek_cert::EkCertError;
pub use ek_key::EkPublicError;
pub use explanation::{Explanation, LogKind, Member};
pub use hardware::{
    AzurePolicy, Collateral, CollateralError, Hardware, HardwarePolicy, PolicyError, Shelf, SnpLaunch,
    TdxLaunch, VtpmKeepers, table,
};
pub use identity::{TpmIdentity, default_name};
pub use ima::boot_aggregate_pcrs;
pub use level::Unbound;
pub use public_key::{Curve, KeyError};
pub use quote::{NonceFresh, SelectionExact, SignatureValid};
pub use references::{References, ReferencesSatisfied};
pub use rejection::Rejection;
pub use session::{Offered, Session};
pub use tpm::{ClockInfo, PublicError, QuoteError, Scheme, SchemeKind, Selection};
pub use verdict::{Counters, Kept, Refused, TpmVerdict, Verdict};
pub use x509::{CertError, ChainFault, SignatureFault};
