//! Every way in which appraisal says no: one variant each, with its data, its code and its sentence.

use crate::ak::AttributeFault;
use crate::{
    ChainFault, CsrError, EkCertError, EkPublicError, Explanation, KeyError, LogKind, Member, PcrDigest,
    PublicError, QuoteError, Scheme, TrustLevel, Unbound, UnixTime,
};
use ccnode_evidence::{Code, EvidenceKind, PcrIndex, PcrSet, Sha256Digest};
use ccnode_hcl::HclRejection;
use ccnode_snp::SnpRejection;
use ccnode_tdx::{Rejection as TdxRejection, RtmrError};
use ccnode_tpm_eventlog::{Difference, LogError, MatchError};

fn kinds(allowed: &[EvidenceKind]) -> String {
    match allowed {
        [] => "none".to_owned(),
        _ => allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn because(unbound: Option<Unbound>) -> String {
    unbound.map(|why| format!(": {why}")).unwrap_or_default()
}

/// Why evidence is refused.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// A member of the request is missing or not of its form.
    #[error("member `{member}`: {reason}")]
    MalformedRequest {
        /// The member's path.
        member: &'static str,
        /// What is wrong about it.
        reason: String,
    },
    /// The attestation has no member `ccnode`.
    #[error("the evidence is bound by the stock transcript, and this pool takes ccnode/1 alone")]
    StockTranscript,
    /// The member `ccnode` has a version other than 1.
    #[error("the transcript has version {0}; version 1 is spoken here")]
    TranscriptVersion(u32),
    /// The nonce is not the session's.
    #[error("the evidence carries nonce {sent}, the session's is {due}")]
    NonceMismatch {
        /// As sent, shortened.
        sent: String,
        /// The session's, as text.
        due: String,
    },
    /// The EK certificate can't be read, or is none.
    #[error("EK certificate: {0}")]
    EkCertMalformed(#[source] EkCertError),
    /// The endorsement key's TPMT_PUBLIC is none that credentials are made for.
    #[error("endorsement key: {0}")]
    EkMalformed(#[source] EkPublicError),
    /// The TPM has no certificate, and nothing else vouches for its endorsement key.
    #[error("the TPM has no EK certificate, and {0}")]
    EkUncertified(Unbound),
    /// No root of the pool leads to it.
    #[error("no EK root of the pool issued the certificate by `{issuer}`")]
    EkUntrusted {
        /// Issuer of the EK certificate.
        issuer: String,
    },
    /// A CA of the pool has the issuer's name, and did not issue the certificate, or was not allowed to.
    #[error("no EK root of the pool issued the certificate by `{issuer}`: {fault}")]
    EkChain {
        /// Issuer of the EK certificate.
        issuer: String,
        /// Why the CA of that name, or one above it, was passed over.
        #[source]
        fault: ChainFault,
    },
    /// The certificate, or one above it, is outside its validity.
    #[error("certificate of `{subject}` is valid from {not_before} to {not_after}, and now is {now}")]
    EkCertExpired {
        /// Whose certificate.
        subject: String,
        /// First second of its validity.
        not_before: UnixTime,
        /// Last second of its validity.
        not_after: UnixTime,
        /// The time of appraisal.
        now: UnixTime,
    },
    /// The pool does not take evidence of this kind.
    #[error("evidence of kind {kind}; the pool takes {}", kinds(allowed))]
    KindNotAllowed {
        /// As announced.
        kind: EvidenceKind,
        /// The pool's.
        allowed: Vec<EvidenceKind>,
    },
    /// The evidence is worth less than the pool wants.
    #[error("the evidence has level {level}, and the pool wants {least} or more{}", because(*unbound))]
    LevelTooLow {
        /// As derived.
        level: TrustLevel,
        /// The pool's.
        least: TrustLevel,
        /// Why it is no higher, where hardware could make it so.
        unbound: Option<Unbound>,
    },
    /// An SEV-SNP report, or its chain, is refused.
    #[error("SEV-SNP: {0}")]
    Snp(#[source] SnpRejection),
    /// A TDX quote, or its collateral, is refused.
    #[error("TDX: {0}")]
    Tdx(#[source] TdxRejection),
    /// A CCEL is not the log of the quote's RTMRs.
    #[error("TDX: {0}")]
    TdxLog(#[source] RtmrError),
    /// An HCL report is refused, or names other keys.
    #[error("Azure: {0}")]
    Hcl(#[source] HclRejection),
    /// The HCL report holds a report of other hardware than the evidence says.
    #[error("Azure: the HCL report is of {sent}, evidence of this kind has one of {due}")]
    HclKind {
        /// Its hardware.
        sent: &'static str,
        /// The kind's.
        due: &'static str,
    },
    /// Azure's runtime data name RSA keys, and a key of the vTPM is none.
    #[error("Azure: the vTPM's keys are RSA keys, and one that was offered is not")]
    AzureKey,
    /// The SVSM vouches for another endorsement key.
    #[error(
        "the report covers an endorsement key with SHA-256 {manifest}, the credential was made for {offered}"
    )]
    SvsmOtherEk {
        /// SHA-256 of the manifest.
        manifest: String,
        /// SHA-256 of the TPMT_PUBLIC that was offered.
        offered: String,
    },
    /// A report alone of a launch that the pool lists for no image.
    #[error("the pool lists no image for this launch: {launch} is {listed}")]
    LaunchUnknown {
        /// The measurements.
        launch: String,
        /// Those that it lists, in words.
        listed: String,
    },
    /// The pool lists a launch for an image that is not registered.
    #[error("the pool lists this launch for image {image}, which is not registered")]
    LaunchImage {
        /// Id of the tuple.
        image: Sha256Digest,
    },
    /// RTMR 3 is not zero: a TD without a vTPM caps by it.
    #[error("RTMR 3 is {value}, not zero: this boot is capped")]
    RtmrCapped {
        /// Its value, hex.
        value: String,
    },
    /// The attestation key's TPMT_PUBLIC is none that is appraised.
    #[error("attestation key: {0}")]
    AkMalformed(#[source] PublicError),
    /// The attestation key could leave its TPM, or sign what is no TPM's.
    #[error("attestation key: {0}")]
    AkAttributes(#[source] AttributeFault),
    /// The activation value does not prove the challenge's secret.
    #[error("the activation value does not prove the secret of the challenge")]
    ActivationFailed,
    /// What was sent is not what the transcript binds.
    #[error("`{member}` as sent is not what the transcript binds")]
    TranscriptMismatch {
        /// Which member.
        member: Member,
    },
    /// No quote, or no signature that can be read.
    #[error("quote: {0}")]
    QuoteMalformed(#[source] QuoteError),
    /// The signature is not the attestation key's.
    #[error("the quote's signature does not verify with the attestation key")]
    QuoteSignature,
    /// extraData is not this session's report data.
    #[error("the quote's extraData is {sent}, the transcript's report data begins with {due}")]
    QuoteNonce {
        /// Hex, shortened.
        sent: String,
        /// Hex.
        due: String,
    },
    /// The selection is not exactly sha256:0-15.
    #[error("the quote selects {sent}; exactly sha256:0-15 is due")]
    QuoteSelection {
        /// In words.
        sent: String,
    },
    /// The quote is over the SHA-1 bank, or over it too.
    #[error("the quote selects {sent}; SHA-1 proves nothing, and the SHA-256 bank is due")]
    QuoteBankWeak {
        /// In words.
        sent: String,
    },
    /// The PCR values sent are not those quoted.
    #[error("the PCR values sent hash to {sent}, the quote covers {quoted}")]
    QuotePcrDigest {
        /// Composite digest of what was sent, by the hash of the key's scheme.
        sent: PcrDigest,
        /// The quote's.
        quoted: PcrDigest,
    },
    /// A log that can't be read.
    #[error("{log}: {reason}")]
    EventLogMalformed {
        /// Which.
        log: LogKind,
        /// Why.
        #[source]
        reason: LogError,
    },
    /// The logs don't replay to the quoted PCRs.
    #[error("{0}")]
    EventLogMismatch(#[source] MatchError),
    /// PCR 15 is not zero.
    #[error("PCR 15 is {value}, not zero: this boot is capped")]
    AlreadyCapped {
        /// Its value.
        value: Sha256Digest,
    },
    /// PCR 0–3, 6 and 7 match no tuple.
    #[error("{}", .0.sentence("platform"))]
    PlatformUnknown(Box<Explanation>),
    /// PCR 4, 9 and 11–14 match no tuple.
    #[error("{}", .0.sentence("image"))]
    ImageUnknown(Box<Explanation>),
    /// Both known, and not allowed together.
    #[error("platform `{platform_name}` with image `{image_name}` is no allowed pair")]
    PairNotAllowed {
        /// Id of the platform tuple.
        platform: Sha256Digest,
        /// Its name.
        platform_name: String,
        /// Id of the image tuple.
        image: Sha256Digest,
        /// Its name and version.
        image_name: String,
    },
    /// PCR 5 holds an event that doesn't belong there.
    #[error("PCR 5: event {event} is no proven partition table, separator or boot action: {component}")]
    BootEvents {
        /// Position in the log.
        event: usize,
        /// The log's words for it.
        component: String,
    },
    /// PCR 8 is not what the init-data sent give.
    #[error("PCR 8 is {value}, {}", if *allowed { "not what the init-data sent give" } else { "and the pool allows no init-data" })]
    InitData {
        /// Its value.
        value: Sha256Digest,
        /// Whether the pool allows init-data.
        allowed: bool,
    },
    /// PCR 10 is neither zero nor the boot aggregate.
    #[error("PCR 10 is {value}, neither zero nor what the boot aggregate alone leaves ({} or {})", aggregates[0], aggregates[1])]
    ImaUnexpected {
        /// Its value.
        value: Sha256Digest,
        /// What one extension by IMA's boot aggregate gives: template ima-ng, ima-sig.
        aggregates: [Sha256Digest; 2],
    },
    /// The certificate request is none that is signed here.
    #[error("certificate request: {0}")]
    CsrRefused(#[source] CsrError),
    /// A stock client's attestation key is none that is appraised.
    #[error("attestation key: {0}")]
    StockKey(#[source] KeyError),
    /// A stock client signs by RSASSA with SHA-256 alone.
    #[error("the signature is {sent}, and the stock transcript has RSASSA with SHA-256 alone")]
    StockScheme {
        /// The signature's scheme.
        sent: Scheme,
    },
    /// The selection is not exactly sha256:0-23.
    #[error("the quote selects {sent}; exactly sha256:0-23 is due")]
    StockQuoteSelection {
        /// In words.
        sent: String,
    },
    /// Init-data were sent, and the pool allows none.
    #[error("init-data were sent, and the pool allows none")]
    InitDataSent,
    /// The hardware report was not made with these init-data.
    #[error("{place} is {value}, the init-data sent give {due}")]
    InitDataOther {
        /// HOST_DATA or MRCONFIGID.
        place: &'static str,
        /// Its value, hex.
        value: String,
        /// What it should be, hex.
        due: String,
    },
    /// A value is not among the reference values of its name.
    #[error("{name} is {value}, which is none of its {} reference values", listed)]
    ReferenceValue {
        /// The name of the reference values.
        name: String,
        /// What the evidence says.
        value: String,
        /// How many values the name has.
        listed: usize,
    },
    /// Reference values were posted, and not for all the PCRs that are needed.
    #[error("reference values were posted, and {missing} are not among them")]
    ReferenceValuesIncomplete {
        /// The names that are missing.
        missing: String,
    },
}

impl Rejection {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::MalformedRequest { .. } | Self::TranscriptVersion(_) => Code::MalformedRequest,
            Self::StockTranscript => Code::StockTranscript,
            Self::NonceMismatch { .. } => Code::NonceMismatch,
            Self::EkCertMalformed(EkCertError::Tpm12) | Self::EkMalformed(EkPublicError::Tpm12) => {
                Code::Tpm12
            }
            Self::EkMalformed(_) => Code::EkMalformed,
            Self::EkUncertified(_) => Code::EkUncertified,
            Self::EkCertMalformed(_) => Code::EkCertMalformed,
            Self::EkUntrusted { .. } | Self::EkChain { .. } => Code::EkUntrusted,
            Self::EkCertExpired { .. } => Code::EkCertExpired,
            Self::KindNotAllowed { .. } => Code::KindNotAllowed,
            Self::LevelTooLow { .. } => Code::LevelTooLow,
            Self::Snp(rejection) => rejection.code(),
            Self::Tdx(rejection) => rejection.code(),
            Self::TdxLog(error) => error.code(),
            Self::Hcl(rejection) => rejection.code(),
            Self::HclKind { .. } => Code::HclMalformed,
            Self::AzureKey => Code::HclKey,
            Self::SvsmOtherEk { .. } => Code::SnpSvsm,
            Self::LaunchUnknown { .. } | Self::LaunchImage { .. } => Code::LaunchUnknown,
            Self::RtmrCapped { .. } => Code::AlreadyCapped,
            Self::AkMalformed(error) => error.code(),
            Self::AkAttributes(_) => Code::AkAttributes,
            Self::ActivationFailed => Code::ActivationFailed,
            Self::TranscriptMismatch { .. } => Code::TranscriptMismatch,
            Self::QuoteMalformed(error) => error.code(),
            Self::QuoteSignature => Code::QuoteSignature,
            Self::QuoteNonce { .. } => Code::QuoteNonce,
            Self::QuoteSelection { .. } => Code::QuoteSelection,
            Self::QuoteBankWeak { .. } => Code::QuoteBankWeak,
            Self::QuotePcrDigest { .. } => Code::QuotePcrDigest,
            Self::EventLogMalformed { .. } => Code::EventLogMalformed,
            Self::EventLogMismatch(_) => Code::EventLogMismatch,
            Self::AlreadyCapped { .. } => Code::AlreadyCapped,
            Self::PlatformUnknown(_) => Code::PlatformUnknown,
            Self::ImageUnknown(_) => Code::ImageUnknown,
            Self::PairNotAllowed { .. } => Code::PairNotAllowed,
            Self::BootEvents { .. } => Code::BootEvents,
            Self::InitData { .. } => Code::InitDataNotAllowed,
            Self::ImaUnexpected { .. } => Code::ImaUnexpected,
            Self::CsrRefused(_) => Code::CsrRefused,
            Self::StockKey(error) if error.is_weak() => Code::AkWeak,
            Self::StockKey(_) => Code::AkMalformed,
            Self::StockScheme { .. } => Code::QuoteMalformed,
            Self::StockQuoteSelection { .. } => Code::StockQuoteSelection,
            Self::InitDataSent => Code::InitDataNotAllowed,
            Self::InitDataOther { .. } => Code::InitDataMismatch,
            Self::ReferenceValue { .. } => Code::ReferenceValues,
            Self::ReferenceValuesIncomplete { .. } => Code::ReferenceValuesIncomplete,
        }
    }

    /// The PCR at fault.
    pub fn pcr(&self) -> Option<PcrIndex> {
        let fixed = |index: u8| PcrSet::CCNODE.iter().find(|pcr| pcr.get() == index);
        match self {
            Self::EventLogMismatch(MatchError::Mismatch { pcr, .. } | MatchError::NotQuoted { pcr }) => {
                Some(*pcr)
            }
            Self::AlreadyCapped { .. } => fixed(15),
            Self::BootEvents { .. } => fixed(5),
            Self::InitData { .. } => fixed(8),
            Self::ImaUnexpected { .. } => fixed(10),
            _ => self.differences().first().and_then(|d| d.pcr()),
        }
    }

    /// The event at fault, in words.
    pub fn event(&self) -> Option<String> {
        match self {
            Self::BootEvents { event, component } => Some(format!("event {event}: {component}")),
            _ => self.differences().first().map(|d| d.sentence.clone()),
        }
    }

    /// The closest known image or platform, in words.
    pub fn closest(&self) -> Option<&str> {
        self.explanation()?.closest.as_deref()
    }

    /// How the log differs from the closest tuple; the event at fault first. Empty where nothing was compared.
    pub fn differences(&self) -> &[Difference] {
        self.explanation().map(|e| e.differences.as_slice()).unwrap_or_default()
    }

    fn explanation(&self) -> Option<&Explanation> {
        match self {
            Self::PlatformUnknown(explanation) | Self::ImageUnknown(explanation) => Some(explanation),
            _ => None,
        }
    }
}
