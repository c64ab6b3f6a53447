//! GUID partition tables (UEFI specification, chapter 5), written so that the same input gives the same bytes.

use crate::bytes::put;
use sha2::{Digest as _, Sha256};

/// Bytes of a sector.
pub(crate) const SECTOR: u64 = 512;
/// Partitions begin on multiples of this.
pub(crate) const MIB: u64 = 1 << 20;
const ENTRIES: u64 = 128;
const ENTRY: u64 = 128;
/// Sectors of the entry array.
const ARRAY: u64 = ENTRIES * ENTRY / SECTOR;

/// A GUID as it lies on the disk: the first three groups little-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Guid(pub(crate) [u8; 16]);

/// C12A7328-F81F-11D2-BA4B-00A0C93EC93B
pub(crate) const TYPE_ESP: Guid =
    Guid([0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]);
/// 0FC63DAF-8483-4772-8E79-3D69D8477DE4, "Linux data": no generator of systemd acts on it.
pub(crate) const TYPE_DATA: Guid =
    Guid([0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4]);
/// CA7D7CCB-63ED-4C53-861C-1742536059CC
pub(crate) const TYPE_LUKS: Guid =
    Guid([0xcb, 0x7c, 0x7d, 0xca, 0xed, 0x63, 0x53, 0x4c, 0x86, 0x1c, 0x17, 0x42, 0x53, 0x60, 0x59, 0xcc]);

impl Guid {
    /// A GUID that follows from a seed and a label (version 8 of RFC 9562: SHA-256, cut).
    pub(crate) fn derived(seed: &[u8], label: &str) -> Self {
        let digest = Sha256::new().chain_update(seed).chain_update([0]).chain_update(label).finalize();
        let mut guid = Self([0; 16]);
        for ((at, to), from) in guid.0.iter_mut().enumerate().zip(digest) {
            // On the disk the version is the high half of byte 7, the variant the top of byte 8.
            *to = match at {
                7 => (from & 0x0f) | 0x80,
                8 => (from & 0x3f) | 0x80,
                _ => from,
            };
        }
        guid
    }
}

impl std::fmt::Display for Guid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g, h, i, rest @ ..] = self.0;
        let text = hex::encode(rest);
        let (clock, node) = text.split_at_checked(4).unwrap_or_default();
        write!(f, "{d:02x}{c:02x}{b:02x}{a:02x}-{g:02x}{e:02x}-{i:02x}{h:02x}-{clock}-{node}")
    }
}

/// A partition to lay out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Partition<'a> {
    /// Its label, 36 characters at most.
    pub(crate) label: &'a str,
    /// Its type.
    pub(crate) kind: Guid,
    /// Length in MiB, not zero.
    pub(crate) mib: u64,
}

/// A table laid out: where each partition begins, and the bytes at both ends of the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Table {
    /// Byte offset of each partition, in the order given.
    pub(crate) offsets: Vec<u64>,
    /// Length of the disk in bytes.
    pub(crate) disk: u64,
    /// Protective MBR, header and entries: the first bytes of the disk.
    pub(crate) primary: Vec<u8>,
    /// Entries and header: the last bytes of the disk.
    pub(crate) backup: Vec<u8>,
}

/// Lays out partitions one behind the other from 1 MiB on. All GUIDs are derived from `seed`.
pub(crate) fn lay_out(seed: &[u8], partitions: &[Partition<'_>]) -> Table {
    let mut array = vec![0; (ENTRIES * ENTRY) as usize];
    let (mut at, mut offsets) = (MIB, Vec::new());
    for (partition, entry) in partitions.iter().zip(array.chunks_exact_mut(ENTRY as usize)) {
        let end = at + partition.mib * MIB;
        offsets.push(at);
        let mut bytes = Vec::with_capacity(ENTRY as usize);
        bytes.extend(partition.kind.0);
        bytes.extend(Guid::derived(seed, partition.label).0);
        bytes.extend((at / SECTOR).to_le_bytes());
        bytes.extend((end / SECTOR - 1).to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(partition.label.encode_utf16().take(36).flat_map(u16::to_le_bytes));
        let _ = put(entry, 0, &bytes);
        at = end;
    }
    // A MiB of its own for the backup keeps the last partition aligned.
    let disk = at + MIB;
    let last = disk / SECTOR - 1;
    let mut primary = protective_mbr(last);
    primary.extend(header(seed, &array, 1, last, 2));
    primary.extend(&array);
    let mut backup = array.clone();
    backup.extend(header(seed, &array, last, 1, last - ARRAY));
    Table { offsets, disk, primary, backup }
}

fn protective_mbr(last: u64) -> Vec<u8> {
    let mut mbr = vec![0; SECTOR as usize];
    let size = u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes();
    let entry = [0x00, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    let _ = put(&mut mbr, 446, &entry);
    let _ = put(&mut mbr, 458, &size);
    let _ = put(&mut mbr, 510, &[0x55, 0xaa]);
    mbr
}

fn header(seed: &[u8], array: &[u8], own: u64, other: u64, entries: u64) -> Vec<u8> {
    let last = own.max(other);
    let mut out = Vec::with_capacity(SECTOR as usize);
    out.extend(b"EFI PART");
    out.extend(0x0001_0000u32.to_le_bytes());
    out.extend(92u32.to_le_bytes());
    out.extend([0; 8]);
    for lba in [own, other, 2 + ARRAY, last - ARRAY - 1] {
        out.extend(lba.to_le_bytes());
    }
    out.extend(Guid::derived(seed, "disk").0);
    out.extend(entries.to_le_bytes());
    out.extend((ENTRIES as u32).to_le_bytes());
    out.extend((ENTRY as u32).to_le_bytes());
    out.extend(crc32(array).to_le_bytes());
    let sum = crc32(&out);
    let _ = put(&mut out, 16, &sum.to_le_bytes());
    out.resize(SECTOR as usize, 0);
    out
}

/// CRC-32 as GPT uses it (IEEE 802.3, reflected).
fn crc32(bytes: &[u8]) -> u32 {
    !crate::bytes::crc(0xedb8_8320, !0, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> [Partition<'static>; 3] {
        [
            Partition { label: "esp", kind: TYPE_ESP, mib: 4 },
            Partition { label: "root-source", kind: TYPE_DATA, mib: 2 },
            Partition { label: "root", kind: TYPE_LUKS, mib: 3 },
        ]
    }

    #[test]
    fn known_checksum() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn guids_print_as_people_write_them() {
        assert_eq!(TYPE_ESP.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(TYPE_DATA.to_string(), "0fc63daf-8483-4772-8e79-3d69d8477de4");
        assert_eq!(TYPE_LUKS.to_string(), "ca7d7ccb-63ed-4c53-861c-1742536059cc");
        let derived = Guid::derived(b"seed", "root").to_string();
        assert_eq!(derived.as_bytes()[14], b'8', "{derived}");
        assert!(b"89ab".contains(&derived.as_bytes()[19]), "{derived}");
        assert_ne!(Guid::derived(b"seed", "root"), Guid::derived(b"seed", "esp"));
    }

    #[test]
    fn same_seed_same_bytes() {
        assert_eq!(lay_out(b"a", &parts()), lay_out(b"a", &parts()));
        assert_ne!(lay_out(b"a", &parts()).primary, lay_out(b"b", &parts()).primary);
    }

    #[test]
    fn sfdisk_reads_what_was_written() {
        use std::os::unix::fs::FileExt as _;
        let table = lay_out(b"seed", &parts());
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(table.disk).unwrap();
        file.as_file().write_all_at(&table.primary, 0).unwrap();
        file.as_file().write_all_at(&table.backup, table.disk - table.backup.len() as u64).unwrap();
        let json = crate::tool::Tool::new("sfdisk", "fdisk").arg("--json").arg(file.path()).text().unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let found = json["partitiontable"]["partitions"].as_array().unwrap();
        let names: Vec<_> = found.iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["esp", "root-source", "root"]);
        let starts: Vec<_> = found.iter().map(|p| p["start"].as_u64().unwrap() * SECTOR).collect();
        assert_eq!(starts, table.offsets);
        let check =
            crate::tool::Tool::new("sfdisk", "fdisk").arg("--verify").arg(file.path()).text().unwrap();
        assert!(check.contains("No errors detected"), "{check}");
    }
}
