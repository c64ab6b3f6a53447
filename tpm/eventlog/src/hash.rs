//! The hashes of PCR banks: one call by algorithm, and the values it gives.

use ccnode_evidence::HashAlg;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sm3::Sm3;

/// The longest digest of a bank, in bytes.
pub(crate) const LONGEST: usize = 64;

/// A digest of one bank or a register's value in it: as many bytes as the hash has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value {
    bytes: [u8; LONGEST],
    alg: HashAlg,
}

impl Value {
    /// All bytes are `fill`.
    pub(crate) fn filled(alg: HashAlg, fill: u8) -> Self {
        Self { bytes: [fill; LONGEST], alg }
    }

    pub(crate) fn get(&self) -> &[u8] {
        self.bytes.get(..self.alg.size()).unwrap_or_default()
    }

    pub(crate) fn last_mut(&mut self) -> Option<&mut u8> {
        self.bytes.get_mut(self.alg.size() - 1)
    }

    /// TPM2_PCR_Extend: the hash of this value and `digest`. `D` is the hash of the bank.
    pub(crate) fn extend<D: Digest>(&mut self, digest: &[u8]) {
        let new = D::new().chain_update(self.get()).chain_update(digest).finalize();
        for (to, from) in self.bytes.iter_mut().zip(new) {
            *to = from;
        }
    }
}

/// The hash of the concatenated parts.
pub(crate) fn hash(alg: HashAlg, parts: &[&[u8]]) -> Value {
    fn run<D: Digest>(alg: HashAlg, parts: &[&[u8]]) -> Value {
        let digest = parts.iter().fold(D::new(), |hasher, part| hasher.chain_update(part)).finalize();
        let mut value = Value::filled(alg, 0);
        for (to, from) in value.bytes.iter_mut().zip(digest) {
            *to = from;
        }
        value
    }
    match alg {
        HashAlg::Sha1 => run::<Sha1>(alg, parts),
        HashAlg::Sha256 => run::<Sha256>(alg, parts),
        HashAlg::Sha384 => run::<Sha384>(alg, parts),
        HashAlg::Sha512 => run::<Sha512>(alg, parts),
        HashAlg::Sm3 => run::<Sm3>(alg, parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let hex = |alg| hex::encode(hash(alg, &[b"a", b"bc"]).get());
        assert_eq!(hex(HashAlg::Sha1), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(hex(HashAlg::Sha256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        // GB/T 32905-2016, appendix A.1.
        assert_eq!(hex(HashAlg::Sm3), "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0");
        assert_eq!(hash(HashAlg::Sha384, &[]).get().len(), 48);
        assert_eq!(hash(HashAlg::Sha512, &[]).get().len(), 64);
    }

    #[test]
    fn extends_as_a_tpm_does() {
        let mut value = Value::filled(HashAlg::Sha256, 0);
        value.extend::<Sha256>(&[7; 32]);
        assert_eq!(value.get(), hash(HashAlg::Sha256, &[&[0; 32], &[7; 32]]).get());
    }
}
