//! The shipped program's allocator is the one that was chosen for it.

use std::process::Command;

/// It tells how many pages it was asked for: none, where it is linked and everybody asks the C library.
#[test]
fn the_program_asks_mimalloc_for_memory() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ccnode-trust"));
    let out = program.arg("--version").env("MIMALLOC_SHOW_STATS", "1").output().unwrap();
    let told = String::from_utf8(out.stderr).unwrap();
    let pages = told.lines().find_map(|line| line.trim_start().strip_prefix("pages     :"));
    let total =
        pages.and_then(|numbers| numbers.split_whitespace().nth(1)).unwrap_or_else(|| panic!("{told}"));
    assert!(total.parse::<u32>().unwrap() > 5, "{told}");
}
