//! No shipped source sorts out control characters by itself: that leaves what turns or hides text, which [`ccnode_evidence::is_obeyed`] knows.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};

/// Who may ask for control characters alone: the function itself, and one that counts what is odd in a text.
const MAY: [&str; 2] = ["evidence/src/text.rs", "tpm/eventlog/src/text.rs"];

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap_or_default();
        if entry.file_type().unwrap().is_dir() {
            if !["target", "tests", "vm-tests"].contains(&name.as_str()) && !name.starts_with('.') {
                found.extend(sources(&entry.path()));
            }
        } else if name.ends_with(".rs") && !name.ends_with("_tests.rs") && name != "tests.rs" {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn shipped_sources_ask_for_all_that_a_terminal_obeys() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let asks = |what: &str| {
        let has = |path: &PathBuf| fs::read_to_string(path).unwrap().contains(what);
        let named = |path: PathBuf| path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        sources(root).into_iter().filter(has).map(named).collect::<Vec<_>>()
    };
    let mut alone = asks(".is_control()");
    alone.sort();
    assert_eq!(alone, MAY, "use `ccnode_evidence::is_obeyed` in the others");
    assert!(asks("is_obeyed").len() > 10);
}
