//! The keys that sign bundles: ECDSA P-256, named by the SHA-256 of their SubjectPublicKeyInfo.

use ccnode_evidence::Sha256Digest;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding,
};
use std::fmt;

/// Why a key can't be read or made.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a private key of this kind.
    #[error("not a P-256 private key in PKCS #8 PEM")]
    Secret(#[source] p256::pkcs8::Error),
    /// Not a public key of this kind.
    #[error("not a P-256 public key in PEM (SubjectPublicKeyInfo)")]
    Public(#[source] p256::pkcs8::spki::Error),
}

/// A key that signs bundles; zeroized on drop.
pub struct SecretKey(SigningKey);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(redacted)")
    }
}

impl SecretKey {
    /// A new key.
    pub fn generate(rng: &mut impl p256::elliptic_curve::rand_core::CryptoRngCore) -> Self {
        Self(SigningKey::random(rng))
    }

    /// Reads PKCS #8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(pem).map(Self).map_err(KeyError::Secret)
    }

    /// PKCS #8 PEM; zeroized on drop.
    pub fn to_pem(&self) -> Result<impl std::ops::Deref<Target = String> + use<>, KeyError> {
        self.0.to_pkcs8_pem(LineEnding::LF).map_err(KeyError::Secret)
    }

    /// The other half.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.0.sign(message);
        signature.as_bytes().to_vec()
    }
}

/// A key whose bundles are believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads SubjectPublicKeyInfo PEM.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        VerifyingKey::from_public_key_pem(pem).map(Self).map_err(KeyError::Public)
    }

    /// SubjectPublicKeyInfo PEM.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(KeyError::Public)
    }

    /// SHA-256 of the SubjectPublicKeyInfo, as the envelope's `keyid` has it in hex.
    pub fn id(&self) -> Result<Sha256Digest, KeyError> {
        Ok(Sha256Digest::of(self.0.to_public_key_der().map_err(KeyError::Public)?.as_bytes()))
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::try_from(signature).is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }
}
