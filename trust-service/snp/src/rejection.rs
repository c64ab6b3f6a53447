//! Every way in which a report is refused: one variant each, with the values seen and wanted, its code and its sentence.

use crate::bits::{GuestPolicy, KeyKind};
use crate::certificates::CertificatesError;
use crate::listed::Listed;
use crate::policy::Flag;
use crate::product::{Cpuid, Product};
use crate::report::ReportError;
use crate::tcb::{Component, TcbKind, TcbVersion};
use crate::version::{AbiVersion, FirmwareVersion};
use ccnode_evidence::{Code, UnixTime};

/// Why an SEV-SNP report is refused. Digests and ids are lower-case hex.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SnpRejection {
    /// The bytes are no report.
    #[error("attestation report: {0}")]
    ReportMalformed(#[from] ReportError),
    /// The certificates can't be read.
    #[error("certificates: {0}")]
    CertificatesMalformed(#[from] CertificatesError),
    /// The firmware did not sign.
    #[error("the report is not signed: {}", if *masked { "the host masks the chip's key" } else { "the guest asked for none" })]
    Unsigned {
        /// Whether MASK_CHIP_KEY is set; else SIGNING_KEY says none.
        masked: bool,
    },
    /// There is no certificate of the key that signed.
    #[error("no {wanted} certificate came with the report")]
    CertificateMissing {
        /// What SIGNING_KEY names.
        wanted: KeyKind,
    },
    /// The certificate is of the other kind of key.
    #[error("the report says that a {report} signed it, the certificate is of a {certificate}")]
    KeyKind {
        /// SIGNING_KEY.
        report: KeyKind,
        /// The certificate's.
        certificate: KeyKind,
    },
    /// No CA known here or sent along has the name of the certificate's issuer and its kind.
    #[error("no CA `{issuer}` for a {kind} is known or was sent along")]
    ChainIssuer {
        /// Common name or whole name of the issuer.
        issuer: String,
        /// The certificate's kind.
        kind: KeyKind,
    },
    /// The issuer's key did not sign the certificate.
    #[error("the signature of `{subject}` does not verify with the key of `{issuer}`")]
    ChainSignature {
        /// Whose certificate.
        subject: String,
        /// Whose key.
        issuer: String,
    },
    /// The chain ends at a root that is not trusted.
    #[error("the chain ends at `{issuer}`, and no trusted root of this name signed `{subject}`")]
    ChainUntrusted {
        /// The intermediate.
        subject: String,
        /// Its issuer.
        issuer: String,
    },
    /// A certificate of the chain is outside its validity.
    #[error("the certificate of `{subject}` is valid from {not_before} to {not_after}, and now is {now}")]
    CertExpired {
        /// Whose certificate.
        subject: String,
        /// First second of its validity.
        not_before: UnixTime,
        /// Last second of its validity.
        not_after: UnixTime,
        /// The time of judgement.
        now: UnixTime,
    },
    /// A revocation list names a certificate of the chain.
    #[error("AMD's revocation list names the certificate of `{subject}`")]
    Revoked {
        /// Whose certificate.
        subject: String,
    },
    /// A revocation list in the name of a CA of the chain is not signed by it.
    #[error("the revocation list in the name of `{issuer}` is not signed by it")]
    CrlSignature {
        /// Whose name it bears.
        issuer: String,
    },
    /// All revocation lists of a CA are outside their dates.
    #[error("the revocation list of `{issuer}` holds from {this_update} to {next_update}, and now is {now}")]
    CrlExpired {
        /// Whose list.
        issuer: String,
        /// When it was made.
        this_update: UnixTime,
        /// When the next one is due.
        next_update: UnixTime,
        /// The time of judgement.
        now: UnixTime,
    },
    /// The policy wants a revocation list of the root, and none was given.
    #[error("the policy wants a revocation list of the root, and there is none")]
    CrlMissing,
    /// The processor is of a line whose root is not known here.
    #[error("the processor ({cpuid}) is of no line that is known here")]
    ProductUnknown {
        /// As the report has it.
        cpuid: Cpuid,
    },
    /// Certificate and root, or certificate and report, are of different lines.
    #[error("the certificate is of line {certificate}, {} of {other}", if *root { "its root is" } else { "the report's processor is" })]
    ProductMismatch {
        /// The certificate's product name.
        certificate: Product,
        /// The root's line, or the report's.
        other: Product,
        /// Whether it is the root's.
        root: bool,
    },
    /// The certificate is of another TCB than the one reported.
    #[error("the certificate is for the TCB ({certificate}), the report says ({reported})")]
    TcbMismatch {
        /// The certificate's.
        certificate: TcbVersion,
        /// REPORTED_TCB.
        reported: TcbVersion,
    },
    /// The certificate is another chip's.
    #[error("the certificate is of chip {certificate}, the report of chip {report}")]
    ChipMismatch {
        /// The certificate's hardware ID.
        certificate: String,
        /// CHIP_ID.
        report: String,
    },
    /// The endorsement key did not sign the report.
    #[error("the report's signature does not verify with the {kind} of its certificate")]
    Signature {
        /// Whose signature was tried.
        kind: KeyKind,
    },
    /// REPORT_DATA is not what the session wants.
    #[error("REPORT_DATA is {seen}, the session wants {wanted}")]
    ReportData {
        /// Hex of all 64 bytes.
        seen: String,
        /// Hex of all 64 bytes.
        wanted: String,
    },
    /// The manifest is of another SVSM service than the vTPM.
    #[error("the manifest is of SVSM service `{0}`; the vTPM's is {vtpm}", vtpm = crate::VTPM_SERVICE)]
    SvsmService(String),
    /// The manifest is of a version that is not known here.
    #[error("version {0} of the vTPM's manifest is not known; version 0 is")]
    SvsmVersion(u32),
    /// The manifest is no TPMT_PUBLIC, or too long.
    #[error("the vTPM's manifest is no public area of a TPM key ({0} bytes)")]
    SvsmManifest(usize),
    /// A report for an SVSM's manifest was not made at VMPL 0, where the SVSM is.
    #[error("the report over the manifest was made at VMPL {0}; an SVSM has 0")]
    SvsmVmpl(u32),
    /// REPORT_DATA does not cover nonce and manifest.
    #[error("REPORT_DATA is {seen}, nonce and manifest hash to {wanted}")]
    SvsmBinding {
        /// Hex of all 64 bytes.
        seen: String,
        /// Hex of all 64 bytes.
        wanted: String,
    },
    /// The line of processors is not allowed.
    #[error("processors of line {seen} are not allowed; {} are", wanted.iter().map(|p| p.name()).collect::<Vec<_>>().join(", "))]
    Product {
        /// The report's.
        seen: Product,
        /// The policy's.
        wanted: Vec<Product>,
    },
    /// The report was signed by a kind of key that is not allowed.
    #[error("a {seen} signed the report, and the policy does not allow that")]
    SigningKey {
        /// The report's.
        seen: KeyKind,
    },
    /// The provider that loaded the VLEK is not allowed.
    #[error("the VLEK is of provider `{seen}`; allowed are: {}", wanted.join(", "))]
    Provider {
        /// The certificate's; empty where the report was signed by a VCEK.
        seen: String,
        /// The policy's.
        wanted: Vec<String>,
    },
    /// The privilege level that asked for the report is not allowed.
    #[error("the report was made at VMPL {seen}; allowed are {wanted:?}")]
    Vmpl {
        /// The report's; 4294967295 is the host.
        seen: u32,
        /// The policy's.
        wanted: Vec<u8>,
    },
    /// A component of a TCB is older than the policy wants.
    #[error("{component} of the {kind} TCB is {seen}; {product} needs at least {wanted}")]
    TcbTooOld {
        /// Which TCB.
        kind: TcbKind,
        /// Which component.
        component: Component,
        /// The line, whose numbers these are.
        product: Product,
        /// The report's.
        seen: u8,
        /// The policy's.
        wanted: u8,
    },
    /// The policy has a least TCB, but none for this line.
    #[error("the policy has no least TCB for {product}")]
    TcbNoFloor {
        /// The report's line.
        product: Product,
    },
    /// The firmware can be rolled back behind what the policy wants.
    #[error("the committed firmware is {seen}; at least {wanted} is needed")]
    FirmwareTooOld {
        /// The report's.
        seen: FirmwareVersion,
        /// The policy's.
        wanted: FirmwareVersion,
    },
    /// Mitigations that the policy wants were not verified at launch, or are not now.
    #[error("mitigations {seen:#x} ({kind}) lack some of {wanted:#x}")]
    Mitigations {
        /// Launch or current.
        kind: TcbKind,
        /// The report's; 0 before version 5.
        seen: u64,
        /// The policy's.
        wanted: u64,
    },
    /// The host may debug the guest.
    #[error("guest policy {0} lets the host debug the guest")]
    Debug(GuestPolicy),
    /// The guest may be tied to a migration agent.
    #[error("guest policy {0} lets a migration agent take the guest away")]
    Migration(GuestPolicy),
    /// The host may run the guest with SMT.
    #[error("guest policy {0} lets the host run the guest with SMT")]
    Smt(GuestPolicy),
    /// The guest policy has bits that are not known here.
    #[error("guest policy {policy} has unknown bits {unknown:#x}")]
    PolicyUnknown {
        /// As it stands there.
        policy: GuestPolicy,
        /// The bits.
        unknown: u64,
    },
    /// The guest policy allows what the pool wants excluded, or the reverse.
    #[error("guest policy {policy}: {flag} is {}, and must not be", if *seen { "set" } else { "clear" })]
    PolicyFlag {
        /// As it stands there.
        policy: GuestPolicy,
        /// Which bit.
        flag: Flag,
        /// How it stands.
        seen: bool,
    },
    /// The guest policy lets it run on an older interface than the pool wants.
    #[error("the guest runs on firmware interface {seen} and later; {wanted} is wanted")]
    Abi {
        /// The guest policy's.
        seen: AbiVersion,
        /// The pool's.
        wanted: AbiVersion,
    },
    /// A property of the platform does not stand as the policy wants.
    #[error("platform: {flag} is {}, and must not be", if *seen { "set" } else { "clear" })]
    Platform {
        /// Which property.
        flag: Flag,
        /// How it stands.
        seen: bool,
    },
    /// GUEST_SVN is too low.
    #[error("guest SVN is {seen}; at least {wanted} is needed")]
    GuestSvn {
        /// The report's.
        seen: u32,
        /// The policy's.
        wanted: u32,
    },
    /// The launch measurement is not listed.
    #[error("launch measurement {seen} is {listed}")]
    Measurement {
        /// The report's.
        seen: String,
        /// What is listed.
        listed: Listed,
    },
    /// HOST_DATA is not listed.
    #[error("HOST_DATA {seen} is {listed}")]
    HostData {
        /// The report's.
        seen: String,
        /// What is listed.
        listed: Listed,
    },
    /// FAMILY_ID or IMAGE_ID is not listed.
    #[error("{field} {seen} is {listed}")]
    GuestId {
        /// `FAMILY_ID` or `IMAGE_ID`.
        field: &'static str,
        /// The report's.
        seen: String,
        /// What is listed.
        listed: Listed,
    },
    /// The ID key is not listed.
    #[error("ID key digest {seen} is {listed}")]
    IdKey {
        /// The report's; zeros where the guest had no ID block.
        seen: String,
        /// What is listed.
        listed: Listed,
    },
    /// The author key is not listed, or there is none.
    #[error("author key {} is {listed}", seen.as_deref().unwrap_or("(none)"))]
    AuthorKey {
        /// The report's; `None` where the ID key was not certified by an author key.
        seen: Option<String>,
        /// What is listed.
        listed: Listed,
    },
    /// The chip is denied.
    #[error("chip {seen} is denied")]
    ChipDenied {
        /// Its id.
        seen: String,
    },
    /// The chip is not among those allowed.
    #[error("chip {seen} is none of the {listed} that the policy allows")]
    ChipNotAllowed {
        /// Its id.
        seen: String,
        /// How many are listed.
        listed: usize,
    },
    /// The policy judges chips, and neither report nor certificate names this one.
    #[error("the policy judges chips, and this one's id is masked")]
    ChipMasked,
}

impl SnpRejection {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::ReportMalformed(_) => Code::SnpReportMalformed,
            Self::CertificatesMalformed(_) => Code::SnpCertMalformed,
            Self::Unsigned { .. } => Code::SnpUnsigned,
            Self::CertificateMissing { .. } => Code::SnpCertMissing,
            Self::KeyKind { .. } | Self::SigningKey { .. } | Self::Provider { .. } => Code::SnpKey,
            Self::ChainIssuer { .. } | Self::ChainSignature { .. } | Self::ChainUntrusted { .. } => {
                Code::SnpChain
            }
            Self::CertExpired { .. } => Code::SnpCertExpired,
            Self::Revoked { .. } => Code::SnpRevoked,
            Self::CrlSignature { .. } | Self::CrlExpired { .. } | Self::CrlMissing => Code::SnpCrl,
            Self::ProductUnknown { .. } | Self::ProductMismatch { .. } | Self::Product { .. } => {
                Code::SnpProduct
            }
            Self::TcbMismatch { .. } => Code::SnpTcbMismatch,
            Self::ChipMismatch { .. } => Code::SnpChipMismatch,
            Self::Signature { .. } => Code::SnpSignature,
            Self::ReportData { .. } => Code::SnpReportData,
            Self::SvsmService(_)
            | Self::SvsmVersion(_)
            | Self::SvsmManifest(_)
            | Self::SvsmVmpl(_)
            | Self::SvsmBinding { .. } => Code::SnpSvsm,
            Self::Vmpl { .. } => Code::SnpVmpl,
            Self::TcbTooOld { .. } | Self::TcbNoFloor { .. } => Code::SnpTcbTooOld,
            Self::FirmwareTooOld { .. } => Code::SnpFirmwareTooOld,
            Self::Mitigations { .. } => Code::SnpMitigations,
            Self::Debug(_) => Code::SnpDebug,
            Self::Migration(_) => Code::SnpMigration,
            Self::Smt(_) => Code::SnpSmt,
            Self::PolicyUnknown { .. } | Self::PolicyFlag { .. } => Code::SnpGuestPolicy,
            Self::Abi { .. } => Code::SnpAbi,
            Self::Platform { .. } => Code::SnpPlatform,
            Self::GuestSvn { .. } => Code::SnpGuestSvn,
            Self::Measurement { .. } => Code::SnpMeasurement,
            Self::HostData { .. } => Code::SnpHostData,
            Self::GuestId { .. } => Code::SnpGuestId,
            Self::IdKey { .. } => Code::SnpIdKey,
            Self::AuthorKey { .. } => Code::SnpAuthorKey,
            Self::ChipDenied { .. } | Self::ChipNotAllowed { .. } | Self::ChipMasked => Code::SnpChip,
        }
    }
}
