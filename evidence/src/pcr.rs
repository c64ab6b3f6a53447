//! PCR indices, selections and values of the SHA-256 bank.

use crate::Sha256Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::collections::BTreeMap;
use std::fmt;

/// The index of a platform configuration register: 0 to 23.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PcrIndex(u8);

/// An index outside 0 to 23.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("PCR {0} does not exist: a TPM has PCRs 0 to 23")]
pub struct PcrIndexError(pub u32);

impl PcrIndex {
    /// The highest index.
    pub const MAX: u8 = 23;
    /// PCR 15: capped before the first byte of a disk is read; then it holds the volume's identity.
    pub const CAP: Self = Self(15);

    /// Parses an index; one above 23 is an error.
    pub fn new(index: u32) -> Result<Self, PcrIndexError> {
        match u8::try_from(index) {
            Ok(i) if i <= Self::MAX => Ok(Self(i)),
            _ => Err(PcrIndexError(index)),
        }
    }

    /// All 24 indices in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=Self::MAX).map(Self)
    }

    /// The index as a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for PcrIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for PcrIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PCR {}", self.0)
    }
}

// As a map key JSON wants a string: "0" to "23".
impl Serialize for PcrIndex {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PcrIndex {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let index: u32 = text.parse().map_err(|_| D::Error::custom(format!("`{text}` is no PCR index")))?;
        Self::new(index).map_err(D::Error::custom)
    }
}

/// A selection of PCRs in the SHA-256 bank, as a bit set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PcrSet(u32);

impl PcrSet {
    /// sha256:0-15, what a `ccnode/1` quote selects.
    pub const CCNODE: Self = Self(0x0000_ffff);
    /// sha256:0-23, what stock clients select.
    pub const STOCK: Self = Self(0x00ff_ffff);

    /// The selection of a TPMS_PCR_SELECTION's bitmap (first byte holds PCRs 0 to 7), up to three bytes.
    pub fn from_bitmap(bitmap: &[u8]) -> Option<Self> {
        if bitmap.len() > 3 {
            return None;
        }
        Some(Self(bitmap.iter().rev().fold(0, |acc, byte| (acc << 8) | u32::from(*byte))))
    }

    /// The bitmap of a TPMS_PCR_SELECTION of three bytes.
    pub fn to_bitmap(self) -> [u8; 3] {
        let [low, mid, high, _] = self.0.to_le_bytes();
        [low, mid, high]
    }

    /// Whether `index` is selected.
    pub fn contains(self, index: PcrIndex) -> bool {
        self.0 & (1 << index.get()) != 0
    }

    /// The selected indices in ascending order, the order in which a quote hashes them.
    pub fn iter(self) -> impl Iterator<Item = PcrIndex> {
        PcrIndex::all().filter(move |i| self.contains(*i))
    }
}

impl FromIterator<PcrIndex> for PcrSet {
    fn from_iter<I: IntoIterator<Item = PcrIndex>>(indices: I) -> Self {
        Self(indices.into_iter().fold(0, |acc, i| acc | (1 << i.get())))
    }
}

impl fmt::Display for PcrSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.iter().map(|i| i.to_string()).collect();
        write!(f, "sha256:{}", list.join(","))
    }
}

/// Values of PCRs in the SHA-256 bank; JSON is an object from index to hex.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PcrValues(pub BTreeMap<PcrIndex, Sha256Digest>);

impl PcrValues {
    /// The value of one PCR, where known.
    pub fn get(&self, index: PcrIndex) -> Option<&Sha256Digest> {
        self.0.get(&index)
    }

    /// SHA-256 over the selected values in ascending order, as TPMS_QUOTE_INFO.pcrDigest; `None` where a value is missing.
    pub fn composite(&self, selection: PcrSet) -> Option<Sha256Digest> {
        let mut bytes = Vec::with_capacity(24 * 32);
        for index in selection.iter() {
            bytes.extend_from_slice(&self.get(index)?.0);
        }
        Some(Sha256Digest::of(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmap_is_little_endian_by_byte() {
        let set = PcrSet::from_bitmap(&[0x01, 0x80, 0x00]).unwrap();
        assert_eq!(set.iter().map(PcrIndex::get).collect::<Vec<_>>(), [0, 15]);
        assert_eq!(PcrSet::from_bitmap(&[0xff, 0xff, 0x00]), Some(PcrSet::CCNODE));
        assert_eq!(PcrSet::from_bitmap(&[0xff, 0xff, 0xff]), Some(PcrSet::STOCK));
        assert_eq!(PcrSet::from_bitmap(&[0; 4]), None);
        assert_eq!((PcrSet::CCNODE.to_bitmap(), set.to_bitmap()), ([0xff, 0xff, 0x00], [0x01, 0x80, 0x00]));
    }

    #[test]
    fn composite_needs_every_value() {
        let mut values = PcrValues::default();
        let zero = PcrIndex::new(0).unwrap();
        values.0.insert(zero, Sha256Digest::ZERO);
        assert!(values.composite(PcrSet::from_iter([zero])).is_some());
        assert!(values.composite(PcrSet::CCNODE).is_none());
    }

    #[test]
    fn values_are_keyed_by_text_in_json() {
        let values: PcrValues = serde_json::from_str(&format!("{{\"15\":\"{}\"}}", "0".repeat(64))).unwrap();
        assert_eq!(values.get(PcrIndex::new(15).unwrap()), Some(&Sha256Digest::ZERO));
        assert!(serde_json::from_str::<PcrValues>(&format!("{{\"24\":\"{}\"}}", "0".repeat(64))).is_err());
    }
}
