//! Keys that are destroyed: they are in no file any more, and the audit log says which, when and by whom.

use crate::audit::sql;
use crate::fixture::*;
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{self, AuditRow, NodeState, VolumeState};
use ccnode_server::erase::{self, DestroyedKey};
use ccnode_server::store::{Store as _, Tx as _};
use ccnode_testkit::{Boot, Seat};
use std::path::Path;

/// Files of the folder that hold these bytes.
pub(crate) fn holders(dir: &Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holders(&path, bytes));
        } else if std::fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes) {
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    found
}

/// All that holds a node's keys, sealed.
pub(crate) async fn sealed(trust: &Trust, name: &NodeName) -> Vec<Vec<u8>> {
    let mut tx = trust.service().store.read().await.unwrap();
    let node = tx.node_named(name).await.unwrap().unwrap();
    let mut all: Vec<Vec<u8>> = tx
        .volumes(&node.identity)
        .await
        .unwrap()
        .into_iter()
        .filter_map(|volume| volume.unlock_key)
        .collect();
    drop(tx);
    let db = rusqlite::Connection::open(trust.dir().join("db.sqlite")).unwrap();
    let mut grants =
        db.prepare("SELECT grants FROM sessions WHERE identity = ? AND length(grants) > 0").unwrap();
    let grants = grants.query_map([node.identity.hex()], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    all.extend(grants.map(Result::unwrap));
    all
}

pub(crate) async fn row(trust: &Trust, action: &str) -> (AuditRow, Vec<DestroyedKey>) {
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    let row = rows.into_iter().find(|row| row.action == action).unwrap();
    let keys = serde_json::from_value(row.detail[erase::MEMBER].clone()).unwrap();
    (row, keys)
}

#[tokio::test]
async fn a_retired_nodes_keys_are_in_no_file() {
    let (trust, maker) = ready().await;
    // Others before and after it, so that its rows are moved about.
    let mut names = Vec::new();
    for seat in [Seat::A, Seat::B, Seat::C] {
        let tpm = tpm(&maker, seat);
        for round in 0..3 {
            let granted = boot(&trust, &tpm).await.unwrap();
            if round == 0 {
                granted.formatted(header()).await.unwrap();
                granted.ready(verity()).await.unwrap();
                names.push(granted.grants.node);
            }
            tpm.reboot(Boot::standard());
        }
    }
    let name = &names[1];
    let keys = sealed(&trust, name).await;
    assert_eq!(keys.len(), 4, "one key, in its row and three sessions");
    assert!(keys.iter().all(|bytes| !holders(&trust.dir(), bytes).is_empty()));
    let generation = trust.admin().node(name).await.volumes[0].generation;

    act(&trust, admin::NODE_RETIRE, name).await.unwrap();
    for bytes in &keys {
        assert_eq!(holders(&trust.dir(), bytes), Vec::<String>::new());
    }
    let (row, destroyed) = row(&trust, "node.retire").await;
    assert_eq!((row.actor.as_str(), row.object.as_str()), ("admin:admin", name.as_str()));
    let [key] = destroyed.as_slice() else { panic!("{destroyed:?}") };
    assert_eq!((key.volume.clone(), key.generation), (format!("{name}/root"), generation));
    assert_eq!(key.sealed_key, Sha256Digest::of(&keys[0]));
    let node = trust.admin().node(name).await;
    assert_eq!((node.state, node.volumes[0].state), (NodeState::Retired, VolumeState::Retired));
    assert_eq!(code(act(&trust, admin::NODE_RETIRE, name).await), Code::Conflict, "once");
    assert_eq!(code(act(&trust, admin::NODE_REGRANT, name).await), Code::Conflict);
    let b = tpm(&maker, Seat::B);
    b.set_counters(1, 100, 0);
    assert_eq!(judged_code(&trust, &b).await, Code::NodeRetired);
    assert_eq!(sealed(&trust, &names[0]).await.len(), 4, "the others'");
}

#[tokio::test]
async fn a_new_grant_destroys_the_old_key() {
    let (trust, maker) = ready().await;
    let granted = first_boot(&trust, &tpm(&maker, Seat::A)).await;
    let name = &granted.grants.node;
    let keys = sealed(&trust, name).await;
    act(&trust, admin::NODE_REGRANT, name).await.unwrap();
    assert!(keys.iter().all(|bytes| holders(&trust.dir(), bytes).is_empty()));
    let (_, destroyed) = row(&trust, "node.regrant").await;
    assert_eq!(destroyed[0].sealed_key, Sha256Digest::of(&keys[0]));
    assert_eq!(
        code(granted.session.grants().await),
        Code::GenerationStale,
        "that session is not granted anew"
    );
}

#[tokio::test]
async fn somebody_who_reads_holds_up_the_files_and_not_the_answer() {
    let (trust, maker) = ready().await;
    let name = first_boot(&trust, &tpm(&maker, Seat::A)).await.grants.node;
    let keys = sealed(&trust, &name).await;
    let mut reader = trust.service().store.read().await.unwrap();
    reader.pools().await.unwrap();
    act(&trust, admin::NODE_RETIRE, &name).await.unwrap();
    drop(reader);
    for _ in 0..100 {
        if keys.iter().all(|bytes| holders(&trust.dir(), bytes).is_empty()) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("the keys are there still");
}

#[tokio::test]
async fn a_crash_before_the_files_are_clean_is_made_good() {
    let (mut trust, maker) = ready().await;
    let name = first_boot(&trust, &tpm(&maker, Seat::A)).await.grants.node;
    let keys = sealed(&trust, &name).await;
    // Killed as a process: what ends well folds the log in by itself.
    trust.run(program(&trust.dir())).await;
    sql(
        &trust.dir(),
        "PRAGMA secure_delete = ON; UPDATE volumes SET unlock_key = NULL; UPDATE sessions SET grants = x''",
    )
    .await;
    assert!(keys.iter().all(|bytes| !holders(&trust.dir(), bytes).is_empty()), "overwritten too early");
    trust.crash().await;
    for bytes in &keys {
        assert_eq!(holders(&trust.dir(), bytes), Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_log_proves_what_was_destroyed_and_finds_what_came_back() {
    let (mut trust, maker) = ready().await;
    let name = first_boot(&trust, &tpm(&maker, Seat::A)).await.grants.node;
    sql(&trust.dir(), "CREATE TABLE kept AS SELECT id, unlock_key FROM volumes").await;
    act(&trust, admin::NODE_RETIRE, &name).await.unwrap();
    trust.stop().await;
    let verify = || verify_audit(&trust.dir());
    let (exit, said) = verify();
    assert_eq!(exit, Some(0), "{said}");
    assert!(said.contains(&format!("admin:admin destroyed the key of {name}/root, generation 1")), "{said}");
    sql(&trust.dir(), "UPDATE volumes SET unlock_key = kept.unlock_key FROM kept WHERE kept.id = volumes.id")
        .await;
    let (exit, said) = verify();
    assert_eq!(exit, Some(3), "{said}");
    assert!(said.contains("says that the key of") && said.contains("put back"), "{said}");
}
