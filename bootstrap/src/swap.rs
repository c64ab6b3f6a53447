//! Swap under a key that ends with the boot: its signature is written here, into the opened device.

use crate::refusal::Coded;
use crate::unlock::UnlockError;
use ccnode_evidence::Code;
use nix::errno::Errno;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const PAGE: usize = 4096;
/// The least that the kernel takes, in bytes: ten pages.
pub const LEAST: u64 = 10 * PAGE as u64;
/// Where the kernel looks for it: the end of the first page.
const SIGNATURE: &[u8] = b"SWAPSPACE2";
/// Behind room for a boot loader: version, last page.
const HEADER: usize = 1024;

/// Why there is no swap.
#[derive(Debug, thiserror::Error)]
pub enum SwapError {
    /// The partition can't be used.
    #[error("the partition for swap: {0}")]
    Partition(#[from] UnlockError),
    /// It can't be written.
    #[error("writing the signature of the swap device: {0}")]
    Write(#[source] io::Error),
    /// The kernel does not take it.
    #[error("turning swap on: {0}")]
    On(#[source] io::Error),
}

impl Coded for SwapError {
    fn code(&self) -> Code {
        match self {
            Self::Partition(error) => error.code(),
            Self::Write(_) | Self::On(_) => Code::DiskFailed,
        }
    }
}

/// The first page of a swap device of `len` bytes.
fn header(len: u64) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    let last = u32::try_from(len / PAGE as u64 - u64::from(len >= PAGE as u64)).unwrap_or(u32::MAX);
    let numbers = [1_u32.to_le_bytes(), last.to_le_bytes()].concat();
    for (at, bytes) in [(HEADER, numbers.as_slice()), (PAGE - SIGNATURE.len(), SIGNATURE)] {
        if let Some(place) = page.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    page
}

/// Has the kernel swap to the opened `device` of `len` bytes; whatever is there is lost.
pub fn start(device: &Path, len: u64) -> Result<(), SwapError> {
    let file = File::options().write(true).open(device).map_err(SwapError::Write)?;
    file.write_all_at(&header(len), 0).and_then(|()| file.sync_all()).map_err(SwapError::Write)?;
    drop(file);
    on(device).map_err(|e| SwapError::On(e.into()))
}

#[expect(unsafe_code, reason = "swapon(2) has no safe form")]
fn on(device: &Path) -> nix::Result<()> {
    let path = CString::new(device.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the path ends with a zero and lives until the call returns.
    Errno::result(unsafe { nix::libc::swapon(path.as_ptr(), 0) }).map(drop)
}

/// Takes it from the kernel again, as far as that goes.
#[expect(unsafe_code, reason = "swapoff(2) has no safe form")]
pub fn stop(device: &Path) {
    if let Ok(path) = CString::new(device.as_os_str().as_bytes()) {
        // SAFETY: the path ends with a zero and lives until the call returns.
        let _ = unsafe { nix::libc::swapoff(path.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_mkswap_writes() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        for path in [&ours, &theirs] {
            File::create(path).unwrap().set_len(1 << 20).unwrap();
        }
        let made = std::process::Command::new("/sbin/mkswap").arg("-q").arg(&theirs).status().unwrap();
        assert!(made.success());
        let mut theirs = std::fs::read(theirs).unwrap();
        // But for its UUID.
        theirs[HEADER + 12..HEADER + 28].fill(0);
        assert!(theirs[..PAGE] == header(1 << 20));
    }

    #[test]
    fn what_is_no_device_is_no_swap() {
        let full = start(Path::new("/dev/full"), LEAST).unwrap_err();
        assert_eq!((full.code(), full.to_string().contains("signature")), (Code::DiskFailed, true));
        let none = on(Path::new("/nowhere/at/all")).unwrap_err();
        assert_eq!(SwapError::On(none.into()).code(), Code::DiskFailed);
        let foreign = SwapError::Partition(UnlockError::NotBlank("not blank".into()));
        assert_eq!(foreign.code(), Code::DiskNotBlank);
    }
}
