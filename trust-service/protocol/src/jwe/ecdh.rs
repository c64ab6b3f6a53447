//! ECDH-ES+A256KW (RFC 7518, section 4.6) over P-256 and P-521: the key that wraps the content key.

use super::{ALG_ECDH, B64, Epk, Header, JweError, Key32, Sealed};
use aes_kw::KekAes256;
#[cfg(feature = "aws-lc")]
use aws_lc_rs::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
#[cfg(feature = "aws-lc")]
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use p256::elliptic_curve::sec1::{EncodedPoint, FromEncodedPoint, ModulusSize, ToEncodedPoint};
use p256::elliptic_curve::{
    AffinePoint, CurveArithmetic, FieldBytes, FieldBytesSize, PublicKey, SecretKey, ecdh,
};
use rand_core::OsRng;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// A curve of the protocol.
pub(super) trait Curve: CurveArithmetic {
    /// Its name as a JWK has it.
    const NAME: &'static str;
}

impl Curve for p256::NistP256 {
    const NAME: &'static str = "P-256";
}

impl Curve for p521::NistP521 {
    const NAME: &'static str = "P-521";
}

/// Bytes of a wrapped content key.
const WRAPPED: usize = 40;

/// A content key wrapped for `peer`, under a key that is made for it.
pub(super) fn wrap<C: Curve>(peer: &PublicKey<C>, content_key: &Key32) -> Result<Sealed, JweError>
where
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
{
    let ephemeral = SecretKey::<C>::random(&mut OsRng);
    let (x, y) = coordinates(&ephemeral.public_key());
    let epk = Epk { crv: C::NAME.into(), kty: "EC".into(), x, y };
    sealed(agree(&ephemeral, peer), epk, content_key)
}

/// The same for a key of P-256, what nearly all nodes have, in a fraction of the time.
#[cfg(feature = "aws-lc")]
pub(super) fn wrap_p256(peer: &PublicKey<p256::NistP256>, content_key: &Key32) -> Result<Sealed, JweError> {
    let ephemeral =
        EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new()).map_err(|_| JweError::Random)?;
    let public = ephemeral.compute_public_key().map_err(|_| JweError::Random)?;
    // 0x04, x and y.
    let (x, y) =
        public.as_ref().get(1..).and_then(|point| point.split_at_checked(32)).ok_or(JweError::Random)?;
    let epk = Epk { crv: "P-256".into(), kty: "EC".into(), x: B64.encode(x), y: B64.encode(y) };
    let peer = UnparsedPublicKey::new(&ECDH_P256, peer.to_encoded_point(false));
    let key = agree_ephemeral(ephemeral, peer, JweError::Point("P-256"), |shared| Ok(kdf(shared)))?;
    sealed(key, epk, content_key)
}

fn sealed(key: Key32, epk: Epk, content_key: &Key32) -> Result<Sealed, JweError> {
    let mut encrypted_key = vec![0; WRAPPED];
    KekAes256::from(*key).wrap(content_key.as_ref(), &mut encrypted_key).map_err(|_| JweError::Open)?;
    Ok(Sealed { header: Header::new(ALG_ECDH, Some(epk)), encrypted_key })
}

/// The content key that was wrapped for `own`.
pub(super) fn unwrap<C: Curve>(
    own: &SecretKey<C>,
    header: &Header,
    encrypted_key: &[u8],
) -> Result<Key32, JweError>
where
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
{
    header.is(ALG_ECDH)?;
    let epk = header.epk.as_ref().ok_or(JweError::Header)?;
    if epk.crv != C::NAME {
        return Err(JweError::algorithm(&format!("a key of {}", epk.crv)));
    }
    let peer = point::<C>(&epk.x, &epk.y)?;
    let wrapped: &[u8; WRAPPED] = encrypted_key.try_into().map_err(|_| JweError::Length("encrypted_key"))?;
    let mut content_key = Zeroizing::new([0; 32]);
    KekAes256::from(*agree(own, &peer)).unwrap(wrapped, content_key.as_mut()).map_err(|_| JweError::Open)?;
    Ok(content_key)
}

/// Both coordinates in base64url, of the curve's full length.
pub(super) fn coordinates<C: Curve>(key: &PublicKey<C>) -> (String, String)
where
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
{
    let point = key.to_encoded_point(false);
    let part = |c: Option<&FieldBytes<C>>| c.map(|bytes| B64.encode(bytes)).unwrap_or_default();
    (part(point.x()), part(point.y()))
}

/// The point of these coordinates, which must have the curve's full length.
pub(super) fn point<C: Curve>(x: &str, y: &str) -> Result<PublicKey<C>, JweError>
where
    FieldBytesSize<C>: ModulusSize,
    AffinePoint<C>: FromEncodedPoint<C> + ToEncodedPoint<C>,
{
    let part = |text: &str| -> Result<FieldBytes<C>, JweError> {
        let bytes = B64.decode(text).ok();
        bytes.and_then(FieldBytes::<C>::from_exact_iter).ok_or(JweError::Point(C::NAME))
    };
    let encoded = EncodedPoint::<C>::from_affine_coordinates(&part(x)?, &part(y)?, false);
    Option::from(PublicKey::from_encoded_point(&encoded)).ok_or(JweError::Point(C::NAME))
}

fn agree<C: Curve>(own: &SecretKey<C>, peer: &PublicKey<C>) -> Key32 {
    kdf(ecdh::diffie_hellman(own.to_nonzero_scalar(), peer.as_affine()).raw_secret_bytes())
}

/// Concat KDF with SHA-256 (NIST SP 800-56A; RFC 7518 section 4.6.2), one round for 256 bits.
fn kdf(shared: &[u8]) -> Key32 {
    let alg_len = u32::try_from(ALG_ECDH.len()).unwrap_or_default();
    let digest = Sha256::new()
        .chain_update(1u32.to_be_bytes())
        .chain_update(shared)
        .chain_update(alg_len.to_be_bytes())
        .chain_update(ALG_ECDH)
        .chain_update([0; 8]) // empty PartyUInfo and PartyVInfo, each a length of zero
        .chain_update(256u32.to_be_bytes())
        .finalize();
    Zeroizing::new(digest.into())
}
