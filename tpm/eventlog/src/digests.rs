//! The digests of one event, where the log has them: no copies, a few bytes an event.

use ccnode_evidence::HashAlg;
use std::fmt;

/// No digest of this bank.
const ABSENT: u16 = u16::MAX;

/// The digests of an event by bank. It borrows the log.
#[derive(Clone, Copy)]
pub struct Digests<'a> {
    area: &'a [u8],
    /// Where in `area` the digest of each hash begins, in the order of [`HashAlg::ALL`].
    at: [u16; HashAlg::ALL.len()],
}

impl<'a> Digests<'a> {
    /// The digests in `area`, none of them found yet.
    pub(crate) fn new(area: &'a [u8]) -> Self {
        Self { area, at: [ABSENT; HashAlg::ALL.len()] }
    }

    /// One digest.
    pub(crate) fn one(alg: HashAlg, digest: &'a [u8]) -> Self {
        let mut one = Self::new(digest);
        one.found(alg, 0);
        one
    }

    /// Says that the digest of `alg` begins at `offset`.
    pub(crate) fn found(&mut self, alg: HashAlg, offset: u16) {
        if let Some(at) = self.at.get_mut(alg as usize) {
            *at = offset;
        }
    }

    /// The same places in another area: all of it was found by now.
    pub(crate) fn over(self, area: &'a [u8]) -> Self {
        Self { area, ..self }
    }

    /// The digest of one bank, `alg.size()` bytes.
    pub fn get(&self, alg: HashAlg) -> Option<&'a [u8]> {
        let at = *self.at.get(alg as usize)?;
        if at == ABSENT {
            return None;
        }
        self.area.get(usize::from(at)..)?.get(..alg.size())
    }

    /// All digests of known hashes, in the order of [`HashAlg::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (HashAlg, &'a [u8])> + use<'a> {
        let this = *self;
        HashAlg::ALL.into_iter().filter_map(move |alg| Some((alg, this.get(alg)?)))
    }
}

impl PartialEq for Digests<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Digests<'_> {}

impl fmt::Debug for Digests<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(alg, digest)| (alg.name(), hex::encode(digest)))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_bank() {
        let area = [[1u8; 20].as_slice(), &[2; 32]].concat();
        let mut digests = Digests::new(&area);
        digests.found(HashAlg::Sha1, 0);
        digests.found(HashAlg::Sha256, 20);
        assert_eq!(digests.get(HashAlg::Sha256), Some([2; 32].as_slice()));
        assert_eq!(digests.get(HashAlg::Sha384), None);
        assert_eq!(
            digests.iter().map(|(alg, d)| (alg, d.len())).collect::<Vec<_>>(),
            [(HashAlg::Sha1, 20), (HashAlg::Sha256, 32)]
        );
        assert_ne!(digests, Digests::one(HashAlg::Sha1, &area));
        // A place outside the area is no digest.
        digests.found(HashAlg::Sha512, 40);
        assert_eq!(digests.get(HashAlg::Sha512), None);
    }
}
