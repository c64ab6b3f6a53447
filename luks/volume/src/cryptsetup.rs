//! libcryptsetup, kept small: a header in memory, its messages in our errors, nothing on the terminal.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use libcryptsetup_rs::{CryptDevice, CryptInit, Either, LibcryptErr, set_log_callback};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A call of libcryptsetup failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}{}", if log.is_empty() { String::new() } else { format!(" ({log})") })]
pub struct CryptError {
    /// What was tried.
    pub what: &'static str,
    /// The library's error.
    #[source]
    pub source: LibcryptErr,
    /// The library's own words, if it had any.
    pub log: String,
}

impl CryptError {
    /// The errno of the call, if that is what it failed with.
    pub(crate) fn errno(&self) -> Option<i32> {
        match &self.source {
            LibcryptErr::IOError(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

thread_local! {
    static LOG: RefCell<String> = const { RefCell::new(String::new()) };
}

const ERROR: c_int = 1;
const LOG_MAX: usize = 400;

/// Runs one call of the library; its messages go into the error, never to the terminal.
pub(crate) fn call<T>(
    what: &'static str,
    call: impl FnOnce() -> Result<T, LibcryptErr>,
) -> Result<T, CryptError> {
    LOG.take();
    set_log_callback::<()>(Some(keep), None);
    call().map_err(|source| CryptError { what, source, log: LOG.take() })
}

/// Keeps error messages of the library for [`call`].
extern "C" fn keep(level: c_int, message: *const c_char, _: *mut c_void) {
    if level != ERROR || message.is_null() {
        return;
    }
    #[expect(unsafe_code, reason = "the library hands over a C string")]
    // SAFETY: not null, and libcryptsetup passes a NUL-terminated string that lives during the call.
    let message = unsafe { CStr::from_ptr(message) };
    let line: String = message.to_string_lossy().trim().chars().flat_map(char::escape_default).collect();
    LOG.with(|log| {
        if let Ok(mut log) = log.try_borrow_mut()
            && log.len() + line.len() < LOG_MAX
        {
            if !log.is_empty() {
                log.push_str("; ");
            }
            log.push_str(&line);
        }
    });
}

/// A header in anonymous memory, which the library reaches by a path below /proc.
pub(crate) struct HeaderFile(std::fs::File);

impl HeaderFile {
    /// `bytes`, followed by zeros up to `len`.
    pub(crate) fn new(bytes: &[u8], len: u64) -> std::io::Result<Self> {
        let mut file = std::fs::File::from(memfd_create(c"luks-header", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(bytes)?;
        file.set_len(len)?;
        Ok(Self(file))
    }

    pub(crate) fn file(&self) -> &std::fs::File {
        &self.0
    }

    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }

    /// The library's handle on this header, with the ciphertext on `data` if that is given.
    pub(crate) fn device(&self, data: Option<&Path>) -> Result<CryptDevice, CryptError> {
        let header = self.path();
        let paths =
            data.map_or(Either::Left(header.as_path()), |data| Either::Right((header.as_path(), data)));
        let mut device = call("initialize", || CryptInit::init_with_data_device(paths))?;
        // The header is private memory: a lock would only need a directory below /run.
        call("turn metadata locking off", || device.settings_handle().metadata_locking(false))?;
        Ok(device)
    }
}
