//! `ccnode explain` on every recorded log: what it prints for machines is what is known of the log.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ccnode_vectors::stated as vectors;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn explain(args: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ccnode")).args(["--json", "explain"]).args(args).output().unwrap()
}

#[test]
fn replays_are_those_that_are_known() {
    let Some((dir, expected)) = vectors("tcg-eventlog") else { return };
    let (mut read, mut refused) = (0, 0);
    for (name, facts) in expected["files"].as_object().unwrap() {
        let output = explain(&[&dir.join(name)]);
        let outcome = facts["outcome"].as_str().unwrap();
        let bad = ["invalid: must be rejected", "ACPI table", "no measured event"];
        if bad.iter().any(|words| outcome.starts_with(words)) {
            assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 0), "{name}");
            refused += 1;
            continue;
        }
        assert_eq!(output.status.code(), Some(0), "{name}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["version"], 1);
        assert_eq!(said["replay"], facts["replay"], "{name}");
        assert_eq!(
            said["events"].as_array().unwrap().len() as u64,
            facts["events"].as_u64().unwrap(),
            "{name}"
        );
        assert_eq!(said["differences"], serde_json::json!([]));
        read += 1;
    }
    assert_eq!((read, refused), (31, 4));
}

#[test]
fn two_boots_differ_where_they_do() {
    let Some((dir, _)) = vectors("tcg-eventlog") else { return };
    let output = explain(&[&dir.join("gce/cos-85-amd-sev.bin"), &dir.join("gce/cos-93-amd-sev.bin")]);
    assert_eq!(output.status.code(), Some(3));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (a, b) = (&said["replay"]["sha256"], &said["compared-with"]["replay"]["sha256"]);
    let differences = said["differences"].as_array().unwrap();
    for (pcr, value) in a.as_object().unwrap() {
        let number: u64 = pcr.parse().unwrap();
        let told = differences.iter().any(|d| d["pcr"] == number);
        assert_eq!(told, *value != b[pcr], "PCR {pcr}");
    }
}
