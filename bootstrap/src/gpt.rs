//! GUID partition tables (UEFI 2.10, 5.3) as hostile input: bounded, checked whole, labels alone are of interest.

use std::io;
use std::os::unix::fs::FileExt;

/// A table with more entries, or larger ones, is not read.
const MAX_ENTRIES: u32 = 1024;
const ENTRY: usize = 128;
const HEADER: usize = 92;

/// Why a disk's table can't be used.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    /// The disk can't be read there.
    #[error("reading block {lba}: {source}")]
    Read {
        /// The block.
        lba: u64,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no GPT.
    #[error("no GUID partition table")]
    Missing,
    /// The header or the entries don't have their checksum, or say what can't be.
    #[error("damaged GUID partition table: {0}")]
    Damaged(&'static str),
}

/// One used entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Partition {
    /// Its number, from 1, as the kernel counts.
    pub number: u32,
    /// First byte on the disk.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
    /// Its label; a name that is no UTF-16 has replacement characters.
    pub label: String,
}

/// Reads the table whose header is at block 1.
pub fn primary(disk: &impl FileExt, len: u64, block: u64) -> Result<Vec<Partition>, GptError> {
    read(disk, len, block, 1)
}

/// Reads the table whose header is in the last block, which counts where the first is damaged.
pub fn backup(disk: &impl FileExt, len: u64, block: u64) -> Result<Vec<Partition>, GptError> {
    let blocks = len.checked_div(block).unwrap_or_default();
    read(disk, len, block, blocks.checked_sub(1).ok_or(GptError::Missing)?)
}

fn read(disk: &impl FileExt, len: u64, block: u64, lba: u64) -> Result<Vec<Partition>, GptError> {
    use GptError::Damaged;
    if !(512..=4096).contains(&block) || !block.is_power_of_two() || lba.saturating_add(1) > len / block {
        return Err(GptError::Missing);
    }
    let at = |lba: u64, bytes: &mut [u8]| {
        let offset = lba.checked_mul(block).ok_or(Damaged("a block number beyond the disk"))?;
        disk.read_exact_at(bytes, offset).map_err(|source| GptError::Read { lba, source })
    };
    let mut header = [0; HEADER];
    at(lba, &mut header)?;
    if !header.starts_with(b"EFI PART") {
        return Err(GptError::Missing);
    }
    let sum = le32(&header, 16);
    let mut unsummed = header;
    unsummed.iter_mut().skip(16).take(4).for_each(|b| *b = 0);
    if le32(&header, 12) as usize != HEADER || crc32(&unsummed) != sum {
        return Err(Damaged("the header's size or checksum"));
    }
    if le64(&header, 24) != lba {
        return Err(Damaged("the header's place"));
    }
    let (first, last) = (le64(&header, 40), le64(&header, 48));
    let (count, size) = (le32(&header, 80), le32(&header, 84));
    if count > MAX_ENTRIES || size as usize != ENTRY {
        return Err(Damaged("number or size of entries"));
    }
    let mut entries = vec![0; count as usize * ENTRY];
    at(le64(&header, 72), &mut entries)?;
    if crc32(&entries) != le32(&header, 88) {
        return Err(Damaged("the entries' checksum"));
    }
    let mut found = Vec::new();
    for (number, entry) in (1..).zip(entries.chunks_exact(ENTRY)) {
        if entry.iter().take(16).all(|b| *b == 0) {
            continue;
        }
        let (from, to) = (le64(entry, 32), le64(entry, 40));
        if from < first || from > to || to > last || to >= len / block {
            return Err(Damaged("an entry's bounds"));
        }
        found.push(Partition {
            number,
            start: from * block,
            len: (to - from + 1) * block,
            label: label(entry),
        });
    }
    let mut ends: Vec<_> = found.iter().map(|p| (p.start, p.start + p.len)).collect();
    ends.sort_unstable();
    let overlap = ends.iter().zip(ends.iter().skip(1)).any(|((_, end), (start, _))| end > start);
    if overlap { Err(Damaged("entries overlap")) } else { Ok(found) }
}

/// UTF-16LE, 36 units, up to the first NUL.
fn label(entry: &[u8]) -> String {
    let units = entry.get(56..).unwrap_or_default().chunks_exact(2);
    let units = units.map(|pair| pair.iter().rev().fold(0, |acc, b| (acc << 8) | u16::from(*b)));
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|b| b.first_chunk()).copied().map(u32::from_le_bytes).unwrap_or_default()
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|b| b.first_chunk()).copied().map(u64::from_le_bytes).unwrap_or_default()
}

/// CRC-32 of IEEE 802.3, reflected, bit by bit: tables are short.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs::File;

    pub(crate) const LEN: u64 = 8 << 20;

    /// Writes a table with these partitions (label, first block, blocks) to the header at `lba`, entries behind or before it.
    pub(crate) fn write(disk: &File, partitions: &[(&str, u64, u64)], lba: u64) {
        let mut entries = vec![0u8; 128 * ENTRY];
        for ((name, first, blocks), entry) in partitions.iter().zip(entries.chunks_exact_mut(ENTRY)) {
            entry[..16].fill(0x11);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&(first + blocks - 1).to_le_bytes());
            for (unit, place) in name.encode_utf16().zip(entry[56..].chunks_exact_mut(2)) {
                place.copy_from_slice(&unit.to_le_bytes());
            }
        }
        let at = if lba == 1 { 2 } else { lba - 32 };
        let mut header = [0u8; HEADER];
        header[..8].copy_from_slice(b"EFI PART");
        header[10] = 1;
        header[12] = 92;
        header[24..32].copy_from_slice(&lba.to_le_bytes());
        header[40..48].copy_from_slice(&34u64.to_le_bytes());
        header[48..56].copy_from_slice(&(LEN / 512 - 34).to_le_bytes());
        header[72..80].copy_from_slice(&at.to_le_bytes());
        header[80..84].copy_from_slice(&128u32.to_le_bytes());
        header[84..88].copy_from_slice(&128u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
        let sum = crc32(&header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        disk.write_all_at(&header, lba * 512).unwrap();
        disk.write_all_at(&entries, at * 512).unwrap();
    }

    pub(crate) fn disk(partitions: &[(&str, u64, u64)]) -> File {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(LEN).unwrap();
        write(&disk, partitions, 1);
        write(&disk, partitions, LEN / 512 - 1);
        disk
    }

    #[test]
    fn labels_and_places_are_read() {
        let disk = disk(&[("esp", 64, 64), ("wurzel-ä", 128, 8)]);
        let found = primary(&disk, LEN, 512).unwrap();
        assert_eq!(found, backup(&disk, LEN, 512).unwrap());
        assert_eq!(found[0], Partition { number: 1, start: 32768, len: 32768, label: "esp".into() });
        assert_eq!((found[1].number, found[1].label.as_str()), (2, "wurzel-ä"));
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn any_changed_byte_of_the_table_is_noticed() {
        for offset in [512 + 9, 512 + 41, 512 + 72, 512 + 80, 1024 + 33, 1024 + 60, 1024 + 16 * 1024 - 1] {
            let disk = disk(&[("root", 64, 64)]);
            let mut byte = [0];
            disk.read_exact_at(&mut byte, offset).unwrap();
            disk.write_all_at(&[byte[0] ^ 1], offset).unwrap();
            assert!(matches!(primary(&disk, LEN, 512), Err(GptError::Damaged(_))), "{offset}");
        }
    }

    #[test]
    fn what_can_not_be_is_damage() {
        let damaged = |partitions: &[(&str, u64, u64)]| {
            assert!(
                matches!(primary(&disk(partitions), LEN, 512), Err(GptError::Damaged(_))),
                "{partitions:?}"
            );
        };
        damaged(&[("a", 10, 5)]);
        damaged(&[("a", 64, LEN)]);
        damaged(&[("a", u64::MAX - 5, 3)]);
        damaged(&[("a", 64, 64), ("b", 127, 10)]);
    }

    #[test]
    fn other_disks_have_none() {
        let empty = tempfile::tempfile().unwrap();
        for len in [0, 511, 512, 1024, 1 << 20] {
            empty.set_len(len).unwrap();
            assert!(matches!(primary(&empty, len, 512), Err(GptError::Missing)), "{len}");
            assert!(matches!(backup(&empty, len, 512), Err(GptError::Missing)), "{len}");
        }
        assert!(matches!(primary(&empty, LEN, 512), Err(GptError::Read { .. } | GptError::Missing)));
        assert!(matches!(primary(&empty, 1 << 20, 0), Err(GptError::Missing)));
        assert!(matches!(primary(&empty, 1 << 20, 513), Err(GptError::Missing)));
    }
}
