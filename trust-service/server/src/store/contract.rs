//! What every store owes, run on each of them.

mod evidence;
mod volumes;

use super::*;
use crate::audit;
use ccnode_appraise::HardwarePolicy;
use ccnode_evidence::EvidenceKind;
use ccnode_protocol::admin::{NodeState, OnUnknown, RotationState, VolumeRecord, VolumeState};
use ccnode_protocol::grants::OnForeignDisk;
use serde_json::{Value, json};

fn pool(name: &str) -> PoolRow {
    PoolRow {
        name: name.parse().unwrap(),
        on_unknown: OnUnknown::Ask,
        rules: Vec::new(),
        on_foreign_disk: OnForeignDisk::Refuse,
        allow_init_data: false,
        hardware: HardwarePolicy {
            least_level: Some(ccnode_appraise::TrustLevel::Tee),
            ..Default::default()
        },
        cluster: None,
        created: 1,
    }
}

fn node(name: &str, identity: &[u8]) -> NodeRow {
    NodeRow {
        identity: Sha256Digest::of(identity),
        name: name.parse().unwrap(),
        pool: "workers".parse().unwrap(),
        state: NodeState::Active,
        reason: None,
        level: None,
        kind: Some(EvidenceKind::AzSnpVtpm),
        hardware: None,
        ak_name: "000b".into(),
        counters: None,
        seen: None,
        platform: None,
        image: None,
        release_reset: u32::MAX,
        releases: 1,
        created: 1,
        attested: None,
        expires: None,
    }
}

fn volume(state: VolumeState, generation: u64) -> VolumeRow {
    let record = VolumeRecord {
        id: "a/root".into(),
        uuid: "u".into(),
        state,
        generation,
        header_digest: None,
        populated_from: None,
        rotation: None,
    };
    VolumeRow {
        identity: Sha256Digest::of(b"a"),
        record,
        unlock_key: Some(vec![1, 2, 3]),
        next: None,
        recovery: None,
    }
}

fn session(nonce: u8, expires: u64) -> SessionRow {
    let identity = Sha256Digest::of(b"a");
    SessionRow { nonce: Nonce([nonce; 32]), identity, expires, verdict: None, stock: None, grants: None }
}

async fn rows_come_back_as_they_went(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    assert!(tx.insert_pool(&pool("workers")).await.unwrap());
    assert!(!tx.insert_pool(&pool("workers")).await.unwrap());
    assert!(tx.insert_node(&node("a", b"a")).await.unwrap());
    assert!(!tx.insert_node(&node("b", b"a")).await.unwrap(), "an identity is one node");
    assert!(!tx.insert_node(&node("a", b"b")).await.unwrap(), "a name is one node");
    assert!(tx.insert_volume(&volume(VolumeState::None, 0)).await.unwrap());
    tx.commit().await.unwrap();
    let mut tx = store.read().await.unwrap();
    assert_eq!(tx.pool(&"workers".parse().unwrap()).await.unwrap(), Some(pool("workers")));
    assert_eq!(tx.node(&Sha256Digest::of(b"a")).await.unwrap(), Some(node("a", b"a")));
    let called = Some(("a".parse().unwrap(), "workers".parse().unwrap()));
    assert_eq!(tx.node_called(&Sha256Digest::of(b"a")).await.unwrap(), called);
    assert_eq!(tx.node_called(&Sha256Digest::of(b"nobody")).await.unwrap(), None);
    assert_eq!(tx.volume("a/root").await.unwrap(), Some(volume(VolumeState::None, 0)));
}

async fn nodes_of_one_boot_go_and_their_release_stays(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    let (node, id) = (node("o", b"o"), Sha256Digest::of(b"o"));
    assert!(tx.insert_node(&NodeRow { expires: Some(100), ..node }).await.unwrap());
    assert!(!tx.report_released(&id).await.unwrap());
    assert!(tx.insert_released_report(&id, 1).await.unwrap());
    assert!(!tx.insert_released_report(&id, 2).await.unwrap(), "once");
    tx.purge_nodes(100).await.unwrap();
    assert!(tx.node(&id).await.unwrap().is_some());
    tx.purge_nodes(101).await.unwrap();
    assert!(tx.node(&id).await.unwrap().is_none());
    assert!(tx.report_released(&id).await.unwrap());
    tx.commit().await.unwrap();
}

async fn what_sessions_were_granted_is_forgotten(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    let other = SessionRow { identity: Sha256Digest::of(b"z"), ..session(51, 100) };
    for row in [session(50, 100), other, session(52, 100)] {
        assert!(tx.insert_session(&row).await.unwrap());
    }
    for nonce in [50, 51] {
        assert!(tx.set_session_grants(&Nonce([nonce; 32]), &[5]).await.unwrap());
    }
    assert_eq!(tx.forget_session_grants(&Sha256Digest::of(b"a")).await.unwrap(), 1);
    let mut grants = Vec::new();
    for nonce in [50, 51, 52] {
        grants.push(tx.session(&Nonce([nonce; 32])).await.unwrap().unwrap().grants);
    }
    assert_eq!(grants, [Some(vec![]), Some(vec![5]), None], "it was granted, and nobody knows what");
    let sealed = tx.sealed().await.unwrap();
    assert!(!sealed.iter().any(|row| row.value.is_empty()), "nothing is sealed there any more");
}

async fn a_dropped_transaction_never_was(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    assert!(tx.insert_pool(&pool("dropped")).await.unwrap());
    drop(tx);
    let mut tx = store.write().await.unwrap();
    assert_eq!(tx.pool(&"dropped".parse().unwrap()).await.unwrap(), None);
}

async fn readers_see_one_snapshot_while_one_writes(store: &impl Store) {
    let mut reader = store.read().await.unwrap();
    let before = reader.pools().await.unwrap().len();
    let mut writer = store.write().await.unwrap();
    writer.insert_pool(&pool("later")).await.unwrap();
    writer.commit().await.unwrap();
    assert_eq!(reader.pools().await.unwrap().len(), before);
    drop(reader);
    assert_eq!(store.read().await.unwrap().pools().await.unwrap().len(), before + 1);
}

async fn a_glance_waits_for_nobody_and_sees_no_half_a_transaction(store: &impl Store) {
    let name: PoolName = "glanced".parse().unwrap();
    let mut writer = store.write().await.unwrap();
    writer.insert_pool(&pool("glanced")).await.unwrap();
    let mut glance = store.glance().await.unwrap();
    assert_eq!(glance.pool(&name).await.unwrap(), None, "it may be rolled back");
    drop(glance);
    writer.commit().await.unwrap();
    let mut glance = store.glance().await.unwrap();
    assert_eq!(glance.pool(&name).await.unwrap(), Some(pool("glanced")));
    drop(glance);
    // Whatever it was, the next one writes.
    store.write().await.unwrap().commit().await.unwrap();
}

async fn writers_come_one_after_the_other<S: Store>(store: &S) {
    let one = async |name: String| {
        let mut tx = store.write().await.unwrap();
        let count = tx.pools().await.unwrap().len();
        tokio::task::yield_now().await;
        tx.insert_pool(&pool(&name)).await.unwrap();
        assert_eq!(tx.pools().await.unwrap().len(), count + 1);
        tx.commit().await.unwrap();
    };
    tokio::join!(one("x1".into()), one("x2".into()), one("x3".into()), one("x4".into()));
}

async fn appended<S: Store>(store: &S, object: &str) -> S::Tx {
    let mut tx = store.write().await.unwrap();
    let (actor, object) = ("test".to_owned(), object.to_owned());
    let entry = AuditEntry { actor, action: "test", object, detail: Value::Null, correlation_id: "" };
    audit::append(&mut tx, 1, entry).await.unwrap();
    tx
}

async fn the_audit_log_goes_on_from_what_was_not_rolled_back<S: Store>(store: &S) {
    let kept = async |object| appended(store, object).await.commit().await.unwrap();
    let dropped = async |object| drop(appended(store, object).await);
    // All of one commit, and then one of the next.
    tokio::join!(kept("a"), dropped("b"), kept("c"), dropped("d"), kept("e"));
    kept("f").await;
    assert_eq!(audit::verify(store, None).await.unwrap(), 4);
}

async fn nonces_are_spent_once_and_purged(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    assert!(tx.insert_session(&session(1, 100)).await.unwrap());
    assert!(!tx.insert_session(&session(1, 200)).await.unwrap());
    let day = 24 * 3600;
    tx.purge(100 + day, 0).await.unwrap();
    assert!(tx.session(&Nonce([1; 32])).await.unwrap().is_some(), "a day after its end");
    tx.purge(101 + day, 1).await.unwrap();
    assert!(tx.session(&Nonce([1; 32])).await.unwrap().is_some(), "a grant may last a second more");
    tx.purge(102 + day, 1).await.unwrap();
    assert!(tx.session(&Nonce([1; 32])).await.unwrap().is_none());
}

async fn resources_go_with_their_node_or_pool(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    let (name, own): (ResourceUri, ResourceUri) =
        ("kbs:///default/r/key".parse().unwrap(), "kbs:///r/key/root".parse().unwrap());
    let row = |name: &ResourceUri, content: &[u8]| ResourceRow {
        name: name.clone(),
        content: content.to_vec(),
        size: 3,
        updated: 7,
    };
    let (node, id) = (node("r", b"r"), Sha256Digest::of(b"r"));
    let pool: PoolName = "readers".parse().unwrap();
    assert!(tx.insert_pool(&PoolRow { name: pool.clone(), ..self::pool("readers") }).await.unwrap());
    assert!(tx.insert_node(&node).await.unwrap());
    for content in [b"one", b"two"] {
        assert!(tx.set_resource(&row(&name, content)).await.unwrap());
    }
    let near = "kbs:///rr/key/root".parse().unwrap();
    for name in [&own, &near] {
        assert!(tx.set_resource(&row(name, b"own")).await.unwrap());
    }
    assert_eq!(tx.resource(&name).await.unwrap(), Some(row(&name, b"two")));
    assert_eq!(tx.resources().await.unwrap()[0], row(&name, b""), "without content");
    assert!(!tx.is_reader(&name, &id, &pool).await.unwrap());
    assert!(tx.allow_node(&name, &id).await.unwrap() && !tx.allow_node(&name, &id).await.unwrap());
    assert!(tx.is_reader(&name, &id, &pool).await.unwrap());
    assert!(!tx.is_reader(&own, &id, &pool).await.unwrap());
    assert_eq!(tx.resource_nodes(&name).await.unwrap(), std::slice::from_ref(&node.name));
    assert!(tx.set_resource(&row(&name, b"more")).await.unwrap());
    assert!(tx.is_reader(&name, &id, &pool).await.unwrap(), "readers outlive the content");
    assert!(tx.disallow_node(&name, &id).await.unwrap() && !tx.disallow_node(&name, &id).await.unwrap());
    assert!(tx.allow_node(&name, &id).await.unwrap() && tx.allow_pool(&name, &pool).await.unwrap());
    assert_eq!(tx.resource_pools(&name).await.unwrap(), std::slice::from_ref(&pool));
    assert_eq!(tx.delete_resources_of(&node.name).await.unwrap(), 1);
    assert!(tx.resource(&near).await.unwrap().is_some(), "another repository");
    assert!(tx.delete_node(&id).await.unwrap() && tx.delete_pool(&pool).await.unwrap());
    assert!(!tx.is_reader(&name, &id, &pool).await.unwrap());
    for name in [&name, &near] {
        assert!(tx.delete_resource(name).await.unwrap());
    }
    tx.commit().await.unwrap();
}

async fn reference_values_are_replaced_by_name(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    let pool = "workers".parse().unwrap();
    for value in [1, 2] {
        assert!(tx.set_reference_value(&pool, "a", &json!([value])).await.unwrap());
    }
    assert!(tx.set_reference_value(&pool, "b", &json!("x")).await.unwrap());
    let all = tx.reference_values(&pool).await.unwrap();
    assert_eq!(all, [("a".to_owned(), json!([2])), ("b".to_owned(), json!("x"))].into());
    assert!(tx.reference_values(&"later".parse().unwrap()).await.unwrap().is_empty());
    assert_eq!(tx.clear_reference_values(&pool).await.unwrap(), 2);
    tx.commit().await.unwrap();
}

async fn revisions_count_what_evidence_is_compared_with(store: &impl Store) {
    let mut last = store.read().await.unwrap().revision().await.unwrap();
    let name: PoolName = "workers".parse().unwrap();
    let (root, _) = crate::pki::ca("maker", time::OffsetDateTime::now_utc()).unwrap();
    let root = crate::pki::ek_root(
        &crate::pki::der_of_pem(&root.cert).unwrap(),
        ccnode_protocol::admin::TrustLevel::DiscreteTpm,
    );
    let root = root.unwrap();
    let boot = ccnode_testkit::Boot::standard();
    let platform = boot.platform_tuple("p");
    let platform = Tuple { id: platform.id(), registered: 1, tuple: platform };
    let image = boot.image_tuple("i", "1", Sha256Digest::ZERO);
    let image = Tuple { id: image.id(), registered: 1, tuple: image };
    let pair = Pair { platform: platform.id, image: image.id };
    for step in 0..9 {
        let mut tx = store.write().await.unwrap();
        let changed = match step {
            0 => tx.update_pool(&pool("workers")).await,
            1 => tx.insert_ek_root(&name, &root).await,
            2 => tx.delete_ek_root(&name, &root.id).await,
            3 => tx.insert_platform(&platform).await,
            4 => tx.insert_image(&image).await,
            5 => tx.insert_pair(&name, &pair).await,
            6 => tx.delete_pair(&name, &pair).await,
            7 => tx.delete_platform(&platform.id).await,
            _ => tx.delete_image(&image.id).await,
        };
        assert!(changed.unwrap(), "{step}");
        tx.commit().await.unwrap();
        let now = store.read().await.unwrap().revision().await.unwrap();
        assert!(now > last, "{step}");
        last = now;
    }
    let mut tx = store.write().await.unwrap();
    assert!(tx.insert_session(&session(9, 100)).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(store.read().await.unwrap().revision().await.unwrap(), last, "sessions change nothing of it");
}

async fn a_dropped_transaction_takes_no_other_along<S: Store>(store: &S) {
    let nonces: Vec<u8> = (20..40).collect();
    let one = async |nonce: &u8| {
        let mut tx = store.write().await.unwrap();
        tx.insert_session(&session(*nonce, 100)).await.unwrap();
        tokio::task::yield_now().await;
        if nonce.is_multiple_of(3) {
            return;
        }
        tx.commit().await.unwrap();
    };
    futures_util::future::join_all(nonces.iter().map(one)).await;
    let mut tx = store.read().await.unwrap();
    for nonce in nonces {
        let there = tx.session(&Nonce([nonce; 32])).await.unwrap().is_some();
        assert_eq!(there, !nonce.is_multiple_of(3), "{nonce}");
    }
}

async fn numbers_have_a_range(store: &impl Store) {
    let mut tx = store.write().await.unwrap();
    let huge = SessionRow { expires: u64::MAX, ..session(2, 0) };
    assert!(matches!(tx.insert_session(&huge).await, Err(StoreError::Range("expires"))));
}

async fn contract(store: &impl Store) {
    rows_come_back_as_they_went(store).await;
    nodes_of_one_boot_go_and_their_release_stays(store).await;
    evidence::last_evidence_is_replaced_and_goes_with_its_node(store).await;
    volumes::a_swap_wants_the_very_version(store).await;
    volumes::a_next_key_lies_beside_the_current_one(store).await;
    volumes::what_recovers_a_volume_lies_beside_its_key(store).await;
    what_sessions_were_granted_is_forgotten(store).await;
    resources_go_with_their_node_or_pool(store).await;
    reference_values_are_replaced_by_name(store).await;
    a_dropped_transaction_never_was(store).await;
    readers_see_one_snapshot_while_one_writes(store).await;
    a_glance_waits_for_nobody_and_sees_no_half_a_transaction(store).await;
    the_audit_log_goes_on_from_what_was_not_rolled_back(store).await;
    writers_come_one_after_the_other(store).await;
    nonces_are_spent_once_and_purged(store).await;
    revisions_count_what_evidence_is_compared_with(store).await;
    a_dropped_transaction_takes_no_other_along(store).await;
    numbers_have_a_range(store).await;
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("db"), true).await.unwrap();
    contract(&store).await;
    store.close().await;
}

#[tokio::test]
async fn sqlite_is_durable_and_not_made_by_accident() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    assert!(matches!(SqliteStore::open(&path, false).await, Err(StoreError::Sql(_))));
    let store = SqliteStore::open(&path, true).await.unwrap();
    assert_eq!(store.pragma("journal_mode").await, "wal");
    assert_eq!(store.pragma("synchronous").await, "2");
    assert_eq!(store.pragma("foreign_keys").await, "1");
    assert_eq!(store.pragma("secure_delete").await, "1", "what is deleted is overwritten");
    store.close().await;
}

#[tokio::test]
async fn databases_of_the_first_versions_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    let db = rusqlite::Connection::open(&path).unwrap();
    for schema in [
        include_str!("../../migrations/0001_initial.sql"),
        include_str!("../../migrations/0002_refusals_by_node.sql"),
        include_str!("../../migrations/0003_hardware.sql"),
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, success BOOLEAN NOT NULL);
        INSERT INTO _sqlx_migrations VALUES (1, true), (2, true), (3, true);",
    ] {
        db.execute_batch(schema).unwrap();
    }
    drop(db);
    for _ in 0..2 {
        let store = SqliteStore::open(&path, false).await.unwrap();
        let mut tx = store.write().await.unwrap();
        tx.insert_pool(&pool("workers")).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(store.read().await.unwrap().pools().await.unwrap().len(), 1);
        store.close().await;
    }
}

#[tokio::test]
async fn the_audit_log_goes_on_from_what_another_process_appended() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.sqlite");
    let stores =
        [SqliteStore::open(&path, true).await.unwrap(), SqliteStore::open(&path, false).await.unwrap()];
    for store in stores.iter().cycle().take(5) {
        appended(store, "a").await.commit().await.unwrap();
    }
    assert_eq!(audit::verify(&stores[0], None).await.unwrap(), 5);
}
