//! Authenticated encryption: what it is called where, and the superblock of the tags as hostile input.

use crate::refusal::{Refusal, Rule};

/// Whether changed ciphertext is told from what was written: each sector with a tag of its own, which dm-integrity keeps.
///
/// Without it a changed sector decrypts to noise. With any, an older sector of the same place is still good: that is rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Integrity {
    /// No tags: AES-256-XTS alone.
    #[default]
    None,
    /// AES-256-XTS, and over its ciphertext HMAC-SHA256.
    HmacSha256,
    /// AES-256-GCM under random nonces of 96 bits.
    AesGcm,
    /// AEGIS-128 under random nonces of 128 bits.
    Aegis128,
}

impl Integrity {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::None, Self::HmacSha256, Self::AesGcm, Self::Aegis128];

    /// Its name in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::HmacSha256 => "hmac-sha256",
            Self::AesGcm => "aes-gcm",
            Self::Aegis128 => "aegis128",
        }
    }

    /// Cipher and mode, which LUKS2 joins by a dash.
    pub fn cipher(self) -> (&'static str, &'static str) {
        match self {
            Self::None | Self::HmacSha256 => ("aes", "xts-plain64"),
            Self::AesGcm => ("aes", "gcm-random"),
            Self::Aegis128 => ("aegis128", "random"),
        }
    }

    /// `encryption` of the segment.
    pub(crate) fn encryption(self) -> &'static str {
        match self {
            Self::None | Self::HmacSha256 => "aes-xts-plain64",
            Self::AesGcm => "aes-gcm-random",
            Self::Aegis128 => "aegis128-random",
        }
    }

    /// `integrity.type` of the segment; without one the segment has no such member.
    pub fn kind(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::HmacSha256 => Some("hmac(sha256)"),
            Self::AesGcm | Self::Aegis128 => Some("aead"),
        }
    }

    /// dm-crypt's cipher specification.
    pub fn dm_cipher(self) -> &'static str {
        match self {
            Self::None => "aes-xts-plain64",
            Self::HmacSha256 => "capi:authenc(hmac(sha256),xts(aes))-plain64",
            Self::AesGcm => "capi:gcm(aes)-random",
            Self::Aegis128 => "capi:aegis128-random",
        }
    }

    /// Length in bytes of the volume key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::None => crate::VOLUME_KEY_LEN,
            Self::HmacSha256 => crate::VOLUME_KEY_LEN + 32,
            Self::AesGcm => 32,
            Self::Aegis128 => 16,
        }
    }

    /// Length in bytes of what is kept for each sector: the tag, and the nonce where that is random.
    pub fn tag_len(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::HmacSha256 | Self::Aegis128 => Some(32),
            Self::AesGcm => Some(28),
        }
    }
}

impl std::fmt::Display for Integrity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Integrity {
    type Err = UnknownIntegrity;

    fn from_str(text: &str) -> Result<Self, UnknownIntegrity> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == text);
        found.ok_or_else(|| UnknownIntegrity(crate::escape::escape(text)))
    }
}

/// A text that names no [`Integrity`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of none, hmac-sha256, aes-gcm and aegis128")]
pub struct UnknownIntegrity(String);

/// dm-integrity's superblock, at the start of the segment (linux/drivers/md/dm-integrity.c).
pub const SUPERBLOCK_LEN: usize = 4096;
const MAGIC: &[u8; 8] = b"integrt\0";
/// The versions that kernels write for volumes like ours.
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=5;
/// The padding that the kernel of today makes, which is no secret and no power.
const FIXED_PADDING: u32 = 1 << 3;

/// Judges the superblock, and returns the sectors of 512 bytes that it gives to data; `room` is what the segment has of them.
///
/// Nobody vouches for these bytes: whoever writes the disk writes them. What they could do beside making tags not match is
/// to have the kernel recompute, trust a bitmap or a key of its own; each of these is a flag, and refused.
pub fn superblock(bytes: &[u8], integrity: Integrity, room: u64) -> Result<u64, Refusal> {
    let truncated = || Refusal::Truncated { need: SUPERBLOCK_LEN as u64, have: bytes.len() as u64 };
    let (head, rest) = bytes.split_first_chunk::<64>().ok_or_else(truncated)?;
    if rest.len() < SUPERBLOCK_LEN - head.len() {
        return Err(truncated());
    }
    let forbid = |member: &str, value: String| {
        Err(Refusal::Forbidden { rule: Rule::Integrity, path: format!("superblock/{member}"), value })
    };
    if !head.starts_with(MAGIC) {
        return forbid("magic", hex::encode(head.get(..MAGIC.len()).unwrap_or_default()));
    }
    let byte = |at: usize| head.get(at).copied().unwrap_or_default();
    let number = |at: usize, len: usize| {
        let bytes = head.get(at..at.saturating_add(len)).unwrap_or_default();
        bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    if !VERSIONS.contains(&byte(8)) {
        return forbid("version", byte(8).to_string());
    }
    let tag = number(10, 2);
    if Some(tag) != integrity.tag_len().map(u64::from) {
        return forbid("integrity_tag_size", tag.to_string());
    }
    let sectors = number(16, 8);
    let per_sector = u64::from(crate::SECTOR_SIZE / 512);
    if sectors == 0 || sectors >= room || !sectors.is_multiple_of(per_sector) {
        return forbid("provided_data_sectors", sectors.to_string());
    }
    let flags = number(24, 4);
    if flags & !u64::from(FIXED_PADDING) != 0 {
        return forbid("flags", format!("{flags:#x}"));
    }
    if 1u64.checked_shl(byte(28).into()) != Some(per_sector) {
        return forbid("log2_sectors_per_block", byte(28).to_string());
    }
    Ok(sectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.1 wrote it.
    fn good() -> Vec<u8> {
        let mut bytes = vec![0; SUPERBLOCK_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = 4;
        bytes[9] = 15;
        bytes[10..12].copy_from_slice(&32u16.to_le_bytes());
        bytes[12..16].copy_from_slice(&7u32.to_le_bytes());
        bytes[16..24].copy_from_slice(&8000u64.to_le_bytes());
        bytes[24..28].copy_from_slice(&FIXED_PADDING.to_le_bytes());
        bytes[28] = 3;
        bytes
    }

    #[test]
    fn a_superblock_says_how_much_is_data() {
        assert_eq!(superblock(&good(), Integrity::HmacSha256, 8192), Ok(8000));
        assert_eq!(superblock(&good(), Integrity::Aegis128, 8001), Ok(8000));
    }

    #[test]
    fn t01_what_would_let_the_kernel_trust_the_disk_is_refused() {
        let refused = |at: usize, value: u8, path: &str| {
            let mut bytes = good();
            bytes[at] = value;
            let refusal = superblock(&bytes, Integrity::HmacSha256, 8192).unwrap_err();
            assert_eq!((refusal.code(), refusal.path()), ("luks-integrity", Some(path)), "{value} at {at}");
        };
        refused(0, b'x', "superblock/magic");
        refused(7, 1, "superblock/magic");
        for version in [0, 6, 255] {
            refused(8, version, "superblock/version");
        }
        refused(10, 28, "superblock/integrity_tag_size");
        refused(11, 1, "superblock/integrity_tag_size");
        // A MAC of the journal, recalculation, a bitmap, the HMAC of another, and what nobody has defined.
        for bit in [0, 1, 2, 4, 5, 6, 7] {
            refused(24, 1 << bit, "superblock/flags");
        }
        for at in 25..28 {
            refused(at, 1, "superblock/flags");
        }
        for log in [0, 2, 4, 64, 255] {
            refused(28, log, "superblock/log2_sectors_per_block");
        }
        refused(16, 1, "superblock/provided_data_sectors");
        refused(23, 0x80, "superblock/provided_data_sectors");
    }

    #[test]
    fn t01_data_fits_into_the_segment() {
        let with = |sectors: u64, room| {
            let mut bytes = good();
            bytes[16..24].copy_from_slice(&sectors.to_le_bytes());
            superblock(&bytes, Integrity::HmacSha256, room)
        };
        assert_eq!(with(8184, 8192), Ok(8184));
        for (sectors, room) in
            [(0, 8192), (8192, 8192), (8000, 7999), (u64::MAX - 7, 8192), (u64::MAX, u64::MAX)]
        {
            let path = with(sectors, room).unwrap_err().path().map(str::to_owned);
            assert_eq!(path.as_deref(), Some("superblock/provided_data_sectors"), "{sectors} of {room}");
        }
    }

    #[test]
    fn tags_of_others_and_none_are_no_match() {
        for other in [Integrity::None, Integrity::AesGcm] {
            assert!(superblock(&good(), other, 8192).is_err(), "{other}");
        }
        for len in [0, 63, 64, SUPERBLOCK_LEN - 1] {
            let refusal = superblock(&good()[..len], Integrity::HmacSha256, 8192).unwrap_err();
            assert!(matches!(refusal, Refusal::Truncated { .. }), "{len}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for one in Integrity::ALL {
            assert_eq!(one.as_str().parse(), Ok(one));
            assert_eq!(one.kind().is_some(), one.tag_len().is_some());
            assert_eq!(format!("{}-{}", one.cipher().0, one.cipher().1), one.encryption());
        }
        assert!("crc32".parse::<Integrity>().is_err());
    }
}
