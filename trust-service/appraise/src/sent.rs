//! What was sent, sorted by kind of evidence: read to its form, and nothing of it believed.

use crate::session::malformed;
use crate::tpm::{Signature, SignatureValue};
use crate::{QuoteError, Rejection, Scheme, SchemeKind};
use ccnode_evidence::{
    AdditionalEvidence, AzSnpEvidence, AzTdxEvidence, AzureTpmQuote, Base64Std, CcnodeEvidence, EvidenceKind,
    HashAlg, Sha256Digest, SnpEvidence, TdxEvidence, TpmEvidence, TpmQuote,
};
use ccnode_protocol::Attestation;
use serde::de::DeserializeOwned;

const PRIMARY: &str = "tee-evidence.primary_evidence";
const ADDITIONAL: &str = "tee-evidence.additional_evidence";

/// Evidence of one kind, in its parts.
pub(crate) struct Sent {
    /// The report, where the kind has one.
    pub(crate) report: Option<SentReport>,
    /// The TPM's quote, where there is a TPM.
    pub(crate) quote: Option<SentQuote>,
    /// Our member of the primary evidence.
    pub(crate) ours: CcnodeEvidence,
}

/// What evidence of a kind consists of in every transcript.
pub(crate) struct Parts {
    /// See [`Sent::report`].
    pub(crate) report: Option<SentReport>,
    /// See [`Sent::quote`].
    pub(crate) quote: Option<SentQuote>,
}

/// A hardware report in its form.
pub(crate) enum SentReport {
    Snp(Box<SnpEvidence>),
    Tdx(TdxEvidence),
    /// HCL report, and the chip's certificate (DER, may be empty).
    AzSnp {
        hcl: Vec<u8>,
        vcek: Vec<u8>,
    },
    /// HCL report, and the quote of its TD report.
    AzTdx {
        hcl: Vec<u8>,
        quote: Vec<u8>,
    },
}

/// A quote in whichever form it came.
pub(crate) struct SentQuote {
    /// TPMS_ATTEST.
    pub(crate) message: Vec<u8>,
    signature: Vec<u8>,
    /// Whether the signature lacks TPMT_SIGNATURE around it: then it is RSASSA with SHA-256.
    bare: bool,
    /// From PCR 0 upwards.
    pub(crate) pcrs: Vec<Sha256Digest>,
    /// The attestation key once more (SubjectPublicKeyInfo), where the form repeats it.
    pub(crate) ak_public: Option<Vec<u8>>,
}

impl SentQuote {
    pub(crate) fn signature(&self) -> Result<Signature<'_>, QuoteError> {
        if !self.bare {
            return Signature::parse(&self.signature);
        }
        let scheme = Scheme { kind: SchemeKind::Rsassa, hash: HashAlg::Sha256 };
        Ok(Signature { scheme, value: SignatureValue::Rsa(&self.signature) })
    }
}

/// The stock members of `tpm` evidence: our own, with the long log, is read once, by itself.
#[derive(serde::Deserialize)]
struct StockTpm {
    tpm_quote: TpmQuote,
    ak_public: Base64Std,
}

impl From<StockTpm> for SentQuote {
    fn from(StockTpm { tpm_quote, ak_public }: StockTpm) -> Self {
        TpmEvidence { tpm_quote, ak_public, ccnode: None }.into()
    }
}

impl From<TpmEvidence> for SentQuote {
    fn from(evidence: TpmEvidence) -> Self {
        let TpmEvidence { tpm_quote, ak_public, ccnode: _ } = evidence;
        Self {
            message: tpm_quote.message.0,
            signature: tpm_quote.signature.0,
            bare: false,
            pcrs: tpm_quote.pcrs,
            ak_public: Some(ak_public.0),
        }
    }
}

impl From<AzureTpmQuote> for SentQuote {
    fn from(quote: AzureTpmQuote) -> Self {
        let AzureTpmQuote { signature, message, pcrs } = quote;
        Self { message: message.0, signature: signature.0, bare: true, pcrs, ak_public: None }
    }
}

impl Parts {
    /// Reads the stock members of evidence of `kind`; `with_tpm` says whether a quote stands beside a report.
    pub(crate) fn read(
        kind: EvidenceKind,
        with_tpm: bool,
        attestation: &Attestation,
    ) -> Result<Self, Rejection> {
        let composite = &attestation.tee_evidence;
        let beside = additional(kind.takes_additional() && with_tpm, &composite.additional_evidence)?;
        let (report, quote) = match kind {
            EvidenceKind::Tpm => (None, Some(primary::<StockTpm>(attestation)?.into())),
            EvidenceKind::Snp => (Some(SentReport::Snp(primary(attestation)?)), beside),
            EvidenceKind::Tdx => (Some(SentReport::Tdx(primary(attestation)?)), beside),
            EvidenceKind::AzSnpVtpm => {
                let sent: AzSnpEvidence = primary(attestation)?;
                let report = SentReport::AzSnp { hcl: sent.hcl_report.0, vcek: sent.vcek.0 };
                (Some(report), Some(sent.tpm_quote.into()))
            }
            EvidenceKind::AzTdxVtpm => {
                let sent: AzTdxEvidence = primary(attestation)?;
                let report = SentReport::AzTdx { hcl: sent.hcl_report.0, quote: sent.td_quote.0 };
                (Some(report), Some(sent.tpm_quote.into()))
            }
        };
        Ok(Self { report, quote })
    }
}

impl Sent {
    /// Reads evidence of `kind`, of a node that offered a TPM or did not.
    pub(crate) fn read(
        kind: EvidenceKind,
        with_tpm: bool,
        attestation: &Attestation,
    ) -> Result<Self, Rejection> {
        let Parts { report, quote } = Parts::read(kind, with_tpm, attestation)?;
        let ours = CcnodeEvidence::of(&attestation.tee_evidence.primary_evidence)
            .map_err(|e| malformed("tee-evidence.primary_evidence.ccnode", e))?
            .ok_or_else(|| malformed("tee-evidence.primary_evidence.ccnode", "missing"))?;
        if ours.version != 1 {
            return Err(Rejection::TranscriptVersion(ours.version));
        }
        if ours.svsm.is_some() && (kind != EvidenceKind::Snp || !with_tpm) {
            return Err(malformed(
                "tee-evidence.primary_evidence.ccnode.svsm",
                "an SVSM vouches for a vTPM beside an SEV-SNP report, and for nothing else",
            ));
        }
        Ok(Self { report, quote, ours })
    }
}

/// The quote beside a report, which is there exactly where it is due.
fn additional(due: bool, text: &str) -> Result<Option<SentQuote>, Rejection> {
    match (due, text.is_empty()) {
        (false, true) => Ok(None),
        (false, false) => Err(malformed(ADDITIONAL, "nothing is due there")),
        (true, true) => Err(malformed(ADDITIONAL, "the quote of the TPM that was offered is due there")),
        (true, false) => {
            let AdditionalEvidence { tpm } =
                serde_json::from_str(text).map_err(|e| malformed(ADDITIONAL, e))?;
            if tpm.ccnode.is_some() {
                return Err(malformed(ADDITIONAL, "member `ccnode` belongs into the primary evidence"));
            }
            Ok(Some(tpm.into()))
        }
    }
}

fn primary<T: DeserializeOwned>(attestation: &Attestation) -> Result<T, Rejection> {
    T::deserialize(&attestation.tee_evidence.primary_evidence).map_err(|e| malformed(PRIMARY, e))
}
