//! `ccnode-init` as a command: it is no first process there, and says so.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::process::{Command, Output};

fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_ccnode-init")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn outside_an_initramfs_it_boots_nothing() {
    let (code, out, err) = run(&[]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(err, "ccnode-init: this is the first process of an initramfs; try --help\n");
    assert_eq!(run(&["boot"]).0, Some(2));
    assert_eq!(run(&["status", "--yaml"]).0, Some(2));
}

#[test]
fn help_fits_a_console() {
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(out.lines().all(|line| line.len() <= 80) && out.contains("ccnode-init status"), "{out}");
    assert!(run(&["--version"]).1.starts_with("ccnode-init "));
}

#[test]
fn status_says_where_there_is_none() {
    if std::path::Path::new("/run/ccnode/status.json").exists() {
        return;
    }
    let (code, out, err) = run(&["status", "--json"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("/run/ccnode/status.json") && err.contains("not booted by ccnode-init"), "{err}");
}
