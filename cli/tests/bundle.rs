//! `ccnode bundle`: what is made is verified by its key alone, and mistakes are told apart by exit code.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn ccnode(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ccnode")).current_dir(dir).args(args).output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// A folder with keys `a` and `b`, and a CA's certificate.
fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "ARK-Test");
    std::fs::write(dir.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    for key in ["a", "b"] {
        assert!(ccnode(&dir, &["bundle", "key", key]).status.success());
    }
    dir
}

#[test]
fn a_bundle_is_believed_by_its_key_and_date() {
    let dir = folder("bundle-good");
    // The same certificate twice is one item.
    let made = ccnode(&dir, &["bundle", "make", "-o", "out", "--key", "a", "ca.pem", "ca.pem"]);
    assert!(made.status.success(), "{made:?}");
    let shown = ccnode(&dir, &["--json", "bundle", "show", "out"]);
    let value: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(value["items"].as_array().unwrap().len(), 1);
    assert_eq!(value["items"][0]["what"], "ARK-Test");
    let good =
        ccnode(&dir, &["bundle", "verify", "out", "--key", "b.pub", "--key", "a.pub", "--max-age", "1"]);
    assert!(said(&good).1.contains("signature   good"), "{good:?}");

    let foreign = said(&ccnode(&dir, &["bundle", "verify", "out", "--key", "b.pub"]));
    assert!(foreign.0 == Some(3) && foreign.1.contains("none of the 1 pinned keys"), "{foreign:?}");
    let ended = ccnode(&dir, &["bundle", "make", "-o", "old", "--key", "a", "--valid-for", "0", "ca.pem"]);
    assert!(ended.status.success());
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let ended = said(&ccnode(&dir, &["bundle", "verify", "old", "--key", "a.pub"]));
    assert!(ended.0 == Some(3) && ended.1.contains("make a new one"), "{ended:?}");
}

#[test]
fn mistakes_are_named() {
    let dir = folder("bundle-bad");
    let again = said(&ccnode(&dir, &["bundle", "key", "a"]));
    assert_eq!(again, (Some(2), "ccnode: a is there already: choose another name\n".into()));
    for (args, words) in [
        (["make", "-o", "out", "--key", "a", "a"], "PEM block `PRIVATE KEY`"),
        (["make", "-o", "out", "--key", "a.pub", "ca.pem"], "not a P-256 private key"),
        (["make", "-o", "out", "--key", "none", "ca.pem"], "reading none"),
        (["verify", "ca.pem", "--key", "a", "--max-age", "1"], "not a P-256 public key"),
    ] {
        let got = said(&ccnode(&dir, &[&["bundle"], args.as_slice()].concat()));
        assert!(got.0 == Some(2) && got.1.contains(words), "{args:?}: {got:?}");
    }
    let none = said(&ccnode(&dir, &["bundle", "verify", "ca.pem", "--key", "a.pub"]));
    assert!(none.0 == Some(3) && none.1.contains("not a signed bundle"), "{none:?}");
    assert!(!dir.join("out").exists());
}

#[test]
fn a_file_without_end_is_too_long() {
    let dir = folder("bundle-endless");
    for args in [&["show", "/dev/zero"][..], &["verify", "/dev/zero", "--key", "a.pub"]] {
        let endless = said(&ccnode(&dir, &[&["bundle"], args].concat()));
        assert_eq!(endless.0, Some(3), "{endless:?}");
        assert!(endless.1.contains("bytes are more than a bundle has"), "{endless:?}");
    }
}

#[test]
fn private_keys_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder("bundle-key");
    let mode = |name| std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("a"), 0o600);
}
