//! What a store owes of last evidence: one record a node, and its parts once.

use super::*;

fn evidence(record: &str, [log, keys]: [Option<&str>; 2]) -> EvidenceRow {
    let [log, keys] =
        [log, keys].map(|part| part.map(|text| (Sha256Digest::of(text.as_bytes()), text.into())));
    EvidenceRow { record: record.to_owned(), log, keys }
}

pub(super) async fn last_evidence_is_replaced_and_goes_with_its_node(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    let (node, id) = (node("e", b"e"), Sha256Digest::of(b"e"));
    assert!(tx.insert_node(&node).await.unwrap());
    assert_eq!(tx.last_evidence(&id).await.unwrap(), None);
    let parts = [
        [None, None],
        [Some("log"), Some("keys")],
        [Some("log"), Some("keys")],
        [Some("log"), Some("other")],
        [Some("other"), Some("keys")],
        [None, Some("keys")],
        [Some("log"), None],
        [None, None],
    ];
    for (record, parts) in parts.into_iter().enumerate() {
        let row = evidence(&record.to_string(), parts);
        assert!(tx.set_last_evidence(&id, &row).await.unwrap());
        assert_eq!(tx.last_evidence(&id).await.unwrap(), Some(row));
    }
    let nobody = Sha256Digest::of(b"nobody");
    assert!(matches!(
        tx.set_last_evidence(&nobody, &evidence("1", [None; 2])).await,
        Err(StoreError::Sql(_))
    ));
    assert!(tx.delete_node(&id).await.unwrap());
    assert_eq!(tx.last_evidence(&id).await.unwrap(), None);
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn parts_of_evidence_are_stored_once_and_go_with_the_last_record_that_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.sqlite");
    let store = SqliteStore::open(&path, true).await.unwrap();
    let counts = || -> [i64; 2] {
        let db = rusqlite::Connection::open(&path).unwrap();
        ["SELECT count(*) FROM evidence_logs", "SELECT count(*) FROM evidence_keys"]
            .map(|text| db.query_row(text, [], |row| row.get(0)).unwrap())
    };
    let (a, b) = (Sha256Digest::of(b"a"), Sha256Digest::of(b"b"));
    let mut tx = store.write().await.unwrap();
    assert!(tx.insert_pool(&pool("workers")).await.unwrap());
    for (name, id) in [("a", b"a"), ("b", b"b")] {
        assert!(tx.insert_node(&node(name, id)).await.unwrap());
    }
    tx.commit().await.unwrap();
    let set = async |id, parts| {
        let mut tx = store.write().await.unwrap();
        assert!(tx.set_last_evidence(id, &evidence("record", parts)).await.unwrap());
        tx.commit().await.unwrap();
    };
    let steps = [
        (&a, Some("part"), 1),
        (&b, Some("part"), 1),
        (&a, Some("part"), 1),
        (&a, Some("other"), 2),
        (&b, None, 1),
        (&b, Some("other"), 1),
        (&a, None, 1),
    ];
    for (id, part, there) in steps {
        set(id, [part, Some("keys")]).await;
        assert_eq!(counts()[0], there, "{part:?}");
    }
    for id in [&a, &b] {
        set(id, [None; 2]).await;
    }
    assert_eq!(counts(), [0, 0]);
    for (id, part, there) in steps {
        set(id, [Some("log"), part]).await;
        assert_eq!(counts()[1], there, "{part:?}");
    }
    let mut tx = store.write().await.unwrap();
    for id in [&a, &b] {
        assert!(tx.delete_node(id).await.unwrap());
    }
    tx.commit().await.unwrap();
    assert_eq!(counts(), [0, 0]);
}
