//! The systemd unit: how little it leaves open, and that the shipped program runs a whole session under its filters of system calls.

use crate::fixture::*;
use ccnode_evidence::Code;
use ccnode_protocol::admin;
use ccnode_testkit::Seat;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What systemd may find exposed at most, in tenths.
const EXPOSED: u32 = 20;

fn unit() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ccnode-trust.service")
}

/// `None`, said aloud, where the machine has no systemd-analyze.
fn analyze(args: &[&str]) -> Option<std::process::Output> {
    match Command::new("systemd-analyze").args(args).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no systemd-analyze");
            assert!(std::env::var_os("CCNODE_REQUIRE_VMS").is_none(), "skips are failures here");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_unit_leaves_little_open() {
    let path = unit().canonicalize().unwrap();
    let threshold = format!("--threshold={EXPOSED}");
    let args = ["security", "--offline=yes", "--no-pager", &threshold, path.to_str().unwrap()];
    let Some(output) = analyze(&args) else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("Overall exposure level"), "{text}");
}

/// The values of a key of the unit, in order.
fn values(key: &str) -> Vec<String> {
    let text = std::fs::read_to_string(unit()).unwrap();
    let of = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    text.lines().filter_map(of).collect()
}

/// The system calls of a group, and of the groups in it.
fn group(name: &str) -> Option<BTreeSet<String>> {
    let output = analyze(&["syscall-filter", "--no-pager", name])?;
    assert!(output.status.success(), "{name}");
    let mut calls = BTreeSet::new();
    for word in String::from_utf8(output.stdout).unwrap().lines().skip(1).map(str::trim) {
        match word.chars().next() {
            Some('@') => calls.extend(group(word)?),
            Some('a'..='z' | '_') => _ = calls.insert(word.to_owned()),
            _ => {}
        }
    }
    Some(calls)
}

/// Those of calls that there are on this architecture, as rules.
fn rules(calls: &BTreeSet<String>) -> Vec<Value> {
    let known = |rule: &Value| compiled("allow", "log", std::slice::from_ref(rule)).is_ok();
    calls.iter().map(|call| json!({"syscall": call})).filter(known).collect()
}

fn compiled(hit: &str, miss: &str, rules: &[Value]) -> Result<seccompiler::BpfProgram, seccompiler::Error> {
    let hit = if hit == "eperm" { json!({"errno": 1}) } else { json!(hit) };
    let text = json!({"all": {"match_action": hit, "mismatch_action": miss, "filter": rules}}).to_string();
    let target = std::env::consts::ARCH.try_into().unwrap();
    let mut map = seccompiler::compile_from_json(text.as_bytes(), target)?;
    Ok(map.remove("all").unwrap())
}

fn argument(index: u8, op: Value, value: u64) -> Value {
    json!({"index": index, "type": "dword", "op": op, "val": value})
}

/// Becomes the shipped program under the unit's filters; run by the test below in a process of its own.
#[test]
#[ignore = "becomes another program"]
fn confined() {
    let mut filters = Vec::new();
    for line in values("SystemCallFilter") {
        let denied = line.strip_prefix('~');
        let mut calls = BTreeSet::new();
        for name in denied.unwrap_or(&line).split(' ') {
            calls.extend(group(name).unwrap());
        }
        assert!(calls.len() > 10, "{line}");
        // What is in no list ends the process here, and is refused there: nothing that is needed may be hidden so.
        filters.push(match denied {
            Some(_) => compiled("eperm", "allow", &rules(&calls)).unwrap(),
            None => compiled("allow", "kill_process", &rules(&calls)).unwrap(),
        });
    }
    assert_eq!(filters.len(), 2);
    assert_eq!(values("RestrictAddressFamilies"), ["AF_INET AF_INET6"]);
    let others = [argument(0, json!("ne"), 2), argument(0, json!("ne"), 10)];
    let (write_exec, exec) = (0x6, 0x4);
    assert_eq!(values("MemoryDenyWriteExecute"), ["yes"]);
    let rules = [
        json!({"syscall": "socket", "args": others}),
        json!({"syscall": "mmap", "args": [argument(2, json!({"masked_eq": write_exec}), write_exec)]}),
        json!({"syscall": "mprotect", "args": [argument(2, json!({"masked_eq": exec}), exec)]}),
    ];
    filters.push(compiled("eperm", "allow", &rules).unwrap());
    let dir = std::env::var_os("CCNODE_TEST_DIR").unwrap();
    // The last one first: the strictest would not let the others be added.
    for filter in filters.iter().rev() {
        seccompiler::apply_filter(filter).unwrap();
    }
    panic!("{}", Command::new(env!("CARGO_BIN_EXE_ccnode-trust")).arg("serve").arg(dir).exec());
}

#[tokio::test]
async fn the_program_runs_whole_sessions_under_the_units_filters() {
    if analyze(&["--version"]).is_none() {
        return;
    }
    let (mut trust, maker) = ready().await;
    let mut program = tokio::process::Command::new(std::env::current_exe().unwrap());
    program
        .args(["--exact", "unit::confined", "--ignored", "--nocapture"])
        .env("CCNODE_TEST_DIR", trust.dir());
    trust.run(program).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", trust.process())).unwrap();
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
    assert_eq!((of("Name:"), of("Seccomp:"), of("NoNewPrivs:")), ("ccnode-trust", "2", "1"));

    let a = tpm(&maker, Seat::A);
    let granted = first_boot(&trust, &a).await;
    granted.certificate(&granted.csr).await.unwrap();
    a.cap();
    assert_eq!(judged_code(&trust, &a).await, Code::AlreadyCapped);
    act(&trust, admin::NODE_REVOKE, &granted.grants.node).await.unwrap();
    assert_eq!(trust.admin().try_get(ccnode_server::metrics::PATH).await, Some(reqwest::StatusCode::OK));
    assert_eq!(trust.client().get(trust.url("/readyz")).send().await.unwrap().status(), 200);
    // Keys are read again when it is told.
    ccnode_server::rotate::token(&trust.dir(), 1_800_000_000).unwrap();
    trust.signal("HUP");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !trust.log().contains("were read again") {
        assert!(std::time::Instant::now() < deadline, "{}", trust.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    boot(&trust, &tpm(&maker, Seat::B)).await.unwrap();
    // Ends by itself: the checkpoint is written, the store closed.
    trust.stop().await;
    assert!(!trust.dir().join("db.sqlite-wal").exists());
}
