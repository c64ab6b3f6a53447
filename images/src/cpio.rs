//! Archives in the "newc" form that the kernel unpacks as an initramfs: written reproducibly, and read back.

use std::collections::BTreeMap;

/// What an entry is. Owner is root, modification time zero, for every one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A directory of mode 0755.
    Directory,
    /// A file with its permission bits (0o755) and content.
    File(u32, Vec<u8>),
    /// A symbolic link and where it points.
    Symlink(String),
}

/// Why bytes are not an archive that [`Archive::to_bytes`] would write.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CpioError {
    /// The archive ends inside an entry or without a trailer.
    #[error("the archive is truncated at byte {0}")]
    Truncated(usize),
    /// No entry of the "newc" form.
    #[error("no newc header at byte {0}")]
    Header(usize),
    /// A name or link target is not UTF-8, or empty.
    #[error("the name at byte {0} is not text")]
    Name(usize),
    /// A device, a socket or a FIFO.
    #[error("`{name}` has mode {mode:o}: only directories, files and links are known")]
    Mode {
        /// The entry.
        name: String,
        /// Its mode with the type bits.
        mode: u32,
    },
    /// An entry or the whole is beyond what the form can express (4 GiB).
    #[error("`{0}` is too large for the newc form")]
    TooLarge(String),
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const TYPE: u32 = 0o170_000;
const TRAILER: &str = "TRAILER!!!";
const HEADER: usize = 110;

/// Entries by their path without a leading slash, sorted: parents come before their children.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Archive(BTreeMap<String, Entry>);

impl Archive {
    /// Adds a directory and its parents.
    pub fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        self.parents(path);
        self.0.entry(path.to_owned()).or_insert(Entry::Directory);
    }

    /// Adds or replaces a file; its parents are made.
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        let path = path.trim_matches('/');
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::File(mode, content));
    }

    /// Adds or replaces a symbolic link; its parents are made.
    pub fn symlink(&mut self, path: &str, target: &str) {
        let path = path.trim_matches('/');
        self.parents(path);
        self.0.insert(path.to_owned(), Entry::Symlink(target.to_owned()));
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let parent = path.get(..at).unwrap_or_default();
            self.0.entry(parent.to_owned()).or_insert(Entry::Directory);
        }
    }

    /// The content of a file.
    pub fn content(&self, path: &str) -> Option<&[u8]> {
        match self.0.get(path.trim_matches('/')) {
            Some(Entry::File(_, content)) => Some(content),
            _ => None,
        }
    }

    /// Paths and entries, sorted by path.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.0.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// The archive, uncompressed: the same entries give the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CpioError> {
        let mut out = Vec::new();
        for (inode, (path, entry)) in self.0.iter().enumerate() {
            let (mode, links, content) = match entry {
                Entry::Directory => (DIRECTORY | 0o755, 2, [].as_slice()),
                Entry::File(mode, content) => (FILE | (mode & 0o7777), 1, content.as_slice()),
                Entry::Symlink(target) => (SYMLINK | 0o777, 1, target.as_bytes()),
            };
            record(&mut out, inode + 1, mode, links, path, content)?;
        }
        record(&mut out, 0, 0, 1, TRAILER, &[])?;
        Ok(out)
    }

    /// Reads an uncompressed archive of one segment. Owners and times are dropped.
    pub fn parse(bytes: &[u8]) -> Result<Self, CpioError> {
        let mut archive = Self::default();
        let mut at = 0;
        loop {
            let header = bytes.get(at..at + HEADER).ok_or(CpioError::Truncated(at))?;
            if header.get(..6) != Some(b"070701") {
                return Err(CpioError::Header(at));
            }
            let mode = field(header, 1).ok_or(CpioError::Header(at))?;
            let size = field(header, 6).ok_or(CpioError::Header(at))? as usize;
            let name_size = field(header, 11).ok_or(CpioError::Header(at))? as usize;
            let name = bytes.get(at + HEADER..at + HEADER + name_size).ok_or(CpioError::Truncated(at))?;
            let name = match name.split_last() {
                Some((0, name)) => std::str::from_utf8(name).map_err(|_| CpioError::Name(at))?,
                _ => return Err(CpioError::Name(at)),
            };
            let start = (at + HEADER + name_size).next_multiple_of(4);
            let content = bytes.get(start..start + size).ok_or(CpioError::Truncated(at))?;
            if name == TRAILER {
                return Ok(archive);
            }
            let entry = match mode & TYPE {
                DIRECTORY => Entry::Directory,
                FILE => Entry::File(mode & 0o7777, content.to_vec()),
                SYMLINK => {
                    let target = std::str::from_utf8(content).map_err(|_| CpioError::Name(at))?;
                    Entry::Symlink(target.to_owned())
                }
                _ => return Err(CpioError::Mode { name: name.to_owned(), mode }),
            };
            archive.0.insert(name.to_owned(), entry);
            at = (start + size).next_multiple_of(4);
        }
    }
}

/// The header's number at `index`: eight hex digits each, behind the magic.
fn field(header: &[u8], index: usize) -> Option<u32> {
    let digits = header.get(6 + index * 8..14 + index * 8)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn record(
    out: &mut Vec<u8>,
    inode: usize,
    mode: u32,
    links: u32,
    name: &str,
    content: &[u8],
) -> Result<(), CpioError> {
    let narrow = |n: usize| u32::try_from(n).map_err(|_| CpioError::TooLarge(name.to_owned()));
    let numbers = [narrow(inode)?, mode, 0, 0, links, 0, narrow(content.len())?, 0, 0, 0, 0];
    out.extend_from_slice(b"070701");
    for number in numbers.into_iter().chain([narrow(name.len() + 1)?, 0]) {
        out.extend_from_slice(format!("{number:08X}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(4), 0);
    Ok(())
}

#[cfg(test)]
#[path = "cpio_tests.rs"]
mod tests;
