//! The root source: the ext4 image, its dm-verity tree behind it, and the page at the end that says where the tree begins.

use crate::bytes::align;
use crate::cache::Key;
use crate::ext4::BLOCK;
use crate::gpt::{Guid, MIB};
use crate::tool::{Tool, ToolError};
use ccnode_evidence::Sha256Digest;
use ccnode_luks_header::verity;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Why no root source can be made.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// veritysetup failed.
    #[error(transparent)]
    Tool(ToolError),
    /// veritysetup printed no root hash.
    #[error("`veritysetup` printed no root hash")]
    NoRootHash,
    /// A file can't be read or written.
    #[error("can't access {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A root source as it lies in its partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The partition's content.
    pub path: PathBuf,
    /// Its length in MiB.
    pub mib: u64,
    /// The root hash of its tree.
    pub root_hash: Sha256Digest,
}

/// Makes the ext4 image at `path` a root source of its own. Salt and UUID follow from `name`.
pub fn root_source(path: &Path, name: &str) -> Result<Source, SourceError> {
    make(path, &Key::new(name))
}

/// Appends tree and trailer to the ext4 image at `path`. Salt and UUID follow from `key`.
pub(crate) fn make(path: &Path, key: &Key) -> Result<Source, SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), source };
    let data = align(fs::metadata(path).map_err(io)?.len(), BLOCK);
    let output = Tool::new("veritysetup", "cryptsetup-bin")
        .args(["format", "--format=1", "--hash=sha256", "--data-block-size=4096", "--hash-block-size=4096"])
        .arg(format!("--salt={}", key.clone().with("salt", b"").digest()))
        .arg(format!("--uuid={}", Guid::derived(&key.digest().0, "verity")))
        .arg(format!("--data-blocks={}", data / BLOCK))
        .arg(format!("--hash-offset={data}"))
        .args([path, path])
        .text()
        .map_err(SourceError::Tool)?;
    let hash = output.lines().find_map(|line| line.strip_prefix("Root hash:"));
    let root_hash = hash.and_then(|h| h.trim().parse().ok()).ok_or(SourceError::NoRootHash)?;
    let file = File::options().read(true).write(true).open(path).map_err(io)?;
    let length = align(file.metadata().map_err(io)?.len() + BLOCK, MIB);
    file.set_len(length).map_err(io)?;
    file.write_all_at(&verity::trailer(data), length - BLOCK).map_err(io)?;
    Ok(Source { path: path.to_owned(), mib: length / MIB, root_hash })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(content: &[u8], dir: &Path) -> Source {
        fs::write(dir.join("source"), content).unwrap();
        make(&dir.join("source"), &Key::new("test")).unwrap()
    }

    #[test]
    fn tree_is_found_by_the_trailer_and_verifies() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..300 * 4096u32).map(|i| (i / 4096) as u8 ^ i as u8).collect();
        let source = made(&content, dir.path());
        let bytes = fs::read(&source.path).unwrap();
        assert_eq!(bytes.len() as u64, source.mib * MIB);
        let offset = verity::read_trailer(bytes.last_chunk().unwrap()).unwrap();
        assert_eq!(offset as usize, content.len());
        let block = bytes[offset as usize..].first_chunk().unwrap();
        let judged = verity::Verity::judge(block, offset, bytes.len() as u64).unwrap();
        assert_eq!(judged.data_blocks, 300);
        let verify = |hash: &str| {
            Tool::new("veritysetup", "cryptsetup-bin")
                .args(["verify", &format!("--hash-offset={offset}")])
                .args([&source.path, &source.path])
                .arg(hash)
                .run()
        };
        verify(&source.root_hash.hex()).unwrap();
        assert!(verify(&"0".repeat(64)).is_err());
    }

    #[test]
    fn same_content_same_source() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (first, second) = (made(&[7; 8192], a.path()), made(&[7; 8192], b.path()));
        assert_eq!(first.root_hash, second.root_hash);
        assert_eq!(fs::read(first.path).unwrap(), fs::read(second.path).unwrap());
        assert_ne!(made(&[8; 8192], b.path()).root_hash, first.root_hash);
    }
}
