//! `ccnode disk inspect` over images whose outcome with cryptsetup is known: each is taken for what cryptsetup takes it for.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn run(command: &mut Command) -> Output {
    let out = command.output().expect("xz, tar and the tool itself are needed");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    out
}

/// The images of a file: itself, or each member of an archive, by name.
fn images(path: &Path, name: &str) -> Vec<(String, Vec<u8>)> {
    if !name.ends_with(".tar.xz") {
        return vec![(name.to_owned(), run(Command::new("xz").arg("-dc").arg(path)).stdout)];
    }
    let list = String::from_utf8(run(Command::new("tar").arg("-tJf").arg(path)).stdout).unwrap();
    let member = |member: &str| {
        let image = run(Command::new("tar").arg("-xJOf").arg(path).arg(member)).stdout;
        (format!("{name}/{member}"), image)
    };
    list.lines().filter(|line| !line.ends_with('/')).map(member).collect()
}

/// Exit code and document.
fn inspect(image: &Path, kind: &str) -> (i32, Value) {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_ccnode"));
    let out = tool.args(["disk", "inspect", "--json", "--as", kind]).arg(image).output().unwrap();
    let document = serde_json::from_slice(&out.stdout)
        .unwrap_or_else(|_| panic!("{kind}: {}", String::from_utf8_lossy(&out.stderr)));
    (out.status.code().unwrap(), document)
}

/// `header` by what is recorded.
fn expected(name: &str, outcome: &str) -> &'static str {
    match name {
        _ if name.starts_with("luks1") || name.starts_with("blkid") => "not-luks2",
        // Of the two, one has a requirement that nobody knows; cryptsetup reads both.
        _ if name.starts_with("luks2_header_requirements") => "valid",
        _ if outcome.starts_with("valid") => "valid",
        _ => "invalid",
    }
}

#[test]
fn every_recorded_image_is_taken_for_what_it_is() {
    let Some((dir, stated)) = ccnode_vectors::stated("luks2") else { return };
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inspected.img");
    let (mut wrong, mut files, mut seen) = (Vec::new(), 0, 0);
    for (name, entry) in stated["files"].as_object().unwrap() {
        files += 1;
        for (image, bytes) in images(&dir.join(name), name) {
            seen += 1;
            std::fs::write(&scratch, bytes).unwrap();
            let header = expected(&image, entry["outcome"].as_str().unwrap());
            // None of them is of this product, and none has the cipher, the key size or the costs that are allowed.
            for kind in ["own", "passphrase", "clevis"] {
                let (code, document) = inspect(&scratch, kind);
                let reasons = document["reasons"].as_array().unwrap();
                let named = |r: &Value| r["code"].as_str().is_some_and(|code| code.starts_with("luks-"));
                let said = !reasons.is_empty() && reasons.iter().all(named);
                if document["header"] != header || document["verdict"] != "refused" || code != 3 || !said {
                    wrong.push(format!("{image} as {kind}: {header} expected, exit {code}: {document}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(files >= 64 && seen >= 73, "{files} files, {seen} images");
}

#[test]
fn each_reason_has_its_code_path_and_value() {
    let (code, document) = inspect(Path::new("tests/disk/hostile.img"), "own");
    assert_eq!((code, &document["header"]), (3, &Value::from("valid")));
    let reasons = document["reasons"].as_array().unwrap().iter();
    let reasons: Vec<_> =
        reasons.map(|r| ["code", "path", "value"].map(|key| r[key].as_str().unwrap())).collect();
    for reason in [
        ["luks-requirements", "/config/requirements", r#"{"mandatory":["offline-reencrypt"]}"#],
        ["luks-cipher", "/segments/0/encryption", r#""cipher_null-ecb""#],
        ["luks-digest-iterations", "/digests/0/iterations", "999"],
        ["luks-token-type", "/tokens/1/type", r"\u{1b}[2J\u{202e}hostile"],
        ["luks-label", "label", r"\u{1b}]0;x"],
    ] {
        assert!(reasons.contains(&reason), "{reason:?}: {reasons:?}");
    }
}
