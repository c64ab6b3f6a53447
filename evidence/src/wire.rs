//! Evidence as it travels: the stock `tpm` members and the superset member `ccnode`, which any primary evidence carries.

mod azure;
mod snp;
mod snp_table;
mod tdx;

pub use azure::{AZURE_VERSION, AzSnpEvidence, AzTdxEvidence, AzureTpmQuote};
pub use snp::{SnpEvidence, SnpFormError, SnpReport};
pub use snp_table::{SnpCertificate, SnpCertificateType, SnpTableError, read as read_snp_table};
pub use tdx::TdxEvidence;

use crate::encoding::url_pieces;
use crate::{Base64Std, Base64Url, PcrIndex, PcrValues, Sha256Digest};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The superset member's name.
const MEMBER: &str = "ccnode";

/// Primary evidence of the TEE `tpm`; unknown members are ignored by the stock service, so `ccnode` rides along.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TpmEvidence {
    /// Quote, signature and PCR values.
    pub tpm_quote: TpmQuote,
    /// The attestation key as DER SubjectPublicKeyInfo.
    pub ak_public: Base64Std,
    /// What `ccnode/1` adds; absent from stock clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ccnode: Option<CcnodeEvidence>,
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

/// What a `ccnode/1` node adds to its primary evidence, of whichever kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CcnodeEvidence {
    /// Version of this member: 1.
    pub version: u32,
    /// The event logs, bound to the transcript as a whole.
    #[serde(flatten)]
    pub logs: EventLogs,
    /// The kubelet's certificate request in DER (PKCS #10); its digest is bound to the transcript.
    pub csr: Option<Base64Url>,
    /// The services manifest that an SEV-SNP report covers, where an SVSM made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub svsm: Option<Svsm>,
}

impl CcnodeEvidence {
    /// Puts this beside the stock members of `primary`, which must be an object.
    pub fn beside(&self, primary: &impl Serialize) -> Result<Value, serde_json::Error> {
        let mut primary = serde_json::to_value(primary)?;
        let ours = serde_json::to_value(self)?;
        let object = primary.as_object_mut().ok_or_else(|| serde_json::Error::custom("not an object"))?;
        object.insert(MEMBER.to_owned(), ours);
        Ok(primary)
    }

    /// Reads it out of primary evidence; `None` where there is no such member.
    pub fn of(primary: &Value) -> Result<Option<Self>, serde_json::Error> {
        primary.get(MEMBER).map(Self::deserialize).transpose()
    }
}

/// What an SVSM's report covers beside its nonce: REPORT_DATA is SHA-512(nonce ‖ manifest).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Svsm {
    /// GUID of the service whose manifest it is, as text with hyphens.
    pub service: String,
    /// Version of the manifest.
    pub version: u32,
    /// The manifest; for the vTPM's service it holds the endorsement key.
    pub manifest: Base64Url,
}

/// `additional_evidence` of a report with a vTPM beside it, as JSON text; the stock service reads the same map.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdditionalEvidence {
    /// The vTPM's quote; its member `ccnode` is absent, as the primary evidence carries it.
    pub tpm: TpmEvidence,
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
        self.hashed(&mut url_pieces(&self.event_log.0), &mut url_pieces(&self.own_log.0))
    }

    /// The same of logs that were read out of `primary`, by the text that is there: base64url is one text for the same bytes. These must be
    /// its logs, of [`CcnodeEvidence::of`].
    pub fn digest_within(&self, primary: &Value) -> Result<Sha256Digest, serde_json::Error> {
        let sent = |name| primary.get(MEMBER).and_then(|ours| ours.get(name)).and_then(Value::as_str);
        match (sent("event-log"), sent("own-log")) {
            // It was read as base64url: there is nothing in it that JSON would escape.
            (Some(event_log), Some(own_log)) => {
                self.hashed(&mut std::iter::once(event_log), &mut std::iter::once(own_log))
            }
            _ => self.digest(),
        }
    }

    /// That form, written in pieces: a log is long.
    fn hashed<T: AsRef<[u8]>>(
        &self,
        event_log: &mut dyn Iterator<Item = T>,
        own_log: &mut dyn Iterator<Item = T>,
    ) -> Result<Sha256Digest, serde_json::Error> {
        let mut hasher = Sha256::new();
        hasher.update(b"{\"cmdline\":");
        hasher.update(crate::canonical::to_vec(&self.cmdline)?);
        hasher.update(b",\"event-log\":\"");
        event_log.for_each(|text| hasher.update(text));
        hasher.update(b"\",\"own-log\":\"");
        own_log.for_each(|text| hasher.update(text));
        hasher.update(b"\"}");
        Ok(Sha256Digest(hasher.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_flatten_beside_the_request() {
        let evidence = CcnodeEvidence { version: 1, logs: EventLogs::default(), csr: None, svsm: None };
        let text = serde_json::to_string(&evidence).unwrap();
        assert_eq!(text, r#"{"version":1,"event-log":"","own-log":"","cmdline":"","csr":null}"#);
        assert_eq!(serde_json::from_str::<CcnodeEvidence>(&text).unwrap(), evidence);
    }

    #[test]
    fn digest_is_that_of_the_canonical_form() {
        let lengths = [0, 1, 2, 3, 3071, 3072, 3073, 50_000];
        for (event_log, own_log) in lengths.into_iter().zip(lengths.into_iter().rev()) {
            let bytes = |len: usize| Base64Url((0u8..=255).cycle().take(len).collect());
            let cmdline = "quiet \"\\\u{1}\u{1f}\u{7f}\n é \u{2028} 𝄞".to_owned();
            let logs = EventLogs { event_log: bytes(event_log), own_log: bytes(own_log), cmdline };
            let whole = serde_json_canonicalizer::to_vec(&logs).unwrap();
            assert_eq!(logs.digest().unwrap(), Sha256Digest::of(&whole), "{event_log}");
            let ours = CcnodeEvidence { version: 1, logs: logs.clone(), csr: None, svsm: None };
            let primary = ours.beside(&serde_json::json!({})).unwrap();
            assert_eq!(logs.digest_within(&primary).unwrap(), Sha256Digest::of(&whole), "{event_log}");
            // Nothing but what is there can be hashed.
            assert_ne!(
                EventLogs::default().digest_within(&primary).unwrap(),
                EventLogs::default().digest().unwrap()
            );
        }
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
    fn ours_rides_beside_any_primary_evidence() {
        let svsm = Svsm { service: "c476".into(), version: 1, manifest: vec![1].into() };
        let ours = CcnodeEvidence { version: 1, logs: EventLogs::default(), csr: None, svsm: Some(svsm) };
        let primary = ours.beside(&serde_json::json!({"quote": "AA=="})).unwrap();
        assert_eq!(primary["quote"], "AA==");
        assert_eq!(
            primary["ccnode"]["svsm"],
            serde_json::json!({"service": "c476", "version": 1, "manifest": "AQ"})
        );
        assert_eq!(CcnodeEvidence::of(&primary).unwrap(), Some(ours.clone()));
        assert_eq!(CcnodeEvidence::of(&Value::Null).unwrap(), None);
        assert!(CcnodeEvidence::of(&serde_json::json!({"ccnode": {}})).is_err());
        assert!(ours.beside(&1).is_err());
    }

    #[test]
    fn stock_evidence_has_no_member_of_ours() {
        let quote = TpmQuote { signature: Base64Std::default(), message: Base64Std::default(), pcrs: vec![] };
        let evidence = TpmEvidence { tpm_quote: quote, ak_public: Base64Std::default(), ccnode: None };
        assert!(!serde_json::to_string(&evidence).unwrap().contains("ccnode"));
    }
}
