//! What a header may say, as data.

use std::ops::RangeInclusive;

/// The only header that [`crate::judge`] lets pass; everything that is not named here is refused.
///
/// Sizes and offsets are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowlist {
    /// `encryption` of the one segment.
    pub cipher: &'static str,
    /// `sector_size` of the segment.
    pub sector_size: u32,
    /// `offset` of the segment.
    pub data_offset: u64,
    /// `integrity.type` values of the segment; none means that the member must be absent.
    pub integrity: &'static [&'static str],
    /// Size of one metadata copy.
    pub metadata_size: u64,
    /// `keyslots_size`.
    pub keyslots_size: u64,
    /// `hash` of the one pbkdf2 digest.
    pub digest_hash: &'static str,
    /// `iterations` of the digest; the upper bound keeps a header from stealing time.
    pub digest_iterations: RangeInclusive<u32>,
}

impl Allowlist {
    /// Volumes that this product formats: the volume key in our token, no keyslot, no integrity.
    pub const VOLUME: Self = Self {
        cipher: "aes-xts-plain64",
        sector_size: crate::SECTOR_SIZE,
        data_offset: crate::DATA_OFFSET,
        integrity: &[],
        metadata_size: crate::METADATA_SIZE,
        keyslots_size: crate::KEYSLOTS_SIZE,
        digest_hash: "sha256",
        digest_iterations: 1000..=1000,
    };

    /// Bytes that a header under this list takes: both copies and the keyslots area.
    pub fn header_len(&self) -> u64 {
        self.metadata_size.saturating_mul(2).saturating_add(self.keyslots_size)
    }
}
