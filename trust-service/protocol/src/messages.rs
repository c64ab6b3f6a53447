//! Request, Challenge, Attestation and Response, with the member `ccnode` where both ends speak `ccnode/1`.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInPlace as _, KeyInit as _};
use ccnode_evidence::transcript::{RuntimeExt, name_key};
use ccnode_evidence::{Base64Url, Ek, EvidenceKind, Identity, Secret};
use kbs_types::{CompositeEvidence, InitData, Tee};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::{NodeName, PoolName, bounded, limits};

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

/// What a node offers: who its TPM is. Without a TPM, `ek-cert`, `ek` and `ak` are all absent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuthExt {
    /// Version of the transcript: 1.
    pub version: u32,
    /// The pool that the measured configuration names; for a known node the service's record decides.
    pub pool: PoolName,
    /// EK certificate, DER; absent where the TPM has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek_cert: Option<Base64Url>,
    /// TPMT_PUBLIC of an endorsement key without a certificate, RSA-2048 in the default template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ek: Option<Base64Url>,
    /// The attestation key's TPMT_PUBLIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ak: Option<Base64Url>,
}

impl AuthExt {
    /// The offer of a node of `pool` whose TPM is `identity`, where it has one.
    pub fn new(pool: PoolName, identity: Option<&Identity>) -> Self {
        let (mut ek_cert, mut ek) = (None, None);
        match identity.map(|identity| &identity.ek) {
            Some(Ek::Certificate(der)) => ek_cert = Some(der.clone().into()),
            Some(Ek::Public(public)) => ek = Some(public.clone().into()),
            None => {}
        }
        let ak = identity.map(|identity| identity.ak_public.clone().into());
        Self { version: 1, pool, ek_cert, ek, ak }
    }

    /// Who the TPM is; `Ok(None)` from a node without one.
    pub fn identity(&self) -> Result<Option<Identity>, OfferError> {
        let ek = match (&self.ek_cert, &self.ek) {
            (Some(_), Some(_)) => return Err(OfferError::TwoKeys),
            (Some(cert), None) => Some(Ek::Certificate(cert.0.clone())),
            (None, Some(public)) => Some(Ek::Public(public.0.clone())),
            (None, None) => None,
        };
        match (ek, &self.ak) {
            (Some(ek), Some(ak)) => Ok(Some(Identity { ek, ak_public: ak.0.clone() })),
            (None, None) => Ok(None),
            _ => Err(OfferError::HalfATpm),
        }
    }
}

/// Members of an offer that don't go together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OfferError {
    /// Certificate and public area of an endorsement key.
    #[error("both `ek-cert` and `ek`; a TPM offers its certificate, or the key where it has none")]
    TwoKeys,
    /// An endorsement key without an attestation key, or the reverse.
    #[error("an endorsement key and `ak` come together or not at all")]
    HalfATpm,
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

/// The service's answer in `ccnode/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChallengeExt {
    /// Version of the transcript: 1.
    pub version: u32,
    /// What it asks of the node.
    #[serde(flatten)]
    pub asks: Asks,
}

/// What a challenge asks for, by what was offered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged, rename_all = "kebab-case")]
pub enum Asks {
    /// To activate a credential: a TPM was offered.
    Activation(Activation),
    /// Nothing but the report: no TPM was offered.
    Report {
        /// The node's name, which is that boot's alone.
        node: NodeName,
    },
}

/// A credential that only the offered TPM can activate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Activation {
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

impl NameBox {
    /// The name, by the secret that activation gave; `None` where it does not open or is none.
    pub fn open(&self, secret: &Secret<32>) -> Option<NodeName> {
        let iv: [u8; 12] = self.iv.0.as_slice().try_into().ok()?;
        let tag: [u8; 16] = self.tag.0.as_slice().try_into().ok()?;
        let mut text = self.ciphertext.0.clone();
        Aes256Gcm::new(name_key(secret).expose().into())
            .decrypt_in_place_detached(&iv.into(), b"", &mut text, &tag.into())
            .ok()?;
        std::str::from_utf8(&text).ok()?.trim_end_matches('\0').parse().ok()
    }
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

/// The `tee` of a kind.
pub fn tee(kind: EvidenceKind) -> Tee {
    match kind {
        EvidenceKind::Tpm => Tee::Tpm,
        EvidenceKind::Snp => Tee::Snp,
        EvidenceKind::Tdx => Tee::Tdx,
        EvidenceKind::AzSnpVtpm => Tee::AzSnpVtpm,
        EvidenceKind::AzTdxVtpm => Tee::AzTdxVtpm,
    }
}

/// The kind of a `tee`; `None` where its evidence is not appraised.
pub fn kind(tee: Tee) -> Option<EvidenceKind> {
    EvidenceKind::ALL.into_iter().find(|kind| self::tee(*kind) == tee)
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
    fn an_offer_is_a_whole_tpm_or_none() {
        let pool = || "workers".parse().unwrap();
        let of = |ek| Identity { ek, ak_public: vec![2] };
        let text = |offer: &AuthExt| serde_json::to_string(offer).unwrap();
        for (identity, want) in [
            (
                Some(of(Ek::Certificate(vec![1]))),
                r#"{"version":1,"pool":"workers","ek-cert":"AQ","ak":"Ag"}"#,
            ),
            (Some(of(Ek::Public(vec![1]))), r#"{"version":1,"pool":"workers","ek":"AQ","ak":"Ag"}"#),
            (None, r#"{"version":1,"pool":"workers"}"#),
        ] {
            let offer = AuthExt::new(pool(), identity.as_ref());
            assert_eq!(text(&offer), want);
            assert_eq!(serde_json::from_str::<AuthExt>(want).unwrap().identity(), Ok(identity));
        }
        let mut offer = AuthExt::new(pool(), Some(&of(Ek::Public(vec![1]))));
        offer.ak = None;
        assert_eq!(offer.identity(), Err(OfferError::HalfATpm));
        let mut offer = AuthExt::new(pool(), Some(&of(Ek::Public(vec![1]))));
        offer.ek_cert = Some(vec![1].into());
        assert_eq!(offer.identity(), Err(OfferError::TwoKeys));
        offer.ek_cert = None;
        offer.ek = None;
        assert_eq!(offer.identity(), Err(OfferError::HalfATpm));
        let nulls = r#"{"version":1,"pool":"workers","ek-cert":null,"ek":null,"ak":null}"#;
        assert_eq!(serde_json::from_str::<AuthExt>(nulls).unwrap().identity(), Ok(None));
    }

    #[test]
    fn a_challenge_asks_for_activation_or_for_a_report() {
        let tpm =
            r#"{"version":1,"credential":"AQ","secret":"Ag","name":{"iv":"","ciphertext":"","tag":""}}"#;
        let report = r#"{"version":1,"node":"workers-abc"}"#;
        for text in [tpm, report] {
            let ext: ChallengeExt = serde_json::from_str(text).unwrap();
            assert_eq!(matches!(ext.asks, Asks::Activation(_)), text == tpm);
            assert_eq!(serde_json::to_string(&ext).unwrap(), text);
        }
        assert!(serde_json::from_str::<ChallengeExt>(r#"{"version":1,"credential":"AQ"}"#).is_err());
    }

    #[test]
    fn kinds_have_the_protocols_names() {
        for kind in EvidenceKind::ALL {
            assert_eq!(tee(kind).to_string(), kind.as_str());
            assert_eq!(self::kind(tee(kind)), Some(kind));
        }
        assert_eq!(kind(Tee::Sample), None);
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
