//! Flattened JWE (RFC 7516) with ECDH-ES+A256KW over P-256 and A256GCM: secrets leave only encrypted to the attested key.

use aes_gcm::aead::{AeadInPlace as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce as GcmNonce, Tag};
use aes_kw::KekAes256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ccnode_evidence::{Base64Url, Secret, SecretBytes};
use kbs_types::TeePubKey;
use p256::elliptic_curve::sec1::{FromEncodedPoint as _, ToEncodedPoint as _};
use p256::{EncodedPoint, PublicKey, SecretKey};
use rand_core::{OsRng, RngCore as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The key agreement of EC keys.
pub const ALG_ECDH: &str = "ECDH-ES+A256KW";
const ENC: &str = "A256GCM";

/// Why a JWE can't be made or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JweError {
    /// The public key is of a type, curve or algorithm that is not supported.
    #[error("unsupported key: {0}")]
    Key(&'static str),
    /// The coordinates are not a point on the curve, or not of fixed length.
    #[error("the public key is not a point of P-256")]
    Point,
    /// The protected header is not base64url of JSON with `alg`, `enc` and `epk`.
    #[error("malformed JWE header")]
    Header,
    /// The header names other algorithms.
    #[error("JWE with {0}; expected ECDH-ES+A256KW and A256GCM")]
    Algorithm(String),
    /// A member has the wrong length.
    #[error("JWE member `{0}` has the wrong length")]
    Length(&'static str),
    /// The key or the content does not authenticate.
    #[error("the JWE does not open with this key")]
    Open,
    /// The random number generator of the operating system failed.
    #[error("no randomness from the operating system")]
    Random,
}

/// A flattened JWE as it travels; `protected` is kept as received, for it is the additional data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Jwe {
    /// Base64url of the protected header.
    pub protected: String,
    /// AES key wrap of the content key: 40 bytes.
    pub encrypted_key: Base64Url,
    /// 12 bytes.
    pub iv: Base64Url,
    /// As long as the plaintext.
    pub ciphertext: Base64Url,
    /// 16 bytes.
    pub tag: Base64Url,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    enc: String,
    epk: Epk,
}

#[derive(Serialize, Deserialize)]
struct Epk {
    crv: String,
    kty: String,
    x: String,
    y: String,
}

/// The node's key of one session; the private half is zeroized on drop.
pub struct EphemeralKey(SecretKey);

impl EphemeralKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Self {
        Self(SecretKey::random(&mut OsRng))
    }

    /// A key from a 32-byte scalar, for golden tests and for keys made elsewhere.
    pub fn from_scalar(scalar: &Secret<32>) -> Result<Self, JweError> {
        SecretKey::from_slice(scalar.expose()).map(Self).map_err(|_| JweError::Point)
    }

    /// The public half in the protocol's form.
    pub fn public(&self) -> TeePubKey {
        let (x, y) = coordinates(&self.0.public_key());
        TeePubKey::EC { crv: "P-256".into(), alg: ALG_ECDH.into(), x, y }
    }

    /// Opens what was sealed to this key.
    pub fn open(&self, jwe: &Jwe) -> Result<SecretBytes, JweError> {
        let header: Header = B64
            .decode(&jwe.protected)
            .ok()
            .and_then(|json| serde_json::from_slice(&json).ok())
            .ok_or(JweError::Header)?;
        if header.alg != ALG_ECDH || header.enc != ENC || header.epk.crv != "P-256" {
            return Err(JweError::Algorithm(format!("{} and {}", header.alg, header.enc)));
        }
        let peer = point(&header.epk.x, &header.epk.y)?;
        let kek = agree(&self.0, &peer);
        let wrapped: &[u8; 40] =
            jwe.encrypted_key.0.as_slice().try_into().map_err(|_| JweError::Length("encrypted_key"))?;
        let mut content_key = Zeroizing::new([0; 32]);
        KekAes256::from(*kek).unwrap(wrapped, content_key.as_mut()).map_err(|_| JweError::Open)?;
        let iv: [u8; 12] = jwe.iv.0.as_slice().try_into().map_err(|_| JweError::Length("iv"))?;
        let tag: [u8; 16] = jwe.tag.0.as_slice().try_into().map_err(|_| JweError::Length("tag"))?;
        let mut plain = Zeroizing::new(jwe.ciphertext.0.clone());
        Aes256Gcm::new((&*content_key).into())
            .decrypt_in_place_detached(
                GcmNonce::from_slice(&iv),
                jwe.protected.as_bytes(),
                &mut plain,
                Tag::from_slice(&tag),
            )
            .map_err(|_| JweError::Open)?;
        Ok(SecretBytes::new(std::mem::take(&mut *plain)))
    }
}

/// Whether [`seal`] can seal to this key: a point of P-256, for ECDH-ES+A256KW.
pub fn check(to: &TeePubKey) -> Result<(), JweError> {
    recipient(to).map(drop)
}

fn recipient(to: &TeePubKey) -> Result<PublicKey, JweError> {
    let TeePubKey::EC { crv, alg, x, y } = to else {
        return Err(JweError::Key("only EC keys"));
    };
    if crv != "P-256" || alg != ALG_ECDH {
        return Err(JweError::Key("only P-256 with ECDH-ES+A256KW"));
    }
    point(x, y)
}

/// Seals `plain` to the attested key of a session.
pub fn seal(to: &TeePubKey, plain: &[u8]) -> Result<Jwe, JweError> {
    let peer = recipient(to)?;
    let ephemeral = SecretKey::random(&mut OsRng);
    let (x, y) = coordinates(&ephemeral.public_key());
    let header = Header {
        alg: ALG_ECDH.into(),
        enc: ENC.into(),
        epk: Epk { crv: "P-256".into(), kty: "EC".into(), x, y },
    };
    let protected = B64.encode(serde_json::to_vec(&header).map_err(|_| JweError::Header)?);
    let mut content_key = Zeroizing::new([0; 32]);
    let mut iv = [0; 12];
    OsRng.try_fill_bytes(content_key.as_mut()).map_err(|_| JweError::Random)?;
    OsRng.try_fill_bytes(&mut iv).map_err(|_| JweError::Random)?;
    let kek = agree(&ephemeral, &peer);
    let mut wrapped = vec![0; 40];
    KekAes256::from(*kek).wrap(content_key.as_ref(), &mut wrapped).map_err(|_| JweError::Open)?;
    let mut ciphertext = plain.to_vec();
    let tag = Aes256Gcm::new((&*content_key).into())
        .encrypt_in_place_detached(GcmNonce::from_slice(&iv), protected.as_bytes(), &mut ciphertext)
        .map_err(|_| JweError::Open)?;
    Ok(Jwe {
        protected,
        encrypted_key: wrapped.into(),
        iv: iv.to_vec().into(),
        ciphertext: ciphertext.into(),
        tag: tag.to_vec().into(),
    })
}

fn coordinates(key: &PublicKey) -> (String, String) {
    let point = key.to_encoded_point(false);
    let part = |c: Option<&p256::FieldBytes>| c.map(|bytes| B64.encode(bytes)).unwrap_or_default();
    (part(point.x()), part(point.y()))
}

fn point(x: &str, y: &str) -> Result<PublicKey, JweError> {
    let part = |text: &str| -> Result<[u8; 32], JweError> {
        B64.decode(text).ok().and_then(|b| b.try_into().ok()).ok_or(JweError::Point)
    };
    let encoded = EncodedPoint::from_affine_coordinates(&part(x)?.into(), &part(y)?.into(), false);
    Option::from(PublicKey::from_encoded_point(&encoded)).ok_or(JweError::Point)
}

/// ECDH, then Concat KDF with SHA-256 (NIST SP 800-56A; RFC 7518 section 4.6.2), one round for 256 bits.
fn agree(own: &SecretKey, peer: &PublicKey) -> Zeroizing<[u8; 32]> {
    let shared = p256::ecdh::diffie_hellman(own.to_nonzero_scalar(), peer.as_affine());
    let alg_len = u32::try_from(ALG_ECDH.len()).unwrap_or_default();
    let digest = Sha256::new()
        .chain_update(1u32.to_be_bytes())
        .chain_update(shared.raw_secret_bytes())
        .chain_update(alg_len.to_be_bytes())
        .chain_update(ALG_ECDH)
        .chain_update([0; 8]) // empty PartyUInfo and PartyVInfo, each a length of zero
        .chain_update(256u32.to_be_bytes())
        .finalize();
    Zeroizing::new(digest.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_was_sealed_and_nothing_else() {
        let key = EphemeralKey::generate();
        let jwe = seal(&key.public(), b"unlock").unwrap();
        assert_eq!(key.open(&jwe).unwrap().expose(), b"unlock");
        assert_eq!(EphemeralKey::generate().open(&jwe).unwrap_err(), JweError::Open);
        let forged =
            Jwe { protected: format!("{}{}", jwe.protected, ""), tag: vec![0; 16].into(), ..jwe.clone() };
        assert_eq!(key.open(&forged).unwrap_err(), JweError::Open);
        let short = Jwe { iv: vec![0; 11].into(), ..jwe };
        assert_eq!(key.open(&short).unwrap_err(), JweError::Length("iv"));
    }

    #[test]
    fn refuses_other_keys() {
        let rsa = TeePubKey::RSA { alg: "RSA-OAEP-256".into(), k_mod: "AQAB".into(), k_exp: "AQAB".into() };
        assert!(matches!(seal(&rsa, b""), Err(JweError::Key(_))));
        assert!(matches!(check(&rsa), Err(JweError::Key(_))));
        assert_eq!(check(&EphemeralKey::generate().public()), Ok(()));
        let zero = B64.encode([0; 32]);
        let off_curve = TeePubKey::EC { crv: "P-256".into(), alg: ALG_ECDH.into(), x: zero.clone(), y: zero };
        assert_eq!(seal(&off_curve, b"").unwrap_err(), JweError::Point);
    }
}
