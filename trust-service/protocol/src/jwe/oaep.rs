//! RSA-OAEP-256 (RFC 7518, section 4.3): OAEP with SHA-256, and MGF1 with SHA-256.

use super::{ALG_OAEP, B64, Header, JweError, Key32, Sealed};
use base64::Engine as _;
use rand_core::OsRng;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, Oaep, RsaPrivateKey, RsaPublicKey};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bits of a modulus: what is less can be factored, what is more takes too long.
const BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key of a fair size; the exponent is bounded by the library.
pub(super) fn key(modulus: &str, exponent: &str) -> Result<RsaPublicKey, JweError> {
    let bad = || JweError::Key("an RSA modulus of 2048 to 8192 bits with its exponent is due");
    let part = |text: &str| {
        let bytes = B64.decode(text).ok().filter(|bytes| bytes.len() <= BITS.end() / 8);
        bytes.map(|bytes| BigUint::from_bytes_be(&bytes)).ok_or_else(bad)
    };
    let key = RsaPublicKey::new_with_max_size(part(modulus)?, part(exponent)?, *BITS.end());
    key.ok().filter(|key| BITS.contains(&key.n().bits())).ok_or_else(bad)
}

/// A content key encrypted to `peer`.
pub(super) fn wrap(peer: &RsaPublicKey, content_key: &Key32) -> Result<Sealed, JweError> {
    let encrypted_key =
        peer.encrypt(&mut OsRng, Oaep::new::<Sha256>(), content_key.as_ref()).map_err(|_| JweError::Open)?;
    Ok(Sealed { header: Header::new(ALG_OAEP, None), encrypted_key })
}

/// The content key that was encrypted to `own`.
pub(super) fn unwrap(own: &RsaPrivateKey, header: &Header, encrypted_key: &[u8]) -> Result<Key32, JweError> {
    header.is(ALG_OAEP)?;
    let plain =
        own.decrypt_blinded(&mut OsRng, Oaep::new::<Sha256>(), encrypted_key).map_err(|_| JweError::Open)?;
    let plain = Zeroizing::new(plain);
    Ok(Zeroizing::new(plain.as_slice().try_into().map_err(|_| JweError::Open)?))
}
