//! The half of a stock client, without a network: what it would send, by code of its own.

use crate::session::{kbs, tpm_evidence};
use crate::{Machine, SoftTpm};
use ccnode_evidence::transcript::Transcript;
use ccnode_evidence::{
    AZURE_VERSION, AdditionalEvidence, AzSnpEvidence, AzTdxEvidence, AzureTpmQuote, EvidenceKind, Nonce,
    PcrSet, QuoteParts, ReportData, ReportParts, ReportSource as _, SnpEvidence, TdxEvidence,
};
use ccnode_protocol::{Attestation, TeePubKey, VERSION};
use serde_json::{Value, json};

/// What a stock client answers a challenge with.
#[derive(Clone, Copy)]
pub struct StockReply<'a> {
    /// The challenge's nonce.
    pub nonce: &'a Nonce,
    /// The session's key.
    pub key: &'a TeePubKey,
    /// The body of init-data.
    pub init_data: Option<&'a str>,
}

impl StockReply<'_> {
    /// Report data of the transcript with this additional evidence; `None` is the form that a device beside the primary covers.
    pub fn report_data(&self, additional: Option<&str>) -> ReportData {
        let transcript =
            Transcript { additional_evidence: additional, nonce: self.nonce, tee_pubkey: self.key };
        transcript.stock().expect("a transcript")
    }

    fn attestation(&self, primary: Value, additional: &str) -> Attestation {
        kbs(self.nonce, self.key, None, primary, additional, self.init_data)
    }
}

/// Body of `POST /kbs/v0/auth`, as the stock client writes it.
pub fn stock_request(kind: EvidenceKind) -> Value {
    let algorithms = ["sha256", "sha384", "sha512", "sm3"];
    json!({"version": VERSION, "tee": kind, "extra-params": {"supported-hash-algorithms": algorithms}})
}

/// Body of `POST /kbs/v0/attest` with a TPM's quote, as the stock attester makes it.
pub fn stock_attest(tpm: &SoftTpm, reply: &StockReply<'_>) -> Attestation {
    let quote = tpm.sign_quote_of(PcrSet::STOCK, reply.report_data(Some("")).qualifying_data());
    reply.attestation(serde_json::to_value(tpm_evidence(quote, None)).expect("JSON"), "")
}

impl Machine {
    /// Body of `POST /kbs/v0/attest`, as the stock attester of its kind makes it; a TPM beside a report is in the additional evidence.
    pub fn stock_attest(&self, reply: &StockReply<'_>) -> Attestation {
        let additional = match &self.tpm {
            Some(tpm) if self.kind().takes_additional() => {
                let quote = tpm.sign_quote_of(PcrSet::STOCK, reply.report_data(None).qualifying_data());
                serde_json::to_string(&AdditionalEvidence { tpm: tpm_evidence(quote, None) }).expect("JSON")
            }
            _ => String::new(),
        };
        let data = reply.report_data(Some(&additional));
        let azure = || {
            let QuoteParts { signature, message, pcrs, .. } =
                self.tpm.as_ref().expect("a vTPM").sign_quote_of(PcrSet::STOCK, data.0);
            AzureTpmQuote {
                // TPMT_SIGNATURE without scheme, hash and length.
                signature: signature[6..].to_vec().into(),
                message: message.into(),
                pcrs: pcrs.0.into_values().collect(),
            }
        };
        let primary = match self.report_over(data.report_data()) {
            ReportParts::Snp { report, certs, .. } => {
                serde_json::to_value(SnpEvidence::new(&report, &certs).expect("a report"))
            }
            ReportParts::Tdx { quote, ccel } => {
                serde_json::to_value(TdxEvidence { cc_eventlog: ccel.map(Into::into), quote: quote.into() })
            }
            ReportParts::AzSnp { hcl_report, vcek } => serde_json::to_value(AzSnpEvidence {
                version: AZURE_VERSION,
                tpm_quote: azure(),
                hcl_report: hcl_report.into(),
                vcek: vcek.into(),
            }),
            ReportParts::AzTdx { hcl_report, td_quote } => serde_json::to_value(AzTdxEvidence {
                version: AZURE_VERSION,
                tpm_quote: azure(),
                hcl_report: hcl_report.into(),
                td_quote: td_quote.into(),
            }),
        };
        reply.attestation(primary.expect("JSON"), &additional)
    }
}
