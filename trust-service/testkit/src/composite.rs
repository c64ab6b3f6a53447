//! The node's half of a session with hardware reports, without a network: what it would send, by code of its own.

use crate::Machine;
use crate::session::{kbs, tpm_evidence};
use ccnode_evidence::transcript::{Bound, RuntimeExt, Transcript};
use ccnode_evidence::{
    AZURE_VERSION, AdditionalEvidence, AzSnpEvidence, AzTdxEvidence, AzureTpmQuote, CcnodeEvidence, Nonce,
    ReportParts, ReportSource as _, Secret, Sha256Digest, SnpEvidence, Svsm, TdxEvidence,
};
use ccnode_protocol::{
    Attestation, AuthExt, AuthRequest, ExtParams, PoolName, TeePubKey, VERSION, jwe::EphemeralKey, tee,
};
use serde_json::Value;

/// What a machine answers a challenge with.
#[derive(Clone)]
pub struct Reply<'a> {
    /// The challenge's nonce.
    pub nonce: &'a Nonce,
    /// The secret that activation gave; `None` without a TPM.
    pub secret: Option<&'a Secret<32>>,
    /// The session's key.
    pub key: &'a EphemeralKey,
    /// The certificate request, DER.
    pub csr: Option<Vec<u8>>,
}

impl Machine {
    /// Body of `POST /kbs/v0/auth`.
    pub fn auth_request(&self, pool: &PoolName) -> AuthRequest {
        let ccnode = AuthExt::new(pool.clone(), self.offer().as_ref());
        AuthRequest {
            version: VERSION.to_owned(),
            tee: tee(self.kind()),
            extra_params: ExtParams::Ccnode { ccnode },
        }
    }

    /// Body of `POST /kbs/v0/attest`.
    pub fn attest(&self, reply: &Reply<'_>) -> Attestation {
        let tee_pubkey = reply.key.public();
        let form = |additional_evidence| -> Transcript<'_, TeePubKey> {
            Transcript { additional_evidence, nonce: reply.nonce, tee_pubkey: &tee_pubkey }
        };
        let logs = self.logs();
        let bound = Bound {
            csr: reply.csr.as_deref().map(Sha256Digest::of),
            init_data: None,
            event_logs: Some(logs.digest().expect("canonical JSON")),
        };
        let ours = |svsm: Option<Svsm>| CcnodeEvidence {
            version: 1,
            logs: logs.clone(),
            csr: reply.csr.clone().map(Into::into),
            svsm,
        };
        let (ext, primary, additional) = match (&self.tpm, reply.secret) {
            (Some(tpm), Some(secret)) if self.kind().takes_additional() => {
                let (ext, quoted) = form(None).bind(bound, secret).expect("a transcript");
                let beside = tpm_evidence(tpm.sign_quote(quoted.qualifying_data()), None);
                let beside = serde_json::to_string(&AdditionalEvidence { tpm: beside }).expect("JSON");
                let covered = form(Some(&beside)).cover(&ext).expect("a transcript");
                (ext, primary(self.report_over(covered.report_data()), None, ours), beside)
            }
            (Some(tpm), Some(secret)) => {
                let (ext, data) = form(Some("")).bind(bound, secret).expect("a transcript");
                let quote = tpm.sign_quote(data.0);
                let quote = AzureTpmQuote {
                    // TPMT_SIGNATURE without scheme, hash and length.
                    signature: quote.signature[6..].to_vec().into(),
                    message: quote.message.into(),
                    pcrs: quote.pcrs.0.into_values().collect(),
                };
                (ext, primary(self.report_over(data.report_data()), Some(quote), ours), String::new())
            }
            _ => {
                let ext = RuntimeExt { version: 1, activation: None, bound };
                let data = form(Some("")).cover(&ext).expect("a transcript");
                (ext, primary(self.report_over(data.report_data()), None, ours), String::new())
            }
        };
        kbs(reply.nonce, &tee_pubkey, Some(ext), primary, &additional, None)
    }
}

fn primary(
    report: ReportParts,
    quote: Option<AzureTpmQuote>,
    ours: impl Fn(Option<Svsm>) -> CcnodeEvidence,
) -> Value {
    let quote = || quote.clone().expect("a quote");
    match report {
        ReportParts::Snp { report, certs, svsm } => {
            ours(svsm).beside(&SnpEvidence::new(&report, &certs).expect("a report"))
        }
        ReportParts::Tdx { quote, ccel } => {
            ours(None).beside(&TdxEvidence { cc_eventlog: ccel.map(Into::into), quote: quote.into() })
        }
        ReportParts::AzSnp { hcl_report, vcek } => ours(None).beside(&AzSnpEvidence {
            version: AZURE_VERSION,
            tpm_quote: quote(),
            hcl_report: hcl_report.into(),
            vcek: vcek.into(),
        }),
        ReportParts::AzTdx { hcl_report, td_quote } => ours(None).beside(&AzTdxEvidence {
            version: AZURE_VERSION,
            tpm_quote: quote(),
            hcl_report: hcl_report.into(),
            td_quote: td_quote.into(),
        }),
    }
    .expect("JSON")
}
