//! The two transcripts that evidence binds, computed by both ends with the same functions; they never mix.
//!
//! `stock`: SHA-384 over the RFC 8785 form of `{additional-evidence, nonce, tee-pubkey}`. `ccnode/1`: the same object
//! with a member `ccnode`. The activation value is an HMAC over the object without `ccnode.activation` (the core), so
//! the quote that carries the whole proves that this very session activated the credential.
//!
//! A composite has two: what stands beside the primary evidence covers the form without `additional-evidence`, and the primary
//! covers all of it. A node whose only TPM stands beside the primary activates over the former.

use crate::{Nonce, ReportData, Secret, Sha256Digest};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha384};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

const ACTIVATION: &[u8] = b"ccnode/1 activation";
const NAME: &[u8] = b"ccnode/1 name";

/// What a transcript could not be made of, or does not agree with.
#[derive(Debug, thiserror::Error)]
pub enum TranscriptError {
    /// A member has no canonical form (a map whose keys are no text, say).
    #[error("no canonical form of the transcript: {0}")]
    Canonical(#[source] serde_json::Error),
    /// The member `ccnode` has a version other than 1.
    #[error("transcript of version {0}; this version knows 1")]
    Version(u32),
    /// The activation value is not the one that the secret gives.
    #[error("the activation value does not prove the challenge's secret")]
    Activation,
}

/// The members that both transcripts share. `K` is the public key's JSON form.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Transcript<'a, K: Serialize> {
    /// The additional evidence string exactly as sent; "" counts. `None` is the form that additional evidence itself covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_evidence: Option<&'a str>,
    /// The challenge's nonce.
    pub nonce: &'a Nonce,
    /// The ephemeral public key that secrets are encrypted to.
    pub tee_pubkey: &'a K,
}

/// Digests of what rides along in a `ccnode/1` session.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bound {
    /// SHA-256 of the DER certificate request.
    pub csr: Option<Sha256Digest>,
    /// SHA-256 of the init-data as sent.
    pub init_data: Option<Sha256Digest>,
    /// [`crate::EventLogs::digest`].
    pub event_logs: Option<Sha256Digest>,
}

/// runtime-data's member `ccnode`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuntimeExt {
    /// Version of the transcript: 1.
    pub version: u32,
    /// HMAC-SHA256 over the core under a key from the activated secret; `null` from a node without a TPM.
    pub activation: Option<Sha256Digest>,
    /// What is bound.
    #[serde(flatten)]
    pub bound: Bound,
}

/// Proof that the peer activated the credential of this session. Made only by [`Transcript::activated`].
#[derive(Debug)]
pub struct ActivationProven(());

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct CoreExt<'a> {
    version: u32,
    #[serde(flatten)]
    bound: &'a Bound,
}

#[derive(Serialize)]
struct With<'a, 'b, K: Serialize, X: Serialize> {
    #[serde(flatten)]
    shared: &'b Transcript<'a, K>,
    ccnode: &'b X,
}

impl<K: Serialize> Transcript<'_, K> {
    /// Report data of the stock transcript.
    pub fn stock(&self) -> Result<ReportData, TranscriptError> {
        Ok(report_data(&canonical(self)?))
    }

    /// The node's side of `ccnode/1`: the member to send and the report data to quote.
    pub fn bind(
        &self,
        bound: Bound,
        secret: &Secret<32>,
    ) -> Result<(RuntimeExt, ReportData), TranscriptError> {
        let activation = Sha256Digest(self.activation(&bound, secret)?.finalize().into_bytes().into());
        let ext = RuntimeExt { version: 1, activation: Some(activation), bound };
        let data = self.cover(&ext)?;
        Ok((ext, data))
    }

    /// Report data over `ext` as it stands: what the primary evidence of a composite covers once the TPM beside it has quoted, or
    /// that of a node that has no TPM. It proves no activation.
    pub fn cover(&self, ext: &RuntimeExt) -> Result<ReportData, TranscriptError> {
        if ext.version != 1 {
            return Err(TranscriptError::Version(ext.version));
        }
        Ok(report_data(&canonical(&With { shared: self, ccnode: ext })?))
    }

    /// The service's side of `ccnode/1`: checks the activation value and gives the report data that must be quoted.
    pub fn verify(
        &self,
        ext: &RuntimeExt,
        secret: &Secret<32>,
    ) -> Result<(ActivationProven, ReportData), TranscriptError> {
        Ok((self.activated(ext, secret)?, self.cover(ext)?))
    }

    /// The activation value alone, which costs half as much: nothing that was quoted is covered by it yet.
    pub fn activated(
        &self,
        ext: &RuntimeExt,
        secret: &Secret<32>,
    ) -> Result<ActivationProven, TranscriptError> {
        if ext.version != 1 {
            return Err(TranscriptError::Version(ext.version));
        }
        let want: [u8; 32] = self.activation(&ext.bound, secret)?.finalize().into_bytes().into();
        let sent = ext.activation.ok_or(TranscriptError::Activation)?;
        if !bool::from(want.ct_eq(&sent.0)) {
            return Err(TranscriptError::Activation);
        }
        Ok(ActivationProven(()))
    }

    fn activation(&self, bound: &Bound, secret: &Secret<32>) -> Result<Hmac<Sha256>, TranscriptError> {
        let core = canonical(&With { shared: self, ccnode: &CoreExt { version: 1, bound } })?;
        let key = derive(secret, ACTIVATION);
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).expect("any length");
        mac.update(&core);
        Ok(mac)
    }
}

/// The AES-256-GCM key under which the node's name travels in a challenge.
pub fn name_key(secret: &Secret<32>) -> Secret<32> {
    derive(secret, NAME)
}

#[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8160 bytes; 32 are always there")]
fn derive(secret: &Secret<32>, info: &[u8]) -> Secret<32> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, secret.expose()).expand(info, key.as_mut()).expect("32 bytes");
    Secret::new(*key)
}

fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, TranscriptError> {
    crate::canonical::to_vec(value).map_err(TranscriptError::Canonical)
}

fn report_data(canonical: &[u8]) -> ReportData {
    ReportData(Sha384::digest(canonical).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NONCE: Nonce = Nonce([7; 32]);

    #[test]
    fn stock_hashes_three_members_in_canonical_order() {
        let key = json!({"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "a", "y": "b"});
        let got =
            Transcript { additional_evidence: Some(""), nonce: &NONCE, tee_pubkey: &key }.stock().unwrap();
        let text = format!(
            r#"{{"additional-evidence":"","nonce":"{}","tee-pubkey":{{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"a","y":"b"}}}}"#,
            NONCE.text()
        );
        assert_eq!(got, report_data(text.as_bytes()));
    }

    #[test]
    fn both_ends_agree_and_only_with_one_secret() {
        let key = json!({"kty": "EC"});
        let transcript = Transcript { additional_evidence: Some(""), nonce: &NONCE, tee_pubkey: &key };
        let bound = Bound { csr: Some(Sha256Digest::of(b"csr")), ..Default::default() };
        let secret = Secret::new([1; 32]);
        let (ext, sent) = transcript.bind(bound, &secret).unwrap();
        let (_, seen) = transcript.verify(&ext, &secret).unwrap();
        assert_eq!(sent, seen);
        assert_ne!(sent, transcript.stock().unwrap());
        assert!(matches!(transcript.verify(&ext, &Secret::new([2; 32])), Err(TranscriptError::Activation)));
    }

    #[test]
    fn t08_every_member_is_bound() {
        let (key, other) = (json!({"kty": "EC"}), json!({"kty": "RSA"}));
        let secret = Secret::new([1; 32]);
        let base = Transcript { additional_evidence: Some(""), nonce: &NONCE, tee_pubkey: &key };
        let (ext, data) = base.bind(Bound::default(), &secret).unwrap();
        let later = Nonce([8; 32]);
        for transcript in [
            Transcript { additional_evidence: Some("{}"), nonce: &NONCE, tee_pubkey: &key },
            Transcript { additional_evidence: Some(""), nonce: &later, tee_pubkey: &key },
            Transcript { additional_evidence: Some(""), nonce: &NONCE, tee_pubkey: &other },
        ] {
            assert!(matches!(transcript.verify(&ext, &secret), Err(TranscriptError::Activation)));
            assert_ne!(transcript.bind(Bound::default(), &secret).unwrap().1, data);
        }
        let some = Some(Sha256Digest::ZERO);
        for bound in [
            Bound { csr: some, ..Default::default() },
            Bound { init_data: some, ..Default::default() },
            Bound { event_logs: some, ..Default::default() },
        ] {
            let forged = RuntimeExt { bound, ..ext };
            assert!(matches!(base.verify(&forged, &secret), Err(TranscriptError::Activation)));
        }
        assert!(matches!(
            base.verify(&RuntimeExt { version: 2, ..ext }, &secret),
            Err(TranscriptError::Version(2))
        ));
    }

    #[test]
    fn t08_a_composite_has_two_forms() {
        let key = json!({"kty": "EC"});
        let secret = Secret::new([1; 32]);
        let device = Transcript { additional_evidence: None, nonce: &NONCE, tee_pubkey: &key };
        let (ext, quoted) = device.bind(Bound::default(), &secret).unwrap();
        let text = format!(
            r#"{{"ccnode":{{"activation":"{}","csr":null,"event-logs":null,"init-data":null,"version":1}},"nonce":"{}","tee-pubkey":{{"kty":"EC"}}}}"#,
            ext.activation.unwrap(),
            NONCE.text()
        );
        assert_eq!(quoted, report_data(text.as_bytes()));

        let whole = |sent| Transcript { additional_evidence: Some(sent), ..device };
        let reported = whole("{\"tpm\":1}").cover(&ext).unwrap();
        let text = text.replacen('{', r#"{"additional-evidence":"{\"tpm\":1}","#, 1);
        assert_eq!(reported, report_data(text.as_bytes()));
        assert_ne!(reported, whole("{\"tpm\":2}").cover(&ext).unwrap());
        // Neither stands for the other: not as report data, and not as what was activated over.
        assert_ne!(quoted, reported);
        assert!(matches!(whole("").verify(&ext, &secret), Err(TranscriptError::Activation)));
    }

    #[test]
    fn a_node_without_a_tpm_activates_nothing() {
        let key = json!({"kty": "EC"});
        let transcript = Transcript { additional_evidence: Some(""), nonce: &NONCE, tee_pubkey: &key };
        let ext = RuntimeExt { version: 1, activation: None, bound: Bound::default() };
        transcript.cover(&ext).unwrap();
        assert!(matches!(transcript.verify(&ext, &Secret::new([1; 32])), Err(TranscriptError::Activation)));
        let later = RuntimeExt { version: 2, ..ext };
        assert!(matches!(transcript.cover(&later), Err(TranscriptError::Version(2))));
        let text = serde_json::to_string(&ext).unwrap();
        assert_eq!(text, r#"{"version":1,"activation":null,"csr":null,"init-data":null,"event-logs":null}"#);
        assert_eq!(serde_json::from_str::<RuntimeExt>(&text).unwrap(), ext);
    }

    #[test]
    fn derived_keys_differ() {
        let secret = Secret::new([1; 32]);
        assert_ne!(name_key(&secret), derive(&secret, ACTIVATION));
    }
}
