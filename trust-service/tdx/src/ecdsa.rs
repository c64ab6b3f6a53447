//! ECDSA over P-256 with SHA-256, in the two forms in which Intel's structures carry it.

use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

/// An uncompressed point: 0x04, X, Y.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Point([u8; 65]);

impl Point {
    /// As a SubjectPublicKeyInfo's bit string has it; `None` for another form.
    pub(crate) fn from_sec1(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().filter(|b: &[u8; 65]| b.starts_with(&[4])).map(Self)
    }

    /// As a quote has its attestation key: X, Y.
    pub(crate) fn from_xy(xy: &[u8; 64]) -> Self {
        let mut out = [4; 65];
        for (to, from) in out.iter_mut().skip(1).zip(xy) {
            *to = *from;
        }
        Self(out)
    }

    /// Whether `signature` (r, s: 32 bytes each, big-endian) is this key's over `message`.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0).verify(message, signature).is_ok()
    }

    /// The same for a signature in DER.
    pub(crate) fn signed_der(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.0).verify(message, signature).is_ok()
    }
}
