//! The digest that a quote makes of the PCRs it selects.

use ccnode_evidence::HashAlg;
use sha2::{Sha256, Sha384};
use std::fmt;

/// A quote's digest of PCR values (TPMS_QUOTE_INFO.pcrDigest), or the one that values at hand give; hex in text.
#[derive(Clone, PartialEq, Eq)]
pub struct PcrDigest(Vec<u8>);

impl PcrDigest {
    /// As it stands in a quote.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// `hash`, that of the signing scheme, over the values in the selection's order; empty for a hash that signs no quote here.
    pub(crate) fn of<'a>(hash: HashAlg, values: impl Iterator<Item = &'a [u8]>) -> Self {
        fn run<'a, D: sha2::Digest>(values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
            values.fold(D::new(), |hasher, value| hasher.chain_update(value)).finalize().to_vec()
        }
        Self(match hash {
            HashAlg::Sha256 => run::<Sha256>(values),
            HashAlg::Sha384 => run::<Sha384>(values),
            _ => Vec::new(),
        })
    }

    /// The digest.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for PcrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PcrDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
