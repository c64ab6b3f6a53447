//! What a header may say, as data.

use std::ops::RangeInclusive;

use crate::integrity::Integrity;

/// The only header that [`crate::judge`] lets pass; everything that is not named here is refused: requirements, flags,
/// re-encryption, backup segments and tokens of others have no place here.
///
/// Sizes and offsets are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowlist {
    /// `encryption` and `integrity` of the one segment, and with them the length of the wrapped key.
    pub integrity: Integrity,
    /// `sector_size` of the segment.
    pub sector_size: u32,
    /// `offset` of the segment.
    pub data_offset: u64,
    /// Size of one metadata copy.
    pub metadata_size: u64,
    /// `keyslots_size`.
    pub keyslots_size: u64,
    /// The keyslots; with none of them, all of the keyslots area is zero.
    pub keyslots: Option<Keyslots>,
    /// `hash` of the one pbkdf2 digest.
    pub digest_hash: &'static str,
    /// `iterations` of the digest; the upper bound keeps a header from stealing time.
    pub digest_iterations: RangeInclusive<u32>,
}

impl Allowlist {
    /// Volumes that this product formats where nothing else is asked for: the volume key in our token, no keyslot, no integrity.
    pub const VOLUME: Self = Self::volume(Integrity::None);

    /// Volumes that this product formats with that integrity protection.
    pub const fn volume(integrity: Integrity) -> Self {
        Self {
            integrity,
            sector_size: crate::SECTOR_SIZE,
            data_offset: crate::DATA_OFFSET,
            metadata_size: crate::METADATA_SIZE,
            keyslots_size: crate::KEYSLOTS_SIZE,
            keyslots: None,
            digest_hash: "sha256",
            digest_iterations: 1000..=1000,
        }
    }

    /// Bytes that a header under this list takes: both copies and the keyslots area.
    pub fn header_len(&self) -> u64 {
        self.metadata_size.saturating_mul(2).saturating_add(self.keyslots_size)
    }
}

/// Keyslots that must be there, and what each of them may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyslots {
    /// How many.
    pub count: RangeInclusive<usize>,
    /// `area.encryption`.
    pub cipher: &'static str,
    /// `key_size` of the keyslot and of its area, in bytes.
    pub key_size: u32,
    /// `af.stripes`.
    pub stripes: u32,
    /// `af.hash` and `kdf.hash`.
    pub hashes: &'static [&'static str],
    /// Iterations of PBKDF2; `None` where it is not allowed.
    pub pbkdf2: Option<RangeInclusive<u32>>,
    /// Costs of Argon2; `None` where it is not allowed.
    pub argon2: Option<Argon2>,
    /// All keyslots that may be tried take at most so many iterations of PBKDF2.
    pub all_iterations: u64,
    /// All keyslots that may be tried take at most so many KiB of Argon2, times passes.
    pub all_work: u64,
}

/// Bounds of Argon2's costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argon2 {
    /// Passes.
    pub time: RangeInclusive<u32>,
    /// KiB.
    pub memory: RangeInclusive<u32>,
    /// Threads.
    pub cpus: RangeInclusive<u32>,
}

impl Keyslots {
    /// One keyslot for a recovery key. That is random, so that a derivation at any cost would protect it no better.
    pub const RECOVERY: Self = Self {
        count: 1..=1,
        cipher: "aes-xts-plain64",
        key_size: crate::VOLUME_KEY_LEN as u32,
        stripes: 4000,
        hashes: &["sha256"],
        pbkdf2: Some(1000..=1000),
        argon2: None,
        all_iterations: 1000,
        all_work: 0,
    };

    /// Keyslots as cryptsetup makes them for passphrases: as costly as it ever benchmarks them, some ten seconds.
    pub const PASSPHRASE: Self = Self {
        count: 1..=8,
        cipher: "aes-xts-plain64",
        key_size: crate::VOLUME_KEY_LEN as u32,
        stripes: 4000,
        hashes: &["sha256", "sha512"],
        pbkdf2: Some(1000..=10_000_000),
        argon2: Some(Argon2 { time: 1..=32, memory: 32..=1 << 20, cpus: 1..=4 }),
        all_iterations: 20_000_000,
        all_work: 32 << 20,
    };
}

/// The only header that [`crate::passphrase::judge`] lets pass: a volume that this product did not format.
///
/// Sizes and offsets are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// `encryption` of the one segment, which has no integrity protection.
    pub cipher: &'static str,
    /// `sector_size` of the segment.
    pub sector_sizes: &'static [u32],
    /// `offset` of the segment, behind the header and a multiple of 4096.
    pub data_offset: RangeInclusive<u64>,
    /// The keyslots.
    pub keyslots: Keyslots,
    /// `hash` of the one pbkdf2 digest.
    pub digest_hashes: &'static [&'static str],
    /// `iterations` of the digest.
    pub digest_iterations: RangeInclusive<u32>,
}

impl Foreign {
    /// Volumes as cryptsetup formats them by default.
    pub const VOLUME: Self = Self {
        cipher: "aes-xts-plain64",
        sector_sizes: &[512, 1024, 2048, 4096],
        data_offset: 0x8000..=64 << 20,
        keyslots: Keyslots::PASSPHRASE,
        digest_hashes: &["sha256", "sha512"],
        digest_iterations: 1000..=5_000_000,
    };
}
