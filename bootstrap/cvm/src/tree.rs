//! The tree of report entries as a file system shows it: a folder an entry, a file an attribute.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A folder in which report entries can be made (Linux, Documentation/ABI/testing/configfs-tsm-report).
///
/// An implementer owes the errors that the kernel gives: no provider is ENXIO or ENODEV at `make`, an attribute that the provider does
/// not have is ENOENT, and an entry that is there already is EEXIST.
pub trait ReportTree: Send + Sync {
    /// Makes an entry.
    fn make(&self, entry: &str) -> io::Result<()>;

    /// Removes an entry.
    fn remove(&self, entry: &str) -> io::Result<()>;

    /// Whether the entry has the attribute.
    fn has(&self, entry: &str, attribute: &str) -> bool;

    /// Writes an attribute whole.
    fn write(&self, entry: &str, attribute: &str, bytes: &[u8]) -> io::Result<()>;

    /// Reads an attribute, and stops after `limit` bytes.
    fn read(&self, entry: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>>;
}

/// The kernel's tree, or a folder that stands for it.
#[derive(Clone, Debug)]
pub struct ConfigFs {
    root: PathBuf,
}

impl ConfigFs {
    /// The tree at `root`: `/sys/kernel/config/tsm/report`.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn attribute(&self, entry: &str, attribute: &str) -> PathBuf {
        self.root.join(entry).join(attribute)
    }
}

impl ReportTree for ConfigFs {
    fn make(&self, entry: &str) -> io::Result<()> {
        fs::create_dir(self.root.join(entry))
    }

    fn remove(&self, entry: &str) -> io::Result<()> {
        fs::remove_dir(self.root.join(entry))
    }

    fn has(&self, entry: &str, attribute: &str) -> bool {
        fs::symlink_metadata(self.attribute(entry, attribute)).is_ok()
    }

    fn write(&self, entry: &str, attribute: &str, bytes: &[u8]) -> io::Result<()> {
        // Never created: an attribute that is not there must be an error. What the kernel thinks of the bytes shows when the
        // file is closed, and there only in the generation.
        File::options().write(true).open(self.attribute(entry, attribute))?.write_all(bytes)
    }

    fn read(&self, entry: &str, attribute: &str, limit: usize) -> io::Result<Vec<u8>> {
        bounded(&self.attribute(entry, attribute), limit)
    }
}

/// A file's content, `limit` bytes of it at most; what is left unread is the caller's to notice by asking for one more.
pub(crate) fn bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_that_is_not_there_is_never_made() {
        let dir = tempfile::tempdir().unwrap();
        let tree = ConfigFs::at(dir.path());
        tree.make("a").unwrap();
        assert_eq!(tree.make("a").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(tree.write("a", "inblob", b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!tree.has("a", "inblob"));
        tree.remove("a").unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn reading_ends_at_the_limit() {
        let tree = ConfigFs::at("/");
        assert_eq!(tree.read("dev", "zero", 7).unwrap(), [0; 7]);
    }
}
