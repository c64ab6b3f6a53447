//! What process 1 does to itself, done to children: between fork and exec there is one thread.
#![expect(unsafe_code, reason = "pre_exec has no safe form")]

use super::*;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Shell: writes what its descriptors 0 to 2 are to the file that it is given.
const DESCRIPTORS: &str = r#"are=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); echo "$are" >"$0""#;

/// Runs [`DESCRIPTORS`] as `open_standard` leaves a process in which `closed` were closed.
fn descriptors(closed: &'static [i32], console: &Path) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let said = dir.path().join("said");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", DESCRIPTORS]).arg(&said);
    let console = console.to_owned();
    // SAFETY: only system calls, and memory that the child owns.
    unsafe {
        shell.pre_exec(move || {
            for fd in closed {
                nix::libc::close(*fd);
            }
            open_standard(&console);
            Ok(())
        });
    }
    assert!(shell.status().unwrap().success());
    fs::read_to_string(said).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn descriptors_0_to_2_are_open_whatever_was() {
    let dir = tempfile::tempdir().unwrap();
    let console = dir.path().join("console");
    fs::write(&console, "").unwrap();
    let there = ["/dev/null", console.to_str().unwrap(), console.to_str().unwrap()];
    for closed in [[].as_slice(), &[0], &[1], &[2], &[0, 1], &[1, 2], &[0, 2], &[0, 1, 2]] {
        assert_eq!(descriptors(closed, &console), there, "{closed:?} closed");
        let none = descriptors(closed, &dir.path().join("none"));
        assert_eq!(none, ["/dev/null"; 3], "{closed:?} closed, no console");
    }
}

#[test]
fn the_environment_is_ours_alone() {
    let mut env = Command::new("env");
    // SAFETY: the child of a fork has one thread; nothing of the standard library's environment is used.
    unsafe {
        env.pre_exec(|| {
            nix::libc::setenv(c"LD_PRELOAD".as_ptr(), c"x".as_ptr(), 1);
            set_environment();
            Ok(())
        });
    }
    let output = env.output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "TSS2_LOG=all+NONE\nDM_DISABLE_UDEV=1\n");
}
