//! RSA keys as the runtime data have them: JSON Web Keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Bytes of a modulus that are read: RSA of 1024 to 8192 bits; who uses the key judges its strength.
const MODULUS: std::ops::RangeInclusive<usize> = 128..=1024;

/// What is wrong about a key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFault {
    /// It is not there.
    #[error("missing")]
    Missing,
    /// It is there more than once.
    #[error("there more than once")]
    Twice,
    /// Not an RSA key.
    #[error("a key of type `{0}`, not RSA")]
    Type(String),
    /// The modulus is no base64url, or none of an RSA key.
    #[error("its modulus can't be read")]
    Modulus,
    /// The exponent is no base64url, or none of an RSA key.
    #[error("its exponent can't be read")]
    Exponent,
    /// It is not for this use.
    #[error("it is for {0:?}")]
    Use(Vec<String>),
}

/// An RSA public key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RsaKey {
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl RsaKey {
    /// The modulus, big-endian, without leading zeros.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// The public exponent, big-endian, without leading zeros.
    pub fn exponent(&self) -> &[u8] {
        &self.exponent
    }
}

/// A JSON Web Key as it is written; unknown members are ignored.
#[derive(Deserialize)]
pub(crate) struct Jwk {
    pub(crate) kid: String,
    kty: String,
    #[serde(default)]
    key_ops: Vec<String>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

impl Jwk {
    /// The key, which must be for `use_for` where it says what it is for.
    pub(crate) fn read(&self, use_for: &str) -> Result<RsaKey, KeyFault> {
        let short = |text: &str| {
            text.chars().filter(|c| !ccnode_evidence::is_obeyed(*c)).take(20).collect::<String>()
        };
        if self.kty != "RSA" {
            return Err(KeyFault::Type(short(&self.kty)));
        }
        if !self.key_ops.is_empty() && !self.key_ops.iter().any(|op| op == use_for) {
            return Err(KeyFault::Use(self.key_ops.iter().take(4).map(|op| short(op)).collect()));
        }
        let modulus = number(&self.n).filter(|n| MODULUS.contains(&n.len())).ok_or(KeyFault::Modulus)?;
        let exponent = number(&self.e).filter(|e| e.len() <= 8).ok_or(KeyFault::Exponent)?;
        Ok(RsaKey { modulus, exponent })
    }
}

/// A positive number without leading zeros.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
    let from = bytes.iter().position(|byte| *byte != 0)?;
    bytes.get(from..).map(<[u8]>::to_vec)
}
