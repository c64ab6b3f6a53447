//! Evidence of every kind, bound to one session: what is quoted, what is reported, and in which order.

use crate::error::{AttestError, ClientError};
use ccnode_evidence::transcript::{Bound, RuntimeExt, Transcript, TranscriptError};
use ccnode_evidence::{
    AZURE_VERSION, Activated, AdditionalEvidence, AzSnpEvidence, AzTdxEvidence, AzureTpmQuote,
    CcnodeEvidence, EventLogs, EvidenceKind, EvidenceSource, ExtraData, Nonce, PcrSet, QuoteParts,
    ReportParts, ReportSource as _, Sha256Digest, SnpEvidence, Svsm, TdxEvidence, TpmEvidence, TpmQuote,
    TpmSource as _,
};
use ccnode_protocol::TeePubKey;
use kbs_types::{CompositeEvidence, InitData};
use serde_json::Value;

/// What all parts of the evidence are bound to.
pub(crate) struct Binding<'a> {
    pub(crate) nonce: &'a Nonce,
    pub(crate) tee_pubkey: &'a TeePubKey,
    /// The certificate request, DER.
    pub(crate) csr: &'a [u8],
    pub(crate) logs: &'a EventLogs,
    pub(crate) init_data: Option<&'a InitData>,
    /// What activation gave; `None` where no TPM was offered.
    pub(crate) secret: Option<&'a Activated>,
}

/// Evidence with the member of the runtime data that it covers.
pub(crate) struct Collected {
    pub(crate) ext: RuntimeExt,
    pub(crate) evidence: CompositeEvidence,
}

/// The kind that `source` leads with: its report's, else its TPM's.
pub(crate) fn kind<S: EvidenceSource>(source: &S) -> EvidenceKind {
    source.supports_report().map_or(EvidenceKind::Tpm, |report| report.kind())
}

/// Quotes and reports.
///
/// Where a TPM stands beside a report, it quotes first, over the form without `additional-evidence`; the report then covers
/// quote, attestation key and all.
pub(crate) async fn collect<S: EvidenceSource, C: std::error::Error + 'static>(
    source: &S,
    binding: &Binding<'_>,
) -> Result<Collected, AttestError<S::Error, C>> {
    let kind = kind(source);
    let bound = binding.bound().map_err(canonical)?;
    let (ext, primary, additional) = match binding.secret {
        Some(secret) if kind.takes_additional() => {
            let (ext, data) = binding.form(None).bind(bound, secret).map_err(transcript)?;
            let quote = quote(source, PcrSet::CCNODE, data.extra_data(kind)).await?;
            let beside = AdditionalEvidence { tpm: tpm_evidence(quote, None) };
            let additional = serde_json::to_string(&beside).map_err(canonical)?;
            let data = binding.form(Some(&additional)).cover(&ext).map_err(transcript)?;
            let primary =
                reported(report(source, data.report_data()).await?, binding).map_err(AttestError::Client)?;
            (ext, primary, additional)
        }
        Some(secret) => {
            let (ext, data) = binding.form(Some("")).bind(bound, secret).map_err(transcript)?;
            let report = match kind {
                EvidenceKind::Tpm => None,
                _ => Some(report(source, data.report_data()).await?),
            };
            let quote = quote(source, PcrSet::CCNODE, data.extra_data(kind)).await?;
            (ext, quoted(quote, report, binding).map_err(AttestError::Client)?, String::new())
        }
        None => {
            let ext = RuntimeExt { version: 1, activation: None, bound };
            let data = binding.form(Some("")).cover(&ext).map_err(transcript)?;
            let primary =
                reported(report(source, data.report_data()).await?, binding).map_err(AttestError::Client)?;
            (ext, primary, String::new())
        }
    };
    Ok(Collected {
        ext,
        evidence: CompositeEvidence { primary_evidence: primary, additional_evidence: additional },
    })
}

impl Binding<'_> {
    fn form<'a>(&'a self, additional_evidence: Option<&'a str>) -> Transcript<'a, TeePubKey> {
        Transcript { additional_evidence, nonce: self.nonce, tee_pubkey: self.tee_pubkey }
    }

    fn bound(&self) -> Result<Bound, serde_json::Error> {
        let event_logs = Some(self.logs.digest()?);
        let init_data = self.init_data.map(|data| Sha256Digest::of(data.body.as_bytes()));
        Ok(Bound { csr: Some(Sha256Digest::of(self.csr)), init_data, event_logs })
    }

    fn ours(&self, svsm: Option<Svsm>) -> CcnodeEvidence {
        CcnodeEvidence { version: 1, logs: self.logs.clone(), csr: Some(self.csr.to_vec().into()), svsm }
    }
}

pub(crate) async fn quote<S: EvidenceSource, C: std::error::Error + 'static>(
    source: &S,
    set: PcrSet,
    extra: ExtraData,
) -> Result<QuoteParts, AttestError<S::Error, C>> {
    let tpm = source.supports_tpm().ok_or(ClientError::NoTpm).map_err(AttestError::Client)?;
    tpm.quote_pcrs(set, extra).await.map_err(AttestError::Source)
}

pub(crate) async fn report<S: EvidenceSource, C: std::error::Error + 'static>(
    source: &S,
    report_data: [u8; 64],
) -> Result<ReportParts, AttestError<S::Error, C>> {
    let reports = source.supports_report().ok_or(ClientError::NoTpm).map_err(AttestError::Client)?;
    let (announced, report) =
        (reports.kind(), reports.report(report_data).await.map_err(AttestError::Source)?);
    match report.kind() {
        kind if kind == announced => Ok(report),
        made => Err(AttestError::Client(ClientError::ReportKind { announced, made })),
    }
}

/// Primary evidence whose quote is the TPM's, with the report that names its key where there is one.
fn quoted(
    quote: QuoteParts,
    report: Option<ReportParts>,
    binding: &Binding<'_>,
) -> Result<Value, ClientError> {
    let ours = binding.ours(None);
    let value = match report {
        None => serde_json::to_value(tpm_evidence(quote, Some(ours))),
        Some(ReportParts::AzSnp { hcl_report, vcek }) => ours.beside(&AzSnpEvidence {
            version: AZURE_VERSION,
            tpm_quote: azure_quote(quote)?,
            hcl_report: hcl_report.into(),
            vcek: vcek.into(),
        }),
        Some(ReportParts::AzTdx { hcl_report, td_quote }) => ours.beside(&AzTdxEvidence {
            version: AZURE_VERSION,
            tpm_quote: azure_quote(quote)?,
            hcl_report: hcl_report.into(),
            td_quote: td_quote.into(),
        }),
        Some(other @ (ReportParts::Snp { .. } | ReportParts::Tdx { .. })) => {
            return Err(ClientError::ReportForm(other.kind()));
        }
    };
    value.map_err(|e| ClientError::Transcript(TranscriptError::Canonical(e)))
}

/// Primary evidence that is a report; a quote, where there is one, stands beside it.
fn reported(report: ReportParts, binding: &Binding<'_>) -> Result<Value, ClientError> {
    let value = match report {
        ReportParts::Snp { report, certs, svsm } => {
            let evidence = SnpEvidence::new(&report, &certs).map_err(ClientError::SnpForm)?;
            binding.ours(svsm).beside(&evidence)
        }
        ReportParts::Tdx { quote, ccel } => {
            binding.ours(None).beside(&TdxEvidence { cc_eventlog: ccel.map(Into::into), quote: quote.into() })
        }
        other @ (ReportParts::AzSnp { .. } | ReportParts::AzTdx { .. }) => {
            return Err(ClientError::ReportForm(other.kind()));
        }
    };
    value.map_err(|e| ClientError::Transcript(TranscriptError::Canonical(e)))
}

pub(crate) fn tpm_evidence(quote: QuoteParts, ccnode: Option<CcnodeEvidence>) -> TpmEvidence {
    TpmEvidence {
        tpm_quote: TpmQuote {
            signature: quote.signature.into(),
            message: quote.message.into(),
            pcrs: quote.pcrs.0.into_values().collect(),
        },
        ak_public: quote.ak_public.into(),
        ccnode,
    }
}

/// Azure's form has the bare signature: TPMT_SIGNATURE of RSASSA with SHA-256 without its head and length.
pub(crate) fn azure_quote(quote: QuoteParts) -> Result<AzureTpmQuote, ClientError> {
    const RSASSA_SHA256: [u8; 4] = [0x00, 0x14, 0x00, 0x0b];
    let bare = quote.signature.strip_prefix(&RSASSA_SHA256).and_then(|rest| {
        let (len, bytes) = rest.split_first_chunk::<2>()?;
        (usize::from(u16::from_be_bytes(*len)) == bytes.len()).then(|| bytes.to_vec())
    });
    Ok(AzureTpmQuote {
        signature: bare.ok_or(ClientError::QuoteScheme)?.into(),
        message: quote.message.into(),
        pcrs: quote.pcrs.0.into_values().collect(),
    })
}

fn transcript<E: std::error::Error + 'static, C: std::error::Error + 'static>(
    error: TranscriptError,
) -> AttestError<E, C> {
    AttestError::Client(ClientError::Transcript(error))
}

fn canonical<E: std::error::Error + 'static, C: std::error::Error + 'static>(
    error: serde_json::Error,
) -> AttestError<E, C> {
    transcript(TranscriptError::Canonical(error))
}
