//! The dm-verity superblock (version 1), as hostile input: parsed, allowlisted, bounded by its partition.
//!
//! Only the root hash is trusted; it covers neither salt nor sizes, but a wrong one of these leads to another root
//! hash or to a device of another length, and the length is bounded here.

/// Length in bytes of the superblock, which begins the hash area.
pub const LEN: usize = 512;
/// Data and hash block in bytes.
pub const BLOCK: u64 = 4096;
const TRAILER: &[u8; 16] = b"ccnode-source/1\0";
const DIGEST: u64 = 32;
const MAX_SALT: usize = 256;

/// A superblock that may be used: version 1, SHA-256, 4096-byte blocks, tree within its partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// Blocks of data, 4096 bytes each, from the start of the partition.
    pub data_blocks: u64,
    /// Byte offset of the superblock on the partition.
    pub hash_offset: u64,
    /// Salt before each hashed block.
    pub salt: Vec<u8>,
    /// UUID of the superblock, as text.
    pub uuid: String,
}

/// The root hash: 32 bytes, from the measured command line and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootHash(pub [u8; 32]);

/// A text that is no root hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a root hash: 64 lower-case hexadecimal digits are expected")]
pub struct RootHashError;

impl std::str::FromStr for RootHash {
    type Err = RootHashError;

    fn from_str(text: &str) -> Result<Self, RootHashError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| RootHashError)?;
        match text.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Err(RootHashError),
            false => Ok(Self(bytes)),
        }
    }
}

impl std::fmt::Display for RootHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A refused superblock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerityError {
    /// The hash area is not aligned to blocks, or not on the partition.
    #[error("hash area at byte {0:#x}")]
    HashOffset(u64),
    /// No superblock at the start of the hash area.
    #[error("no dm-verity superblock")]
    Magic,
    /// A superblock version other than 1.
    #[error("dm-verity superblock version {0}")]
    Version(u32),
    /// A hash type other than 1 (salt first).
    #[error("dm-verity hash type {0}")]
    HashType(u32),
    /// Another hash than SHA-256.
    #[error("dm-verity hash {0}")]
    Algorithm(String),
    /// Blocks of another size than 4096 bytes.
    #[error("dm-verity blocks of {data} (data) and {hash} (hash) bytes")]
    BlockSize {
        /// Data block in bytes.
        data: u32,
        /// Hash block in bytes.
        hash: u32,
    },
    /// No data, or more than lies before the hash area.
    #[error("{blocks} dm-verity data blocks where {room} fit")]
    DataBlocks {
        /// What the superblock says.
        blocks: u64,
        /// Blocks before the hash area.
        room: u64,
    },
    /// The hash tree does not fit the partition.
    #[error("the dm-verity hash tree ends at byte {end:#x}, the partition at {len:#x}")]
    Tree {
        /// Where the tree would end.
        end: u64,
        /// Length of the partition.
        len: u64,
    },
    /// A salt longer than its field.
    #[error("dm-verity salt of {0} bytes")]
    Salt(u16),
    /// Bytes that belong to no field are not zero.
    #[error("stray bytes in the dm-verity superblock")]
    Padding,
}

impl Verity {
    /// Judges `block`, read once from `hash_offset` on a partition of `len` bytes.
    pub fn judge(block: &[u8; LEN], hash_offset: u64, len: u64) -> Result<Self, VerityError> {
        let le32 = |at: usize| u32::from_le_bytes(field(block, at));
        let zeros = |at: usize, n: usize| block.get(at..at + n).is_some_and(|b| b.iter().all(|b| *b == 0));
        if hash_offset == 0 || !hash_offset.is_multiple_of(BLOCK) || hash_offset >= len {
            return Err(VerityError::HashOffset(hash_offset));
        }
        if !block.starts_with(b"verity\0\0") {
            return Err(VerityError::Magic);
        }
        if le32(8) != 1 {
            return Err(VerityError::Version(le32(8)));
        }
        if le32(12) != 1 {
            return Err(VerityError::HashType(le32(12)));
        }
        let algorithm: [u8; 32] = field(block, 32);
        let name = algorithm.split(|b| *b == 0).next().unwrap_or_default();
        if name != b"sha256" {
            return Err(VerityError::Algorithm(crate::escape::escape(&String::from_utf8_lossy(name))));
        }
        let (data, hash) = (le32(64), le32(68));
        if u64::from(data) != BLOCK || u64::from(hash) != BLOCK {
            return Err(VerityError::BlockSize { data, hash });
        }
        let data_blocks = u64::from_le_bytes(field(block, 72));
        let room = hash_offset / BLOCK;
        if data_blocks == 0 || data_blocks > room {
            return Err(VerityError::DataBlocks { blocks: data_blocks, room });
        }
        let end =
            hash_offset.saturating_add(tree_blocks(data_blocks).saturating_add(1).saturating_mul(BLOCK));
        if end > len {
            return Err(VerityError::Tree { end, len });
        }
        let salt_len = u16::from_le_bytes(field(block, 80));
        let salt = block.get(88..88 + usize::from(salt_len).min(MAX_SALT + 1)).unwrap_or_default();
        if usize::from(salt_len) > MAX_SALT {
            return Err(VerityError::Salt(salt_len));
        }
        let after_salt = 88 + salt.len();
        if !zeros(38, 26) || !zeros(82, 6) || !zeros(after_salt, LEN - after_salt) {
            return Err(VerityError::Padding);
        }
        Ok(Self { data_blocks, hash_offset, salt: salt.to_vec(), uuid: uuid(block) })
    }

    /// Length in bytes of the verified device.
    pub fn data_len(&self) -> u64 {
        self.data_blocks.saturating_mul(BLOCK)
    }

    /// The block, counted from the start of the partition, at which the hash tree begins.
    pub fn tree_block(&self) -> u64 {
        (self.hash_offset / BLOCK).saturating_add(1)
    }
}

/// The last page of a partition that holds data and hash tree: magic, byte offset of the superblock
/// (little-endian), zeros. It is a hint like the superblock: the root hash decides.
pub fn trailer(hash_offset: u64) -> [u8; BLOCK as usize] {
    let mut page = [0; BLOCK as usize];
    for (place, byte) in page.iter_mut().zip(TRAILER.iter().chain(&hash_offset.to_le_bytes())) {
        *place = *byte;
    }
    page
}

/// The offset of the superblock that a [`trailer`] gives; none if the page is no trailer.
pub fn read_trailer(page: &[u8; BLOCK as usize]) -> Option<u64> {
    let (offset, _) = page.strip_prefix(TRAILER)?.split_first_chunk()?;
    let offset = u64::from_le_bytes(*offset);
    (trailer(offset) == *page).then_some(offset)
}

/// Blocks of the whole tree over `data_blocks`: levels of 128 hashes a block, up to one block.
fn tree_blocks(data_blocks: u64) -> u64 {
    let per_block = BLOCK / DIGEST;
    let level = |below: &u64| (*below > 1).then(|| below.div_ceil(per_block));
    std::iter::successors(Some(data_blocks), level).skip(1).sum::<u64>().max(1)
}

fn field<const N: usize>(block: &[u8; LEN], at: usize) -> [u8; N] {
    block.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn uuid(block: &[u8; LEN]) -> String {
    let hex = hex::encode(block.get(16..32).unwrap_or_default());
    let cuts = [0..8, 8..12, 12..16, 16..20, 20..32];
    cuts.into_iter().filter_map(|cut| hex.get(cut)).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFSET: u64 = 1000 * BLOCK;
    // 1000 blocks need eight and one blocks of hashes, after the superblock's.
    const PARTITION: u64 = OFFSET + 10 * BLOCK;

    fn superblock() -> [u8; LEN] {
        let mut block = [0; LEN];
        block[..8].copy_from_slice(b"verity\0\0");
        block[8] = 1;
        block[12] = 1;
        block[16..32].copy_from_slice(&[0xab; 16]);
        block[32..38].copy_from_slice(b"sha256");
        block[64..68].copy_from_slice(&4096u32.to_le_bytes());
        block[68..72].copy_from_slice(&4096u32.to_le_bytes());
        block[72..80].copy_from_slice(&1000u64.to_le_bytes());
        block[80] = 32;
        block[88..120].copy_from_slice(&[7; 32]);
        block
    }

    fn with(at: usize, byte: u8) -> Result<Verity, VerityError> {
        let mut block = superblock();
        block[at] = byte;
        Verity::judge(&block, OFFSET, PARTITION)
    }

    #[test]
    fn a_good_superblock_is_read() {
        let verity = Verity::judge(&superblock(), OFFSET, PARTITION).unwrap();
        assert_eq!(verity.data_len(), 1000 * BLOCK);
        assert_eq!(verity.tree_block(), 1001);
        assert_eq!(verity.salt, [7; 32]);
        assert_eq!(verity.uuid, "abababab-abab-abab-abab-abababababab");
    }

    #[test]
    fn every_other_superblock_is_refused() {
        assert_eq!(with(0, b'V'), Err(VerityError::Magic));
        assert_eq!(with(8, 0), Err(VerityError::Version(0)));
        assert_eq!(with(12, 0), Err(VerityError::HashType(0)));
        assert_eq!(with(33, b'x'), Err(VerityError::Algorithm("sxa256".into())));
        assert_eq!(with(65, 2), Err(VerityError::BlockSize { data: 512, hash: 4096 }));
        assert_eq!(with(69, 2), Err(VerityError::BlockSize { data: 4096, hash: 512 }));
        assert_eq!(with(79, 1), Err(VerityError::DataBlocks { blocks: (1 << 56) + 1000, room: 1000 }));
        assert_eq!(with(81, 1), Err(VerityError::Salt(256 + 32)));
        assert_eq!(with(40, 1), Err(VerityError::Padding));
        assert_eq!(with(84, 1), Err(VerityError::Padding));
        assert_eq!(with(120, 1), Err(VerityError::Padding));
        assert_eq!(with(511, 1), Err(VerityError::Padding));
    }

    #[test]
    fn the_tree_must_lie_on_the_partition() {
        let short = PARTITION - BLOCK;
        let refused = Verity::judge(&superblock(), OFFSET, short);
        assert_eq!(refused, Err(VerityError::Tree { end: PARTITION, len: short }));
        for offset in [0, 1, PARTITION, u64::MAX - BLOCK + 1] {
            let refused = Verity::judge(&superblock(), offset, PARTITION);
            assert_eq!(refused, Err(VerityError::HashOffset(offset)));
        }
    }

    #[test]
    fn a_trailer_survives_the_way_to_the_disk_and_back() {
        assert_eq!(read_trailer(&trailer(OFFSET)), Some(OFFSET));
        let mut page = trailer(OFFSET);
        page[4000] = 1;
        assert_eq!(read_trailer(&page), None);
        assert_eq!(read_trailer(&[0; BLOCK as usize]), None);
    }

    #[test]
    fn a_root_hash_is_64_lower_case_digits() {
        let hash: RootHash = "0f".repeat(32).parse().unwrap();
        assert_eq!(hash.to_string(), "0f".repeat(32));
        for wrong in ["", &"0f".repeat(31), &"0F".repeat(32), &"0x".repeat(32), &"0f".repeat(33)] {
            assert_eq!(wrong.parse::<RootHash>(), Err(RootHashError));
        }
    }
}
