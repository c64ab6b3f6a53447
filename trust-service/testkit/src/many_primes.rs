//! RSA-2048 of many small primes: what a TPM does on a chip of its own must not be what a load generator spends its core on.

use p256::elliptic_curve::bigint::U64;
use p256::elliptic_curve::bigint::modular::runtime_mod::{DynResidue, DynResidueParams};
use rsa::rand_core::OsRng;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use rsa::{BigUint, RsaPrivateKey, RsaPublicKey};
use sha2::{Digest as _, Sha256};

/// Primes in a key. A service sees a modulus of 2048 bits as any other.
const PRIMES: usize = 32;
/// Bits of each.
const BITS: usize = 64;
/// Primes that keys are put together from.
const STOCK: usize = 512;
/// Bytes of a modulus.
const SIZE: usize = PRIMES * BITS / 8;
/// Bytes of a SHA-256 digest.
const HASH: usize = 32;
/// DER of a DigestInfo with SHA-256, up to the digest (RFC 8017, 9.2, note 1).
const SHA256_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, HASH as u8];

/// A private key.
pub(crate) struct Key {
    public: RsaPublicKey,
    factors: Vec<Factor>,
}

/// One prime of a key, and what the Chinese remainder theorem needs of it.
struct Factor {
    field: DynResidueParams<{ U64::LIMBS }>,
    /// d mod (p − 1).
    exponent: U64,
    /// n / p.
    cofactor: BigUint,
    /// (n / p)⁻¹ mod p.
    inverse: DynResidue<{ U64::LIMBS }>,
}

impl Key {
    fn new(key: &RsaPrivateKey) -> Self {
        let factors = key.primes().iter().map(|prime| Factor::new(key, prime)).collect();
        Self { public: key.to_public_key(), factors }
    }

    pub(crate) fn public(&self) -> &RsaPublicKey {
        &self.public
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut encoded = vec![0xff; SIZE - HASH - SHA256_INFO.len() - 1];
        (encoded[0], encoded[1]) = (0, 1);
        encoded.push(0);
        encoded.extend(SHA256_INFO);
        encoded.extend(Sha256::digest(message));
        self.private(&encoded)
    }

    /// RSAES-OAEP with SHA-256.
    pub(crate) fn decrypt(&self, label: &[u8], encrypted: &[u8]) -> Option<Vec<u8>> {
        let mut encoded = (encrypted.len() == SIZE).then(|| self.private(encrypted))?;
        let (seed, data) = encoded[1..].split_at_mut(HASH);
        mask(seed, data);
        mask(data, seed);
        let (hash, rest) = data.split_at(HASH);
        let start = rest.iter().position(|byte| *byte != 0)?;
        let right = hash == &Sha256::digest(label)[..] && rest[start] == 1;
        right.then(|| rest[start + 1..].to_vec())
    }

    /// The private operation.
    fn private(&self, input: &[u8]) -> Vec<u8> {
        let digits: Vec<U64> = input.chunks_exact(BITS / 8).map(U64::from_be_slice).collect();
        let sum: BigUint = self.factors.iter().map(|factor| factor.part(&digits)).sum();
        let output = (sum % self.public.n()).to_bytes_be();
        [vec![0; SIZE - output.len()], output].concat()
    }
}

impl Factor {
    fn new(key: &RsaPrivateKey, prime: &BigUint) -> Self {
        let less = |number: u32| prime - BigUint::from(number);
        let field = DynResidueParams::new(&small(prime));
        let cofactor = key.n() / prime;
        let inverse = DynResidue::new(&small(&(&cofactor % prime)), field).pow(&small(&less(2)));
        let exponent = small(&(key.d() % less(1)));
        Self { field, exponent, cofactor, inverse }
    }

    /// What is the power of the number with these digits modulo this prime, and nothing modulo the others.
    fn part(&self, digits: &[U64]) -> BigUint {
        let residue = |digit| DynResidue::new(digit, self.field);
        let base = residue(&U64::MAX) + DynResidue::one(self.field);
        let input =
            digits.iter().fold(DynResidue::zero(self.field), |sum, digit| sum * base + residue(digit));
        let part = (input.pow(&self.exponent) * self.inverse).retrieve();
        let bytes: Vec<u8> = part.to_words().iter().flat_map(|word| word.to_le_bytes()).collect();
        BigUint::from_bytes_le(&bytes) * &self.cofactor
    }
}

/// A number of at most 64 bits.
fn small(number: &BigUint) -> U64 {
    let mut bytes = number.to_bytes_le();
    bytes.resize(BITS / 8, 0);
    U64::from_le_slice(&bytes)
}

/// MGF1 with SHA-256.
fn mask(data: &mut [u8], seed: &[u8]) {
    for (counter, chunk) in (0u32..).zip(data.chunks_mut(HASH)) {
        let digest = Sha256::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
        chunk.iter_mut().zip(digest).for_each(|(byte, bits)| *byte ^= bits);
    }
}

/// Keys put together from a stock of primes, each of other ones than those before it.
pub(crate) struct Keys {
    primes: Vec<BigUint>,
    next: usize,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let mut primes = Vec::with_capacity(STOCK);
        while primes.len() < STOCK {
            let pair = RsaPrivateKey::new(&mut OsRng, 2 * BITS).expect("two primes");
            // So large that the product of all has all its bits.
            let large = pair.primes().iter().filter(|prime| prime.to_bytes_be()[0] >= 0xfb);
            primes.extend(large.cloned());
        }
        Self { primes, next: 0 }
    }

    pub(crate) fn next_key(&mut self) -> Key {
        Key::new(&self.next_private())
    }

    fn next_private(&mut self) -> RsaPrivateKey {
        loop {
            let (start, step) = (self.next % self.primes.len(), 1 + self.next / self.primes.len());
            self.next += 1;
            let place = |n| (start + n * step) % self.primes.len();
            let primes = (0..PRIMES).map(|n| self.primes[place(n)].clone()).collect();
            // Fails where a prime came twice.
            if let Ok(key) = RsaPrivateKey::from_primes(primes, BigUint::from(65_537u32)) {
                return key;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsa::{Oaep, Pkcs1v15Sign};
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_whole_and_of_their_own() {
        let mut keys = Keys::new();
        let all: Vec<RsaPrivateKey> = (0..2_000).map(|_| keys.next_private()).collect();
        let moduli: BTreeSet<Vec<u8>> = all.iter().map(|key| key.n().to_bytes_be()).collect();
        assert_eq!(moduli.len(), all.len());
        assert!(all.iter().all(|key| key.n().bits() == 8 * SIZE));
        all[1_999].validate().unwrap();
    }

    #[test]
    fn others_take_what_it_signs_and_it_reads_what_they_encrypt() {
        let key = Keys::new().next_key();
        for n in 0..50u8 {
            let digest = Sha256::digest([n]);
            key.public().verify(Pkcs1v15Sign::new::<Sha256>(), &digest, &key.sign(&[n])).unwrap();
            let encrypt = |label| {
                let padding = Oaep::new_with_label::<Sha256, _>(label);
                key.public().encrypt(&mut OsRng, padding, &[n; 32]).unwrap()
            };
            assert_eq!(key.decrypt(b"IDENTITY\0", &encrypt("IDENTITY\0")), Some(vec![n; 32]));
            assert_eq!(key.decrypt(b"IDENTITY\0", &encrypt("other")), None);
        }
    }
}
