//! Public keys that signatures are verified with, in all the forms that they come in, and the one place where they are.

use crate::tpm::{Scheme, SchemeKind, Signature, SignatureValue};
use aws_lc_rs::signature as rsa_sig;
use ccnode_evidence::HashAlg;
use ring::signature as ring_sig;
use rsa::signature::Verifier as _;
use rsa::{BigUint, RsaPublicKey, pss};
use std::fmt;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// 65537, big-endian.
pub(crate) const EXPONENT: [u8; 3] = [1, 0, 1];
/// AlgorithmIdentifier of rsaEncryption, DER.
const RSA_ENCRYPTION: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// rsaEncryption, 1.2.840.113549.1.1.1.
const RSA_OID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// id-ecPublicKey, 1.2.840.10045.2.1.
const EC_OID: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// A curve that keys are accepted on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
}

impl Curve {
    /// The curve of a TPM_ECC_CURVE.
    pub(crate) fn from_id(id: u16) -> Option<Self> {
        [Self::P256, Self::P384].into_iter().find(|curve| curve.id() == id)
    }

    /// The TPM_ECC_CURVE.
    pub fn id(self) -> u16 {
        match self {
            Self::P256 => 0x0003,
            Self::P384 => 0x0004,
        }
    }

    /// Bytes of a coordinate.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// The hash of the same strength, which goes with it.
    pub(crate) fn hash(self) -> HashAlg {
        match self {
            Self::P256 => HashAlg::Sha256,
            Self::P384 => HashAlg::Sha384,
        }
    }

    /// The named curve's OID, DER.
    pub(crate) fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Self::P384 => &[0x2b, 0x81, 0x04, 0x00, 0x22],
        }
    }

    /// Whether `sec1` is an uncompressed point of the curve, and not the one at infinity.
    fn holds(self, sec1: &[u8]) -> bool {
        match self {
            Self::P256 => p256::PublicKey::from_sec1_bytes(sec1).is_ok(),
            Self::P384 => p384::PublicKey::from_sec1_bytes(sec1).is_ok(),
        }
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        })
    }
}

/// Why numbers are no public key that is accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum KeyFault {
    /// A modulus of another length than is said.
    Modulus(u16),
    /// Fewer than 2048 bits.
    WeakBits(u16),
    /// More than 4096 bits.
    Bits(u16),
    /// No point of the curve.
    Point(Curve),
}

/// Why a SubjectPublicKeyInfo, a JSON Web Key or a certificate holds no key that is accepted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// Not a SubjectPublicKeyInfo in DER.
    #[error("not a SubjectPublicKeyInfo in DER")]
    Der,
    /// Neither rsaEncryption nor an ECC key on P-256 or P-384.
    #[error("neither an RSA key nor an ECC key on P-256 or P-384")]
    Algorithm,
    /// Fewer than 2048 bits: weak.
    #[error("an RSA key of {0} bits is weak; 2048 to 4096 are accepted")]
    WeakBits(u16),
    /// More than 4096 bits, or no whole number of bytes.
    #[error("an RSA key of {0} bits; 2048 to 4096 are accepted")]
    Bits(u16),
    /// An exponent other than 65537: weak.
    #[error("the RSA exponent is not 65537")]
    Exponent,
    /// The coordinates are no point of the curve.
    #[error("the coordinates are no point of {0}")]
    Point(Curve),
}

impl KeyError {
    /// Whether the key is well formed and too weak to be believed.
    pub fn is_weak(&self) -> bool {
        matches!(self, Self::WeakBits(_) | Self::Exponent)
    }
}

impl From<KeyFault> for KeyError {
    fn from(fault: KeyFault) -> Self {
        match fault {
            KeyFault::WeakBits(bits) => Self::WeakBits(bits),
            KeyFault::Bits(bits) | KeyFault::Modulus(bits) => Self::Bits(bits),
            KeyFault::Point(curve) => Self::Point(curve),
        }
    }
}

/// A public key that is strong enough to verify with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PublicKey {
    /// Big-endian, without leading zeros, 2048 to 4096 bits; the exponent is 65537.
    Rsa { modulus: Vec<u8> },
    /// 4, x, y: a point of the curve.
    Ecc { curve: Curve, point: Vec<u8> },
}

impl PublicKey {
    /// An RSA key with exponent 65537; `bits` is what comes with the modulus.
    pub(crate) fn rsa(bits: u16, modulus: &[u8]) -> Result<Self, KeyFault> {
        match bits {
            0..2048 => return Err(KeyFault::WeakBits(bits)),
            2048..=4096 => {}
            _ => return Err(KeyFault::Bits(bits)),
        }
        let whole = modulus.len().saturating_mul(8) == usize::from(bits);
        if !whole || modulus.first().is_none_or(|first| first & 0x80 == 0) {
            return Err(KeyFault::Modulus(bits));
        }
        Ok(Self::Rsa { modulus: modulus.to_vec() })
    }

    /// An ECC key by its coordinates, each padded to the curve's size or shorter.
    pub(crate) fn ecc(curve: Curve, x: &[u8], y: &[u8]) -> Result<Self, KeyFault> {
        let fault = KeyFault::Point(curve);
        let mut point = vec![4];
        point.extend(padded(x, curve.size()).ok_or(fault)?);
        point.extend(padded(y, curve.size()).ok_or(fault)?);
        if curve.holds(&point) { Ok(Self::Ecc { curve, point }) } else { Err(fault) }
    }

    /// The key in a SubjectPublicKeyInfo, DER, read to its end.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, spki) = SubjectPublicKeyInfo::from_der(der).map_err(|_| KeyError::Der)?;
        if !rest.is_empty() {
            return Err(KeyError::Der);
        }
        Self::of(&spki)
    }

    /// The key in a SubjectPublicKeyInfo that was read.
    pub(crate) fn of(spki: &SubjectPublicKeyInfo<'_>) -> Result<Self, KeyError> {
        let bits = &spki.subject_public_key;
        if bits.unused_bits != 0 {
            return Err(KeyError::Der);
        }
        match spki.algorithm.algorithm.as_bytes() {
            RSA_OID => Self::from_pkcs1(&bits.data),
            EC_OID => {
                let oid = spki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
                let oid = oid.ok_or(KeyError::Algorithm)?;
                let curve = [Curve::P256, Curve::P384].into_iter().find(|c| c.oid() == oid.as_bytes());
                let curve = curve.ok_or(KeyError::Algorithm)?;
                let coordinates = bits.data.strip_prefix(&[4]).ok_or(KeyError::Point(curve))?;
                let (x, y) = coordinates.split_at_checked(curve.size()).ok_or(KeyError::Point(curve))?;
                Ok(Self::ecc(curve, x, y)?)
            }
            _ => Err(KeyError::Algorithm),
        }
    }

    /// An RSAPublicKey of PKCS #1, DER, read to its end.
    pub(crate) fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let (rest, key) = RSAPublicKey::from_der(der).map_err(|_| KeyError::Der)?;
        if !rest.is_empty() {
            return Err(KeyError::Der);
        }
        Self::from_rsa_numbers(key.modulus, key.exponent)
    }

    /// An RSA key by modulus and exponent, big-endian; leading zeros are dropped.
    pub(crate) fn from_rsa_numbers(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let modulus = without_zeros(modulus);
        let top = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        let bits = u16::try_from(modulus.len().saturating_mul(8) - top).unwrap_or(u16::MAX);
        if bits < 2048 {
            return Err(KeyError::WeakBits(bits));
        }
        if without_zeros(exponent) != EXPONENT {
            return Err(KeyError::Exponent);
        }
        Ok(Self::rsa(bits, modulus)?)
    }

    /// Its SubjectPublicKeyInfo, DER: the one encoding that there is of it.
    pub(crate) fn spki(&self) -> Vec<u8> {
        match self {
            Self::Rsa { modulus } => {
                let integers = [der(0x02, &[&[0], modulus.as_slice()].concat()), der(0x02, &EXPONENT)];
                let key = der(0x30, &integers.concat());
                der(0x30, &[RSA_ENCRYPTION, &der(0x03, &[&[0], key.as_slice()].concat())].concat())
            }
            Self::Ecc { curve, point } => {
                let algorithm = der(0x30, &[der(0x06, EC_OID), der(0x06, curve.oid())].concat());
                der(0x30, &[algorithm, der(0x03, &[&[0], point.as_slice()].concat())].concat())
            }
        }
    }

    /// Modulus and exponent of an RSA key, big-endian.
    pub(crate) fn rsa_numbers(&self) -> Option<(&[u8], &[u8])> {
        match self {
            Self::Rsa { modulus } => Some((modulus, &EXPONENT)),
            Self::Ecc { .. } => None,
        }
    }

    /// In words: "RSA of 2048 bits".
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Rsa { modulus } => format!("RSA of {} bits", modulus.len().saturating_mul(8)),
            Self::Ecc { curve, .. } => format!("ECC on {curve}"),
        }
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn signed(&self, message: &[u8], signature: &Signature<'_>) -> bool {
        let Scheme { kind, hash } = signature.scheme;
        match (self, signature.value) {
            (Self::Rsa { modulus }, SignatureValue::Rsa(bytes)) => match kind {
                SchemeKind::Rsassa => rsa_signed(pkcs1(hash), modulus, message, bytes),
                SchemeKind::Rsapss => pss_signed(hash, modulus, message, bytes),
                SchemeKind::Ecdsa => false,
            },
            (Self::Ecc { curve, point }, SignatureValue::Ecdsa { r, s }) if hash == curve.hash() => {
                let (Some(r), Some(s)) = (padded(r, curve.size()), padded(s, curve.size())) else {
                    return false;
                };
                let algorithm: &'static dyn ring_sig::VerificationAlgorithm = match curve {
                    Curve::P256 => &ring_sig::ECDSA_P256_SHA256_FIXED,
                    Curve::P384 => &ring_sig::ECDSA_P384_SHA384_FIXED,
                };
                let key = ring_sig::UnparsedPublicKey::new(algorithm, point);
                key.verify(message, &[r, s].concat()).is_ok()
            }
            _ => false,
        }
    }
}

/// AWS-LC's algorithm for RSASSA-PKCS1-v1_5; `None` for a hash that is not accepted.
fn pkcs1(hash: HashAlg) -> Option<&'static rsa_sig::RsaParameters> {
    match hash {
        HashAlg::Sha256 => Some(&rsa_sig::RSA_PKCS1_2048_8192_SHA256),
        HashAlg::Sha384 => Some(&rsa_sig::RSA_PKCS1_2048_8192_SHA384),
        _ => None,
    }
}

fn rsa_signed(
    algorithm: Option<&'static rsa_sig::RsaParameters>,
    modulus: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let key = rsa_sig::RsaPublicKeyComponents { n: modulus, e: &EXPONENT[..] };
    algorithm.is_some_and(|algorithm| key.verify(algorithm, message, signature).is_ok())
}

/// The salt is as long as the hash (FIPS 186) or as long as fits (TPM 2.0 Library, part 1, annex B.7): TPMs do either.
fn pss_signed(hash: HashAlg, modulus: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let algorithm = match hash {
        HashAlg::Sha256 => &rsa_sig::RSA_PSS_2048_8192_SHA256,
        HashAlg::Sha384 => &rsa_sig::RSA_PSS_2048_8192_SHA384,
        _ => return false,
    };
    if rsa_signed(Some(algorithm), modulus, message, signature) {
        return true;
    }
    let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(&EXPONENT));
    let (Ok(key), Ok(signature)) = (key, pss::Signature::try_from(signature)) else { return false };
    let Some(salt) = modulus.len().checked_sub(hash.size() + 2) else { return false };
    if hash == HashAlg::Sha256 {
        pss::VerifyingKey::<sha2::Sha256>::new_with_salt_len(key, salt).verify(message, &signature).is_ok()
    } else {
        pss::VerifyingKey::<sha2::Sha384>::new_with_salt_len(key, salt).verify(message, &signature).is_ok()
    }
}

fn without_zeros(mut number: &[u8]) -> &[u8] {
    while let Some(rest) = number.strip_prefix(&[0]) {
        number = rest;
    }
    number
}

/// `number` with zeros in front, `size` bytes; `None` where it is longer.
fn padded(number: &[u8], size: usize) -> Option<Vec<u8>> {
    let zeros = size.checked_sub(number.len())?;
    Some([&vec![0; zeros], number].concat())
}

/// One DER element.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut out = vec![tag];
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ 0..=127), _) => out.push(short),
        (Ok(byte), _) => out.extend([0x81, byte]),
        (_, Ok(word)) => {
            out.push(0x82);
            out.extend(word.to_be_bytes());
        }
        // No key is that long: what is encoded here passed its limits.
        _ => return Vec::new(),
    }
    out.extend_from_slice(content);
    out
}
