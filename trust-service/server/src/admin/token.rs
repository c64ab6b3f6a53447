//! Tokens of stock administrators: JWTs (RFC 7519) by Ed25519 keys that `config.toml` names.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ccnode_evidence::{Sha256Digest, UnixTime};
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

/// SubjectPublicKeyInfo of an Ed25519 key up to the key itself (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Longer tokens are not read.
const LIMIT: usize = 4096;
/// Seconds that the administrator's clock may be ahead.
const AHEAD: u64 = 60;
/// Seconds that a token may be good for from now: one that was found later is worth nothing.
const LIFE: u64 = 24 * 3600;

/// A file that holds no key of this kind.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key in PEM (SubjectPublicKeyInfo)")]
pub struct AdminKeyError;

/// Why a token is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminTokenError {
    /// Not a JWT of this kind.
    #[error("no JWT by EdDSA with the claim `exp`")]
    Form,
    /// None of the keys signed it.
    #[error("none of the keys of [stock] admin-keys signed the token")]
    Signature,
    /// Outside its validity, or valid for too long.
    #[error("the token is good from {} to {}, and now is {now}; a day from now is the most", UnixTime(*from), UnixTime(*until))]
    Time {
        /// The later of `nbf` and `iat`.
        from: u64,
        /// `exp`.
        until: u64,
        /// The service's clock.
        now: UnixTime,
    },
}

/// A public key of a stock administrator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminKey {
    key: Vec<u8>,
    id: Sha256Digest,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    #[serde(default)]
    nbf: u64,
    #[serde(default)]
    iat: u64,
}

impl AdminKey {
    /// Reads a PEM file of one key.
    pub fn from_pem(pem: &str) -> Result<Self, AdminKeyError> {
        let mut found = SubjectPublicKeyInfoDer::pem_slice_iter(pem.as_bytes());
        let (Some(Ok(spki)), None) = (found.next(), found.next()) else { return Err(AdminKeyError) };
        match spki.as_ref().strip_prefix(&SPKI) {
            Some(key) if key.len() == 32 => {
                Ok(Self { key: key.to_vec(), id: Sha256Digest::of(spki.as_ref()) })
            }
            _ => Err(AdminKeyError),
        }
    }

    /// SHA-256 of its SubjectPublicKeyInfo.
    pub fn id(&self) -> Sha256Digest {
        self.id
    }

    /// The key's name in the audit log: the beginning of the SHA-256 of its SubjectPublicKeyInfo.
    pub fn name(&self) -> String {
        format!("stock-key-{}", self.id.hex().chars().take(12).collect::<String>())
    }
}

/// The key of `keys` by which `token` is good at `now`.
pub fn verify<'k>(keys: &'k [AdminKey], token: &str, now: u64) -> Result<&'k AdminKey, AdminTokenError> {
    if token.len() > LIMIT {
        return Err(AdminTokenError::Form);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(AdminTokenError::Form)?;
    let (header, claims) = signed.split_once('.').ok_or(AdminTokenError::Form)?;
    let header: Header = part(header)?;
    if header.alg != "EdDSA" || header.crit.is_some() {
        return Err(AdminTokenError::Form);
    }
    let signature = B64.decode(signature).map_err(|_| AdminTokenError::Form)?;
    let made = |key: &&AdminKey| {
        UnparsedPublicKey::new(&ED25519, &key.key).verify(signed.as_bytes(), &signature).is_ok()
    };
    let key = keys.iter().find(made).ok_or(AdminTokenError::Signature)?;
    let Claims { exp, nbf, iat } = part(claims)?;
    let from = nbf.max(iat);
    if exp <= now || exp > now.saturating_add(LIFE) || from > now.saturating_add(AHEAD) {
        return Err(AdminTokenError::Time { from, until: exp, now: UnixTime(now) });
    }
    Ok(key)
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, AdminTokenError> {
    let json = B64.decode(text).map_err(|_| AdminTokenError::Form)?;
    serde_json::from_slice(&json).map_err(|_| AdminTokenError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::rand::SystemRandom;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    fn pair() -> (Ed25519KeyPair, AdminKey) {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        let spki = [&SPKI[..], pair.public_key().as_ref()].concat();
        let key = AdminKey::from_pem(&crate::pki::pem("PUBLIC KEY", &spki)).unwrap();
        (pair, key)
    }

    fn token(pair: &Ed25519KeyPair, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let signature = B64.encode(pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    #[test]
    fn t20_a_token_is_of_a_listed_key_and_of_today() {
        let ((pair, key), (other, _)) = (self::pair(), self::pair());
        let header = r#"{"alg": "EdDSA", "typ": "JWT"}"#;
        let keys = [key];
        let judge = |token: &str| verify(&keys, token, 1000).map(AdminKey::name);
        let good = token(&pair, header, r#"{"iat":1000,"nbf":1000,"exp":1001}"#);
        assert_eq!(judge(&good), Ok(keys[0].name()));
        assert_eq!(verify(&[], &good, 1000), Err(AdminTokenError::Signature));
        for claims in [
            r#"{"exp":1000}"#,
            r#"{"exp":87401}"#,
            r#"{"exp":1001,"nbf":1061}"#,
            r#"{"exp":1001,"iat":1061}"#,
        ] {
            let answer = judge(&token(&pair, header, claims));
            assert!(matches!(answer, Err(AdminTokenError::Time { .. })), "{claims}: {answer:?}");
        }
        let foreign = token(&other, header, r#"{"exp":1001}"#);
        assert_eq!(judge(&foreign), Err(AdminTokenError::Signature));
        let (signed, _) = good.rsplit_once('.').unwrap();
        assert_eq!(judge(&format!("{signed}.")), Err(AdminTokenError::Signature));
        for bad in [
            token(&pair, r#"{"alg":"none"}"#, r#"{"exp":1001}"#),
            token(&pair, r#"{"alg":"HS256"}"#, r#"{"exp":1001}"#),
            token(&pair, r#"{"alg":"EdDSA","crit":["x"]}"#, r#"{"exp":1001}"#),
            token(&pair, header, "{}"),
            token(&pair, header, r#"{"exp":"1001"}"#),
            format!("{good}{}", "A".repeat(LIMIT)),
            String::new(),
            "a.b".into(),
        ] {
            assert_eq!(judge(&bad), Err(AdminTokenError::Form), "{bad}");
        }
    }

    #[test]
    fn keys_are_ed25519_and_one_a_file() {
        let (ca, _) = crate::pki::ca("x", time::OffsetDateTime::now_utc()).unwrap();
        let short = crate::pki::pem("PUBLIC KEY", &SPKI);
        for bad in ["", "x", &ca.cert, &short] {
            assert_eq!(AdminKey::from_pem(bad).unwrap_err(), AdminKeyError);
        }
    }
}
