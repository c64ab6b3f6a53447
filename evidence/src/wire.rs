//! Evidence as it travels: the stock `tpm` members and the superset member `ccnode`.

mod tdx;

pub use tdx::TdxEvidence;

use crate::{Base64Std, Base64Url, PcrIndex, PcrValues, Sha256Digest};
use serde::{Deserialize, Serialize};

/// Primary evidence of the TEE `tpm`; unknown members are ignored by the stock service, so `ccnode` rides along.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TpmEvidence {
    /// Quote, signature and PCR values.
    pub tpm_quote: TpmQuote,
    /// The attestation key as DER SubjectPublicKeyInfo.
    pub ak_public: Base64Std,
    /// What `ccnode/1` adds; absent from stock clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ccnode: Option<CcnodeTpmEvidence>,
}

/// A TPM 2.0 quote in the stock form.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TpmQuote {
    /// TPMT_SIGNATURE, marshalled.
    pub signature: Base64Std,
    /// TPMS_ATTEST, marshalled, the bytes that are signed.
    pub message: Base64Std,
    /// SHA-256 bank from PCR 0 upwards: 24 values from stock clients, 16 in `ccnode/1`.
    pub pcrs: Vec<Sha256Digest>,
}

impl TpmQuote {
    /// The values by index; `None` where there are more than 24.
    pub fn values(&self) -> Option<PcrValues> {
        if self.pcrs.len() > usize::from(PcrIndex::MAX) + 1 {
            return None;
        }
        Some(PcrValues(PcrIndex::all().zip(self.pcrs.iter().copied()).collect()))
    }
}

/// What a `ccnode/1` node adds to its TPM evidence.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CcnodeTpmEvidence {
    /// Version of this member: 1.
    pub version: u32,
    /// The event logs, bound to the transcript as a whole.
    #[serde(flatten)]
    pub logs: EventLogs,
    /// The kubelet's certificate request in DER (PKCS #10); its digest is bound to the transcript.
    pub csr: Option<Base64Url>,
}

/// The logs that explain the quoted PCRs. Nothing in them is believed beyond what replays.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EventLogs {
    /// The firmware's log, TCG crypto-agile form.
    pub event_log: Base64Url,
    /// The node's own log: TCG_PCR_EVENT2 records for what ccnode-init extended.
    pub own_log: Base64Url,
    /// `/proc/cmdline` without its final newline; believed only where PCR 9's load options prove it.
    pub cmdline: String,
}

impl EventLogs {
    /// What the transcript binds: SHA-256 over the canonical JSON of the three members as they are sent.
    pub fn digest(&self) -> Result<Sha256Digest, serde_json::Error> {
        serde_json_canonicalizer::to_vec(self).map(|bytes| Sha256Digest::of(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_flatten_beside_the_request() {
        let evidence = CcnodeTpmEvidence { version: 1, logs: EventLogs::default(), csr: None };
        let text = serde_json::to_string(&evidence).unwrap();
        assert_eq!(text, r#"{"version":1,"event-log":"","own-log":"","cmdline":"","csr":null}"#);
        assert_eq!(serde_json::from_str::<CcnodeTpmEvidence>(&text).unwrap(), evidence);
    }

    #[test]
    fn every_log_member_is_bound() {
        let base = EventLogs::default().digest().unwrap();
        let some = || Base64Url(vec![1]);
        for logs in [
            EventLogs { event_log: some(), ..Default::default() },
            EventLogs { own_log: some(), ..Default::default() },
            EventLogs { cmdline: "a".into(), ..Default::default() },
        ] {
            assert_ne!(logs.digest().unwrap(), base);
        }
    }

    #[test]
    fn stock_evidence_has_no_member_of_ours() {
        let quote = TpmQuote { signature: Base64Std::default(), message: Base64Std::default(), pcrs: vec![] };
        let evidence = TpmEvidence { tpm_quote: quote, ak_public: Base64Std::default(), ccnode: None };
        assert!(!serde_json::to_string(&evidence).unwrap().contains("ccnode"));
    }
}
