//! Files of the service's folder: new ones never overwrite, replaced ones are replaced whole.

use serde::Serialize;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::Path;

/// Writes a new file of mode 0600; an existing one is an error.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    owned(path, &file)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Gives a file to whom its folder belongs: the administrator may be root where the service is not.
fn owned(path: &Path, file: &File) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let (folder, own) = (std::fs::metadata(folder)?, file.metadata()?);
    if (folder.uid(), folder.gid()) == (own.uid(), own.gid()) || own.uid() != 0 {
        return Ok(());
    }
    fchown(file, Some(folder.uid()), Some(folder.gid()))
}

/// Replaces a file by JSON.
pub fn replace_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    replace(path, &text)
}

/// Replaces a file of mode 0600 atomically: a crash leaves the old or the new one.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    owned(path, &file)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_root_writes_belongs_to_the_folders_owner() {
        let dir = tempfile::tempdir().unwrap();
        if std::fs::metadata(dir.path()).unwrap().uid() != 0 {
            eprintln!("skipped: not root");
            return;
        }
        std::os::unix::fs::chown(dir.path(), Some(12345), Some(12346)).unwrap();
        let (new, old) = (dir.path().join("new"), dir.path().join("old"));
        create(&new, b"a").unwrap();
        std::fs::write(&old, b"b").unwrap();
        replace(&old, b"c").unwrap();
        for path in [new, old] {
            let is = std::fs::metadata(&path).unwrap();
            assert_eq!((is.uid(), is.gid(), is.mode() & 0o777), (12345, 12346, 0o600), "{path:?}");
        }
    }
}
