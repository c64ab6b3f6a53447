//! What is proven of a quote and what is not, in findings that have stable codes.

use super::{AkCertError, KeyFormError, LogReplay};
use crate::ak::AttributeFault;
use crate::composite::PcrDigest;
use crate::quote::hex;
use crate::{ClockInfo, QuoteError, Scheme, Selection};
use ccnode_evidence::{Code, PcrIndex};

/// What a finding is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// The quote's form: TPMS_ATTEST.
    Quote,
    /// Its signature.
    Signature,
    /// The key that signed.
    Key,
    /// The certificate chain above that key.
    Chain,
    /// The bank and the PCRs that the quote selects.
    Selection,
    /// The PCR values.
    Pcrs,
    /// That the quote is an answer to somebody's nonce.
    Nonce,
    /// The event log.
    Log,
}

/// How far a finding goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It holds.
    Proven,
    /// It holds, by means that prove little.
    Weak,
    /// What it would take is not at hand.
    Unproven,
    /// It does not hold.
    Refuted,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What it is about.
    pub subject: Subject,
    /// How far it goes.
    pub status: Status,
    /// Why it is not proven; `None` where it is.
    pub reason: Option<Reason>,
    /// In a sentence.
    pub text: String,
}

impl Finding {
    pub(super) fn proven(subject: Subject, text: String) -> Self {
        Self { subject, status: Status::Proven, reason: None, text }
    }

    pub(super) fn refuted(subject: Subject, reason: Reason) -> Self {
        Self::with(subject, Status::Refuted, reason)
    }

    pub(super) fn unproven(subject: Subject, reason: Reason) -> Self {
        Self::with(subject, Status::Unproven, reason)
    }

    pub(super) fn with(subject: Subject, status: Status, reason: Reason) -> Self {
        Self { subject, status, text: reason.to_string(), reason: Some(reason) }
    }

    /// The stable code; `None` where it is proven.
    pub fn code(&self) -> Option<Code> {
        self.reason.as_ref().map(Reason::code)
    }
}

/// Why something is refuted, weak or not proven.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Reason {
    /// No quote, or no signature, that can be read.
    #[error("quote: {0}")]
    Malformed(#[source] QuoteError),
    /// There is no signature at hand.
    #[error("no signature is at hand: anybody can have written this quote")]
    SignatureMissing,
    /// There is no key at hand.
    #[error("no key is at hand to verify the signature with")]
    KeyMissing,
    /// The key that came along is none.
    #[error("{0}")]
    Key(#[source] KeyFormError),
    /// The signature is not the key's.
    #[error("the quote's signature does not verify with the key at hand")]
    Signature,
    /// The key could leave its TPM, or sign what is no TPM's.
    #[error("the key's {0}: it may have signed what no TPM made")]
    Attributes(#[source] AttributeFault),
    /// The key came without its public area.
    #[error("the key came without its TPMT_PUBLIC: whether a TPM guards it, and it alone, is not known")]
    AttributesUnknown,
    /// Another key than the certificate's.
    #[error("the attestation key is not the one of the certificate beside it")]
    OtherKey,
    /// No certificate, or no root to judge it by.
    #[error("{0}")]
    ChainMissing(&'static str),
    /// The certificate leads to no root.
    #[error("{0}")]
    Chain(#[source] AkCertError),
    /// The SHA-1 bank.
    #[error("the quote is over the SHA-1 bank ({0}), which proves nothing about what was measured")]
    BankWeak(String),
    /// A bank that is not known, or PCRs that don't exist, or nothing.
    #[error("the quote selects {0}, which is not judged")]
    Selection(String),
    /// No PCR values at hand.
    #[error("no values are at hand for the PCRs that the quote selects")]
    PcrsMissing,
    /// A log that alone does not give them: something extended PCRs and did not log it.
    #[error(
        "the event log alone does not replay to what the quote covers, and no PCR values are at hand beside it"
    )]
    LogNotWhole,
    /// The values at hand are not those quoted.
    #[error("the PCR values at hand hash to {found}, the quote covers {quoted}")]
    PcrDigest {
        /// Of the values at hand.
        found: PcrDigest,
        /// The quote's.
        quoted: PcrDigest,
    },
    /// The nonce is another.
    #[error("the quote answers {}, not {}", hex(found), hex(due))]
    Nonce {
        /// extraData.
        found: Vec<u8>,
        /// The nonce at hand.
        due: Vec<u8>,
    },
    /// No nonce at hand.
    #[error("no nonce is at hand: the quote may be a replay")]
    NonceMissing,
    /// A log that can't be read.
    #[error("{0}")]
    LogMalformed(String),
    /// The log lacks the quote's bank, or can't be replayed in it.
    #[error("{0}")]
    LogBank(String),
    /// The log replays to another value.
    #[error("{pcr:?}: the event log replays to {}, the TPM quotes {}", hex(replayed), hex(quoted))]
    LogMismatch {
        /// The PCR.
        pcr: PcrIndex,
        /// The TPM's value.
        quoted: Vec<u8>,
        /// The log's value.
        replayed: Vec<u8>,
    },
    /// The log has no event for PCRs that are not as a reset leaves them.
    #[error("the event log says nothing of {}, which something extended", list(pcrs))]
    LogSilent {
        /// The PCRs.
        pcrs: Vec<PcrIndex>,
    },
}

fn list(pcrs: &[PcrIndex]) -> String {
    pcrs.iter().map(|pcr| format!("PCR {pcr}")).collect::<Vec<_>>().join(", ")
}

impl Reason {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed(error) => error.code(),
            Self::SignatureMissing => Code::QuoteSignatureMissing,
            Self::KeyMissing => Code::QuoteKeyMissing,
            Self::Key(error) => error.code(),
            Self::Signature => Code::QuoteSignature,
            Self::Attributes(_) => Code::AkAttributes,
            Self::AttributesUnknown => Code::AkAttributesUnknown,
            Self::OtherKey => Code::AkCertMismatch,
            Self::ChainMissing(_) => Code::AkChainMissing,
            Self::Chain(error) => error.code(),
            Self::BankWeak(_) => Code::QuoteBankWeak,
            Self::Selection(_) => Code::QuoteSelection,
            Self::PcrsMissing | Self::LogNotWhole => Code::PcrValuesMissing,
            Self::PcrDigest { .. } => Code::QuotePcrDigest,
            Self::Nonce { .. } => Code::QuoteNonce,
            Self::NonceMissing => Code::QuoteNonceMissing,
            Self::LogMalformed(_) => Code::EventLogMalformed,
            Self::LogBank(_) | Self::LogSilent { .. } => Code::EventLogIncomplete,
            Self::LogMismatch { .. } => Code::EventLogMismatch,
        }
    }
}

/// The sum of a report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// The signature is proven, and nothing at hand contradicts.
    Valid,
    /// Nothing contradicts, and the signature is not proven.
    Incomplete,
    /// Something is refuted.
    Invalid,
}

/// What the quote says, believed as far as the findings go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuoteClaims {
    /// extraData.
    pub extra_data: Vec<u8>,
    /// Clock and counters.
    pub clock: ClockInfo,
    /// As the TPM's maker counts.
    pub firmware_version: u64,
    /// Banks and bitmaps.
    pub selections: Vec<Selection>,
    /// The digest over the selected PCRs.
    pub pcr_digest: PcrDigest,
    /// The qualified Name of the key that signed.
    pub qualified_signer: Vec<u8>,
    /// The signature's scheme, where there is one.
    pub scheme: Option<Scheme>,
    /// The key in words.
    pub key: Option<String>,
}

/// What is proven of one quote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuoteReport {
    /// In the order of their subjects.
    pub findings: Vec<Finding>,
    /// What the quote says; `None` where it can't be read.
    pub claims: Option<QuoteClaims>,
    /// The log beside the quoted PCRs, where both are at hand.
    pub log: Option<LogReplay>,
}

impl QuoteReport {
    /// The sum of the findings.
    pub fn verdict(&self) -> Verdict {
        if self.findings.iter().any(|finding| finding.status == Status::Refuted) {
            return Verdict::Invalid;
        }
        match self.proven(Subject::Signature) {
            true => Verdict::Valid,
            false => Verdict::Incomplete,
        }
    }

    /// Whether something is proven of `subject`, and nothing against it.
    pub fn proven(&self, subject: Subject) -> bool {
        let of = || self.findings.iter().filter(|finding| finding.subject == subject);
        of().any(|f| f.status == Status::Proven) && of().all(|f| f.status != Status::Refuted)
    }

    /// The codes of all that is not proven, in the findings' order.
    pub fn codes(&self) -> Vec<Code> {
        self.findings.iter().filter_map(Finding::code).collect()
    }
}
