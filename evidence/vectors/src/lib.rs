//! Finds recorded evidence for tests: without it they are skipped, aloud, or fail where `CCNODE_REQUIRE_VECTORS` is `1`.
//! And [`assert_tiled`], by which tests of a format prove that they leave none of its bytes out.
//!
//! The evidence lies where `CCNODE_VECTORS` says, or beside the repository.
#![expect(
    clippy::panic,
    clippy::print_stderr,
    reason = "dev-only: a test whose files are broken must fail loudly"
)]

mod fields;

pub use fields::assert_tiled;

use serde_json::Value;
use std::path::{Path, PathBuf};

/// The folder of all vectors; `None` (after saying so) where there are none.
pub fn root() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors");
    let dir = std::env::var_os("CCNODE_VECTORS").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let required = std::env::var_os("CCNODE_REQUIRE_VECTORS").is_some_and(|value| value == "1");
    found(dir, required)
}

fn found(dir: PathBuf, required: bool) -> Option<PathBuf> {
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(!required, "vectors not found in {}", dir.display());
    eprintln!("skipped: vectors not found");
    None
}

/// The folder of one kind.
pub fn folder(kind: &str) -> Option<PathBuf> {
    root().map(|root| root.join(kind))
}

/// The folder of one kind, and what its `expected.json` states of its files.
pub fn stated(kind: &str) -> Option<(PathBuf, Value)> {
    let dir = folder(kind)?;
    let path = dir.join("expected.json");
    let stated = serde_json::from_slice(&bytes(&path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some((dir, stated))
}

/// One file, by its path from [`root`].
pub fn read(path: &str) -> Option<Vec<u8>> {
    root().map(|root| bytes(&root.join(path)))
}

fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_skipped_unless_it_is_required() {
        let nowhere = PathBuf::from("/nowhere/at/all");
        assert_eq!(found(nowhere.clone(), false), None);
        assert!(std::panic::catch_unwind(|| found(nowhere, true)).is_err());
        let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(found(here.clone(), true), Some(here));
    }

    #[test]
    fn files_and_what_is_stated_of_them() {
        let Some((dir, stated)) = stated("azure-hcl") else { return };
        assert!(stated["files"].is_object());
        let path = "azure-hcl/snp/hcl-report.bin";
        assert_eq!(
            read(path).map(|bytes| bytes.len()),
            std::fs::read(dir.join("snp/hcl-report.bin")).ok().map(|b| b.len())
        );
        assert_eq!(folder("azure-hcl"), Some(dir));
    }
}
