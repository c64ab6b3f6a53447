//! TPM2_MakeCredential in software (TPM 2.0 Library, part 1, section 24): a secret that only one TPM, holding one key, opens.

use crate::ek_key::{EkKey, coordinates, sized};
use crate::public_key::{Curve, EXPONENT, PublicKey};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepPublicEncryptingKey, PublicEncryptingKey,
    PublicKeyComponents,
};
use ccnode_evidence::{HashAlg, Secret};
use cfb_mode::cipher::{AsyncStreamCipher as _, KeyIvInit as _};
use hmac::Hmac;
use rand_core::CryptoRngCore;
use sha2::{Digest as _, Sha256, Sha384};
use zeroize::Zeroizing;

/// Label of all that is shared for a credential, with the NUL that ends it.
const IDENTITY: &str = "IDENTITY\0";

/// The endorsement key could not be encrypted to: no key that passed its checks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Unusable;

/// Encrypts `secret` to the endorsement key `ek` for the object of Name `name`: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, both
/// with their size.
pub(crate) fn make(
    ek: &EkKey,
    name: &[u8],
    secret: &Secret<32>,
    rng: &mut impl CryptoRngCore,
) -> Result<(Vec<u8>, Vec<u8>), Unusable> {
    let hash = ek.template().name_alg;
    let (seed, encrypted) = match ek.key() {
        PublicKey::Rsa { modulus } => rsa_seed(modulus, hash, rng)?,
        PublicKey::Ecc { curve, point } => ecc_seed(*curve, point, hash, rng)?,
    };
    Ok((id_object(ek, &seed, name, secret), sized(&encrypted)))
}

/// A random seed, by OAEP with the Name's hash (annex B.10.3).
fn rsa_seed(
    modulus: &[u8],
    hash: HashAlg,
    rng: &mut impl CryptoRngCore,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Unusable> {
    let mut seed = Zeroizing::new(vec![0; hash.size()]);
    rng.fill_bytes(seed.as_mut());
    let padding = match hash {
        HashAlg::Sha384 => &OAEP_SHA384_MGF1SHA384,
        _ => &OAEP_SHA256_MGF1SHA256,
    };
    let key = PublicKeyComponents { n: modulus, e: &EXPONENT[..] };
    let key: PublicEncryptingKey = key.try_into().map_err(|_| Unusable)?;
    let key = OaepPublicEncryptingKey::new(key).map_err(|_| Unusable)?;
    let mut encrypted = vec![0; key.ciphertext_size()];
    let written = key.encrypt(padding, &seed, &mut encrypted, Some(IDENTITY.as_bytes()));
    let len = written.map_err(|_| Unusable)?.len();
    encrypted.truncate(len);
    Ok((seed, encrypted))
}

/// A seed by ECDH with an ephemeral key, whose public point travels as TPMS_ECC_POINT (annex C.6.4).
fn ecc_seed(
    curve: Curve,
    point: &[u8],
    hash: HashAlg,
    rng: &mut impl CryptoRngCore,
) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Unusable> {
    let (shared, ephemeral) = match curve {
        Curve::P256 => {
            let peer = p256::PublicKey::from_sec1_bytes(point).map_err(|_| Unusable)?;
            let key = p256::ecdh::EphemeralSecret::random(rng);
            let shared = key.diffie_hellman(&peer);
            let public = p256::EncodedPoint::from(key.public_key());
            (Zeroizing::new(shared.raw_secret_bytes().to_vec()), public.as_bytes().to_vec())
        }
        Curve::P384 => {
            let peer = p384::PublicKey::from_sec1_bytes(point).map_err(|_| Unusable)?;
            let key = p384::ecdh::EphemeralSecret::random(rng);
            let shared = key.diffie_hellman(&peer);
            let public = p384::EncodedPoint::from(key.public_key());
            (Zeroizing::new(shared.raw_secret_bytes().to_vec()), public.as_bytes().to_vec())
        }
    };
    let (x, y) = coordinates(curve, &ephemeral);
    let (static_x, _) = coordinates(curve, point);
    Ok((kdfe(hash, &shared, x, static_x), [sized(x), sized(y)].concat()))
}

fn id_object(ek: &EkKey, seed: &[u8], name: &[u8], secret: &Secret<32>) -> Vec<u8> {
    let template = ek.template();
    let hash = template.name_alg;
    let key = kdfa(hash, seed, b"STORAGE", name, template.aes_bits.into());
    let mut identity = Zeroizing::new(sized(secret.expose()));
    encrypt(&key, &mut identity);
    let bits = u32::try_from(hash.size().saturating_mul(8)).unwrap_or(u32::MAX);
    let mac = hmac(hash, &kdfa(hash, seed, b"INTEGRITY", &[], bits), &[&identity, name]);
    let mut out = sized(&mac);
    out.extend_from_slice(&identity);
    sized(&out)
}

/// AES-CFB with a zero IV; the key's length says which.
fn encrypt(key: &[u8], data: &mut [u8]) {
    if let Ok(cipher) = cfb_mode::Encryptor::<aes::Aes256>::new_from_slices(key, &[0; 16]) {
        cipher.encrypt(data);
    } else if let Ok(cipher) = cfb_mode::Encryptor::<aes::Aes128>::new_from_slices(key, &[0; 16]) {
        cipher.encrypt(data);
    } else {
        // No key, no plain text: templates have 128 or 256 bits.
        data.fill(0);
    }
}

/// KDFa with an empty contextV (section 11.4.10.2), `bits` of it; never more than one block of the hash is asked for.
fn kdfa(hash: HashAlg, key: &[u8], label: &[u8], context: &[u8], bits: u32) -> Zeroizing<Vec<u8>> {
    let mut out =
        Zeroizing::new(hmac(hash, key, &[&1u32.to_be_bytes(), label, &[0], context, &bits.to_be_bytes()]));
    out.truncate(usize::try_from(bits / 8).unwrap_or(usize::MAX));
    out
}

/// KDFe (section 11.4.10.3) of one block: the label has its NUL, the parties are x of the ephemeral and of the static key.
fn kdfe(hash: HashAlg, shared: &[u8], ephemeral_x: &[u8], static_x: &[u8]) -> Zeroizing<Vec<u8>> {
    let parts = [&1u32.to_be_bytes(), shared, IDENTITY.as_bytes(), ephemeral_x, static_x];
    Zeroizing::new(match hash {
        HashAlg::Sha384 => {
            parts.iter().fold(Sha384::new(), |h, part| h.chain_update(part)).finalize().to_vec()
        }
        _ => parts.iter().fold(Sha256::new(), |h, part| h.chain_update(part)).finalize().to_vec(),
    })
}

fn hmac(hash: HashAlg, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    fn run<M: hmac::Mac + hmac::digest::KeyInit>(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        let mac = <M as hmac::digest::KeyInit>::new_from_slice(key).expect("any length");
        parts.iter().fold(mac, |mac, part| mac.chain_update(part)).finalize().into_bytes().to_vec()
    }
    match hash {
        HashAlg::Sha384 => run::<Hmac<Sha384>>(key, parts),
        _ => run::<Hmac<Sha256>>(key, parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Sha256Digest;

    #[test]
    fn t06_golden() {
        // Computed with another implementation of HMAC and AES-CFB from seed 00…1f, the Name of `object` and the secret 5a….
        let want = "0044002056b26b311be9b8ef3def06f8e4c9f78fd9bb7f9e07409bca67a2776cfcc1e8eab4f42dd41bb57c42a5fe30afd75ce2831d8d\
                    0b6189ddf3f660385ade1e1f9dc1f2c4";
        let mut modulus = vec![0xff; 256];
        modulus[0] = 0x80;
        let ek = EkKey::new(PublicKey::rsa(2048, &modulus).unwrap()).unwrap();
        let seed: Vec<u8> = (0..32).collect();
        let name = [&[0x00, 0x0b][..], &Sha256Digest::of(b"object").0].concat();
        assert_eq!(hex::encode(id_object(&ek, &seed, &name, &Secret::new([0x5a; 32]))), want);
    }
}
