//! Kernel modules, in the order of the image's lists; nothing is looked up by alias.

use crate::config;
use crate::refusal::Coded;
use ccnode_evidence::Code;
use nix::kmod::{ModuleInitFlags, finit_module};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A module that could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The list can't be read.
    #[error("list of modules: {0}")]
    List(#[source] config::ConfigError),
    /// A line of the list is no absolute path.
    #[error("{list}: `{line}` is no absolute path", list = .list.display())]
    Line {
        /// The list.
        list: PathBuf,
        /// The line.
        line: String,
    },
    /// The kernel refused it.
    #[error("{path}: {source}", path = .path.display())]
    Load {
        /// The module's file.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: std::io::Error,
    },
}

impl Coded for ModuleError {
    fn code(&self) -> Code {
        Code::ModuleFailed
    }
}

/// The paths in a list, one a line; empty lines don't count.
pub fn list(list: &Path) -> Result<Vec<PathBuf>, ModuleError> {
    let bytes = config::read(list).map_err(ModuleError::List)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| match Path::new(line).is_absolute() {
            true => Ok(PathBuf::from(line)),
            false => Err(ModuleError::Line { list: list.to_owned(), line: line.chars().take(120).collect() }),
        })
        .collect()
}

/// Loads `modules` one after the other. A module that is there already, or whose hardware is not, is no error.
pub fn load(modules: &[PathBuf]) -> Result<(), ModuleError> {
    for path in modules {
        let failed = |source| ModuleError::Load { path: path.clone(), source };
        let file = File::open(path).map_err(failed)?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(nix::Error::EEXIST | nix::Error::ENODEV) => {}
            Err(e) => return Err(failed(e.into())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_hold_absolute_paths() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("modules-late");
        std::fs::write(&path, "/lib/a.ko\n\n  /lib/b.ko \n").unwrap();
        assert_eq!(list(&path).unwrap(), [PathBuf::from("/lib/a.ko"), PathBuf::from("/lib/b.ko")]);
        std::fs::write(&path, "a.ko\n").unwrap();
        assert!(matches!(list(&path), Err(ModuleError::Line { .. })));
        assert!(matches!(list(&dir.path().join("none")), Err(ModuleError::List(_))));
    }

    #[test]
    fn a_missing_module_is_named() {
        let error = load(&["/nowhere/x.ko".into()]).unwrap_err();
        assert_eq!(error.code(), Code::ModuleFailed);
        assert!(error.to_string().starts_with("/nowhere/x.ko: "), "{error}");
    }
}
