//! Quotes of TPMs without a session: what somebody holds in files, judged as far as it goes, and named where it ends.
//!
//! [`QuoteEvidence::verify`] takes a TPMS_ATTEST with whatever goes with it, and gives a [`QuoteReport`]: each [`Finding`] is proven,
//! weak, unproven or refuted, with a [`Reason`] that has a stable code. The gates are those of a session; only the composition differs, since
//! nobody stands behind the evidence who could be asked for more.

mod ak_cert;
mod forms;
mod go_tpm_tools;
mod key;
mod log;
mod pcrs;
mod quote;
mod report;

pub use ak_cert::{AkCertError, AkChain};
pub use forms::{KbsTpm, KbsTpmError};
pub use go_tpm_tools::{Attestation, AttestationError, InstanceInfo, QuoteMessage};
pub use key::{KeyFormError, QuoteKey};
pub use log::{LogReplay, PcrReplay};
pub use pcrs::{PcrBank, PcrBankError};
pub use quote::{QuoteEvidence, SignatureForm};
pub use report::{Finding, QuoteClaims, QuoteReport, Reason, Status, Subject, Verdict};
