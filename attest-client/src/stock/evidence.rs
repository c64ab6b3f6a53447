//! Evidence as stock attesters make it, bound to the stock transcript and to nothing else.

use crate::error::{AttestError, ClientError};
use crate::evidence::{azure_quote, kind, quote, report, tpm_evidence};
use ccnode_evidence::transcript::{Transcript, TranscriptError};
use ccnode_evidence::{
    AZURE_VERSION, AzSnpEvidence, AzTdxEvidence, EvidenceKind, EvidenceSource, Nonce, PcrSet, QuoteParts,
    ReportData, ReportParts, SnpEvidence, TdxEvidence,
};
use ccnode_protocol::{Attestation, RuntimeData, TeePubKey};
use kbs_types::{CompositeEvidence, InitData};
use serde::Serialize;
use serde_json::Value;
use std::convert::Infallible;

type Failure<S> = AttestError<<S as EvidenceSource>::Error, Infallible>;

/// The body of `POST /kbs/v0/attest`: quotes and reports over nonce and key. Additional evidence is always "".
pub(super) async fn attestation<S: EvidenceSource>(
    source: &S,
    nonce: &Nonce,
    tee_pubkey: TeePubKey,
    init_data: Option<InitData>,
) -> Result<Attestation, Failure<S>> {
    let transcript = Transcript { additional_evidence: Some(""), nonce, tee_pubkey: &tee_pubkey };
    let data = transcript.stock().map_err(|e| AttestError::Client(ClientError::Transcript(e)))?;
    let primary_evidence = primary(source, data).await?;
    let stock = kbs_types::RuntimeData { nonce: nonce.text(), tee_pubkey };
    Ok(Attestation {
        init_data,
        runtime_data: RuntimeData { stock, ccnode: None },
        tee_evidence: CompositeEvidence { primary_evidence, additional_evidence: String::new() },
    })
}

async fn primary<S: EvidenceSource>(source: &S, data: ReportData) -> Result<Value, Failure<S>> {
    let kind = kind(source);
    let quoted = || quote(source, PcrSet::STOCK, data.extra_data(kind));
    let value = match kind {
        EvidenceKind::Tpm => json(&tpm_evidence(quoted().await?, None)),
        EvidenceKind::Snp | EvidenceKind::Tdx => alone(report(source, data.report_data()).await?),
        EvidenceKind::AzSnpVtpm | EvidenceKind::AzTdxVtpm => {
            // The report first: a paravisor takes seconds for one, and PCRs are best quoted as they are sent.
            let report = report(source, data.report_data()).await?;
            azure(quoted().await?, report)
        }
    };
    value.map_err(AttestError::Client)
}

fn alone(report: ReportParts) -> Result<Value, ClientError> {
    match report {
        ReportParts::Snp { svsm: Some(_), .. } => {
            // Its REPORT_DATA is a hash over nonce and manifest, which the stock service does not make.
            Err(ClientError::StockForm("reports of an SVSM"))
        }
        ReportParts::Snp { report, certs, svsm: None } => {
            json(&SnpEvidence::new(&report, &certs).map_err(ClientError::SnpForm)?)
        }
        ReportParts::Tdx { quote, ccel } => {
            json(&TdxEvidence { cc_eventlog: ccel.map(Into::into), quote: quote.into() })
        }
        other @ (ReportParts::AzSnp { .. } | ReportParts::AzTdx { .. }) => {
            Err(ClientError::ReportForm(other.kind()))
        }
    }
}

fn azure(quote: QuoteParts, report: ReportParts) -> Result<Value, ClientError> {
    let tpm_quote = azure_quote(quote)?;
    match report {
        ReportParts::AzSnp { hcl_report, vcek } => json(&AzSnpEvidence {
            version: AZURE_VERSION,
            tpm_quote,
            hcl_report: hcl_report.into(),
            vcek: vcek.into(),
        }),
        ReportParts::AzTdx { hcl_report, td_quote } => json(&AzTdxEvidence {
            version: AZURE_VERSION,
            tpm_quote,
            hcl_report: hcl_report.into(),
            td_quote: td_quote.into(),
        }),
        other @ (ReportParts::Snp { .. } | ReportParts::Tdx { .. }) => {
            Err(ClientError::ReportForm(other.kind()))
        }
    }
}

fn json<T: Serialize>(evidence: &T) -> Result<Value, ClientError> {
    serde_json::to_value(evidence).map_err(|e| ClientError::Transcript(TranscriptError::Canonical(e)))
}
