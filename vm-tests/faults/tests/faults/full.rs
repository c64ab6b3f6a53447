//! A small file system in memory that can be filled to its last byte: what a full disk is, `ENOSPC` and all.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A service's folder takes about one MiB.
const SIZE: &str = "size=8m";
const FILLER: &str = "filler";

/// A mounted one; dropping it unmounts it.
pub(crate) struct Small(PathBuf);

impl Small {
    /// Whether file systems may be mounted here; said aloud where not, for then what wants one is skipped.
    pub(crate) fn is_possible() -> bool {
        let dir = tempfile::tempdir().unwrap();
        match Self::on(dir.path()) {
            Ok(_) => true,
            Err(why) => {
                println!("skipped: a file system without space, since none can be mounted: {why}");
                assert!(std::env::var_os("CCNODE_REQUIRE_VMS").is_none(), "skips are failures here");
                false
            }
        }
    }

    /// One on this folder.
    pub(crate) fn on(folder: &Path) -> Result<Self, String> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(folder).output();
        let mount = mount.map_err(|e| e.to_string())?;
        match mount.status.success() {
            true => Ok(Self(folder.to_owned())),
            false => Err(String::from_utf8_lossy(&mount.stderr).trim().to_owned()),
        }
    }

    /// Leaves not a byte.
    pub(crate) fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.0.join(FILLER)).unwrap();
        let full = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }

    /// Gives the space back.
    pub(crate) fn free(&self) {
        match std::fs::remove_file(self.0.join(FILLER)) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a service that is being killed may still hold a file.
        let _gone = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
