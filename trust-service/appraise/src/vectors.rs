//! Finds the shared test vectors; tests without them are skipped, or fail where they are required.

use std::path::PathBuf;

/// The file's bytes; `None` (after saying so) where there are no vectors.
pub(crate) fn read(path: &str) -> Option<Vec<u8>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors");
    let dir = std::env::var_os("CCNODE_VECTORS").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    if !dir.is_dir() {
        let required = std::env::var_os("CCNODE_REQUIRE_VECTORS").is_some_and(|v| v == "1");
        assert!(!required, "vectors not found in {}", dir.display());
        eprintln!("skipped: vectors not found");
        return None;
    }
    Some(std::fs::read(dir.join(path)).unwrap())
}
