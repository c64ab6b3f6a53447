//! The empty file system that an image carries for volumes which no copy of its root fills.

use crate::gpt::{Guid, MIB};
use crate::tool::{Tool, ToolError};
use ccnode_luks_header::template::{Template, TemplateError};
use std::io;
use std::path::Path;

/// Its length: a journal, one group's inodes, and room for what a folder /var begins with; a node grows it.
pub(crate) const EMPTY_MIB: u64 = 32;
/// Where it lies in the initramfs.
pub(crate) const PATH: &str = "etc/ccnode/empty.ext4";
/// Each group that is added has as many: one for 16 KiB.
const INODES: &str = "8192";

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum EmptyError {
    /// mke2fs failed.
    #[error(transparent)]
    Tool(ToolError),
    /// A file can't be read or written.
    #[error(transparent)]
    Io(io::Error),
    /// What was made is no file system of ours.
    #[error(transparent)]
    Template(TemplateError),
}

/// Makes it in the folder `work`, with no file younger than `epoch`, Unix seconds.
pub(crate) fn make(work: &Path, epoch: u64) -> Result<Vec<u8>, EmptyError> {
    let path = work.join("empty");
    let file = std::fs::File::create(&path).and_then(|file| file.set_len(EMPTY_MIB * MIB));
    file.map_err(EmptyError::Io)?;
    let uuid = Guid::derived(b"empty/1", "ext4").to_string();
    let extended =
        format!("hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard");
    Tool::new("mke2fs", "e2fsprogs")
        .env("E2FSPROGS_FAKE_TIME", epoch.to_string())
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-N", INODES, "-m", "0", "-J", "size=8"])
        .args(["-L", "state", "-U", &uuid, "-E", &extended])
        .arg(&path)
        .run()
        .map_err(EmptyError::Tool)?;
    let image = std::fs::read(&path).map_err(EmptyError::Io)?;
    Ok(Template::of(&image).map_err(EmptyError::Template)?.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_small_sound_and_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let one = make(dir.path(), 1_700_000_000).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert!(one == make(dir.path(), 1_700_000_000).unwrap(), "two of one date differ");
        assert!(one.len() < 1 << 20, "{} bytes", one.len());
        assert_eq!(Template::decode(&one).unwrap().len(), EMPTY_MIB * MIB);
        Tool::new("e2fsck", "e2fsprogs").args(["-f", "-n"]).arg(dir.path().join("empty")).run().unwrap();
    }
}
