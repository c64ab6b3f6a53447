//! The device below an authenticated volume, which keeps a tag for each sector: judged before it is mapped, compared afterwards.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ccnode_luks_header::Segment;
use ccnode_luks_header::integrity::{SUPERBLOCK_LEN, superblock};

use crate::dm::{Device, Table, TableError, same};
use crate::name::Name;
use crate::open::{OpenError, Writing};

/// How libcryptsetup calls that device.
pub(crate) fn name(volume: &Name) -> Result<Name, OpenError> {
    format!("{volume}_dif").parse().map_err(OpenError::Name)
}

/// Tags as the judged superblock lays them out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Laid {
    /// Bytes of data.
    pub(crate) len: u64,
    tag: u16,
    segment: Segment,
}

impl Laid {
    /// Judges the superblock on the device, where the segment has tags; `room` is the segment's length in bytes.
    pub(crate) fn read(device: &Device, segment: &Segment, room: u64) -> Result<Option<Self>, OpenError> {
        let Some(tag) = segment.integrity.tag_len() else { return Ok(None) };
        let mut bytes = [0; SUPERBLOCK_LEN];
        File::open(&device.path)
            .and_then(|file| file.read_exact_at(&mut bytes, segment.offset))
            .map_err(OpenError::Superblock)?;
        let sectors = superblock(&bytes, segment.integrity, room / 512)?;
        Ok(Some(Self { len: sectors.saturating_mul(512), tag, segment: segment.clone() }))
    }

    /// dm-integrity's table line: device, offset, length of a tag, mode, then a count and that many options.
    pub(crate) fn compare(&self, table: &Table, device: &Device, writing: Writing) -> Result<(), TableError> {
        same("target of the tags", &table.kind, "integrity")?;
        same("start of the tags", table.start, 0)?;
        same("length in sectors of the tags", table.sectors, self.len / 512)?;
        same("read-only tags", table.readonly, false)?;
        let mut words = table.params.split(' ');
        let place = words.by_ref().take(4).collect::<Vec<_>>().join(" ");
        let mode = match writing {
            Writing::Journaled => 'J',
            Writing::Direct => 'D',
        };
        let (number, start) = (device.number_text(), self.segment.offset / 512);
        same("tags", place, format!("{number} {start} {} {mode}", self.tag))?;
        let count = words.next().unwrap_or_default().to_owned();
        let options: Vec<&str> = words.collect();
        same("options of the tags", count, options.len())?;
        let size = format!("block_size:{}", self.segment.sector_size);
        let sized = options.iter().filter(|option| **option == size).count();
        same("block size of the tags", sized, 1)?;
        let odd: Vec<_> = options.into_iter().filter(|option| *option != size && !layout(option)).collect();
        same("options of the tags", odd.join(" "), "")
    }
}

/// An option that says how the device is laid out or how often its journal is written, and nothing of what is believed.
fn layout(option: &str) -> bool {
    const NUMBERS: [&str; 5] =
        ["journal_sectors", "interleave_sectors", "buffer_sectors", "journal_watermark", "commit_time"];
    match option.split_once(':') {
        Some((name, value)) => NUMBERS.contains(&name) && value.parse::<u32>().is_ok(),
        None => option == "fix_padding",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dm::tests::table;
    use ccnode_luks_header::Integrity;
    use zeroize::Zeroizing;

    const PARAMS: &str = "254:3 2048 32 J 7 block_size:4096 journal_sectors:1024 interleave_sectors:32768 \
        buffer_sectors:128 journal_watermark:50 commit_time:10000 fix_padding";

    fn laid() -> Laid {
        let segment = Segment { integrity: Integrity::HmacSha256, offset: 1 << 20, sector_size: 4096 };
        Laid { len: 8000 * 512, tag: 32, segment }
    }

    fn device() -> Device {
        Device { path: "/dev/vda3".into(), number: (254, 3), len: 9 << 20 }
    }

    #[test]
    fn t01_tags_that_were_not_judged_are_told() {
        let compare =
            |params: &str| laid().compare(&table("integrity", 8000, params), &device(), Writing::Journaled);
        assert_eq!(compare(PARAMS), Ok(()));
        let differs = |old: &str, new: &str| {
            let params = PARAMS.replacen(old, new, 1);
            assert_ne!(params, PARAMS, "{old}");
            compare(&params).unwrap_err().field
        };
        assert_eq!(differs("254:3", "254:4"), "tags");
        assert_eq!(differs(" 2048 ", " 4096 "), "tags");
        assert_eq!(differs(" 32 ", " 4 "), "tags");
        assert_eq!(differs(" J ", " D "), "tags");
        assert_eq!(differs(" J ", " R "), "tags");
        assert_eq!(differs(" 7 ", " 6 "), "options of the tags");
        assert_eq!(differs("block_size:4096", "block_size:512"), "block size of the tags");
        for odd in ["recalculate", "allow_discards", "internal_hash:crc32c", "meta_device:254:7", "fix_hmac"]
        {
            assert_eq!(differs("fix_padding", odd), "options of the tags", "{odd}");
        }
        assert_eq!(differs("commit_time:10000", "commit_time:x"), "options of the tags");
        let field = |change: fn(&mut Table)| {
            let mut table = table("integrity", 8000, PARAMS);
            change(&mut table);
            laid().compare(&table, &device(), Writing::Journaled).unwrap_err().field
        };
        assert_eq!(field(|table| table.kind = "linear".into()), "target of the tags");
        assert_eq!(field(|table| table.start = 8), "start of the tags");
        assert_eq!(field(|table| table.sectors = 7992), "length in sectors of the tags");
        assert_eq!(field(|table| table.readonly = true), "read-only tags");
        assert_eq!(field(|table| table.params = Zeroizing::new(String::new())), "tags");
    }

    #[test]
    fn what_is_written_first_is_not_journaled() {
        let params = PARAMS.replace(" J 7 ", " D 5 ").replace(" journal_watermark:50 commit_time:10000", "");
        let table = table("integrity", 8000, &params);
        assert_eq!(laid().compare(&table, &device(), Writing::Direct), Ok(()));
        assert_eq!(laid().compare(&table, &device(), Writing::Journaled).unwrap_err().field, "tags");
    }

    #[test]
    fn the_superblock_is_judged_where_it_lies() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let device = Device { path: file.path().to_owned(), ..device() };
        let read = |integrity| Laid::read(&device, &Segment { integrity, ..laid().segment }, 8 << 20);
        assert!(matches!(read(Integrity::None), Ok(None)), "nothing is read where there are no tags");
        assert!(matches!(read(Integrity::HmacSha256), Err(OpenError::Superblock(_))));
        let mut bytes = [0; SUPERBLOCK_LEN];
        bytes[..8].copy_from_slice(b"integrt\0");
        bytes[8] = 4;
        bytes[10] = 32;
        bytes[16..24].copy_from_slice(&8000u64.to_le_bytes());
        bytes[28] = 3;
        file.as_file().write_all_at(&bytes, 1 << 20).unwrap();
        assert_eq!(read(Integrity::HmacSha256).unwrap(), Some(laid()));
        assert!(matches!(read(Integrity::AesGcm), Err(OpenError::Tags(_))));
    }
}
