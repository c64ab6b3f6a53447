//! Reads a disk's recorded writes (the format of dm-log-writes) and makes the images that a power cut may leave.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::image::Image;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// The writes of one boot, in the order in which they were finished.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    entries: Vec<Entry>,
}

/// The least that a disk writes whole, bytes.
pub const SECTOR: u64 = 512;

/// One entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place on the disk, in bytes.
    pub at: u64,
    /// Size in bytes; a flush has none.
    pub len: u64,
    flags: u64,
    /// Place of the data in the log.
    data: u64,
}

impl Entry {
    /// Whether it is a flush.
    #[must_use]
    pub fn is_flush(&self) -> bool {
        self.flags & FLUSH != 0
    }

    /// Whether it changes bytes of the disk.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.flags & MARK == 0 && self.len > 0
    }
}

impl WriteLog {
    /// Reads the log that [`crate::Disk::log_writes`] has made. One that ends within an entry is read up to that.
    ///
    /// # Errors
    /// When it is no such log.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let end = file.metadata()?.len();
        let [magic, version, _entries, sector] = words(&file, 0)?;
        let sector = sector & u64::from(u32::MAX);
        ensure!(magic == MAGIC && version == 1, "{} is no log of writes", path.display());
        ensure!((512..=4096).contains(&sector), "{}: absurd sector size", path.display());
        let mut entries = Vec::new();
        let mut place = sector;
        while place + sector <= end {
            let [at, count, flags, note] = words(&file, place)?;
            if (count, flags, note) == (0, 0, 0) {
                break;
            }
            let (at, len) = (at.saturating_mul(sector), count.saturating_mul(sector));
            let data = place + sector;
            let stored = match flags {
                f if f & DISCARD != 0 => 0,
                f if f & MARK != 0 => note.next_multiple_of(sector),
                _ => len,
            };
            place = data.saturating_add(stored);
            if place > end {
                break;
            }
            entries.push(Entry { at, len, flags, data });
        }
        Ok(Self { file, entries })
    }

    /// Number of entries: writes, discards and flushes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries, in the order in which they were finished.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Indices of the flushes. What is written before one survives any later cut.
    #[must_use]
    pub fn flushes(&self) -> Vec<usize> {
        let flushes = self.entries.iter().enumerate().filter(|(_, e)| e.is_flush());
        flushes.map(|(index, _)| index).collect()
    }

    /// Whether a power cut after `cut` entries leaves an entry on the disk whole: a flush came after it, or it was forced.
    #[must_use]
    pub fn is_safe(&self, index: usize, cut: usize) -> bool {
        let entry = self.entries.get(index).filter(|_| index < cut);
        let forced = entry.is_some_and(|e| e.flags & FUA != 0);
        // A flush that carries data is done before its data is.
        let after = self.entries.get(index + 1..cut).unwrap_or_default();
        forced || (entry.is_some() && after.iter().any(Entry::is_flush))
    }

    /// Brings `image`, as it was when the log began, to where a power cut after `cut` entries may leave it: with all that
    /// was written before the last flush or was forced to the medium, and with those sectors of later writes for which
    /// `survives` is true, told the index of the write and the sector's place on the disk, in bytes.
    ///
    /// # Errors
    /// When log or image cannot be read or written.
    pub fn replay(
        &self,
        image: &Image,
        cut: usize,
        mut survives: impl FnMut(usize, u64) -> bool,
    ) -> Result<()> {
        let last = self.flushes().into_iter().take_while(|&f| f < cut).last();
        for (index, entry) in self.entries.iter().enumerate().take(cut).filter(|(_, e)| e.is_write()) {
            let mut bytes = vec![0; usize::try_from(entry.len)?];
            if entry.flags & DISCARD == 0 {
                self.file.read_exact_at(&mut bytes, entry.data)?;
            }
            if last.is_some_and(|last| index < last) || entry.flags & FUA != 0 {
                image.patch_raw(entry.at, &bytes)?;
                continue;
            }
            for (sector, number) in bytes.chunks(usize::try_from(SECTOR)?).zip(0..) {
                let place = entry.at + number * SECTOR;
                if survives(index, place) {
                    image.patch_raw(place, sector)?;
                }
            }
        }
        Ok(())
    }
}

/// Four little-endian words.
fn words(file: &File, at: u64) -> Result<[u64; 4]> {
    let mut bytes = [0; 32];
    file.read_exact_at(&mut bytes, at).context("reading a log of writes")?;
    let mut words = bytes.chunks_exact(8).filter_map(|c| c.try_into().ok().map(u64::from_le_bytes));
    Ok(std::array::from_fn(|_| words.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn entry(sector: u64, flags: u64, data: &[u8]) -> Vec<u8> {
        let words = [sector, (data.len() / 512) as u64, flags, 0];
        let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        bytes.resize(512, 0);
        bytes.extend(data);
        bytes
    }

    fn log(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [MAGIC, 1, 0, 512].iter().flat_map(|w| w.to_le_bytes()).collect();
        bytes.resize(512, 0);
        bytes.extend(entries.concat());
        bytes
    }

    #[test]
    fn what_a_cut_may_leave() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let flush = entry(0, FLUSH, &[]);
        let entries = [
            entry(0, 0, &[1; 512]),
            flush,
            entry(1, 0, &[2; 512]),
            entry(2, FUA, &[3; 512]),
            entry(3, 0, &[4; 512]),
        ];
        fs::write(&path, log(&entries)).unwrap();
        let log = WriteLog::open(&path).unwrap();
        assert_eq!((log.len(), log.flushes()), (5, vec![1]));
        let after = |cut, survives: fn(usize, u64) -> bool| {
            let disk = dir.path().join("disk");
            fs::write(&disk, [0; 2048]).unwrap();
            log.replay(&Image::at(&disk), cut, survives).unwrap();
            fs::read(&disk).unwrap().chunks(512).map(|sector| sector[0]).collect::<Vec<_>>()
        };
        assert_eq!(after(1, |_, _| false), [0, 0, 0, 0]);
        assert_eq!(after(1, |_, _| true), [1, 0, 0, 0]);
        assert_eq!(after(5, |_, _| false), [1, 0, 3, 0]);
        assert_eq!(after(5, |index, _| index == 4), [1, 0, 3, 4]);
        assert_eq!(after(4, |_, _| true), [1, 2, 3, 0]);
        let safe = |cut| (0..6).filter(|index| log.is_safe(*index, cut)).collect::<Vec<_>>();
        assert_eq!((safe(1), safe(2), safe(5)), (vec![], vec![0], vec![0, 3]));
    }

    #[test]
    fn a_write_may_be_torn_between_its_sectors() {
        let dir = tempfile::tempdir().unwrap();
        let (path, disk) = (dir.path().join("log"), dir.path().join("disk"));
        fs::write(&path, log(&[entry(1, 0, &[1; 1536])])).unwrap();
        fs::write(&disk, [0; 2048]).unwrap();
        WriteLog::open(&path).unwrap().replay(&Image::at(&disk), 1, |_, place| place != 1024).unwrap();
        let left: Vec<u8> = fs::read(&disk).unwrap().chunks(512).map(|sector| sector[0]).collect();
        assert_eq!(left, [0, 1, 0, 1]);
    }

    #[test]
    fn a_log_cut_short_and_no_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut bytes = log(&[entry(0, 0, &[1; 512]), entry(1, 0, &[2; 512])]);
        bytes.truncate(bytes.len() - 1);
        fs::write(&path, bytes).unwrap();
        assert_eq!(WriteLog::open(&path).unwrap().len(), 1);
        fs::write(&path, [0; 1024]).unwrap();
        assert!(WriteLog::open(&path).unwrap_err().to_string().contains("no log"));
    }
}
