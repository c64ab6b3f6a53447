//! The audit log shows edits, gaps, a cut-off end and a rewritten past.

use crate::fixture::*;
use ccnode_evidence::Sha256Digest;
use ccnode_server::audit::{self, AuditFault, CHECKPOINT, Checkpoint};
use ccnode_server::service::Service;
use ccnode_server::store::{AuditEntry, Store as _, Tx as _};
use std::path::Path;

pub(crate) async fn sql(dir: &Path, statement: &str) {
    rusqlite::Connection::open(dir.join("db.sqlite")).unwrap().execute_batch(statement).unwrap();
}

async fn verify(dir: &Path) -> Result<u64, AuditFault> {
    let service = Service::open(dir).await.unwrap();
    let checkpoint: Checkpoint =
        serde_json::from_slice(&std::fs::read(dir.join(CHECKPOINT)).unwrap()).unwrap();
    let result = audit::verify(&service.store, Some((&checkpoint, &service.token.get()))).await;
    service.store.close().await;
    result
}

/// A stopped service with seven rows and a checkpoint of the last.
async fn stopped() -> Trust {
    let (mut trust, _) = ready().await;
    trust.stop().await;
    assert_eq!(verify(&trust.dir()).await.unwrap(), 7);
    trust
}

#[tokio::test]
async fn every_edit_is_seen() {
    let trust = stopped().await;
    for (column, value) in [
        ("time", "1"),
        ("actor", "'admin:eve'"),
        ("action", "'x'"),
        ("object", "'x'"),
        ("detail", "'{}'"),
        ("correlation_id", "'x'"),
    ] {
        let dir = trust.dir();
        sql(&dir, "CREATE TABLE saved AS SELECT * FROM audit").await;
        sql(&dir, &format!("UPDATE audit SET {column} = {value} WHERE seq = 3")).await;
        assert!(matches!(verify(&dir).await, Err(AuditFault::Changed(3))), "{column}");
        sql(&dir, "DELETE FROM audit").await;
        sql(&dir, "INSERT INTO audit SELECT * FROM saved").await;
        sql(&dir, "DROP TABLE saved").await;
        verify(&dir).await.unwrap();
    }
}

#[tokio::test]
async fn a_missing_row_is_seen() {
    let trust = stopped().await;
    sql(&trust.dir(), "DELETE FROM audit WHERE seq = 4").await;
    assert!(matches!(verify(&trust.dir()).await, Err(AuditFault::Gap { due: 4, found: 5 })));
    sql(&trust.dir(), "UPDATE audit SET seq = seq - 1 WHERE seq > 4").await;
    assert!(matches!(verify(&trust.dir()).await, Err(AuditFault::Unchained(4))));
}

#[tokio::test]
async fn a_cut_off_end_is_seen_by_the_checkpoint() {
    let trust = stopped().await;
    sql(&trust.dir(), "DELETE FROM audit WHERE seq > 5").await;
    let fault = verify(&trust.dir()).await;
    assert!(matches!(fault, Err(AuditFault::Truncated { last: 5, checkpoint: 7 })), "{fault:?}");
}

#[tokio::test]
async fn a_rewritten_past_is_seen_by_the_checkpoint() {
    let trust = stopped().await;
    sql(&trust.dir(), "DELETE FROM audit WHERE seq > 5").await;
    let service = Service::open(&trust.dir()).await.unwrap();
    let mut tx = service.store.write().await.unwrap();
    for object in ["one", "two"] {
        let entry = AuditEntry {
            actor: "service".into(),
            action: "forged",
            object: object.into(),
            detail: serde_json::json!({}),
            correlation_id: "",
        };
        audit::append(&mut tx, 1, entry).await.unwrap();
    }
    tx.commit().await.unwrap();
    service.store.close().await;
    assert!(matches!(verify(&trust.dir()).await, Err(AuditFault::Rewritten(7))));
}

#[tokio::test]
async fn a_forged_checkpoint_is_seen() {
    let trust = stopped().await;
    let path = trust.dir().join(CHECKPOINT);
    let mut checkpoint: Checkpoint = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    checkpoint.seq = 5;
    checkpoint.hash = Sha256Digest::ZERO;
    std::fs::write(&path, serde_json::to_vec(&checkpoint).unwrap()).unwrap();
    assert!(matches!(verify(&trust.dir()).await, Err(AuditFault::Signature)));
}

/// Writes rows behind row 5 as an attacker with the database would, correctly chained.
async fn rewrite(trust: &Trust, rows: usize) {
    sql(&trust.dir(), "DELETE FROM audit WHERE seq > 5").await;
    let mut tx = trust.service().store.write().await.unwrap();
    for _ in 0..rows {
        let entry = AuditEntry {
            actor: "service".into(),
            action: "forged",
            object: "x".into(),
            detail: serde_json::json!({}),
            correlation_id: "",
        };
        audit::append(&mut tx, 1, entry).await.unwrap();
    }
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_running_service_vouches_for_no_tampered_log() {
    for (rows, what) in [(0, "cut off"), (2, "rewritten"), (5, "rewritten and longer")] {
        let (mut trust, _) = ready().await;
        // The end of a service writes a checkpoint; its start and every minute do the same.
        trust.restart().await;
        rewrite(&trust, rows).await;
        trust.restart().await;
        trust.stop().await;
        let fault = verify(&trust.dir()).await;
        let seen =
            matches!(fault, Err(AuditFault::Truncated { checkpoint: 7, .. } | AuditFault::Rewritten(7)));
        assert!(seen, "{what}: {fault:?}");
    }
}

#[tokio::test]
async fn rows_since_the_checkpoint_are_checked_before_the_next() {
    let mut trust = stopped().await;
    let path = trust.dir().join(CHECKPOINT);
    let old = std::fs::read(&path).unwrap();
    trust.start().await;
    for name in ["a", "b"] {
        let wish = serde_json::json!({"name": name});
        let _: serde_json::Value = trust.admin().post(ccnode_protocol::admin::POOLS, &wish).await;
    }
    trust.stop().await;
    assert_eq!(verify(&trust.dir()).await.unwrap(), 9);
    std::fs::write(&path, &old).unwrap();
    sql(&trust.dir(), "UPDATE audit SET actor = 'x' WHERE seq = 8").await;
    trust.start().await;
    trust.stop().await;
    assert_eq!(std::fs::read(&path).unwrap(), old, "the last good one stays");
    assert!(matches!(verify(&trust.dir()).await, Err(AuditFault::Changed(8))));
}

#[tokio::test]
async fn a_lost_checkpoint_is_made_anew_and_garbage_is_kept() {
    let (mut trust, _) = ready().await;
    let path = trust.dir().join(CHECKPOINT);
    trust.restart().await;
    std::fs::remove_file(&path).unwrap();
    trust.stop().await;
    assert_eq!(verify(&trust.dir()).await.unwrap(), 7);
    std::fs::write(&path, "{}").unwrap();
    trust.start().await;
    trust.stop().await;
    assert_eq!(std::fs::read(&path).unwrap(), b"{}");
}
