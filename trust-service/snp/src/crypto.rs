//! The two signatures that AMD's keys make, checked by ring.

use ring::signature::{ECDSA_P384_SHA384_FIXED, RSA_PSS_2048_8192_SHA384, UnparsedPublicKey};

/// Proof that a signature verifies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignatureValid(());

/// RSASSA-PSS with SHA-384, MGF1 with SHA-384, 48 bytes of salt; `key` is a PKCS #1 RSAPublicKey of 2048 to 8192 bits.
pub(crate) fn rsa_pss(key: &[u8], message: &[u8], signature: &[u8]) -> Option<SignatureValid> {
    let key = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key);
    key.verify(message, signature).ok().map(|()| SignatureValid(()))
}

/// ECDSA P-384 with SHA-384; `point` is uncompressed, `signature` is R ‖ S, big-endian.
pub(crate) fn ecdsa_p384(point: &[u8; 97], message: &[u8], signature: &[u8; 96]) -> Option<SignatureValid> {
    let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point);
    key.verify(message, signature).ok().map(|()| SignatureValid(()))
}
