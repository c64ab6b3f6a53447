//! The key of one session, of whichever type the configuration names.

use super::{EphemeralKey, Jwe, JweError, P521Key, RsaKey};
use ccnode_evidence::SecretBytes;
use kbs_types::TeePubKey;
use rand_core::OsRng;
use rsa::RsaPrivateKey;
use serde::{Deserialize, Serialize};

/// Bits of an RSA key.
const RSA_BITS: usize = 3072;

/// What a session's key is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum SessionKeyKind {
    /// ECDH-ES+A256KW over P-256.
    #[default]
    #[serde(rename = "P-256")]
    P256,
    /// ECDH-ES+A256KW over P-521.
    #[serde(rename = "P-521")]
    P521,
    /// RSA-OAEP-256 of 3072 bits: a second or more to make on a small machine.
    #[serde(rename = "RSA")]
    Rsa,
}

/// The private half of a session's key; it is wiped on drop.
pub enum SessionKey {
    /// P-256.
    P256(EphemeralKey),
    /// P-521.
    P521(P521Key),
    /// RSA.
    Rsa(Box<RsaKey>),
}

impl SessionKey {
    /// A new key from the operating system's randomness.
    pub fn generate(kind: SessionKeyKind) -> Result<Self, JweError> {
        Ok(match kind {
            SessionKeyKind::P256 => Self::P256(EphemeralKey::generate()),
            SessionKeyKind::P521 => Self::P521(P521Key(p521::SecretKey::random(&mut OsRng))),
            SessionKeyKind::Rsa => {
                let key = RsaPrivateKey::new(&mut OsRng, RSA_BITS).map_err(|_| JweError::Make)?;
                Self::Rsa(Box::new(RsaKey(key)))
            }
        })
    }

    /// The public half in the protocol's form.
    pub fn public(&self) -> TeePubKey {
        match self {
            Self::P256(key) => key.public(),
            Self::P521(key) => key.public(),
            Self::Rsa(key) => key.public(),
        }
    }

    /// Opens what was sealed to this key.
    pub fn open(&self, jwe: &Jwe) -> Result<SecretBytes, JweError> {
        match self {
            Self::P256(key) => key.open(jwe),
            Self::P521(key) => key.open(jwe),
            Self::Rsa(key) => key.open(jwe),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwe::seal;

    #[test]
    fn a_key_of_each_kind_opens_what_is_sealed_to_it() {
        for kind in [SessionKeyKind::P256, SessionKeyKind::P521, SessionKeyKind::Rsa] {
            let key = SessionKey::generate(kind).unwrap();
            let jwe = seal(&key.public(), b"unlock").unwrap();
            assert_eq!(key.open(&jwe).unwrap().expose(), b"unlock", "{kind:?}");
            assert!(SessionKey::generate(SessionKeyKind::P256).unwrap().open(&jwe).is_err());
        }
        assert_eq!(serde_json::from_str::<SessionKeyKind>("\"P-521\"").unwrap(), SessionKeyKind::P521);
        assert!(serde_json::from_str::<SessionKeyKind>("\"p-521\"").is_err());
    }
}
