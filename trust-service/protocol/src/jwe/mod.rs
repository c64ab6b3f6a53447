//! Flattened JWE (RFC 7516) with A256GCM, for the key types of the protocol: secrets leave only encrypted to the attested key.
//!
//! Nodes make keys of P-256 unless their configuration says otherwise; stock clients may have keys of P-521 and RSA too.

mod direct;
mod ecdh;
mod oaep;
mod session;

pub use direct::{ALG_DIR, Direct, seal_direct};
pub use session::{SessionKey, SessionKeyKind};

use aes_gcm::aead::{AeadInPlace as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce as GcmNonce, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ccnode_evidence::{Base64Url, Secret, SecretBytes};
use kbs_types::TeePubKey;
use rand_core::{OsRng, RngCore as _};
use rsa::RsaPrivateKey;
use rsa::pkcs8::DecodePrivateKey as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The key agreement of EC keys.
pub const ALG_ECDH: &str = "ECDH-ES+A256KW";
/// The key encryption of RSA keys.
pub const ALG_OAEP: &str = "RSA-OAEP-256";
const ENC: &str = "A256GCM";

type Key32 = Zeroizing<[u8; 32]>;

/// Why a JWE can't be made or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum JweError {
    /// The public key is of a type, curve or algorithm that is not supported.
    #[error("unsupported key: {0}")]
    Key(&'static str),
    /// The coordinates are not a point on the curve, or not of fixed length.
    #[error("the public key is not a point of {0}")]
    Point(&'static str),
    /// A private key is not PKCS #8 of its type.
    #[error("not a private key of this type in PKCS #8")]
    Private,
    /// The protected header is not base64url of JSON with `alg`, `enc` and what the key type wants.
    #[error("malformed JWE header")]
    Header,
    /// The header names other algorithms.
    #[error("JWE with {0}, which is not what the key is for")]
    Algorithm(String),
    /// The text is neither the compact nor the flattened form.
    #[error("not a JWE")]
    Form,
    /// A member has the wrong length.
    #[error("JWE member `{0}` has the wrong length")]
    Length(&'static str),
    /// The key or the content does not authenticate.
    #[error("the JWE does not open with this key")]
    Open,
    /// The random number generator of the operating system failed.
    #[error("no randomness from the operating system")]
    Random,
    /// No RSA key could be made.
    #[error("no RSA key could be made")]
    Make,
}

impl JweError {
    /// The names are whoever made the JWE's: cut, and nothing in them steers a terminal.
    fn algorithm(named: &str) -> Self {
        Self::Algorithm(
            named.chars().map(|c| if ccnode_evidence::is_obeyed(c) { ' ' } else { c }).take(80).collect(),
        )
    }
}

/// A flattened JWE as it travels; `protected` is kept as received, for it is the additional data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Jwe {
    /// Base64url of the protected header.
    pub protected: String,
    /// The content key: AES key wrap (40 bytes), or as long as the RSA modulus.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    epk: Option<Epk>,
}

#[derive(Serialize, Deserialize)]
struct Epk {
    crv: String,
    kty: String,
    x: String,
    y: String,
}

impl Header {
    fn new(alg: &str, epk: Option<Epk>) -> Self {
        Self { alg: alg.to_owned(), enc: ENC.to_owned(), epk }
    }

    fn of(jwe: &Jwe) -> Result<Self, JweError> {
        let json = B64.decode(&jwe.protected).map_err(|_| JweError::Header)?;
        serde_json::from_slice(&json).map_err(|_| JweError::Header)
    }

    fn is(&self, alg: &str) -> Result<(), JweError> {
        match self.alg == alg && self.enc == ENC {
            true => Ok(()),
            false => Err(JweError::algorithm(&format!("{} and {}", self.alg, self.enc))),
        }
    }
}

/// A content key on its way.
struct Sealed {
    header: Header,
    encrypted_key: Vec<u8>,
}

/// The node's key of one session, of P-256; the private half is zeroized on drop.
pub struct EphemeralKey {
    secret: p256::SecretKey,
    public: TeePubKey,
}

impl EphemeralKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Self {
        Self::of(p256::SecretKey::random(&mut OsRng))
    }

    fn of(secret: p256::SecretKey) -> Self {
        let public = ec(&secret.public_key());
        Self { secret, public }
    }

    /// A key from a 32-byte scalar, for golden tests and for keys made elsewhere.
    pub fn from_scalar(scalar: &Secret<32>) -> Result<Self, JweError> {
        p256::SecretKey::from_slice(scalar.expose()).map(Self::of).map_err(|_| JweError::Point("P-256"))
    }

    /// The public half in the protocol's form.
    pub fn public(&self) -> TeePubKey {
        self.public.clone()
    }

    /// Opens what was sealed to this key.
    pub fn open(&self, jwe: &Jwe) -> Result<SecretBytes, JweError> {
        opened(jwe, &ecdh::unwrap(&self.secret, &Header::of(jwe)?, &jwe.encrypted_key.0)?)
    }

    /// Opens what [`seal_bound`] sealed to this key, where it was bound to the same bytes.
    pub fn open_bound(&self, jwe: &Jwe, bound: &[u8]) -> Result<SecretBytes, JweError> {
        let content_key = ecdh::unwrap(&self.secret, &Header::of(jwe)?, &jwe.encrypted_key.0)?;
        opened_with(jwe, &content_key, additional(&jwe.protected, bound).as_bytes())
    }
}

/// A session's key of P-521, made elsewhere.
pub struct P521Key(p521::SecretKey);

impl P521Key {
    /// A key in PKCS #8, PEM.
    pub fn from_pem(pem: &str) -> Result<Self, JweError> {
        p521::SecretKey::from_pkcs8_pem(pem).map(Self).map_err(|_| JweError::Private)
    }

    /// The public half in the protocol's form.
    pub fn public(&self) -> TeePubKey {
        ec(&self.0.public_key())
    }

    /// Opens what was sealed to this key.
    pub fn open(&self, jwe: &Jwe) -> Result<SecretBytes, JweError> {
        opened(jwe, &ecdh::unwrap(&self.0, &Header::of(jwe)?, &jwe.encrypted_key.0)?)
    }
}

/// A session's RSA key, made elsewhere.
pub struct RsaKey(RsaPrivateKey);

impl RsaKey {
    /// A key in PKCS #8, PEM.
    pub fn from_pem(pem: &str) -> Result<Self, JweError> {
        RsaPrivateKey::from_pkcs8_pem(pem).map(Self).map_err(|_| JweError::Private)
    }

    /// The public half in the protocol's form.
    pub fn public(&self) -> TeePubKey {
        use rsa::traits::PublicKeyParts as _;
        let part = |n: &rsa::BigUint| B64.encode(n.to_bytes_be());
        TeePubKey::RSA { alg: ALG_OAEP.into(), k_mod: part(self.0.n()), k_exp: part(self.0.e()) }
    }

    /// Opens what was sealed to this key.
    pub fn open(&self, jwe: &Jwe) -> Result<SecretBytes, JweError> {
        opened(jwe, &oaep::unwrap(&self.0, &Header::of(jwe)?, &jwe.encrypted_key.0)?)
    }
}

fn ec<C: ecdh::Curve>(key: &p256::elliptic_curve::PublicKey<C>) -> TeePubKey
where
    p256::elliptic_curve::FieldBytesSize<C>: p256::elliptic_curve::sec1::ModulusSize,
    p256::elliptic_curve::AffinePoint<C>:
        p256::elliptic_curve::sec1::FromEncodedPoint<C> + p256::elliptic_curve::sec1::ToEncodedPoint<C>,
{
    let (x, y) = ecdh::coordinates(key);
    TeePubKey::EC { crv: C::NAME.into(), alg: ALG_ECDH.into(), x, y }
}

fn opened(jwe: &Jwe, content_key: &Key32) -> Result<SecretBytes, JweError> {
    opened_with(jwe, content_key, jwe.protected.as_bytes())
}

fn opened_with(jwe: &Jwe, content_key: &Key32, additional: &[u8]) -> Result<SecretBytes, JweError> {
    let iv: [u8; 12] = jwe.iv.0.as_slice().try_into().map_err(|_| JweError::Length("iv"))?;
    let tag: [u8; 16] = jwe.tag.0.as_slice().try_into().map_err(|_| JweError::Length("tag"))?;
    let mut plain = Zeroizing::new(jwe.ciphertext.0.clone());
    Aes256Gcm::new((&**content_key).into())
        .decrypt_in_place_detached(GcmNonce::from_slice(&iv), additional, &mut plain, Tag::from_slice(&tag))
        .map_err(|_| JweError::Open)?;
    Ok(SecretBytes::new(std::mem::take(&mut *plain)))
}

/// A key that can be sealed to.
enum Recipient {
    P256(p256::PublicKey),
    P521(p521::PublicKey),
    Rsa(rsa::RsaPublicKey),
}

impl Recipient {
    fn of(key: &TeePubKey) -> Result<Self, JweError> {
        match key {
            TeePubKey::EC { crv, alg, x, y } if alg == ALG_ECDH => match crv.as_str() {
                "P-256" => ecdh::point(x, y).map(Self::P256),
                "P-521" => ecdh::point(x, y).map(Self::P521),
                _ => Err(JweError::Key("of EC keys those of P-256 and P-521 are taken")),
            },
            TeePubKey::RSA { alg, k_mod, k_exp } if alg == ALG_OAEP => oaep::key(k_mod, k_exp).map(Self::Rsa),
            TeePubKey::EC { .. } => Err(JweError::Key("EC keys are for ECDH-ES+A256KW")),
            TeePubKey::RSA { .. } => Err(JweError::Key("RSA keys are for RSA-OAEP-256")),
            TeePubKey::AKP { .. } => Err(JweError::Key("keys of EC and RSA are taken")),
        }
    }
}

/// Whether [`seal`] can seal to this key: P-256 or P-521 for ECDH-ES+A256KW, RSA for RSA-OAEP-256.
pub fn check(to: &TeePubKey) -> Result<(), JweError> {
    Recipient::of(to).map(drop)
}

/// Seals `plain` to the attested key of a session.
pub fn seal(to: &TeePubKey, plain: &[u8]) -> Result<Jwe, JweError> {
    seal_with(to, plain, str::to_owned)
}

/// Seals `plain`, and binds it to `bound`: the `aad` of RFC 7516, which does not travel with the JWE, for both ends know it.
pub fn seal_bound(to: &TeePubKey, plain: &[u8], bound: &[u8]) -> Result<Jwe, JweError> {
    seal_with(to, plain, |protected| additional(protected, bound))
}

/// The additional data of a JWE with an `aad` (RFC 7516, section 5.1, step 14).
fn additional(protected: &str, aad: &[u8]) -> String {
    format!("{protected}.{}", B64.encode(aad))
}

fn seal_with(to: &TeePubKey, plain: &[u8], additional: impl FnOnce(&str) -> String) -> Result<Jwe, JweError> {
    let mut content_key = Zeroizing::new([0; 32]);
    let mut iv = [0; 12];
    OsRng.try_fill_bytes(content_key.as_mut()).map_err(|_| JweError::Random)?;
    OsRng.try_fill_bytes(&mut iv).map_err(|_| JweError::Random)?;
    let Sealed { header, encrypted_key } = match Recipient::of(to)? {
        #[cfg(feature = "aws-lc")]
        Recipient::P256(key) => ecdh::wrap_p256(&key, &content_key)?,
        #[cfg(not(feature = "aws-lc"))]
        Recipient::P256(key) => ecdh::wrap(&key, &content_key)?,
        Recipient::P521(key) => ecdh::wrap(&key, &content_key)?,
        Recipient::Rsa(key) => oaep::wrap(&key, &content_key)?,
    };
    let protected = B64.encode(serde_json::to_vec(&header).map_err(|_| JweError::Header)?);
    let mut ciphertext = plain.to_vec();
    let additional = additional(&protected);
    let tag = Aes256Gcm::new((&*content_key).into())
        .encrypt_in_place_detached(GcmNonce::from_slice(&iv), additional.as_bytes(), &mut ciphertext)
        .map_err(|_| JweError::Open)?;
    Ok(Jwe {
        protected,
        encrypted_key: encrypted_key.into(),
        iv: iv.to_vec().into(),
        ciphertext: ciphertext.into(),
        tag: tag.to_vec().into(),
    })
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
    fn what_is_bound_opens_with_the_same_bytes_alone() {
        let key = EphemeralKey::generate();
        let jwe = seal_bound(&key.public(), b"share", b"about").unwrap();
        assert_eq!(key.open_bound(&jwe, b"about").unwrap().expose(), b"share");
        for other in [b"abouT".as_slice(), b"", b"about."] {
            assert_eq!(key.open_bound(&jwe, other).unwrap_err(), JweError::Open);
        }
        assert_eq!(key.open(&jwe).unwrap_err(), JweError::Open);
        let plain = seal(&key.public(), b"share").unwrap();
        assert_eq!(key.open_bound(&plain, b"").unwrap_err(), JweError::Open);
    }

    #[test]
    fn every_key_type_opens_what_was_sealed_to_it() {
        let p521 = P521Key(p521::SecretKey::random(&mut OsRng));
        let jwe = seal(&p521.public(), b"unlock").unwrap();
        assert_eq!(p521.open(&jwe).unwrap().expose(), b"unlock");
        let rsa = RsaKey(RsaPrivateKey::new(&mut OsRng, 2048).unwrap());
        let sealed = seal(&rsa.public(), b"unlock").unwrap();
        assert_eq!(rsa.open(&sealed).unwrap().expose(), b"unlock");
        let other = EphemeralKey::generate();
        for (jwe, named) in [(&jwe, "a key of P-521"), (&sealed, "RSA-OAEP-256 and A256GCM")] {
            assert_eq!(other.open(jwe).unwrap_err(), JweError::Algorithm(named.into()));
        }
        assert!(matches!(rsa.open(&jwe), Err(JweError::Algorithm(_))));
        let short = Jwe { encrypted_key: vec![0; 39].into(), ..jwe };
        assert_eq!(p521.open(&short).unwrap_err(), JweError::Length("encrypted_key"));
    }

    #[test]
    fn foreign_names_in_the_error_are_cut_and_tamed() {
        let key = EphemeralKey::generate();
        let jwe = seal(&key.public(), b"unlock").unwrap();
        let header: serde_json::Value = serde_json::from_slice(&B64.decode(&jwe.protected).unwrap()).unwrap();
        let foreign = format!("\u{1b}[2J{}", "x".repeat(500));
        for member in ["/alg", "/enc", "/epk/crv"] {
            let mut header = header.clone();
            *header.pointer_mut(member).unwrap() = foreign.clone().into();
            let jwe = Jwe { protected: B64.encode(header.to_string()), ..jwe.clone() };
            let error = key.open(&jwe).unwrap_err();
            assert!(matches!(error, JweError::Algorithm(_)), "{member}");
            let text = error.to_string();
            assert!(!text.contains('\u{1b}') && text.len() < 150, "{member}: {text}");
        }
    }

    #[test]
    fn refuses_other_keys() {
        let rsa = |bytes: usize, e: &[u8], alg: &str| TeePubKey::RSA {
            alg: alg.into(),
            k_mod: B64.encode([&[0x80][..], &vec![0; bytes - 2], &[1]].concat()),
            k_exp: B64.encode(e),
        };
        assert_eq!(check(&rsa(256, &[1, 0, 1], ALG_OAEP)), Ok(()));
        for bad in [
            rsa(255, &[1, 0, 1], ALG_OAEP),
            rsa(1025, &[1, 0, 1], ALG_OAEP),
            rsa(256, &[2], ALG_OAEP),
            rsa(256, &[1], ALG_OAEP),
            rsa(256, &[1; 9], ALG_OAEP),
            rsa(256, &[1, 0, 1], "RSA-OAEP"),
        ] {
            assert!(matches!(seal(&bad, b""), Err(JweError::Key(_))), "{bad:?}");
        }
        assert_eq!(check(&EphemeralKey::generate().public()), Ok(()));
        let ec = |crv: &str, alg: &str, len: usize| {
            let zero = B64.encode(vec![0; len]);
            TeePubKey::EC { crv: crv.into(), alg: alg.into(), x: zero.clone(), y: zero }
        };
        assert_eq!(seal(&ec("P-256", ALG_ECDH, 32), b"").unwrap_err(), JweError::Point("P-256"));
        assert_eq!(seal(&ec("P-521", ALG_ECDH, 66), b"").unwrap_err(), JweError::Point("P-521"));
        assert_eq!(seal(&ec("P-521", ALG_ECDH, 65), b"").unwrap_err(), JweError::Point("P-521"));
        assert!(matches!(check(&ec("P-384", ALG_ECDH, 48)), Err(JweError::Key(_))));
        assert!(matches!(check(&ec("P-256", "ECDH-ES", 32)), Err(JweError::Key(_))));
    }
}
