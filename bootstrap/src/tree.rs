//! Copies a tree of files as it is: owners, modes and times, links as links; of nothing that is neither file, folder nor link.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

/// Entries that are copied at most; the tree of an image is far below.
pub const ENTRIES: u64 = 1 << 20;
/// Folders within folders at most.
const DEPTH: usize = 64;

/// Why a tree was not copied.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A file can't be read or written.
    #[error("copying {path}: {source}", path = .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A device, pipe or socket.
    #[error("{} is neither file, folder nor link", .0.display())]
    Odd(PathBuf),
    /// More than any image has.
    #[error("{} is one too many or too deep", .0.display())]
    TooMuch(PathBuf),
}

/// Copies what is below `from`, and what `from` itself is like, to the empty folder `to`; `progress` is called for each entry.
pub fn copy(from: &Path, to: &Path, progress: impl FnMut()) -> Result<u64, TreeError> {
    let mut copy = Copy { left: ENTRIES, progress };
    copy.inside(from, to, DEPTH)?;
    Ok(ENTRIES - copy.left)
}

struct Copy<P> {
    left: u64,
    progress: P,
}

impl<P: FnMut()> Copy<P> {
    /// Contents first: they change a folder's times.
    fn inside(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), TreeError> {
        let depth = depth.checked_sub(1).ok_or_else(|| TreeError::TooMuch(from.to_owned()))?;
        for entry in fs::read_dir(from).map_err(at(from))? {
            let entry = entry.map_err(at(from))?;
            self.entry(&entry.path(), &to.join(entry.file_name()), depth)?;
        }
        let meta = fs::symlink_metadata(from).map_err(at(from))?;
        like(&meta, to).map_err(at(to))
    }

    fn entry(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), TreeError> {
        (self.progress)();
        self.left = self.left.checked_sub(1).ok_or_else(|| TreeError::TooMuch(from.to_owned()))?;
        let meta = fs::symlink_metadata(from).map_err(at(from))?;
        if meta.is_symlink() {
            let made = fs::read_link(from).and_then(|target| symlink(target, to));
            made.and_then(|()| lchown(to, Some(meta.uid()), Some(meta.gid()))).map_err(at(to))
        } else if meta.is_dir() {
            // lost+found is there already.
            match fs::create_dir(to) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(to)(error)),
                _ => self.inside(from, to, depth),
            }
        } else if meta.is_file() {
            fs::copy(from, to).map_err(at(to))?;
            like(&meta, to).map_err(at(to))
        } else {
            Err(TreeError::Odd(from.to_owned()))
        }
    }
}

/// Owner first: changing it takes some modes away.
fn like(meta: &fs::Metadata, to: &Path) -> io::Result<()> {
    chown(to, Some(meta.uid()), Some(meta.gid()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    let times = FileTimes::new().set_modified(meta.modified()?).set_accessed(meta.modified()?);
    File::open(to)?.set_times(times)
}

fn at(path: &Path) -> impl Fn(io::Error) -> TreeError {
    move |source| TreeError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_arrives_as_it_was_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("lib/empty")).unwrap();
        fs::create_dir_all(to.join("lost+found")).unwrap();
        fs::create_dir(from.join("lost+found")).unwrap();
        fs::write(from.join("lib/file"), "content").unwrap();
        fs::set_permissions(from.join("lib/file"), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::set_permissions(from.join("lib/empty"), fs::Permissions::from_mode(0o1777)).unwrap();
        symlink("/etc", from.join("lib/folder")).unwrap();
        symlink("none", from.join("lib/dangling")).unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        for path in ["lib/file", "lib/empty", "lib", "."] {
            let times = FileTimes::new().set_modified(old);
            File::open(from.join(path)).unwrap().set_times(times).unwrap();
        }
        let mut told = 0;
        assert_eq!(copy(&from, &to, || told += 1).unwrap(), 6);
        assert_eq!(told, 6);
        for path in ["lib/file", "lib/empty", "lib", "."] {
            let of = |root: &Path| {
                let meta = fs::symlink_metadata(root.join(path)).unwrap();
                (meta.mode(), meta.uid(), meta.gid(), meta.modified().unwrap())
            };
            assert_eq!(of(&to), of(&from), "{path}");
        }
        assert_eq!(fs::read_to_string(to.join("lib/file")).unwrap(), "content");
        assert_eq!(fs::read_link(to.join("lib/folder")).unwrap(), Path::new("/etc"));
        assert_eq!(fs::read_link(to.join("lib/dangling")).unwrap(), Path::new("none"));
    }

    #[test]
    fn what_no_image_has_is_not_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(&from).unwrap();
        fs::create_dir_all(&to).unwrap();
        nix::unistd::mkfifo(&from.join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(matches!(copy(&from, &to, || ()), Err(TreeError::Odd(_))));
        fs::remove_file(from.join("pipe")).unwrap();
        fs::create_dir_all(from.join(vec!["d"; DEPTH].join("/"))).unwrap();
        assert!(matches!(copy(&from, &to, || ()), Err(TreeError::TooMuch(_))));
        assert!(matches!(copy(&from.join("none"), &to, || ()), Err(TreeError::Io { .. })));
    }
}
