//! The keys of a volume: how the volume key is made, wrapped by the unlock key and the recovery key, and measured.

use std::fmt;

use aes_kw::KekAes256;
use ccnode_luks_header::{Integrity, WRAP};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

/// The 32 bytes that the trust service makes and releases; they unwrap the volume key.
pub type UnlockKey = Zeroizing<[u8; 32]>;

/// The key of the ciphertext: made on the node, never leaves it but wrapped.
#[derive(Clone)]
pub struct VolumeKey(Zeroizing<Vec<u8>>);

/// Wraps the volume key once more, for the volume's custodians. The node that makes it splits it and forgets it.
#[derive(Clone)]
pub struct RecoveryKey(Zeroizing<[u8; 32]>);

/// Randomness from three independent makers. The host may know or choose one or two of them (it feeds virtio-rng,
/// and on some platforms the TPM); any one that it does not know suffices.
#[derive(Clone)]
pub struct Sources {
    /// From the kernel's getrandom.
    pub kernel: Zeroizing<[u8; 64]>,
    /// From the trust service, with the format grant.
    pub service: Zeroizing<[u8; 32]>,
    /// From TPM2_GetRandom.
    pub tpm: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VolumeKey(…)")
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey(…)")
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources(…)")
    }
}

impl Sources {
    /// Fills `out` by HKDF-SHA512 (RFC 5869) over the sources, each of fixed length and place.
    fn expand(&self, salt: &[u8], info: &[u8], out: &mut [u8]) {
        let mut input = Zeroizing::new([0; 128]);
        let parts = self.kernel.iter().chain(&*self.service).chain(&*self.tpm);
        for (place, byte) in input.iter_mut().zip(parts) {
            *place = *byte;
        }
        let hkdf = Hkdf::<Sha512>::new(Some(salt), &*input);
        #[expect(clippy::expect_used, reason = "keys have at most two blocks of output, the limit is 255")]
        hkdf.expand(info, out).expect("two blocks of output");
    }
}

impl RecoveryKey {
    /// A new key, and a seed for the randomness that splits it; neither says anything of the other, or of the volume key.
    pub fn generate(sources: &Sources) -> (Self, Zeroizing<[u8; 32]>) {
        let (mut key, mut seed) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        sources.expand(b"ccnode recovery key 1", b"key", &mut *key);
        sources.expand(b"ccnode recovery key 1", b"seed", &mut *seed);
        (Self(key), seed)
    }

    /// The key that custodians put together.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// Its bytes; keep the borrow short.
    pub fn bytes(&self) -> &Zeroizing<[u8; 32]> {
        &self.0
    }
}

impl VolumeKey {
    /// A new key, as long as the cipher's key is, and for each cipher another.
    pub fn generate(sources: &Sources, integrity: Integrity) -> Self {
        let mut key = Zeroizing::new(vec![0; integrity.key_len()]);
        sources.expand(b"ccnode volume key 1", integrity.dm_cipher().as_bytes(), &mut key);
        Self(key)
    }

    /// What goes into PCR 15 for this volume: HMAC-SHA256(volume key, `cryptsetup:<name>:<uuid>`).
    pub fn pcr15_digest(&self, name: &str, uuid: &str) -> [u8; 32] {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any key length");
        mac.update(format!("cryptsetup:{name}:{uuid}").as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The key under AES-256 key wrap (RFC 3394).
    pub(crate) fn wrap(&self, unlock_key: &UnlockKey) -> Vec<u8> {
        let mut wrapped = vec![0; self.0.len() + WRAP];
        #[expect(clippy::expect_used, reason = "both lengths are multiples of 8 and differ by 8")]
        KekAes256::from(**unlock_key).wrap(&self.0, &mut wrapped).expect("right lengths");
        wrapped
    }

    /// The inverse of [`VolumeKey::wrap`]; none if the unlock key is another one.
    pub(crate) fn unwrap(wrapped: &[u8], unlock_key: &UnlockKey) -> Option<Self> {
        let mut key = Zeroizing::new(vec![0; wrapped.len().checked_sub(WRAP)?]);
        KekAes256::from(**unlock_key).unwrap(wrapped, &mut key).ok()?;
        Some(Self(key))
    }

    /// A key that a keyslot gave.
    pub(crate) fn of(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(kernel: u8, service: u8, tpm: u8) -> Sources {
        Sources {
            kernel: Zeroizing::new([kernel; 64]),
            service: Zeroizing::new([service; 32]),
            tpm: Zeroizing::new([tpm; 32]),
        }
    }

    fn key(kernel: u8, service: u8, tpm: u8) -> Vec<u8> {
        VolumeKey::generate(&sources(kernel, service, tpm), Integrity::None).expose().to_vec()
    }

    #[test]
    fn t29_each_source_alone_makes_the_key_another() {
        assert_eq!(key(1, 2, 3), key(1, 2, 3));
        assert_ne!(key(1, 2, 3), key(9, 2, 3), "kernel");
        assert_ne!(key(1, 2, 3), key(1, 9, 3), "service");
        assert_ne!(key(1, 2, 3), key(1, 2, 9), "tpm");
        // Sources of equal length cannot be swapped for each other.
        assert_ne!(key(1, 2, 3), key(1, 3, 2));
    }

    #[test]
    fn t29_two_constant_sources_are_no_harm() {
        let keys: std::collections::BTreeSet<_> =
            (0..32).flat_map(|n| [key(n + 1, 0, 0), key(0, n + 1, 0), key(0, 0, n + 1)]).collect();
        assert_eq!(keys.len(), 96);
    }

    #[test]
    fn t29_every_byte_of_every_source_counts() {
        let base = key(0, 0, 0);
        for at in 0..128 {
            let mut changed = sources(0, 0, 0);
            match at {
                0..64 => changed.kernel[at] = 1,
                64..96 => changed.service[at - 64] = 1,
                _ => changed.tpm[at - 96] = 1,
            }
            assert_ne!(VolumeKey::generate(&changed, Integrity::None).expose(), base, "byte {at}");
        }
    }

    #[test]
    fn the_two_halves_of_the_key_differ() {
        let key = key(0, 0, 0);
        assert_ne!(key[..32], key[32..]);
    }

    #[test]
    fn only_the_right_unlock_key_unwraps() {
        let key = VolumeKey::generate(&sources(1, 2, 3), Integrity::None);
        let unlock = Zeroizing::new([4; 32]);
        let wrapped = key.wrap(&unlock);
        assert_eq!(VolumeKey::unwrap(&wrapped, &unlock).unwrap().expose(), key.expose());
        assert!(VolumeKey::unwrap(&wrapped, &Zeroizing::new([5; 32])).is_none());
        for at in 0..wrapped.len() {
            let mut wrapped = wrapped.clone();
            wrapped[at] ^= 1;
            assert!(VolumeKey::unwrap(&wrapped, &unlock).is_none(), "byte {at}");
        }
    }

    #[test]
    fn each_cipher_has_a_key_of_its_own() {
        let unlock = Zeroizing::new([4; 32]);
        let mut starts = std::collections::BTreeSet::new();
        for integrity in Integrity::ALL {
            let key = VolumeKey::generate(&sources(1, 2, 3), integrity);
            assert_eq!(key.expose().len(), integrity.key_len());
            assert!(starts.insert(key.expose()[..16].to_vec()), "{integrity}");
            assert_eq!(VolumeKey::unwrap(&key.wrap(&unlock), &unlock).unwrap().expose(), key.expose());
        }
        for len in 0..=16 {
            assert!(VolumeKey::unwrap(&vec![1; len], &unlock).is_none(), "{len}");
        }
    }

    #[test]
    fn t29_a_recovery_key_is_of_all_sources_and_another_than_its_seed() {
        let of = |kernel, service, tpm| {
            let (key, seed) = RecoveryKey::generate(&sources(kernel, service, tpm));
            (**key.bytes(), *seed)
        };
        let (key, seed) = of(1, 2, 3);
        assert_eq!((key, seed), of(1, 2, 3));
        let volume = self::key(1, 2, 3);
        assert!(key != seed && volume[..32] != key && volume[32..] != key);
        for other in [of(9, 2, 3), of(1, 9, 3), of(1, 2, 9)] {
            assert!(other.0 != key && other.1 != seed);
        }
    }

    #[test]
    fn keys_are_not_printed() {
        let key = VolumeKey::generate(&sources(1, 2, 3), Integrity::None);
        assert_eq!(format!("{key:?} {:?}", sources(1, 2, 3)), "VolumeKey(…) Sources(…)");
        assert_eq!(format!("{:?}", RecoveryKey::new(Zeroizing::new([1; 32]))), "RecoveryKey(…)");
    }

    #[test]
    fn the_measurement_is_an_hmac_over_name_and_uuid() {
        // openssl dgst -sha256 -mac HMAC -macopt hexkey:$(printf '07%.0s' {1..64})
        let key = VolumeKey(Zeroizing::new(vec![7; 64]));
        let digest = key.pcr15_digest("root", "28632274-8c8a-493f-835b-da802e1c576b");
        let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "c94e052151ab11010bcde3541b8238b43064b0c8f6916e0339ae84e6d740eeb8");
    }
}
