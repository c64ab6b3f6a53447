//! What is done on the service's machine leaves a row, or is not done.

use crate::fixture::*;
use ccnode_protocol::admin::{self, AuditRow};
use std::process::Command;

fn run(args: &[&str], trust: &Trust) -> (Option<i32>, String) {
    let dir = trust.dir();
    let args = args.iter().map(|arg| if *arg == "DIR" { dir.to_str().unwrap() } else { arg });
    let out = Command::new(env!("CARGO_BIN_EXE_ccnode-trust")).args(args).output().unwrap();
    (out.status.code(), String::from_utf8(out.stderr).unwrap())
}

async fn rows(trust: &Trust) -> Vec<AuditRow> {
    let mut rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    rows.retain(|row| row.action.starts_with("host."));
    rows.reverse();
    rows
}

#[tokio::test]
async fn certificates_and_rotations_are_on_record() {
    let (mut trust, _) = ready().await;
    let admin = trust.admin();
    let out = trust.dir().join("grace");
    let client = ["client", "DIR", "grace", "--role", "cluster-admin", "-o", out.to_str().unwrap()];
    for args in [
        &client[..],
        &["renew", "DIR", "--name", "trust.example.com"],
        &["rotate", "token", "DIR"],
        &["rotate", "kek", "DIR"],
        &["rotate", "ca", "DIR"],
        &["rotate", "cluster-ca", "DIR"],
        &["rotate", "cluster-ca", "DIR", "--switch"],
    ] {
        let (exit, said) = run(args, &trust);
        assert_eq!(exit, Some(0), "{args:?}: {said}");
    }
    // What failed was not done, and is no row.
    assert_eq!(run(&client, &trust).0, Some(2), "the folder is there");
    assert_eq!(run(&["rotate", "kek", "DIR"], &trust).0, Some(4), "not over");
    assert_eq!(run(&["rotate", "ca", "DIR"], &trust).0, Some(5), "staged");
    let rows = rows(&trust).await;
    let said: Vec<(&str, &str)> = rows.iter().map(|row| (row.action.as_str(), row.object.as_str())).collect();
    let due = [
        ("host.client", "grace"),
        ("host.renew", "certificates"),
        ("host.rotate", "token"),
        ("host.rotate", "kek"),
        ("host.rotate", "ca"),
        ("host.rotate", "cluster-ca"),
        ("host.rotate", "cluster-ca --switch"),
    ];
    assert_eq!(said, due);
    assert!(rows.iter().all(|row| row.actor.starts_with("host:uid ")));
    assert_eq!(rows[0].detail["role"], "cluster-admin");
    assert_eq!(rows[1].detail["names"][0], "trust.example.com");
    let grace = trust.admin_of(&out.join("cert.pem"), &out.join("key.pem"));
    assert!(grace.try_get(admin::POOLS).await.is_some_and(|status| status.is_success()));
    drop(admin);

    // The chain goes on, whoever wrote.
    trust.stop().await;
    let (exit, said) = run(&["audit", "verify", "DIR"], &trust);
    assert_eq!(exit, Some(0), "{said}");
    std::fs::rename(trust.dir().join("db.sqlite"), trust.dir().join("away")).unwrap();
    let (cert, other) = (trust.dir().join("admin/cert.pem"), trust.dir().join("other"));
    let before = std::fs::read(&cert).unwrap();
    assert_ne!(run(&["renew", "DIR"], &trust).0, Some(0));
    let made = ["client", "DIR", "eve", "--role", "cluster-admin", "-o", other.to_str().unwrap()];
    assert_ne!(run(&made, &trust).0, Some(0));
    assert!(std::fs::read(&cert).unwrap() == before && !other.exists(), "nothing without its row");
}

#[tokio::test]
async fn a_blank_disk_under_a_ready_volume_is_formatted_by_a_new_grant_alone() {
    use ccnode_protocol::grants::VolumeAction;
    let (trust, maker) = ready().await;
    let a = tpm(&maker, ccnode_testkit::Seat::A);
    let first = first_boot(&trust, &a).await;
    let (name, old) = (first.grants.node.clone(), first.grants.volume().unwrap().clone());
    // The node finds nothing to open, says so, and tries again: it is told to open, and no more.
    for _ in 0..3 {
        a.reboot(ccnode_testkit::Boot::standard());
        let granted = boot(&trust, &a).await.unwrap();
        assert!(matches!(granted.grants.volume().unwrap().action, VolumeAction::Open { .. }));
        let report =
            serde_json::json!({"code": "header-malformed", "detail": "blank", "correlation-id": "n"});
        granted.session.post::<()>(ccnode_protocol::REFUSALS, &report).await.unwrap();
        first.formatted(ccnode_evidence::Sha256Digest::of(b"another header")).await.unwrap_err();
    }
    act(&trust, admin::NODE_REGRANT, &name).await.unwrap();
    a.reboot(ccnode_testkit::Boot::standard());
    let granted = boot(&trust, &a).await.unwrap();
    let new = granted.grants.volume().unwrap();
    assert!(matches!(new.action, VolumeAction::Format { .. }));
    assert!(new.generation > old.generation && new.unlock_key != old.unlock_key);
    granted.formatted(header()).await.unwrap();
    granted.ready(verity()).await.unwrap();
}
