//! Request, Challenge, Attestation and Response, with the member `ccnode` where both ends speak `ccnode/1`.

use ccnode_evidence::{Base64Url, transcript::RuntimeExt};
use kbs_types::{CompositeEvidence, InitData, Tee};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{PoolName, bounded, limits};

/// The protocol version that this crate speaks.
pub const VERSION: &str = "0.4.0";

/// Body of `POST /kbs/v0/auth`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthRequest {
    /// Protocol version: "0.4.0".
    pub version: String,
    /// Kind of the primary evidence.
    pub tee: Tee,
    /// `null`, "" or an object; ours has the member `ccnode`.
    #[serde(rename = "extra-params")]
    pub extra_params: ExtParams<AuthExt>,
}

/// `extra-params` of either direction: our member, or whatever a stock peer sends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ExtParams<T> {
    /// An object with the member `ccnode`; other members are left to those who know them.
    Ccnode {
        /// The `ccnode/1` member.
        ccnode: T,
    },
    /// Anything else, `null` and "" among it.
    Stock(Value),
}

impl<T> ExtParams<T> {
    /// The `ccnode/1` member, where the peer sent it whole.
    pub fn ccnode(&self) -> Option<&T> {
        match self {
            Self::Ccnode { ccnode } => Some(ccnode),
            Self::Stock(_) => None,
        }
    }
}

/// What a node offers: who its TPM is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuthExt {
    /// Version of the transcript: 1.
    pub version: u32,
    /// The pool that the measured configuration names; for a known node the service's record decides.
    pub pool: PoolName,
    /// EK certificate, DER.
    pub ek_cert: Base64Url,
    /// The attestation key's TPMT_PUBLIC.
    pub ak: Base64Url,
}

/// Reply of `POST /kbs/v0/auth`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Challenge {
    /// Standard base64 of 32 bytes.
    pub nonce: ccnode_evidence::Nonce,
    /// "" from a stock service; ours has the member `ccnode`.
    #[serde(rename = "extra-params")]
    pub extra_params: ExtParams<ChallengeExt>,
}

/// The service's answer in `ccnode/1`: a credential that only the offered TPM can activate.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChallengeExt {
    /// Version of the transcript: 1.
    pub version: u32,
    /// TPM2B_ID_OBJECT, marshalled with its size.
    pub credential: Base64Url,
    /// TPM2B_ENCRYPTED_SECRET, marshalled with its size.
    pub secret: Base64Url,
    /// The node's name under [`ccnode_evidence::transcript::name_key`].
    pub name: NameBox,
}

/// AES-256-GCM of the node's name: 12-byte iv, 16-byte tag, no additional data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NameBox {
    /// 12 bytes.
    pub iv: Base64Url,
    /// As long as the name.
    pub ciphertext: Base64Url,
    /// 16 bytes.
    pub tag: Base64Url,
}

/// Body of `POST /kbs/v0/attest`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attestation {
    /// `null`, or what an untrusted host handed in.
    pub init_data: Option<InitData>,
    /// Nonce, public key and, in `ccnode/1`, the bound digests.
    pub runtime_data: RuntimeData,
    /// Primary evidence and the string of additional evidence.
    #[serde(deserialize_with = "evidence")]
    pub tee_evidence: CompositeEvidence,
}

/// `runtime-data`, flattened over the stock members.
#[derive(Clone, Debug, Serialize)]
pub struct RuntimeData {
    /// Nonce as text and public key.
    #[serde(flatten)]
    pub stock: kbs_types::RuntimeData,
    /// What `ccnode/1` binds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ccnode: Option<RuntimeExt>,
}

// Anybody may send an attestation: what is unknown is skipped and not buffered, as `flatten` would, and the rest is on a budget.
impl<'de> Deserialize<'de> for RuntimeData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Wire {
            nonce: String,
            #[serde(deserialize_with = "small")]
            tee_pubkey: kbs_types::TeePubKey,
            #[serde(default, deserialize_with = "small")]
            ccnode: Option<RuntimeExt>,
        }
        let Wire { nonce, tee_pubkey, ccnode } = Wire::deserialize(deserializer)?;
        Ok(Self { stock: kbs_types::RuntimeData { nonce, tee_pubkey }, ccnode })
    }
}

fn small<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let value = bounded::value(deserializer, limits::RUNTIME_VALUES)?;
    serde_json::from_value(value).map_err(D::Error::custom)
}

fn evidence<'de, D: Deserializer<'de>>(deserializer: D) -> Result<CompositeEvidence, D::Error> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(deserialize_with = "primary")]
        primary_evidence: Value,
        additional_evidence: String,
    }
    let Wire { primary_evidence, additional_evidence } = Wire::deserialize(deserializer)?;
    Ok(CompositeEvidence { primary_evidence, additional_evidence })
}

fn primary<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    bounded::value(deserializer, limits::EVIDENCE_VALUES)
}

/// Reply of `POST /kbs/v0/attest`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttestResponse {
    /// Attestation result: an EAR token (JWT, ES256).
    pub token: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_peers_send_null_empty_text_or_an_object() {
        for params in ["null", "\"\"", "{\"supported-hash-algorithms\":[\"sha256\"]}"] {
            let text = format!("{{\"version\":\"0.4.0\",\"tee\":\"tpm\",\"extra-params\":{params}}}");
            let request: AuthRequest = serde_json::from_str(&text).unwrap();
            assert!(request.extra_params.ccnode().is_none());
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
        }
        assert!(serde_json::from_str::<AuthRequest>("{\"version\":\"0.4.0\",\"tee\":\"tpm\"}").is_err());
    }

    #[test]
    fn our_member_lives_beside_others() {
        let text = r#"{"version":"0.4.0","tee":"tpm","extra-params":{"supported-hash-algorithms":[],"ccnode":{"version":1,"pool":"workers","ek-cert":"AA","ak":"AA"}}}"#;
        let request: AuthRequest = serde_json::from_str(text).unwrap();
        assert_eq!(request.extra_params.ccnode().unwrap().pool.as_str(), "workers");
    }

    #[test]
    fn runtime_data_has_the_stock_shape_without_our_member() {
        let text = r#"{"nonce":"AA==","tee-pubkey":{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW","x":"a","y":"b"}}"#;
        let data: RuntimeData = serde_json::from_str(text).unwrap();
        assert!(data.ccnode.is_none());
        assert_eq!(serde_json::to_string(&data).unwrap(), text);
    }
    fn attestation(evidence: &str, key: &str, more: &str) -> Result<Attestation, serde_json::Error> {
        serde_json::from_str(&format!(
            r#"{{"runtime-data":{{"nonce":"AA==","tee-pubkey":{{"kty":"EC","crv":"P-256","alg":"a","x":"a","y":"b"{key}}}{more}}},
                "tee-evidence":{{"primary_evidence":{evidence},"additional_evidence":""}}}}"#
        ))
    }

    #[test]
    fn t25_small_attestations_do_not_become_large() {
        let many = |item: &str, n| format!("[{}]", vec![item; n].join(","));
        let stock = attestation("{}", r#","kid":"zz""#, r#","other":1"#).unwrap();
        assert!(stock.init_data.is_none() && stock.runtime_data.ccnode.is_none());
        let report = format!(
            r#"{{"attestation_report":{},"cert_chain":[{{"data":{}}}]}}"#,
            many("7", 1184),
            many("7", 4500)
        );
        assert!(attestation(&report, "", "").is_ok(), "bytes as numbers are evidence of other kinds");
        for item in ["0", "[0]", "{}", r#"{"":0}"#] {
            let flood = many(item, 10_000);
            let refused = |got: Result<Attestation, serde_json::Error>| {
                assert!(got.unwrap_err().to_string().contains("than any evidence has"), "{item}");
            };
            refused(attestation(&flood, "", ""));
            refused(attestation(&format!(r#"{{"ccnode":{flood}}}"#), "", ""));
            refused(attestation("{}", &format!(r#","kid":{flood}"#), ""));
            refused(attestation("{}", "", &format!(r#","ccnode":{flood}"#)));
            // An unknown member is skipped: nothing of it is held.
            assert!(attestation("{}", "", &format!(r#","other":{flood}"#)).is_ok());
        }
    }
}
