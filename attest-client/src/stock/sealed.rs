//! Sealed secrets of Confidential Containers: `sealed.HEADER.PAYLOAD.SIGNATURE`, a JWS whose payload says where the secret is.
//!
//! Of its two types the one that points to a resource, `vault` with provider `kbs`, can be unsealed by a session; an envelope
//! wants a key management service beside it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ccnode_evidence::SecretBytes;
use ccnode_protocol::ResourceUri;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest sealed secret, in bytes.
const MAX: usize = 16 * 1024;

/// Why a sealed secret can't be unsealed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealedError {
    /// Not four parts with `sealed` first, or not base64url of JSON.
    #[error("not sealed.HEADER.PAYLOAD.SIGNATURE with a payload of version 0.1.0")]
    Form,
    /// A type or provider that needs more than a session.
    #[error("a secret of type {kind} with provider {provider}; vault and kbs are unsealed here")]
    Type {
        /// Its type.
        kind: String,
        /// Its provider.
        provider: String,
    },
    /// Its name is no resource.
    #[error("the secret's name: {0}")]
    Name(String),
    /// The header does not name the pinned key, or another algorithm.
    #[error("the signature is not ES256 by {0}")]
    Header(ResourceUri),
    /// The pinned key is no public JWK of P-256.
    #[error("{0} is no JWK of P-256")]
    Key(ResourceUri),
    /// The signature does not verify.
    #[error("the signature does not verify with {0}")]
    Signature(ResourceUri),
}

/// Who must have signed: the resource with the public key, a JWK, as the JWS's `kid` names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signer(pub ResourceUri);

/// A sealed secret whose payload is read; where a signer is pinned, [`Self::verify`] decides whether it is believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SealedSecret {
    text: String,
    resource: ResourceUri,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    version: String,
    #[serde(rename = "type")]
    kind: String,
    provider: String,
    name: Option<String>,
    #[serde(default)]
    provider_settings: Map<String, Value>,
    #[serde(default)]
    annotations: Map<String, Value>,
    // Members of an envelope, so that one is told from what is malformed.
    key_id: Option<String>,
    encrypted_key: Option<String>,
    encrypted_data: Option<String>,
    wrap_type: Option<String>,
    iv: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
}

impl SealedSecret {
    /// Where the secret is.
    pub fn resource(&self) -> &ResourceUri {
        &self.resource
    }

    /// Checks the signature (RFC 7515, ES256) with the key that `signer`'s resource holds: a public JWK of P-256.
    pub fn verify(&self, signer: &Signer, key: &SecretBytes) -> Result<(), SealedError> {
        let Signer(uri) = signer;
        let (signed, signature) = self.text.rsplit_once('.').ok_or(SealedError::Form)?;
        let head = signed.split('.').next().unwrap_or_default();
        let head = B64.decode(head).ok().and_then(|json| serde_json::from_slice::<Header>(&json).ok());
        if !head.is_some_and(|head| head.alg == "ES256" && head.kid == uri.to_string()) {
            return Err(SealedError::Header(uri.clone()));
        }
        let key = verifying_key(key.expose()).ok_or_else(|| SealedError::Key(uri.clone()))?;
        let signature = B64.decode(signature).ok().and_then(|bytes| Signature::from_slice(&bytes).ok());
        match signature.is_some_and(|signature| key.verify(signed.as_bytes(), &signature).is_ok()) {
            true => Ok(()),
            false => Err(SealedError::Signature(uri.clone())),
        }
    }
}

fn verifying_key(jwk: &[u8]) -> Option<VerifyingKey> {
    let Jwk { kty, crv, x, y } = serde_json::from_slice(jwk).ok()?;
    let part = |text: String| <[u8; 32]>::try_from(B64.decode(text).ok()?).ok();
    let (x, y) = (part(x)?, part(y)?);
    let point = p256::EncodedPoint::from_affine_coordinates(&x.into(), &y.into(), false);
    VerifyingKey::from_encoded_point(&point).ok().filter(|_| kty == "EC" && crv == "P-256")
}

impl std::str::FromStr for SealedSecret {
    type Err = SealedError;

    fn from_str(text: &str) -> Result<Self, SealedError> {
        let jws =
            text.trim().strip_prefix("sealed.").filter(|jws| jws.len() <= MAX).ok_or(SealedError::Form)?;
        let parts: Vec<&str> = jws.split('.').collect();
        let [_, payload, _] = parts.as_slice() else { return Err(SealedError::Form) };
        let json = B64.decode(payload).map_err(|_| SealedError::Form)?;
        let payload: Payload = serde_json::from_slice(&json).map_err(|_| SealedError::Form)?;
        if payload.version != "0.1.0" {
            return Err(SealedError::Form);
        }
        if payload.kind != "vault" || payload.provider != "kbs" {
            let cut =
                |text: String| text.chars().filter(|c| !ccnode_evidence::is_obeyed(*c)).take(40).collect();
            return Err(SealedError::Type { kind: cut(payload.kind), provider: cut(payload.provider) });
        }
        // Settings and annotations steer other providers; for this one there are none to obey.
        let settings = payload.provider_settings.len() + payload.annotations.len();
        let envelope =
            [payload.key_id, payload.encrypted_key, payload.encrypted_data, payload.wrap_type, payload.iv];
        if settings > 0 || envelope.iter().any(Option::is_some) {
            return Err(SealedError::Form);
        }
        let name = payload.name.ok_or(SealedError::Form)?;
        let resource = name.parse::<ResourceUri>().map_err(|e| SealedError::Name(e.to_string()))?;
        Ok(Self { text: jws.to_owned(), resource })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::Signer as _;
    use serde_json::json;

    const KID: &str = "kbs:///default/signing/key";

    fn payload() -> Value {
        json!({"version": "0.1.0", "type": "vault", "name": "kbs:///one/2/trois", "provider": "kbs",
            "provider_settings": {}, "annotations": {}})
    }

    fn sealed(payload: &Value) -> String {
        format!("sealed.fakejwsheader.{}.fakesignature", B64.encode(payload.to_string()))
    }

    fn signed(key: &SigningKey, header: &Value) -> String {
        let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(payload().to_string()));
        let signature: Signature = key.sign(signed.as_bytes());
        format!("sealed.{signed}.{}", B64.encode(signature.to_bytes()))
    }

    fn jwk(key: &SigningKey) -> SecretBytes {
        SecretBytes::new(p256::PublicKey::from(key.verifying_key()).to_jwk_string().into_bytes())
    }

    #[test]
    fn a_vault_secret_points_to_a_resource() {
        // As the documentation of guest-components has it.
        let published = "sealed.fakejwsheader.ewogICAgInZlcnNpb24iOiAiMC4xLjAiLAogICAgInR5cGUiOiAidmF1bHQiLAogICAgIm5hbWUiOiAia2JzOi8vL2RlZmF1bHQvc2VhbGVkLXNlY3JldC90ZXN0IiwKICAgICJwcm92aWRlciI6ICJrYnMiLAogICAgInByb3ZpZGVyX3NldHRpbmdzIjoge30sCiAgICAiYW5ub3RhdGlvbnMiOiB7fQp9Cg.fakesignature";
        let secret: SealedSecret = published.parse().unwrap();
        assert_eq!(secret.resource().to_string(), "kbs:///default/sealed-secret/test");
        assert_eq!(
            sealed(&payload()).parse::<SealedSecret>().unwrap().resource().to_string(),
            "kbs:///one/2/trois"
        );
    }

    #[test]
    fn what_is_no_vault_secret_of_a_key_broker_is_refused() {
        let with = |member: &str, value: Value| {
            let mut payload = payload();
            payload[member] = value;
            sealed(&payload).parse::<SealedSecret>().unwrap_err()
        };
        assert_eq!(with("version", json!("0.2.0")), SealedError::Form);
        assert!(matches!(with("provider", json!("aliyun")), SealedError::Type { .. }));
        assert!(matches!(with("name", json!("xxx")), SealedError::Name(_)));
        assert!(matches!(with("name", json!("kbs://evil.example/a/b/c")), SealedError::Name(_)));
        assert_eq!(with("annotations", json!({"a": 1})), SealedError::Form);
        assert_eq!(with("iv", json!("x")), SealedError::Form);
        assert_eq!(with("more", json!("x")), SealedError::Form);
        let envelope = json!({"version": "0.1.0", "type": "envelope", "provider": "kbs", "key_id": "x",
            "encrypted_key": "x", "encrypted_data": "x", "wrap_type": "A256GCM", "iv": "x", "provider_settings": {}});
        assert!(matches!(sealed(&envelope).parse::<SealedSecret>(), Err(SealedError::Type { .. })));
        for text in
            ["", "sealed", "sealed.a.b", "sealed.a.b.c", "a.b.c.d", &format!("{}.x", sealed(&payload()))]
        {
            assert_eq!(text.parse::<SealedSecret>(), Err(SealedError::Form), "{text}");
        }
        assert_eq!(format!("sealed.{}.a.a", "a".repeat(MAX)).parse::<SealedSecret>(), Err(SealedError::Form));
    }

    #[test]
    fn only_the_pinned_key_signs() {
        let (key, other) =
            (SigningKey::from_slice(&[7; 32]).unwrap(), SigningKey::from_slice(&[8; 32]).unwrap());
        let signer = Signer(KID.parse().unwrap());
        let check =
            |text: &str, key: &SecretBytes| text.parse::<SealedSecret>().unwrap().verify(&signer, key);
        let good = signed(&key, &json!({"alg": "ES256", "kid": KID}));
        assert_eq!(check(&good, &jwk(&key)), Ok(()));
        assert!(matches!(check(&good, &jwk(&other)), Err(SealedError::Signature(_))));
        assert!(matches!(check(&good, &SecretBytes::new(b"{}".to_vec())), Err(SealedError::Key(_))));
        for header in [
            json!({"alg": "none", "kid": KID}),
            json!({"alg": "ES256", "kid": "kbs:///default/signing/other"}),
            json!({"alg": "ES256"}),
        ] {
            let text = signed(&key, &header);
            assert!(matches!(check(&text, &jwk(&key)), Err(SealedError::Header(_))), "{header}");
        }
        assert!(matches!(check(&sealed(&payload()), &jwk(&key)), Err(SealedError::Header(_))));
        // Another payload under the same signature.
        let mut changed = payload();
        changed["name"] = json!("kbs:///one/2/quatre");
        let parts: Vec<&str> = good.split('.').collect();
        let moved = format!("sealed.{}.{}.{}", parts[1], B64.encode(changed.to_string()), parts[3]);
        assert!(matches!(check(&moved, &jwk(&key)), Err(SealedError::Signature(_))));
    }
}
