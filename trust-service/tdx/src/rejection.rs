//! Every way in which a TD quote is refused: one variant each, with its data, its code and its sentence.

use crate::{
    ChainError, ChainKind, CollateralError, CollateralItem, Flags, Measurement, MeasurementField,
    ModuleError, PckError, QeIdentityError, QuoteError, Shortfall, TcbStatus, TcbSvn, TdReportError,
    attributes,
};
use ccnode_evidence::{Code, Sha256Digest, UnixTime};
use std::collections::BTreeSet;
use std::fmt;

/// Which signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureOf {
    /// Of the QE report, by the PCK.
    QeReport,
    /// Of header and body, by the attestation key.
    Quote,
}

impl fmt::Display for SignatureOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QeReport => "the QE report's signature does not verify with the PCK",
            Self::Quote => "the quote's signature does not verify with the attestation key",
        })
    }
}

/// Why a TD quote, or its collateral, is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Not a TD quote that is judged here.
    #[error("{0}")]
    Malformed(#[source] QuoteError),
    /// A chain does not lead to the root.
    #[error("{chain}: {error}")]
    Chain {
        /// Which.
        chain: ChainKind,
        /// Why not.
        #[source]
        error: ChainError,
    },
    /// The PCK certificate does not say which platform it is for.
    #[error("PCK certificate: {0}")]
    Pck(#[source] PckError),
    /// Intel revoked a certificate.
    #[error("{chain}: `{subject}` (serial {serial}) is revoked")]
    Revoked {
        /// Of which chain.
        chain: ChainKind,
        /// Its subject.
        subject: String,
        /// Its serial number, hexadecimal.
        serial: String,
    },
    /// A signature of the quote does not verify.
    #[error("{0}")]
    Signature(SignatureOf),
    /// The QE report does not vouch for the attestation key.
    #[error("the QE report binds {}, attestation key and authentication data hash to {}", hex::encode(.reported.as_slice()), hex::encode(.computed.as_slice()))]
    AttestationKey {
        /// The QE report's report data.
        reported: Box<[u8; 64]>,
        /// SHA-256 of the key and the authentication data, then zeros.
        computed: Box<[u8; 64]>,
    },
    /// The enclave that signed is not Intel's quoting enclave.
    #[error("quoting enclave: {0}")]
    QeIdentity(#[source] QeIdentityError),
    /// There is no collateral.
    #[error("there is no collateral for FMSPC {}", hex::encode(.fmspc))]
    CollateralMissing {
        /// The platform's.
        fmspc: [u8; 6],
    },
    /// An item of the collateral can't be read.
    #[error("{item}: {error}")]
    CollateralMalformed {
        /// Which.
        item: CollateralItem,
        /// Why not.
        #[source]
        error: CollateralError,
    },
    /// An item's signature does not verify.
    #[error("{0}: the signature does not verify")]
    CollateralSignature(CollateralItem),
    /// An item is past its end.
    #[error("{item}: the next one was due at {next_update}, and now is {now}")]
    CollateralExpired {
        /// Which.
        item: CollateralItem,
        /// When the next one was due.
        next_update: UnixTime,
        /// The time of judgement.
        now: UnixTime,
    },
    /// An item is of the future.
    #[error("{item}: issued at {issued}, and now is {now}")]
    CollateralNotYetValid {
        /// Which.
        item: CollateralItem,
        /// When it was issued.
        issued: UnixTime,
        /// The time of judgement.
        now: UnixTime,
    },
    /// An item is older than the policy takes.
    #[error("{item}: issued at {issued}, now is {now}, and the policy takes {max_age_days} days")]
    CollateralTooOld {
        /// Which.
        item: CollateralItem,
        /// When it was issued.
        issued: UnixTime,
        /// What the policy takes.
        max_age_days: u32,
        /// The time of judgement.
        now: UnixTime,
    },
    /// The collateral is of before a TCB recovery that the policy wants to have seen.
    #[error("the collateral has TCB evaluation data number {seen}; the policy wants {wanted}")]
    EvaluationNumber {
        /// The lower one of TCB info and QE identity.
        seen: u32,
        /// The policy's.
        wanted: u32,
    },
    /// An item is for another TEE or enclave.
    #[error("{item} is for `{seen}`; `{wanted}` is due")]
    CollateralKind {
        /// Which.
        item: CollateralItem,
        /// Its id.
        seen: String,
        /// What is due.
        wanted: &'static str,
    },
    /// The TCB info is of another platform model.
    #[error("TCB info of FMSPC {}, PCEID {}; the platform is {}, {}", hex::encode(.seen.0), hex::encode(.seen.1), hex::encode(.wanted.0), hex::encode(.wanted.1))]
    CollateralPlatform {
        /// FMSPC and PCEID of the TCB info.
        seen: ([u8; 6], [u8; 2]),
        /// Those of the PCK certificate.
        wanted: ([u8; 6], [u8; 2]),
    },
    /// The collateral was verified under another root than the quote is to be.
    #[error("the collateral is signed under the root {seen}; the quote is judged under {wanted}")]
    CollateralRoot {
        /// SHA-256 of the one's public key.
        seen: Sha256Digest,
        /// That of the other.
        wanted: Sha256Digest,
    },
    /// A list is of another CA than stands beside it.
    #[error("{item} is by `{seen}`; one by `{wanted}` is due")]
    CrlIssuer {
        /// Which.
        item: CollateralItem,
        /// Its issuer.
        seen: String,
        /// Whose is due.
        wanted: String,
    },
    /// No list says whether a certificate is revoked.
    #[error("{chain}: no CRL of the collateral is by the issuer of `{subject}`")]
    NoCrl {
        /// Of which chain.
        chain: ChainKind,
        /// The certificate's subject.
        subject: String,
    },
    /// The TDX module is not one of the TCB info's.
    #[error("TDX module: {0}")]
    Module(#[source] ModuleError),
    /// The TCB's status is not one that the policy takes.
    #[error("TCB status {seen}{}{}; the policy takes {}", shortfall_text(.shortfall), advisory_text(.advisories), names(.wanted))]
    TcbStatus {
        /// The platform's.
        seen: TcbStatus,
        /// The policy's.
        wanted: BTreeSet<TcbStatus>,
        /// Security advisories that apply.
        advisories: Vec<String>,
        /// By what the platform misses the lowest level, where none matches.
        shortfall: Option<Shortfall>,
    },
    /// The TDX module or the platform is older than the policy takes.
    #[error("TEE_TCB_SVN {seen}; the policy wants each byte at least {wanted}")]
    TeeTcbSvn {
        /// The TD's.
        seen: TcbSvn,
        /// The policy's.
        wanted: TcbSvn,
    },
    /// The TD is under debug or profiling.
    #[error("TD attributes {seen} have debug or profiling bits ({}); none are due", attributes::names(.seen.0 & attributes::UNDER_DEBUG).join(", "))]
    Debug {
        /// The TD's attributes.
        seen: Flags,
    },
    /// The TD lacks attributes, or has some that the policy does not allow.
    #[error("TD attributes {seen}: {}; required are {required}, allowed {allowed}", bits_text(.seen.0, .required.0, .allowed.0, attributes::names))]
    Attributes {
        /// The TD's.
        seen: Flags,
        /// Bits that must be set.
        required: Flags,
        /// Bits that may be set.
        allowed: Flags,
    },
    /// The TD lacks extended features, or has some that the policy does not allow.
    #[error("XFAM {seen}: {}; required are {required}, allowed {allowed}", bits_text(.seen.0, .required.0, .allowed.0, numbers))]
    Xfam {
        /// The TD's.
        seen: Flags,
        /// Bits that must be set.
        required: Flags,
        /// Bits that may be set.
        allowed: Flags,
    },
    /// A measurement is not one that the policy lists.
    #[error("{field} {seen} is none of the {} that the policy lists{}", wanted.len(), first_text(.wanted))]
    Measurement {
        /// Which.
        field: MeasurementField,
        /// The TD's.
        seen: Measurement,
        /// The policy's.
        wanted: BTreeSet<Measurement>,
    },
    /// The quote is not bound to the transcript.
    #[error("report data {}; {} is due", hex::encode(.seen.as_slice()), hex::encode(.wanted.as_slice()))]
    ReportData {
        /// The quote's.
        seen: Box<[u8; 64]>,
        /// The transcript's 48 bytes, then zeros.
        wanted: Box<[u8; 64]>,
    },
    /// A TDREPORT is not the one that the quote was made from.
    #[error("TDREPORT: {0}")]
    TdReport(#[source] TdReportError),
}

impl Rejection {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Malformed(_) => Code::TdxQuoteMalformed,
            Self::Chain { .. } | Self::Pck(_) => Code::TdxChain,
            Self::Revoked { .. } => Code::TdxPckRevoked,
            Self::Signature(_) | Self::AttestationKey { .. } => Code::TdxSignature,
            Self::QeIdentity(_) => Code::TdxQeIdentity,
            Self::CollateralMissing { .. } => Code::TdxCollateralMissing,
            Self::CollateralMalformed { .. } => Code::TdxCollateralMalformed,
            Self::CollateralSignature(_) => Code::TdxCollateralSignature,
            Self::CollateralExpired { .. }
            | Self::CollateralNotYetValid { .. }
            | Self::CollateralTooOld { .. }
            | Self::EvaluationNumber { .. } => Code::TdxCollateralExpired,
            Self::CollateralKind { .. }
            | Self::CollateralPlatform { .. }
            | Self::CollateralRoot { .. }
            | Self::CrlIssuer { .. }
            | Self::NoCrl { .. } => Code::TdxCollateralMismatch,
            Self::Module(_) => Code::TdxModule,
            Self::TcbStatus { .. } => Code::TdxTcbStatus,
            Self::TeeTcbSvn { .. } => Code::TdxTcbSvn,
            Self::Debug { .. } => Code::TdxDebug,
            Self::Attributes { .. } => Code::TdxAttributes,
            Self::Xfam { .. } => Code::TdxXfam,
            Self::Measurement { field, .. } => field.code(),
            Self::ReportData { .. } => Code::TdxReportData,
            Self::TdReport(_) => Code::TdxReport,
        }
    }
}

fn shortfall_text(shortfall: &Option<Shortfall>) -> String {
    shortfall.map(|s| format!(" ({s})")).unwrap_or_default()
}

fn advisory_text(advisories: &[String]) -> String {
    if advisories.is_empty() { String::new() } else { format!(" ({})", advisories.join(", ")) }
}

fn names(statuses: &BTreeSet<TcbStatus>) -> String {
    let names: Vec<String> = statuses.iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn bits_text(seen: u64, required: u64, allowed: u64, names: fn(u64) -> Vec<String>) -> String {
    let (missing, excess) = (required & !seen, seen & !(allowed | required));
    let part = |bits, what| (bits != 0).then(|| format!("{what} {}", names(bits).join(", ")));
    let parts: Vec<String> = [part(missing, "lacks"), part(excess, "has")].into_iter().flatten().collect();
    parts.join(" and ")
}

fn numbers(bits: u64) -> Vec<String> {
    (0..u64::BITS).filter(|n| bits & (1 << n) != 0).map(|n| format!("bit {n}")).collect()
}

fn first_text(wanted: &BTreeSet<Measurement>) -> String {
    wanted.first().map(|first| format!(", such as {first}")).unwrap_or_default()
}
