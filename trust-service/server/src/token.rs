//! The attestation result token: an EAR (EAT attestation result) as JWT, ES256, with claims that the verdict proves.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ccnode_appraise::Verdict;
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::HardwareClaims;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::DecodePrivateKey as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const PROFILE: &str = "tag:github.com,2024:confidential-containers/Trustee";
// AR4SI trustworthiness tiers: a recognized instance; a recognized, approved set of boot-time executables; an approved
// configuration. What is not appraised is 0, "no claim".
const RECOGNIZED_INSTANCE: i8 = 2;
const APPROVED_BOOT: i8 = 3;
const APPROVED_CONFIG: i8 = 2;
const GENUINE_HARDWARE: i8 = 2;

/// Why the key can't be read.
#[derive(Debug, thiserror::Error)]
#[error("not a P-256 private key in PKCS #8 PEM: {0}")]
pub struct TokenKeyError(#[source] p256::pkcs8::Error);

/// The key that signs tokens and audit checkpoints; the private half is zeroized on drop.
pub struct TokenKey {
    key: SigningKey,
    jwk: Value,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(redacted)")
    }
}

impl TokenKey {
    /// Reads a PKCS #8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, TokenKeyError> {
        let key = SigningKey::from_pkcs8_pem(pem).map_err(TokenKeyError)?;
        let point = VerifyingKey::from(&key).to_encoded_point(false);
        let part = |c: Option<&p256::FieldBytes>| c.map(|bytes| B64.encode(bytes)).unwrap_or_default();
        let (x, y) = (part(point.x()), part(point.y()));
        // The key's thumbprint (RFC 7638): SHA-256 of its required members in this very form.
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = B64.encode(Sha256::digest(thumbprint));
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": x, "y": y});
        Ok(Self { key, jwk })
    }

    /// The public half as a JWK, by whose `kid` tokens name it.
    pub fn jwk(&self) -> &Value {
        &self.jwk
    }

    /// ECDSA P-256 with SHA-256, 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.key.sign(message);
        signature.to_bytes().to_vec()
    }

    /// Whether the signature is ours.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|s| VerifyingKey::from(&self.key).verify(message, &s).is_ok())
    }

    /// The token of a verdict, valid from `now` to `expires` (seconds since 1970).
    pub fn issue(&self, verdict: &Verdict, pool: &PoolName, now: u64, expires: u64) -> String {
        let tee_pubkey = serde_json::to_value(&verdict.tee_pubkey).unwrap_or(Value::Null);
        let hardware = if verdict.hardware.is_some() { GENUINE_HARDWARE } else { 0 };
        let header = json!({"typ": "JWT", "alg": "ES256", "kid": self.jwk.get("kid"), "jwk": self.jwk});
        let claims = json!({
            "eat_profile": PROFILE,
            "iss": "ccnode-trust",
            "iat": now,
            "exp": expires,
            "ear.verifier-id": {"developer": "ccnode", "build": concat!("ccnode-trust ", env!("CARGO_PKG_VERSION"))},
            "submods": {"cpu0": {
                "ear.status": "affirming",
                "ear.trustworthiness-vector": {
                    "instance-identity": RECOGNIZED_INSTANCE,
                    "executables": APPROVED_BOOT,
                    "configuration": APPROVED_CONFIG,
                    "file-system": 0, "hardware": hardware, "runtime-opaque": 0, "storage-opaque": 0, "sourced-data": 0,
                },
                "ear.appraisal-policy-id": format!("pool:{pool}"),
                "ear.veraison.annotated-evidence": evidence(verdict, tee_pubkey),
            }},
        });
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signature = B64.encode(self.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// What was proven: our own claims, and those of the hardware under the name of its kind, as the stock service has them.
fn evidence(verdict: &Verdict, tee_pubkey: Value) -> Value {
    let mut out = json!({
        "runtime_data_claims": {"tee-pubkey": tee_pubkey},
        "ccnode": {
            "trust-level": serde_json::to_value(verdict.level).unwrap_or(Value::Null),
            "tee": verdict.kind,
            "identity": verdict.node_id.hex(),
            "ephemeral": verdict.ephemeral,
            "platform": verdict.tpm.as_ref().map(|tpm| tpm.platform.hex()),
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

fn stock(claims: &HardwareClaims) -> Value {
    match claims {
        HardwareClaims::Snp(snp) => json!({
            "measurement": snp.measurement,
            "host_data": snp.host_data,
            "chip_id": snp.chip_id,
            "reported_tcb_bootloader": snp.tcb.bootloader,
            "reported_tcb_tee": snp.tcb.tee,
            "reported_tcb_snp": snp.tcb.snp,
            "reported_tcb_microcode": snp.tcb.microcode,
        }),
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
