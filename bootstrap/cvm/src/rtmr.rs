//! RTMR 3 of a TDX guest: the one register that firmware and kernel leave alone, extended once to cap a boot.

use crate::error::{CvmError, RegisterFault};
use crate::tree::bounded;
use sha2::{Digest as _, Sha384};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Length of a register: SHA-384.
const LEN: usize = 48;
/// The kernel's name of the register (Linux 6.16, sysfs-devices-virtual-misc-tdx_guest).
const FILE: &str = "rtmr3:sha384";

/// A register that can be extended and never set.
pub trait RuntimeRegister: Send + Sync {
    /// Its value now.
    fn value(&self) -> Result<[u8; LEN], CvmError>;

    /// Extends it by `digest`, and sees that it did.
    fn extend(&self, digest: &[u8; LEN]) -> Result<(), CvmError>;
}

/// What caps a boot: SHA-384(`ccnode:cap`).
pub fn cap_digest() -> [u8; LEN] {
    Sha384::digest(b"ccnode:cap").into()
}

/// RTMR 3 as the kernel shows it.
#[derive(Clone, Debug)]
pub struct Rtmr3 {
    path: PathBuf,
}

impl Rtmr3 {
    /// The register below `measurements`; `None` where the kernel does not show it.
    pub fn find(measurements: &Path) -> Option<Self> {
        let path = measurements.join(FILE);
        path.exists().then_some(Self { path })
    }

    fn failed(&self, operation: &'static str) -> impl Fn(io::Error) -> CvmError {
        let path = self.path.clone();
        move |source| CvmError::Register {
            path: path.clone(),
            fault: RegisterFault::Io { operation, source },
        }
    }
}

impl RuntimeRegister for Rtmr3 {
    fn value(&self) -> Result<[u8; LEN], CvmError> {
        let bytes = bounded(&self.path, LEN + 1).map_err(self.failed("reading"))?;
        let len = bytes.len();
        bytes
            .try_into()
            .map_err(|_| CvmError::Register { path: self.path.clone(), fault: RegisterFault::Length(len) })
    }

    fn extend(&self, digest: &[u8; LEN]) -> Result<(), CvmError> {
        let due: [u8; LEN] = Sha384::new().chain_update(self.value()?).chain_update(digest).finalize().into();
        // One write of 48 bytes: the kernel takes no part of a digest.
        let written = File::options().write(true).open(&self.path).and_then(|mut file| file.write(digest));
        let whole =
            written.and_then(|n| if n == LEN { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) });
        whole.map_err(self.failed("extending"))?;
        match self.value()? == due {
            true => Ok(()),
            false => Err(CvmError::Register { path: self.path.clone(), fault: RegisterFault::Value }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Code;
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use std::fs;
    use std::os::fd::AsRawFd as _;

    fn register(content: &[u8]) -> (tempfile::TempDir, Rtmr3) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), content).unwrap();
        let rtmr = Rtmr3::find(dir.path()).unwrap();
        (dir, rtmr)
    }

    fn fault(error: CvmError) -> RegisterFault {
        assert_eq!(error.code(), Code::RtmrFailed);
        match error {
            CvmError::Register { fault, .. } => fault,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_kernel_without_the_register_has_none() {
        assert!(Rtmr3::find(tempfile::tempdir().unwrap().path()).is_none());
    }

    #[test]
    fn t17_what_was_written_and_not_extended_is_told() {
        // A plain file keeps what is written: no register does.
        let (_dir, rtmr) = register(&[0; 48]);
        assert!(matches!(fault(rtmr.extend(&cap_digest()).unwrap_err()), RegisterFault::Value));
        assert_eq!(rtmr.value().unwrap(), cap_digest());
    }

    #[test]
    fn a_register_of_another_size_is_refused() {
        for len in [0, 47, 49] {
            let (_dir, rtmr) = register(&vec![0; len]);
            assert!(matches!(fault(rtmr.value().unwrap_err()), RegisterFault::Length(got) if got == len));
        }
    }

    #[test]
    fn one_that_can_not_be_read_or_written_is_named() {
        let (dir, rtmr) = register(&[0; 48]);
        fs::remove_file(dir.path().join(FILE)).unwrap();
        let got = fault(rtmr.extend(&cap_digest()).unwrap_err());
        assert!(matches!(got, RegisterFault::Io { operation: "reading", .. }), "{got}");
        // A file that reads and refuses to be written, also to root.
        let sealed = memfd_create(c"rtmr", MFdFlags::MFD_ALLOW_SEALING).unwrap();
        File::from(sealed.try_clone().unwrap()).write_all(&[0; 48]).unwrap();
        fcntl(&sealed, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE)).unwrap();
        let path = format!("/proc/self/fd/{}", sealed.as_raw_fd());
        std::os::unix::fs::symlink(path, dir.path().join(FILE)).unwrap();
        let got = fault(rtmr.extend(&cap_digest()).unwrap_err());
        assert!(matches!(got, RegisterFault::Io { operation: "extending", .. }), "{got}");
    }
}
