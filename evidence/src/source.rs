//! What the attestation client needs from the machine: a TPM, hardware reports, or both, each an optional capability.

use crate::{EventLogs, EvidenceKind, ExtraData, PcrSet, PcrValues, Secret, Svsm};
use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;

/// The endorsement key of a TPM, by which a credential is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ek {
    /// Its certificate, DER (X.509), from the TPM's NV memory.
    Certificate(Vec<u8>),
    /// Its TPMT_PUBLIC, where the TPM has no certificate: good for nothing until a report vouches for it.
    Public(Vec<u8>),
}

/// Who the TPM is: what the auth request offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The endorsement key.
    pub ek: Ek,
    /// The attestation key's TPMT_PUBLIC, marshalled.
    pub ak_public: Vec<u8>,
}

impl Identity {
    /// The EK certificate, DER, where there is one.
    pub fn ek_cert(&self) -> Option<&[u8]> {
        match &self.ek {
            Ek::Certificate(der) => Some(der),
            Ek::Public(_) => None,
        }
    }
}

/// The secret that TPM2_ActivateCredential returned.
pub type Activated = Secret<32>;

/// A quote and the PCR values that its digest was made of (the source has compared them).
#[derive(Clone, Debug)]
pub struct QuoteParts {
    /// TPMS_ATTEST, marshalled.
    pub message: Vec<u8>,
    /// TPMT_SIGNATURE, marshalled.
    pub signature: Vec<u8>,
    /// The values of the quoted PCRs of the SHA-256 bank.
    pub pcrs: PcrValues,
    /// The attestation key as DER SubjectPublicKeyInfo.
    pub ak_public: Vec<u8>,
}

/// A hardware report with what the platform gave along, as raw as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReportParts {
    /// SEV-SNP.
    Snp {
        /// The report, 1184 bytes.
        report: Vec<u8>,
        /// The host's certificates as the GUID table of `auxblob`; empty where there are none.
        certs: Vec<u8>,
        /// What the report covers beside the report data, where an SVSM asked for it.
        svsm: Option<Svsm>,
    },
    /// TDX.
    Tdx {
        /// The quote.
        quote: Vec<u8>,
        /// The CCEL, as firmware and kernel left it.
        ccel: Option<Vec<u8>>,
    },
    /// Azure with SEV-SNP.
    AzSnp {
        /// The HCL report from NV index 0x01400001, made after the report data were written to 0x01400002.
        hcl_report: Vec<u8>,
        /// The chip's certificate, DER; empty where the platform gave none.
        vcek: Vec<u8>,
    },
    /// Azure with TDX.
    AzTdx {
        /// The HCL report from NV index 0x01400001, made after the report data were written to 0x01400002.
        hcl_report: Vec<u8>,
        /// The quote that the platform made of its TD report.
        td_quote: Vec<u8>,
    },
}

impl ReportParts {
    /// The kind of evidence that this is the primary part of.
    pub fn kind(&self) -> EvidenceKind {
        match self {
            Self::Snp { .. } => EvidenceKind::Snp,
            Self::Tdx { .. } => EvidenceKind::Tdx,
            Self::AzSnp { .. } => EvidenceKind::AzSnpVtpm,
            Self::AzTdx { .. } => EvidenceKind::AzTdxVtpm,
        }
    }
}

/// A TPM that can prove itself.
///
/// An implementer owes: a quote selects exactly what was asked for and comes with values whose composite digest is the quote's;
/// every call may be repeated; an error names the TPM command that failed.
pub trait TpmSource: Send + Sync {
    /// The implementer's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Endorsement key and attestation key.
    fn identity(&self) -> impl Future<Output = Result<Identity, Self::Error>> + Send;

    /// TPM2_ActivateCredential over TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, both marshalled with their size.
    fn activate(
        &self,
        credential: Vec<u8>,
        secret: Vec<u8>,
    ) -> impl Future<Output = Result<Activated, Self::Error>> + Send;

    /// TPM2_Quote over exactly `set` with `extra` as extraData.
    fn quote_pcrs(
        &self,
        set: PcrSet,
        extra: ExtraData,
    ) -> impl Future<Output = Result<QuoteParts, Self::Error>> + Send;

    /// [`Self::quote_pcrs`] over sha256:0-15, what `ccnode/1` takes.
    fn quote(&self, extra: ExtraData) -> impl Future<Output = Result<QuoteParts, Self::Error>> + Send {
        self.quote_pcrs(PcrSet::CCNODE, extra)
    }
}

/// Hardware that reports on the machine it runs.
///
/// An implementer owes: the report is made for `report_data`, not found; its parts are of [`Self::kind`]; every call may be
/// repeated.
pub trait ReportSource: Send + Sync {
    /// The implementer's own error.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The kind of evidence that the report leads, known before there is one.
    fn kind(&self) -> EvidenceKind;

    /// A report over `report_data`: REPORT_DATA itself, the nonce of an SVSM's, or the user data of an HCL report.
    fn report(&self, report_data: [u8; 64]) -> impl Future<Output = Result<ReportParts, Self::Error>> + Send;
}

/// A machine that can prove what it runs, by what it has.
///
/// An implementer owes: at least one capability is there, and it is there in every session or in none.
pub trait EvidenceSource: Send + Sync {
    /// The implementer's own error.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Its TPM; [`Absent`] where no such machine has one.
    type Tpm: TpmSource<Error = Self::Error>;
    /// Its reports; [`Absent`] where no such machine has them.
    type Report: ReportSource<Error = Self::Error>;

    /// The TPM, where there is one.
    fn supports_tpm(&self) -> Option<&Self::Tpm>;

    /// Hardware reports, where there are any.
    fn supports_report(&self) -> Option<&Self::Report>;

    /// The firmware's log, our own, and the command line, as they stand now.
    fn logs(&self) -> impl Future<Output = Result<EventLogs, Self::Error>> + Send;
}

/// A capability that is never there: it can't be made, so it needs no answers.
#[derive(Debug)]
pub struct Absent<E>(Infallible, PhantomData<fn() -> E>);

impl<E: std::error::Error + Send + Sync + 'static> TpmSource for Absent<E> {
    type Error = E;

    async fn identity(&self) -> Result<Identity, E> {
        match self.0 {}
    }

    async fn activate(&self, _credential: Vec<u8>, _secret: Vec<u8>) -> Result<Activated, E> {
        match self.0 {}
    }

    async fn quote_pcrs(&self, _set: PcrSet, _extra: ExtraData) -> Result<QuoteParts, E> {
        match self.0 {}
    }
}

impl<E: std::error::Error + Send + Sync + 'static> ReportSource for Absent<E> {
    type Error = E;

    fn kind(&self) -> EvidenceKind {
        match self.0 {}
    }

    async fn report(&self, _report_data: [u8; 64]) -> Result<ReportParts, E> {
        match self.0 {}
    }
}
