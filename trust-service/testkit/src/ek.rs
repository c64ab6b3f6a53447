//! Endorsement keys of each kind, and how they open credentials.

use crate::Seat;
use crate::marshal::{SHA256, SHA384};
use cfb_mode::cipher::{AsyncStreamCipher as _, KeyIvInit as _};
use hmac::{Hmac, Mac as _};
use p256::pkcs8::EncodePublicKey as _;
use rsa::{Oaep, RsaPublicKey};
use sha2::{Digest as _, Sha256, Sha384};

/// What an endorsement key is: the templates L-1, L-2 and H-3 of the TCG EK Credential Profile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EkKind {
    /// RSA-2048, SHA-256, AES-128.
    #[default]
    Rsa2048,
    /// P-256, SHA-256, AES-128.
    P256,
    /// P-384, SHA-384, AES-256.
    P384,
}

impl EkKind {
    fn hash(self) -> u16 {
        if self == Self::P384 { SHA384 } else { SHA256 }
    }

    /// SubjectPublicKeyInfo of a seat's key of this kind, DER.
    pub(crate) fn spki(self, seat: Seat) -> Vec<u8> {
        let der = match self {
            Self::Rsa2048 => RsaPublicKey::from(&seat.ek()).to_public_key_der(),
            Self::P256 => p256_key(seat).public_key().to_public_key_der(),
            Self::P384 => p384_key(seat).public_key().to_public_key_der(),
        };
        der.expect("a key").into_vec()
    }

    /// The seed in the content of a TPM2B_ENCRYPTED_SECRET.
    fn seed(self, seat: Seat, encrypted: &[u8]) -> Option<Vec<u8>> {
        if self == Self::Rsa2048 {
            let padding = Oaep::new_with_label::<Sha256, _>("IDENTITY\0");
            return seat.ek().decrypt(padding, encrypted).ok();
        }
        let (x, rest) = unsized_front(encrypted)?;
        let y = unsized_all(rest)?;
        let point = [&[4], x, y].concat();
        let (shared, own_x) = match self {
            Self::P384 => {
                let peer = p384::PublicKey::from_sec1_bytes(&point).ok()?;
                let key = p384_key(seat);
                let shared = p384::ecdh::diffie_hellman(key.to_nonzero_scalar(), peer.as_affine());
                let own = p384::EncodedPoint::from(key.public_key());
                (shared.raw_secret_bytes().to_vec(), own.x()?.to_vec())
            }
            _ => {
                let peer = p256::PublicKey::from_sec1_bytes(&point).ok()?;
                let key = p256_key(seat);
                let shared = p256::ecdh::diffie_hellman(key.to_nonzero_scalar(), peer.as_affine());
                let own = p256::EncodedPoint::from(key.public_key());
                (shared.raw_secret_bytes().to_vec(), own.x()?.to_vec())
            }
        };
        let input = [&1u32.to_be_bytes()[..], &shared, b"IDENTITY\0", x, &own_x].concat();
        Some(if self == Self::P384 { Sha384::digest(input).to_vec() } else { Sha256::digest(input).to_vec() })
    }

    /// What a credential holds, if it is for this key and for the object of Name `name`; both buffers with their size.
    pub(crate) fn open(self, seat: Seat, name: &[u8], credential: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
        let seed = self.seed(seat, unsized_all(secret)?)?;
        self.open_with(&seed, name, credential)
    }

    /// The same for who has the seed.
    pub(crate) fn open_with(self, seed: &[u8], name: &[u8], credential: &[u8]) -> Option<Vec<u8>> {
        let (mac, identity) = unsized_front(unsized_all(credential)?)?;
        let bits = if self == Self::P384 { 384 } else { 256 };
        let due = self.hmac(&self.kdfa(seed, b"INTEGRITY", &[], bits), &[identity, name]);
        if due != mac {
            return None;
        }
        let mut plain = identity.to_vec();
        if self == Self::P384 {
            let key = self.kdfa(seed, b"STORAGE", name, 256);
            cfb_mode::Decryptor::<aes::Aes256>::new_from_slices(key.get(..32)?, &[0; 16])
                .ok()?
                .decrypt(&mut plain);
        } else {
            let key = self.kdfa(seed, b"STORAGE", name, 128);
            cfb_mode::Decryptor::<aes::Aes128>::new_from_slices(key.get(..16)?, &[0; 16])
                .ok()?
                .decrypt(&mut plain);
        }
        unsized_all(&plain).map(<[u8]>::to_vec)
    }

    fn kdfa(self, key: &[u8], label: &[u8], context: &[u8], bits: u32) -> Vec<u8> {
        self.hmac(key, &[&1u32.to_be_bytes(), label, &[0], context, &bits.to_be_bytes()])
    }

    fn hmac(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        if self.hash() == SHA384 {
            let mac = Hmac::<Sha384>::new_from_slice(key).expect("any length");
            return parts
                .iter()
                .fold(mac, |mac, part| mac.chain_update(part))
                .finalize()
                .into_bytes()
                .to_vec();
        }
        let mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
        parts.iter().fold(mac, |mac, part| mac.chain_update(part)).finalize().into_bytes().to_vec()
    }
}

/// A scalar that anybody can compute.
fn scalar(seat: Seat, curve: &str) -> Vec<u8> {
    Sha384::digest(format!("{seat:?} {curve}")).to_vec()
}

fn p256_key(seat: Seat) -> p256::SecretKey {
    p256::SecretKey::from_slice(&scalar(seat, "ek p256")[..32]).expect("a scalar")
}

fn p384_key(seat: Seat) -> p384::SecretKey {
    p384::SecretKey::from_slice(&scalar(seat, "ek p384")).expect("a scalar")
}

/// The bytes of the TPM2B at the front, and what follows it.
fn unsized_front(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

pub(crate) fn unsized_all(bytes: &[u8]) -> Option<&[u8]> {
    unsized_front(bytes).and_then(|(head, rest)| rest.is_empty().then_some(head))
}
