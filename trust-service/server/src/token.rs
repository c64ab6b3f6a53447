//! The attestation result token: an EAR (EAT attestation result) as JWT, ES256, with claims that the verdict proves.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use ccnode_appraise::Verdict;
use ccnode_appraise::stock::{StockMatch, StockVerdict};
use ccnode_evidence::{Base64Std, EvidenceKind, Nonce, UnixTime};
use ccnode_protocol::admin::HardwareClaims;
use ccnode_protocol::{PoolName, TeePubKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

const PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";
// AR4SI trustworthiness tiers: a recognized instance; a recognized, approved set of boot-time executables; an approved
// configuration. What is not appraised is 0, "no claim".
const RECOGNIZED_INSTANCE: i8 = 2;
const APPROVED_BOOT: i8 = 3;
/// Executables that are not recognized: a warning.
const UNRECOGNIZED: i8 = 33;
const APPROVED_CONFIG: i8 = 2;
const GENUINE_HARDWARE: i8 = 2;
/// Longer ones are none of ours.
const TOKEN_LIMIT: usize = 32 * 1024;

/// Why the key can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TokenKeyError {
    /// Not PKCS #8.
    #[error("not a P-256 private key in PKCS #8 PEM: {0}")]
    Pem(#[source] p256::pkcs8::Error),
    /// A key that can't sign.
    #[error("not a P-256 private key that signs: {0}")]
    Unusable(aws_lc_rs::error::KeyRejected),
}

/// Name of the file with the token key's certificate and those above it, PEM, in the service's folder.
pub const CHAIN: &str = "token/chain.pem";

/// Why the token key's certificates can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenChainError {
    /// Not certificates in PEM.
    #[error("not certificates in PEM form")]
    Pem,
    /// The first certificate is another key's.
    #[error("the first certificate is not one of token/key.pem")]
    OtherKey,
}

/// A key of before a rotation: nothing is signed with it any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retired {
    /// The public half.
    pub jwk: Value,
    /// Until when its tokens count, seconds since 1970; its checkpoints of the audit log always do.
    pub until: u64,
}

impl Retired {
    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let part = |name| B64.decode(self.jwk.get(name).and_then(Value::as_str)?).ok();
        let (Some(x), Some(y)) = (part("x"), part("y")) else { return false };
        let point = [&[4][..], &x, &y].concat();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok()
    }
}

/// The key that signs tokens and audit checkpoints.
pub struct TokenKey {
    key: EcdsaKeyPair,
    jwk: Value,
    /// The header of all its tokens, in base64.
    header: String,
    retired: Vec<Retired>,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(redacted)")
    }
}

impl TokenKey {
    /// Reads a PKCS #8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, TokenKeyError> {
        let secret = p256::SecretKey::from_pkcs8_pem(pem).map_err(TokenKeyError::Pem)?;
        let der = secret.to_pkcs8_der().map_err(TokenKeyError::Pem)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_bytes())
            .map_err(TokenKeyError::Unusable)?;
        let point = key.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at(point.len() / 2);
        let (x, y) = (B64.encode(x), B64.encode(y));
        // The key's thumbprint (RFC 7638): SHA-256 of its required members in this very form.
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = B64.encode(Sha256::digest(thumbprint));
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": x, "y": y});
        Ok(Self { key, header: header(&jwk, &jwk), jwk, retired: Vec::new() })
    }

    /// The same with its certificate and those above it (`x5c` of RFC 7517), by which stock verifiers follow it to a CA.
    pub fn with_chain(mut self, pem: &str) -> Result<Self, TokenChainError> {
        let chain: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| TokenChainError::Pem)?;
        let leaf = chain.first().ok_or(TokenChainError::Pem)?;
        let leaf = crate::pki::parse(leaf).map_err(|_| TokenChainError::Pem)?;
        if leaf.public_key().subject_public_key.data.as_ref() != self.key.public_key().as_ref() {
            return Err(TokenChainError::OtherKey);
        }
        let texts: Vec<String> = chain.iter().map(|der| STANDARD.encode(der)).collect();
        let mut named = self.jwk.clone();
        if let Value::Object(members) = &mut named {
            members.insert("x5c".to_owned(), json!(texts));
        }
        self.header = header(&self.jwk, &named);
        Ok(self)
    }

    /// The same where others were in use before.
    #[must_use]
    pub fn after(self, retired: Vec<Retired>) -> Self {
        Self { retired, ..self }
    }

    /// The public halves of all keys whose tokens count at `now`, the one in use first.
    pub fn jwks(&self, now: u64) -> Vec<&Value> {
        let retired = self.retired.iter().filter(|old| old.until >= now).map(|old| &old.jwk);
        std::iter::once(&self.jwk).chain(retired).collect()
    }

    /// The public half as a JWK, by whose `kid` tokens name it.
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// ECDSA P-256 with SHA-256, 64 bytes; empty, and good for nothing, where the system has no randomness.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key
            .sign(&SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .unwrap_or_default()
    }

    /// Whether the signature is ours, whenever it was made.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.signed(message, signature, |_| true)
    }

    fn signed(&self, message: &[u8], signature: &[u8], counts: impl Fn(&Retired) -> bool) -> bool {
        let public = self.key.public_key().as_ref();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public).verify(message, signature).is_ok()
            || self.retired.iter().any(|old| counts(old) && old.signed(message, signature))
    }

    /// The token of a verdict, valid from `now` to `expires` (seconds since 1970).
    pub fn issue(&self, verdict: &Verdict, nonce: &Nonce, pool: &PoolName, now: u64, expires: u64) -> String {
        let boot = if verdict.allowed_once { UNRECOGNIZED } else { APPROVED_BOOT };
        self.token((verdict.hardware.is_some(), boot), evidence(verdict, nonce), pool, now, expires)
    }

    /// The token of a stock client's verdict; `additional` is its additional evidence as sent.
    pub fn issue_stock(
        &self,
        verdict: &StockVerdict,
        nonce: &Nonce,
        additional: &str,
        pool: &PoolName,
        now: u64,
        expires: u64,
    ) -> String {
        let evidence = stock_evidence(verdict, nonce, additional);
        self.token((verdict.hardware.is_some(), APPROVED_BOOT), evidence, pool, now, expires)
    }

    /// Only what was accepted gets a token, so the status is `affirming`, unless administrators allowed what no reference does.
    fn token(
        &self,
        (hardware, boot): (bool, i8),
        evidence: Value,
        pool: &PoolName,
        now: u64,
        expires: u64,
    ) -> String {
        let status = if boot == APPROVED_BOOT { "affirming" } else { "warning" };
        let hardware = if hardware { GENUINE_HARDWARE } else { 0 };
        let mut claims = json!({
            "eat_profile": PROFILE,
            "iss": "ccnode-trust",
            "iat": now,
            "exp": expires,
            "ear.verifier-id": {"developer": "ccnode", "build": concat!("ccnode-trust ", env!("CARGO_PKG_VERSION"))},
            "submods": {"cpu0": {
                "ear.status": status,
                "ear.trustworthiness-vector": {
                    "instance-identity": RECOGNIZED_INSTANCE,
                    "executables": boot,
                    "configuration": APPROVED_CONFIG,
                    "file-system": 0, "hardware": hardware, "runtime-opaque": 0, "storage-opaque": 0, "sourced-data": 0,
                },
                "ear.appraisal-policy-id": format!("pool:{pool}"),
                "ear.trustee.identifiers": {"validated": {}},
            }},
        });
        // Moved in: the macro would copy it, piece by piece.
        if let Some(Value::Object(appraisal)) = claims.pointer_mut("/submods/cpu0") {
            appraisal.insert("ear.veraison.annotated-evidence".to_owned(), evidence);
        }
        let signed = format!("{}.{}", self.header, B64.encode(claims.to_string()));
        let signature = B64.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    /// What a token of ours says of its session, at `now`. Of the header nothing is believed: the key and its algorithm are ours.
    pub fn bearer(&self, token: &str, now: u64) -> Result<Bearer, BearerError> {
        if token.len() > TOKEN_LIMIT {
            return Err(BearerError::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(BearerError::Form)?;
        let signature = B64.decode(signature).map_err(|_| BearerError::Form)?;
        if !self.signed(signed.as_bytes(), &signature, |old| old.until >= now) {
            return Err(BearerError::Signature);
        }
        let (_, claims) = signed.split_once('.').ok_or(BearerError::Form)?;
        let claims = B64.decode(claims).map_err(|_| BearerError::Form)?;
        let claims: Value = serde_json::from_slice(&claims).map_err(|_| BearerError::Form)?;
        let end = claims.get("exp").and_then(Value::as_u64).ok_or(BearerError::Form)?;
        if end < now {
            return Err(BearerError::Ended(UnixTime(end)));
        }
        let runtime = claims.pointer("/submods/cpu0/ear.veraison.annotated-evidence/runtime_data_claims");
        Bearer::deserialize(runtime.ok_or(BearerError::Form)?).map_err(|_| BearerError::Form)
    }
}

/// The header of a key's tokens. `named` is its public half as it stands there: with the certificates above it, where there are some.
fn header(jwk: &Value, named: &Value) -> String {
    B64.encode(json!({"typ": "JWT", "alg": "ES256", "kid": jwk.get("kid"), "jwk": named}).to_string())
}

/// The session that a token stands for, and the key that answers to its bearer are sealed to.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bearer {
    /// Of the session's challenge.
    pub nonce: Nonce,
    /// The session's key.
    pub tee_pubkey: TeePubKey,
}

/// Why a token stands for no session.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// Not a token of this service's form.
    #[error("no token of this service")]
    Form,
    /// Signed by somebody else.
    #[error("the token was not signed by this service")]
    Signature,
    /// It has ended.
    #[error("the token ended at {0}")]
    Ended(UnixTime),
}

/// What was proven: our own claims, and those of the hardware under the name of its kind, as the stock service has them.
fn evidence(verdict: &Verdict, nonce: &Nonce) -> Value {
    let mut out = json!({
        "runtime_data_claims": {"nonce": nonce, "tee-pubkey": verdict.tee_pubkey},
        "ccnode": {
            "trust-level": serde_json::to_value(verdict.level).unwrap_or(Value::Null),
            "tee": verdict.kind,
            "identity": verdict.node_id.hex(),
            "ephemeral": verdict.ephemeral,
            "platform": verdict.tpm.as_ref().and_then(|tpm| tpm.platform).map(|id| id.hex()),
            "allowed-once": verdict.allowed_once,
            "image": verdict.image.hex(),
            "image-name": verdict.image_name,
            "hardware": verdict.hardware,
        },
    });
    if let (Some(hardware), Value::Object(members)) = (&verdict.hardware, &mut out) {
        members.insert(verdict.kind.as_str().to_owned(), stock(&hardware.claims));
    }
    out
}

/// The members that a stock verifier reads, and beside them ours.
fn stock_evidence(verdict: &StockVerdict, nonce: &Nonce, additional: &str) -> Value {
    let (image_name, values) = match &verdict.matched {
        StockMatch::Pair { image_name, .. } | StockMatch::Launch { image_name, .. } => {
            (Some(image_name), None)
        }
        StockMatch::Values { names } => (None, Some(names)),
    };
    let pcr = |index: u8| {
        let pcrs = verdict.tpm.as_ref().map(|tpm| &tpm.pcrs.0);
        pcrs.and_then(|pcrs| pcrs.iter().find(|(pcr, _)| pcr.get() == index)).map(|(_, value)| value.hex())
    };
    let measured = match (verdict.kind, verdict.hardware.as_ref().map(|hardware| &hardware.claims)) {
        (EvidenceKind::Snp, Some(HardwareClaims::Snp(snp))) => Some(snp.host_data.clone()),
        (EvidenceKind::Tdx, Some(HardwareClaims::Tdx(tdx))) => Some(tdx.mr_config_id.clone()),
        _ => pcr(8),
    };
    let covered = match verdict.kind {
        EvidenceKind::Tpm => hex::encode(verdict.report_data.qualifying_data()),
        EvidenceKind::Snp | EvidenceKind::Tdx => hex::encode(verdict.report_data.report_data()),
        EvidenceKind::AzSnpVtpm | EvidenceKind::AzTdxVtpm => hex::encode(verdict.report_data.0),
    };
    let not_judged =
        verdict.tpm.as_ref().map(|tpm| tpm.not_judged.iter().map(|pcr| pcr.get()).collect::<Vec<u8>>());
    let mut out = json!({
        "init_data": measured,
        "init_data_claims": verdict.init_data.as_ref().map(|data| &data.claims),
        "report_data": covered,
        "runtime_data_claims": {
            "additional-evidence": additional, "nonce": nonce, "tee-pubkey": verdict.tee_pubkey,
        },
        "ccnode": {
            "transcript": "stock",
            "trust-level": verdict.level,
            "tee": verdict.kind,
            "identity": verdict.node_id.hex(),
            "ephemeral": verdict.ephemeral,
            "platform": verdict.matched.platform(),
            "image": verdict.matched.image(),
            "image-name": image_name,
            "reference-values": values,
            "pcrs-not-judged": not_judged,
            "hardware": verdict.hardware,
        },
    });
    let Value::Object(members) = &mut out else { return out };
    let mut hardware = verdict.hardware.as_ref().map(|hardware| stock(&hardware.claims));
    if let Some(tpm) = &verdict.tpm {
        let mut claims: Map<String, Value> =
            tpm.pcrs.0.iter().map(|(pcr, value)| (format!("pcr{:02}", pcr.get()), json!(value))).collect();
        match (verdict.kind, &mut hardware) {
            // On Azure the vTPM is a part of the platform.
            (EvidenceKind::AzSnpVtpm | EvidenceKind::AzTdxVtpm, Some(Value::Object(hardware))) => {
                hardware.insert("tpm".to_owned(), Value::Object(claims));
            }
            _ => {
                claims.insert("ak_public".to_owned(), json!(Base64Std(tpm.ak.clone())));
                members.insert("tpm".to_owned(), Value::Object(claims));
            }
        }
    }
    members.extend(hardware.map(|hardware| (verdict.kind.as_str().to_owned(), hardware)));
    out
}

/// A hexadecimal number as claims have it.
fn number(text: Option<&String>) -> Option<u64> {
    u64::from_str_radix(text?.strip_prefix("0x")?, 16).ok()
}

/// SEV-SNP's bits by section 4.3 of its ABI specification (POLICY) and table 23 (PLATFORM_INFO).
fn stock(claims: &HardwareClaims) -> Value {
    match claims {
        HardwareClaims::Snp(snp) => {
            let policy = number(Some(&snp.policy));
            let platform = number(snp.platform_info.as_ref());
            let bit = |number: Option<u64>, index: u32| number.map(|n| n >> index & 1 == 1);
            json!({
            "policy_abi_minor": policy.map(|n| n & 0xff),
            "policy_abi_major": policy.map(|n| n >> 8 & 0xff),
            "policy_smt_allowed": bit(policy, 16),
            "policy_migrate_ma": bit(policy, 18),
            "policy_debug_allowed": bit(policy, 19),
            "policy_single_socket": bit(policy, 20),
            "platform_smt_enabled": bit(platform, 0),
            "platform_tsme_enabled": bit(platform, 1),
            "measurement": snp.measurement,
            "host_data": snp.host_data,
            "chip_id": snp.chip_id,
            "reported_tcb_bootloader": snp.tcb.bootloader,
            "reported_tcb_tee": snp.tcb.tee,
            "reported_tcb_snp": snp.tcb.snp,
            "reported_tcb_microcode": snp.tcb.microcode,
            })
        }
        HardwareClaims::Tdx(tdx) => {
            let [rtmr_0, rtmr_1, rtmr_2, rtmr_3] = &tdx.rtmrs;
            json!({
                "tcb_status": tdx.tcb_status,
                "advisory_ids": tdx.advisories,
                "quote": {"body": {
                    "mr_td": tdx.mr_td, "mr_config_id": tdx.mr_config_id, "xfam": tdx.xfam,
                    "rtmr_0": rtmr_0, "rtmr_1": rtmr_1, "rtmr_2": rtmr_2, "rtmr_3": rtmr_3,
                }},
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    #[test]
    fn a_chain_is_the_keys_own() {
        let now = OffsetDateTime::now_utc();
        let (ca, issuer) = crate::pki::ca("x", now).unwrap();
        let (key, other) = (crate::pki::new_key().unwrap(), crate::pki::new_key().unwrap());
        let chain = |key| format!("{}{}", crate::pki::token(key, &issuer, now).unwrap(), ca.cert);
        let with = |chain: &str| TokenKey::from_pem(&key.serialize_pem()).unwrap().with_chain(chain);
        let good = with(&chain(&key)).unwrap();
        let header: Value = serde_json::from_slice(&B64.decode(&good.header).unwrap()).unwrap();
        assert_eq!(header["jwk"]["x5c"].as_array().unwrap().len(), 2);
        assert!(good.jwk().get("x5c").is_none());
        assert_eq!(with(&chain(&other)).unwrap_err(), TokenChainError::OtherKey);
        assert_eq!(with("").unwrap_err(), TokenChainError::Pem);
    }
}
