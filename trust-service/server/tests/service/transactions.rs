//! The store alone under random concurrent transactions: what was told to be committed is there, what was not is not.

use ccnode_evidence::{Nonce, Sha256Digest};
use ccnode_protocol::admin::{VolumeRecord, VolumeState};
use ccnode_server::store::{SessionRow, SqliteStore, Store as _, StoreError, Tx as _, VolumeRow};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

type Tx = <SqliteStore as ccnode_server::store::Store>::Tx;
/// What the keys hold.
type State = BTreeMap<u8, Option<Vec<u8>>>;

const KEYS: u8 = 6;
/// Values at which triggers of this test fail: one rolls all back at once, as SQLite does on a full disk; one has the commit fail.
const ROLLS_BACK: u8 = 0xfe;
const FAILS_AT_COMMIT: u8 = 0xff;
const TRIGGERS: &str = "
    CREATE TABLE none (id INTEGER PRIMARY KEY);
    CREATE TABLE child (id INTEGER REFERENCES none DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER rolls_back BEFORE UPDATE ON sessions WHEN NEW.grants = x'fe'
        BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END;
    CREATE TRIGGER fails_at_commit BEFORE UPDATE ON sessions WHEN NEW.grants = x'ff'
        BEGIN INSERT INTO child VALUES (1); END;";

#[derive(Clone, Copy, Debug)]
enum Statement {
    Insert(u8),
    Set(u8, u8),
    /// Refused by the schema: the statement fails, and the transaction may go on.
    Refused,
}

#[derive(Clone, Debug)]
struct Transaction {
    statements: Vec<Statement>,
    /// Whether it ends at the first error, as the service's do.
    careful: bool,
    commits: bool,
}

/// A transaction as it went.
#[derive(Debug)]
struct Went {
    /// Its place among those that ended.
    at: u32,
    before: State,
    after: State,
    committed: bool,
}

fn statement() -> impl Strategy<Value = Statement> {
    prop_oneof![
        4 => (0..KEYS).prop_map(Statement::Insert),
        6 => (0..KEYS, 0u8..100).prop_map(|(key, value)| Statement::Set(key, value)),
        1 => (0..KEYS).prop_map(|key| Statement::Set(key, ROLLS_BACK)),
        1 => (0..KEYS).prop_map(|key| Statement::Set(key, FAILS_AT_COMMIT)),
        1 => Just(Statement::Refused),
    ]
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let statements = prop::collection::vec(statement(), 0..5);
    (statements, prop::bool::weighted(0.7), prop::bool::weighted(0.8))
        .prop_map(|(statements, careful, commits)| Transaction { statements, careful, commits })
}

fn nonce(key: u8) -> Nonce {
    Nonce([key; 32])
}

async fn state(tx: &mut Tx) -> State {
    let mut state = State::new();
    for key in 0..KEYS {
        if let Some(row) = tx.session(&nonce(key)).await.unwrap() {
            state.insert(key, row.grants);
        }
    }
    state
}

async fn run(tx: &mut Tx, statement: Statement) -> Result<(), StoreError> {
    match statement {
        Statement::Insert(key) => {
            let (nonce, identity) = (nonce(key), Sha256Digest::ZERO);
            let row = SessionRow { nonce, identity, expires: 0, verdict: None, stock: None, grants: None };
            tx.insert_session(&row).await.map(drop)
        }
        Statement::Set(key, value) => tx.set_session_grants(&nonce(key), &[value]).await.map(drop),
        Statement::Refused => {
            let record = VolumeRecord {
                id: "a volume of nobody".into(),
                uuid: String::new(),
                state: VolumeState::None,
                generation: 0,
                header_digest: None,
                populated_from: None,
                rotation: None,
            };
            let row = VolumeRow {
                identity: Sha256Digest::ZERO,
                record,
                unlock_key: None,
                next: None,
                recovery: None,
            };
            tx.insert_volume(&row).await.map(drop)
        }
    }
}

/// One after the other, as one client's requests.
async fn client(store: SqliteStore, transactions: Vec<Transaction>, count: &AtomicU32) -> Vec<Went> {
    let mut all = Vec::new();
    'next: for transaction in transactions {
        let mut tx = store.write().await.unwrap();
        let before = state(&mut tx).await;
        for statement in transaction.statements {
            if run(&mut tx, statement).await.is_err() && transaction.careful {
                continue 'next;
            }
        }
        if !transaction.commits {
            continue;
        }
        // Once it is rolled back there is nothing to read.
        let after = match tx.session(&nonce(0)).await {
            Ok(_) => state(&mut tx).await,
            Err(_) => State::new(),
        };
        // Nobody else ends while this one has the writer.
        let at = count.fetch_add(1, Ordering::SeqCst);
        let committed = tx.commit().await.is_ok();
        all.push(Went { at, before, after, committed });
    }
    all
}

/// Snapshots, as they come.
async fn reader(store: SqliteStore, times: usize) -> Vec<State> {
    let mut seen = Vec::new();
    for _ in 0..times {
        seen.push(state(&mut store.read().await.unwrap()).await);
        tokio::task::yield_now().await;
    }
    seen
}

async fn case(file: &Path, clients: Vec<Vec<Transaction>>) {
    let store = SqliteStore::open(file, true).await.unwrap();
    rusqlite::Connection::open(file).unwrap().execute_batch(TRIGGERS).unwrap();
    let count = AtomicU32::new(0);
    let running = clients.into_iter().map(|transactions| client(store.clone(), transactions, &count));
    let (went, seen) = tokio::join!(futures_util::future::join_all(running), reader(store.clone(), 20));
    let mut went: Vec<Went> = went.into_iter().flatten().filter(|went| went.committed).collect();
    went.sort_by_key(|went| went.at);

    let mut current = State::new();
    let mut states = BTreeSet::from([current.clone()]);
    for Went { before, after, at, .. } in went {
        assert_eq!(before, current, "transaction {at} saw something else than what was committed before it");
        current = after;
        states.insert(current.clone());
    }
    assert_eq!(state(&mut store.read().await.unwrap()).await, current, "after the last one");
    for snapshot in seen {
        assert!(states.contains(&snapshot), "read before it was committed: {snapshot:?}");
    }
    store.close().await;
    let store = SqliteStore::open(file, false).await.unwrap();
    assert_eq!(state(&mut store.read().await.unwrap()).await, current, "on the disk");
    store.close().await;
}

#[test]
fn committed_is_committed_and_nothing_else_is() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    let clients = prop::collection::vec(prop::collection::vec(transaction(), 1..8), 1..6);
    let cases = crate::interleaved::cases(150);
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let checked = TestRunner::new(config).run(&clients, |clients| {
        let dir = tempfile::tempdir().unwrap();
        runtime.block_on(case(&dir.path().join("db.sqlite"), clients));
        Ok(())
    });
    checked.unwrap_or_else(|failure| panic!("{failure}"));
}

#[tokio::test]
async fn once_sqlite_has_rolled_back_nothing_more_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("db.sqlite");
    let store = SqliteStore::open(&file, true).await.unwrap();
    rusqlite::Connection::open(&file).unwrap().execute_batch(TRIGGERS).unwrap();
    let mut tx = store.write().await.unwrap();
    run(&mut tx, Statement::Insert(0)).await.unwrap();
    assert!(run(&mut tx, Statement::Set(0, ROLLS_BACK)).await.is_err());
    let late = run(&mut tx, Statement::Insert(1)).await;
    assert!(matches!(late, Err(StoreError::RolledBack)), "{late:?}");
    assert!(tx.commit().await.is_err());
    assert_eq!(state(&mut store.read().await.unwrap()).await, State::new());
}
