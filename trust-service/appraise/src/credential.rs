//! TPM2_MakeCredential in software (TPM 2.0 Library, part 1, section 24): a secret that only one TPM, holding one key, opens.

use ccnode_evidence::Secret;
use cfb_mode::cipher::{AsyncStreamCipher as _, KeyIvInit as _};
use hmac::{Hmac, Mac as _};
use rand_core::CryptoRngCore;
use rsa::{Oaep, RsaPublicKey};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Encrypts `secret` to the endorsement key `ek` for the object of Name `name`: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET, both
/// with their size. The endorsement key's nameAlg is SHA-256 and its symmetric algorithm AES-128-CFB, as template L-1 says.
pub(crate) fn make(
    ek: &RsaPublicKey,
    name: &[u8],
    secret: &Secret<32>,
    rng: &mut impl CryptoRngCore,
) -> Result<(Vec<u8>, Vec<u8>), rsa::Error> {
    let mut seed = Zeroizing::new([0; 32]);
    rng.fill_bytes(seed.as_mut());
    let padding = Oaep::new_with_label::<Sha256, _>("IDENTITY\0");
    let encrypted = ek.encrypt(rng, padding, seed.as_ref())?;
    Ok((id_object(&seed, name, secret), sized(&encrypted)))
}

fn id_object(seed: &[u8; 32], name: &[u8], secret: &Secret<32>) -> Vec<u8> {
    let key = kdfa(seed, b"STORAGE", name, 128);
    let mut identity = Zeroizing::new(sized(secret.expose()));
    let (aes_key, _) = key.split_at(16);
    cfb_mode::Encryptor::<aes::Aes128>::new(aes_key.into(), &[0; 16].into()).encrypt(&mut identity);
    let mut mac = hmac(kdfa(seed, b"INTEGRITY", &[], 256).as_ref());
    mac.update(&identity);
    mac.update(name);
    let mut out = sized(&mac.finalize().into_bytes());
    out.extend_from_slice(&identity);
    sized(&out)
}

/// KDFa with SHA-256 and an empty contextV (part 1, section 11.4.10.2); of at most 256 bits the first `bits` count.
fn kdfa(key: &[u8], label: &[u8], context: &[u8], bits: u32) -> Zeroizing<[u8; 32]> {
    let mut mac = hmac(key);
    mac.update(&1u32.to_be_bytes());
    mac.update(label);
    mac.update(&[0]);
    mac.update(context);
    mac.update(&bits.to_be_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    Hmac::new_from_slice(key).expect("any length")
}

/// A TPM2B; every part here is shorter than 2^16 bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&len.to_be_bytes(), bytes].concat()
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
        let mut seed = [0; 32];
        for (i, byte) in (0u8..).zip(seed.iter_mut()) {
            *byte = i;
        }
        let name = [&[0x00, 0x0b][..], &Sha256Digest::of(b"object").0].concat();
        assert_eq!(hex::encode(id_object(&seed, &name, &Secret::new([0x5a; 32]))), want);
    }
}
