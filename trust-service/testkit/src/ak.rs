//! Attestation keys of every kind that is appraised: what they look like, and how they sign.

use crate::Seat;
use crate::marshal::{self, SHA256, SHA384};
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use rsa::rand_core::OsRng;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, RsaPublicKey, pkcs1v15, pss};
use sha2::{Digest as _, Sha256, Sha384};

/// What an attestation key is and how it signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AkKind {
    /// RSA-2048, RSASSA with SHA-256: what ccnode-init makes.
    #[default]
    RsassaSha256,
    /// RSA-2048, RSASSA with SHA-384.
    RsassaSha384,
    /// RSA-2048, RSAPSS with SHA-256, the salt as long as the hash.
    RsapssSha256,
    /// RSA-2048, RSAPSS with SHA-384, the salt as long as fits, as older TPMs have it.
    RsapssSha384,
    /// P-256, ECDSA with SHA-256.
    EcdsaP256,
    /// P-384, ECDSA with SHA-384.
    EcdsaP384,
}

const RSASSA: u16 = 0x0014;
const RSAPSS: u16 = 0x0016;
const ECDSA: u16 = 0x0018;

impl AkKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::RsassaSha256,
        Self::RsassaSha384,
        Self::RsapssSha256,
        Self::RsapssSha384,
        Self::EcdsaP256,
        Self::EcdsaP384,
    ];

    fn scheme(self) -> (u16, u16) {
        match self {
            Self::RsassaSha256 => (RSASSA, SHA256),
            Self::RsassaSha384 => (RSASSA, SHA384),
            Self::RsapssSha256 => (RSAPSS, SHA256),
            Self::RsapssSha384 => (RSAPSS, SHA384),
            Self::EcdsaP256 => (ECDSA, SHA256),
            Self::EcdsaP384 => (ECDSA, SHA384),
        }
    }

    /// What the scheme hashes with, over the PCRs too.
    pub(crate) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self.scheme().1 {
            SHA384 => Sha384::digest(bytes).to_vec(),
            _ => Sha256::digest(bytes).to_vec(),
        }
    }

    /// TPMT_PUBLIC of a seat's key of this kind; its Name is hashed by SHA-256, that of P-384 by SHA-384.
    pub(crate) fn public(self, seat: Seat, attributes: u32) -> Vec<u8> {
        let head = |kind, name_alg| self.head(kind, name_alg, attributes);
        let point = |curve: u16, point: &[u8]| {
            let (x, y) = point.split_at(point.len() / 2);
            [&curve.to_be_bytes()[..], &[0, 0x10], &marshal::sized(x), &marshal::sized(y)].concat()
        };
        match self {
            Self::EcdsaP256 => {
                let key = p256_key(seat).verifying_key().to_encoded_point(false);
                [head(0x0023, SHA256), point(3, &key.as_bytes()[1..])].concat()
            }
            Self::EcdsaP384 => {
                let key = p384_key(seat).verifying_key().to_encoded_point(false);
                [head(0x0023, SHA384), point(4, &key.as_bytes()[1..])].concat()
            }
            _ => self.rsa_public(&seat.ak().n().to_bytes_be(), attributes),
        }
    }

    /// TPMT_PUBLIC of an RSA key of this kind.
    pub(crate) fn rsa_public(self, modulus: &[u8], attributes: u32) -> Vec<u8> {
        let bits = u16::try_from(modulus.len() * 8).expect("a short key").to_be_bytes();
        [self.head(0x0001, SHA256, attributes), bits.to_vec(), vec![0; 4], marshal::sized(modulus)].concat()
    }

    fn head(self, kind: u16, name_alg: u16, attributes: u32) -> Vec<u8> {
        let (scheme, hash) = self.scheme();
        let mut out = Vec::new();
        out.extend([kind.to_be_bytes(), name_alg.to_be_bytes()].concat());
        out.extend(attributes.to_be_bytes());
        out.extend(marshal::sized(&[]));
        for field in [0x0010, scheme, hash] {
            out.extend(u16::to_be_bytes(field));
        }
        out
    }

    /// SubjectPublicKeyInfo of a seat's key of this kind, DER.
    pub(crate) fn spki(self, seat: Seat) -> Vec<u8> {
        let der = match self {
            Self::EcdsaP256 => p256_key(seat).verifying_key().to_public_key_der(),
            Self::EcdsaP384 => p384_key(seat).verifying_key().to_public_key_der(),
            _ => RsaPublicKey::from(&seat.ak()).to_public_key_der(),
        };
        der.expect("a key").into_vec()
    }

    /// TPMT_SIGNATURE of a seat's key of this kind over `message`.
    pub(crate) fn sign(self, seat: Seat, message: &[u8]) -> Vec<u8> {
        let (scheme, hash) = self.scheme();
        let rsa = |bytes: Vec<u8>| marshal::sized(&bytes);
        let pair = |bytes: &[u8]| {
            let (r, s) = bytes.split_at(bytes.len() / 2);
            [marshal::sized(r), marshal::sized(s)].concat()
        };
        let value = match self {
            Self::RsassaSha256 => rsa(pkcs1v15::SigningKey::<Sha256>::new(seat.ak()).sign(message).to_vec()),
            Self::RsassaSha384 => rsa(pkcs1v15::SigningKey::<Sha384>::new(seat.ak()).sign(message).to_vec()),
            Self::RsapssSha256 => {
                rsa(pss::SigningKey::<Sha256>::new(seat.ak()).sign_with_rng(&mut OsRng, message).to_vec())
            }
            Self::RsapssSha384 => {
                let key: RsaPrivateKey = seat.ak();
                let salt = key.size() - 48 - 2;
                let key = pss::SigningKey::<Sha384>::new_with_salt_len(key, salt);
                rsa(key.sign_with_rng(&mut OsRng, message).to_vec())
            }
            Self::EcdsaP256 => {
                let signature: p256::ecdsa::Signature = p256_key(seat).sign(message);
                pair(&signature.to_bytes())
            }
            Self::EcdsaP384 => {
                let signature: p384::ecdsa::Signature = p384_key(seat).sign(message);
                pair(&signature.to_bytes())
            }
        };
        [&scheme.to_be_bytes()[..], &hash.to_be_bytes(), &value].concat()
    }
}

/// A scalar that anybody can compute.
fn scalar(seat: Seat, curve: &str) -> Vec<u8> {
    Sha384::digest(format!("{seat:?} {curve}")).to_vec()
}

fn p256_key(seat: Seat) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&scalar(seat, "ak p256")[..32]).expect("a scalar")
}

fn p384_key(seat: Seat) -> p384::ecdsa::SigningKey {
    p384::ecdsa::SigningKey::from_slice(&scalar(seat, "ak p384")).expect("a scalar")
}
