//! Parts of a build, kept by the hash of what went into them.

use ccnode_evidence::Sha256Digest;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Collects what a part is made of.
#[derive(Clone, Debug)]
pub(crate) struct Key(Sha256);

impl Key {
    /// The key of a kind of part; `kind` changes when the way it is made changes.
    pub(crate) fn new(kind: &str) -> Self {
        Self(Sha256::new()).with("kind", kind.as_bytes())
    }

    /// Adds an input: label and length keep neighbours apart.
    pub(crate) fn with(mut self, label: &str, bytes: &[u8]) -> Self {
        for part in [label.as_bytes(), bytes] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// Adds a file or a folder with all that lies in it: names, executable bits, contents, targets of links.
    pub(crate) fn with_path(self, label: &str, path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt as _;
        let meta = fs::symlink_metadata(path)?;
        if meta.is_dir() {
            let mut names: Vec<_> =
                fs::read_dir(path)?.map(|e| e.map(|e| e.file_name())).collect::<Result<_, _>>()?;
            names.sort();
            names.iter().try_fold(self.with("directory", label.as_bytes()), |key, name| {
                key.with_path(&format!("{label}/{}", name.to_string_lossy()), &path.join(name))
            })
        } else if meta.is_symlink() {
            Ok(self.with(label, fs::read_link(path)?.as_os_str().as_encoded_bytes()))
        } else {
            let executable = meta.permissions().mode() & 0o100 != 0;
            Ok(self.with(label, &[u8::from(executable)]).with("content", &fs::read(path)?))
        }
    }

    pub(crate) fn digest(&self) -> Sha256Digest {
        Sha256Digest(self.0.clone().finalize().into())
    }
}

/// A folder of parts. Two builds may use it at once: a part appears whole or not at all.
#[derive(Clone, Debug)]
pub(crate) struct Cache(PathBuf);

impl Cache {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self(dir.canonicalize()?))
    }

    /// Where the part of `key` lies, made by `make` in an empty folder if it isn't there yet.
    pub(crate) fn part<E>(
        &self,
        name: &str,
        key: &Key,
        io: impl Fn(io::Error) -> E,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let hex = key.digest().hex();
        let place = self.0.join(format!("{name}-{}", hex.get(..24).unwrap_or(&hex)));
        if place.is_dir() {
            return Ok(place);
        }
        let work = self.work().map_err(&io)?;
        let fresh = work.path().join(name);
        fs::create_dir(&fresh).map_err(&io)?;
        make(&fresh)?;
        match fs::rename(&fresh, &place) {
            Err(_) if place.is_dir() => Ok(place), // another build was faster
            done => done.map(|()| place).map_err(io),
        }
    }

    /// A folder for work in progress, removed when dropped.
    pub(crate) fn work(&self) -> io::Result<tempfile::TempDir> {
        use std::os::unix::fs::PermissionsExt as _;
        // Roots of a user namespace must be able to enter it.
        tempfile::Builder::new()
            .prefix("work-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir_in(&self.0)
    }
}

/// A part's name with its hash: the same in every cache.
pub(crate) fn name(part: &Path) -> String {
    part.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_kept_apart() {
        let key = |a: &[u8], b: &[u8]| Key::new("k").with("a", a).with("a", b).digest();
        assert_ne!(key(b"ab", b"c"), key(b"a", b"bc"));
        assert_eq!(key(b"ab", b"c"), key(b"ab", b"c"));
    }

    #[test]
    fn folders_count_names_bits_and_contents() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let key = || Key::new("k").with_path("dir", dir.path()).unwrap().digest();
        let mut seen = vec![key()];
        fs::write(dir.path().join("a"), "1").unwrap();
        seen.push(key());
        fs::write(dir.path().join("a"), "2").unwrap();
        seen.push(key());
        fs::set_permissions(dir.path().join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        seen.push(key());
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        seen.push(key());
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5);
    }

    #[test]
    fn parts_are_made_once_and_failures_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        let key = Key::new("k");
        let fails = |_: &Path| Err(io::Error::other("no"));
        assert!(cache.part("part", &key, |e| e, fails).is_err());
        let makes = |p: &Path| fs::write(p.join("x"), "made");
        let made = cache.part("part", &key, |e| e, makes).unwrap();
        assert_eq!(cache.part("part", &key, |e| e, fails).unwrap(), made);
        assert_eq!(fs::read_to_string(made.join("x")).unwrap(), "made");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
