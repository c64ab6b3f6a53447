//! The first boot's copy: the verified root source into the opened volume, then the file system grown to fill it.

use crate::refusal::Coded;
use crate::state::code_of_mount;
use ccnode_evidence::Code;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// One read and one write; the buffer starts on a page.
const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;
/// Wiping flushes after so many bytes.
const BATCH: u64 = 16 << 20;
/// Progress is told this often.
const TELL: Duration = Duration::from_secs(2);

/// Why the root can't be filled.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// The verified source gives an error while the partition below it reads: the hash is wrong.
    #[error("the root source differs from its root hash at byte {offset}")]
    Verity {
        /// Where.
        offset: u64,
    },
    /// The source can't be read.
    #[error("reading the root source at byte {offset}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The root can't be written.
    #[error("writing the root at byte {offset}: {source}")]
    Write {
        /// Where.
        offset: u64,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file system can't be mounted.
    #[error("mounting the root: {0}")]
    Mount(#[source] io::Error),
    /// The file system can't be grown or flushed.
    #[error("growing the root: {0}")]
    Grow(#[source] io::Error),
}

impl Coded for FillError {
    fn code(&self) -> Code {
        match self {
            Self::Verity { .. } => Code::VerityMismatch,
            Self::Mount(error) => code_of_mount(error),
            Self::Read { .. } | Self::Write { .. } | Self::Grow(_) => Code::DiskFailed,
        }
    }
}

/// Copies `len` bytes from `from` to `to` and flushes; `below` is the partition under `from`.
///
/// `progress` is told the bytes done, every two seconds.
pub fn copy(
    from: &Path,
    below: &Path,
    to: &Path,
    len: u64,
    mut progress: impl FnMut(u64),
) -> Result<(), FillError> {
    let source = direct(File::options().read(true), from);
    let source = source.map_err(|source| FillError::Read { offset: 0, source })?;
    let target = direct(File::options().write(true), to);
    let target = target.map_err(|source| FillError::Write { offset: 0, source })?;
    let mut memory = vec![0; CHUNK + PAGE];
    let buffer = aligned(&mut memory);
    let mut told = Instant::now();
    let mut offset = 0;
    while offset < len {
        let now = usize::try_from(len - offset).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get_mut(..now).unwrap_or_default();
        source.read_exact_at(part, offset).map_err(|e| blame(below, offset, now, e))?;
        target.write_all_at(part, offset).map_err(|source| FillError::Write { offset, source })?;
        offset += now as u64;
        if told.elapsed() >= TELL {
            told = Instant::now();
            progress(offset);
        }
    }
    target.sync_all().map_err(|source| FillError::Write { offset: len, source })
}

/// What of `memory` starts on a page, a chunk of it.
fn aligned(memory: &mut [u8]) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(PAGE);
    memory.get_mut(start..).and_then(|m| m.get_mut(..CHUNK)).unwrap_or_default()
}

/// Writes zeros from byte `from` to `len` and flushes, so that each sector has a tag; returns where it began.
///
/// With `resume` it begins where reading fails: an earlier boot wrote in order, and flushed after each 16 MiB, so that all but what
/// came after its last flush is there. `progress` is told the bytes done and those to be done, every two seconds.
pub fn wipe(
    to: &Path,
    from: u64,
    len: u64,
    resume: bool,
    mut progress: impl FnMut(u64, u64),
) -> Result<u64, FillError> {
    let failed = |offset| move |source| FillError::Write { offset, source };
    let target = direct(File::options().read(true).write(true), to).map_err(failed(0))?;
    let mut memory = vec![0; CHUNK + PAGE];
    let buffer = aligned(&mut memory);
    let mut start = from - from % PAGE as u64;
    let mut told = Instant::now();
    if resume {
        let mut readable =
            |offset| buffer.get_mut(..PAGE).is_some_and(|page| target.read_exact_at(page, offset).is_ok());
        start = unwritten(start, len, &mut readable);
        // What can be read now is on the disk, so that only a gap matters.
        while start < len {
            let now = usize::try_from(len - start).unwrap_or(CHUNK).min(CHUNK);
            let part = buffer.get_mut(..now).unwrap_or_default();
            if target.read_exact_at(part, start).is_err() {
                break;
            }
            start += now as u64;
            if told.elapsed() >= TELL {
                told = Instant::now();
                progress(start, len);
            }
        }
        buffer.fill(0);
    }
    let mut offset = start;
    while offset < len {
        let now = usize::try_from(len - offset).unwrap_or(CHUNK).min(CHUNK);
        let part = buffer.get(..now).unwrap_or_default();
        target.write_all_at(part, offset).map_err(failed(offset))?;
        offset += now as u64;
        if (offset - start).is_multiple_of(BATCH) {
            target.sync_data().map_err(failed(offset))?;
        }
        if told.elapsed() >= TELL {
            told = Instant::now();
            progress(offset, len);
        }
    }
    target.sync_all().map_err(failed(len))?;
    Ok(start)
}

/// Where there may be gaps in what was written from `from` to `len`, by bisection: a batch before the first page that can't be read.
fn unwritten(from: u64, len: u64, readable: &mut impl FnMut(u64) -> bool) -> u64 {
    let page = PAGE as u64;
    let (mut low, mut high) = (from / page, len / page);
    while low < high {
        let middle = low + (high - low) / 2;
        match readable(middle * page) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    (low * page).saturating_sub(BATCH).max(from)
}

/// Past the page cache, where the file allows it: what is copied is not needed twice.
fn direct(options: &mut std::fs::OpenOptions, path: &Path) -> io::Result<File> {
    match options.clone().custom_flags(OFlag::O_DIRECT.bits()).open(path) {
        Err(e) if e.kind() == ErrorKind::InvalidInput => options.open(path),
        opened => opened,
    }
}

/// dm-verity answers a wrong hash as the disk answers a bad sector; the partition below tells them apart.
fn blame(below: &Path, offset: u64, len: usize, error: io::Error) -> FillError {
    let mut bytes = vec![0; len];
    match File::open(below).and_then(|file| file.read_exact_at(&mut bytes, offset)) {
        Ok(()) => FillError::Verity { offset },
        Err(_) => FillError::Read { offset, source: error },
    }
}

/// Mounts the ext4 file system on `device` at `at`.
pub fn mount_root(device: &Path, at: &Path) -> Result<(), FillError> {
    let none: Option<&str> = None;
    std::fs::create_dir_all(at)
        .and_then(|()| Ok(mount(Some(device), at, Some("ext4"), MsFlags::empty(), none)?))
        .map_err(FillError::Mount)
}

mod ext4 {
    nix::ioctl_write_ptr!(resize_fs, b'f', 16, u64);
}

/// Grows the mounted file system to `len` bytes and flushes it.
pub fn grow(root: &Path, len: u64) -> Result<(), FillError> {
    let dir = File::open(root).map_err(FillError::Grow)?;
    let stat = nix::sys::statfs::fstatfs(&dir).map_err(|e| FillError::Grow(e.into()))?;
    let block = u64::try_from(stat.block_size()).unwrap_or_default();
    let blocks = len.checked_div(block).unwrap_or_default();
    if blocks > stat.blocks() {
        resize(&dir, blocks).map_err(|e| FillError::Grow(e.into()))?;
    }
    nix::unistd::syncfs(&dir).map_err(|e| FillError::Grow(e.into()))
}

/// Flushes the mounted file system.
pub fn flush(at: &Path) -> Result<(), FillError> {
    let flushed = File::open(at).and_then(|dir| Ok(nix::unistd::syncfs(&dir)?));
    flushed.map_err(FillError::Grow)
}

#[expect(unsafe_code, reason = "ioctl(2) has no safe form")]
fn resize(dir: &File, blocks: u64) -> nix::Result<()> {
    // SAFETY: EXT4_IOC_RESIZE_FS reads one u64 behind the pointer, which lives until the call returns.
    unsafe { ext4::resize_fs(dir.as_raw_fd(), &raw const blocks) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &tempfile::TempDir, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn every_byte_is_copied_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..CHUNK + 3 * PAGE).map(|i| (i / 7) as u8).collect();
        let (from, to) = (file(&dir, "from", &bytes), file(&dir, "to", &vec![9; CHUNK * 2]));
        copy(&from, &from, &to, bytes.len() as u64, |_| ()).unwrap();
        let copied = std::fs::read(&to).unwrap();
        assert_eq!(copied[..bytes.len()], bytes);
        assert!(copied[bytes.len()..].iter().all(|b| *b == 9));
    }

    #[test]
    fn a_source_that_ends_early_is_told_from_a_wrong_hash() {
        let dir = tempfile::tempdir().unwrap();
        let (short, long) = (file(&dir, "short", &[0; PAGE]), file(&dir, "long", &[0; 4 * PAGE]));
        let to = file(&dir, "to", &[]);
        let len = 2 * PAGE as u64;
        let error = copy(&short, &long, &to, len, |_| ()).unwrap_err();
        assert_eq!((error.code(), error.to_string().contains("byte 0")), (Code::VerityMismatch, true));
        assert_eq!(copy(&short, &short, &to, len, |_| ()).unwrap_err().code(), Code::DiskFailed);
    }

    #[test]
    fn write_errors_are_the_disks() {
        let dir = tempfile::tempdir().unwrap();
        let from = file(&dir, "from", &[0; PAGE]);
        let error = copy(&from, &from, Path::new("/dev/full"), PAGE as u64, |_| ()).unwrap_err();
        assert!(matches!(error, FillError::Write { .. }) && error.code() == Code::DiskFailed, "{error}");
        let gone = copy(&dir.path().join("none"), &from, &from, 1, |_| ()).unwrap_err();
        assert_eq!(gone.code(), Code::DiskFailed);
    }

    #[test]
    fn wiping_writes_all_from_there_on() {
        let dir = tempfile::tempdir().unwrap();
        let len = CHUNK + 3 * PAGE;
        let to = file(&dir, "to", &vec![7; len]);
        let from = 2 * PAGE as u64 + 5;
        assert_eq!(wipe(&to, from, len as u64, false, |_, _| ()).unwrap(), 2 * PAGE as u64);
        let bytes = std::fs::read(&to).unwrap();
        assert!(bytes[..2 * PAGE].iter().all(|b| *b == 7) && bytes[2 * PAGE..].iter().all(|b| *b == 0));
        assert_eq!(bytes.len(), len);
        assert_eq!(wipe(&to, from, len as u64, true, |_, _| ()).unwrap(), len as u64, "all can be read");
        let error = wipe(Path::new("/dev/full"), 0, PAGE as u64, false, |_, _| ()).unwrap_err();
        assert_eq!(error.code(), Code::DiskFailed);
    }

    #[test]
    fn wiping_goes_on_a_batch_before_what_is_unwritten() {
        let page = PAGE as u64;
        let len = 10 * BATCH;
        for written in [0, page, BATCH - page, BATCH, BATCH + page, 5 * BATCH, len - page, len] {
            let begun = unwritten(0, len, &mut |offset| offset < written);
            assert_eq!(begun, written.saturating_sub(BATCH), "{written}");
        }
        // What came after the last flush may be there in part.
        for seed in 0..200u64 {
            let flushed = 3 * BATCH;
            let there = |offset: u64| {
                let lot = (offset / page).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(seed as u32) % 2;
                offset < flushed || (offset < flushed + BATCH && lot == 0)
            };
            let begun = unwritten(page, len, &mut |offset| there(offset));
            assert!((page..=flushed).contains(&begun) && begun + BATCH >= flushed, "{begun}");
        }
        assert_eq!(unwritten(2 * BATCH, len, &mut |_| false), 2 * BATCH, "what is before is another's");
    }

    #[test]
    fn what_is_no_file_system_is_not_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let device = file(&dir, "device", &[0; PAGE]);
        let error = mount_root(&device, &dir.path().join("at")).unwrap_err();
        assert_eq!(error.code(), Code::RootUnusable);
    }
}
