//! Device-mapper by ioctl: reads back what the kernel really maps, and unmaps it.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::Name;

/// struct dm_ioctl of linux/dm-ioctl.h, then room for one target's table line.
const HEADER: usize = 312;
const BUFFER: usize = 16 * 1024;
const DM_TYPE: u8 = 0xfd;
const DM_DEV_REMOVE: u8 = 4;
const DM_TABLE_STATUS: u8 = 12;
const READONLY_FLAG: u32 = 1 << 0;
const STATUS_TABLE_FLAG: u32 = 1 << 4;
const BUFFER_FULL_FLAG: u32 = 1 << 8;
/// Fill a request's struct dm_target_spec.
const TARGET: usize = 40;

nix::ioctl_readwrite_bad!(
    table_status,
    nix::request_code_readwrite!(DM_TYPE, DM_TABLE_STATUS, HEADER),
    [u8; BUFFER]
);
nix::ioctl_readwrite_bad!(
    dev_remove,
    nix::request_code_readwrite!(DM_TYPE, DM_DEV_REMOVE, HEADER),
    [u8; BUFFER]
);

/// A request to device-mapper failed.
#[derive(Debug, thiserror::Error)]
pub enum DmError {
    /// /dev/mapper/control could not be opened.
    #[error("/dev/mapper/control: {0}; device-mapper takes root and the module dm-mod")]
    Control(#[source] io::Error),
    /// The kernel refused the request.
    #[error("device-mapper, {request} {name}: {source}")]
    Request {
        /// What was asked.
        request: &'static str,
        /// The mapped device.
        name: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer is not one target's table.
    #[error("device-mapper: {0} does not have exactly one target")]
    Targets(String),
    /// The underlying path is no block device.
    #[error("{path}: {source}")]
    Device {
        /// The path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The live table is not the one that was judged. The device was unmapped again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the kernel maps {field} {have} where {want} was judged")]
pub struct TableError {
    /// Which part of the table.
    pub field: &'static str,
    /// What the kernel has; never a key.
    pub have: String,
    /// What it should have.
    pub want: String,
}

/// A block device: its path, number and length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where it was found.
    pub path: PathBuf,
    /// Major and minor number.
    pub number: (u64, u64),
    /// Length in bytes.
    pub len: u64,
}

impl Device {
    /// Looks at the block device at `path`.
    pub fn at(path: &Path) -> Result<Self, DmError> {
        let fail = |source| DmError::Device { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(fail)?;
        let meta = file.metadata().map_err(fail)?;
        if !meta.file_type().is_block_device() {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "not a block device")));
        }
        let len = io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(fail)?;
        let number = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
        Ok(Self { path: path.to_owned(), number, len })
    }

    /// The number of the mapped device `name`.
    pub(crate) fn number_of(name: &Name) -> Result<(u64, u64), DmError> {
        let path = name.path();
        let meta = std::fs::metadata(&path).map_err(|source| DmError::Device { path, source })?;
        Ok((nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev())))
    }

    pub(crate) fn number_text(&self) -> String {
        format!("{}:{}", self.number.0, self.number.1)
    }
}

/// One target as the kernel reports it. The parameters may hold a key: wiped when dropped, never printed.
pub(crate) struct Table {
    pub(crate) readonly: bool,
    pub(crate) start: u64,
    pub(crate) sectors: u64,
    pub(crate) kind: String,
    pub(crate) params: Zeroizing<String>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} {} {} …)", self.start, self.sectors, self.kind)
    }
}

impl Table {
    /// The live table of `name`.
    pub(crate) fn read(name: &Name) -> Result<Self, DmError> {
        let answer = request(name, "read the table of", STATUS_TABLE_FLAG, table_status)?;
        Self::parse(&answer).ok_or_else(|| DmError::Targets(name.to_string()))
    }

    fn parse(answer: &[u8; BUFFER]) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
        let u64_at = |at: usize| Some(u64::from_ne_bytes(*answer.get(at..)?.first_chunk()?));
        let flags = u32_at(28)?;
        let target = usize::try_from(u32_at(16)?).ok()?;
        if u32_at(20)? != 1 || flags & BUFFER_FULL_FLAG != 0 || target < HEADER {
            return None;
        }
        let text = |bytes: &[u8]| {
            let end = bytes.iter().position(|b| *b == 0)?;
            Some(std::str::from_utf8(bytes.get(..end)?).ok()?.to_owned())
        };
        Some(Self {
            readonly: flags & READONLY_FLAG != 0,
            start: u64_at(target)?,
            sectors: u64_at(target.checked_add(8)?)?,
            kind: text(answer.get(target.checked_add(24)?..target.checked_add(TARGET)?)?)?,
            params: Zeroizing::new(text(answer.get(target.checked_add(TARGET)?..)?)?),
        })
    }
}

/// Refuses `have` other than `want`.
pub(crate) fn same(
    field: &'static str,
    have: impl fmt::Display,
    want: impl fmt::Display,
) -> Result<(), TableError> {
    let (have, want) = (have.to_string(), want.to_string());
    match have == want {
        true => Ok(()),
        false => Err(TableError { field, have: have.chars().take(200).collect(), want }),
    }
}

/// Unmaps `name` and removes its node.
pub fn close(name: &Name) -> Result<(), DmError> {
    request(name, "remove", 0, dev_remove)?;
    match std::fs::remove_file(name.path()) {
        // Where udev runs, the node is udev's.
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(DmError::Device { path: name.path(), source: e })
        }
        _ => Ok(()),
    }
}

type Ioctl = unsafe fn(std::ffi::c_int, *mut [u8; BUFFER]) -> nix::Result<std::ffi::c_int>;

fn request(
    name: &Name,
    what: &'static str,
    flags: u32,
    ioctl: Ioctl,
) -> Result<Zeroizing<[u8; BUFFER]>, DmError> {
    let control =
        File::options().read(true).write(true).open("/dev/mapper/control").map_err(DmError::Control)?;
    let mut buffer = Zeroizing::new([0; BUFFER]);
    let mut put = |at: usize, bytes: &[u8]| {
        for (place, byte) in buffer.iter_mut().skip(at).zip(bytes) {
            *place = *byte;
        }
    };
    put(0, &4u32.to_ne_bytes());
    put(12, &(BUFFER as u32).to_ne_bytes());
    put(16, &(HEADER as u32).to_ne_bytes());
    put(28, &flags.to_ne_bytes());
    // A name has at most 64 bytes, its field 128.
    put(48, name.as_str().as_bytes());
    #[expect(unsafe_code, reason = "device-mapper is reached by ioctl alone")]
    // SAFETY: the buffer is valid for reads and writes of its whole length, which its data_size field states, and
    // the kernel writes no further.
    let done = unsafe { ioctl(control.as_raw_fd(), &mut *buffer) };
    match done {
        Ok(_) => Ok(buffer),
        Err(e) => Err(DmError::Request { request: what, name: name.to_string(), source: e.into() }),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn table(kind: &str, sectors: u64, params: &str) -> Table {
        let (kind, params) = (kind.to_owned(), Zeroizing::new(params.to_owned()));
        Table { readonly: false, start: 0, sectors, kind, params }
    }

    fn answer() -> Box<[u8; BUFFER]> {
        let mut buffer = Box::new([0; BUFFER]);
        buffer[16..20].copy_from_slice(&312u32.to_ne_bytes());
        buffer[20..24].copy_from_slice(&1u32.to_ne_bytes());
        buffer[28..32].copy_from_slice(&READONLY_FLAG.to_ne_bytes());
        buffer[320..328].copy_from_slice(&77u64.to_ne_bytes());
        buffer[336..341].copy_from_slice(b"crypt");
        buffer[352..363].copy_from_slice(b"some params");
        buffer
    }

    #[test]
    fn an_answer_with_one_target_is_read() {
        let table = Table::parse(&answer()).unwrap();
        assert_eq!((table.readonly, table.start, table.sectors), (true, 0, 77));
        assert_eq!((table.kind.as_str(), table.params.as_str()), ("crypt", "some params"));
        assert_eq!(format!("{table:?}"), "Table(0 77 crypt …)");
    }

    #[test]
    fn an_answer_of_another_shape_is_refused() {
        for (at, value) in [(20, 0), (20, 2), (28, BUFFER_FULL_FLAG), (16, 0), (16, 16384), (16, u32::MAX)] {
            let mut answer = answer();
            answer[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            assert!(Table::parse(&answer).is_none(), "{value} at {at}");
        }
        let mut answer = answer();
        answer[352..].fill(b'x');
        assert!(Table::parse(&answer).is_none());
    }

    #[test]
    fn a_file_is_no_block_device() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(Device::at(file.path()), Err(DmError::Device { .. })));
        assert!(matches!(Device::at(Path::new("/nonexistent")), Err(DmError::Device { .. })));
    }
}
