//! The embedded store: SQLite in WAL mode with full synchronisation, one writer, several readers.

mod columns;
mod nodes;
mod records;
mod references;
mod resources;

use super::*;
use columns::sql;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a connection waits for another process's lock before it fails.
const BUSY: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// A database file.
#[derive(Clone, Debug)]
pub struct SqliteStore {
    // The only connection that writes: a writer waits here, in order, and never for SQLite's lock.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the database at `path`, which `create` says may be new, and brings its schema up to date.
    pub async fn open(path: &Path, create: bool) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .optimize_on_close(true, None);
        let writer =
            SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(sql)?;
        sqlx::migrate!("./migrations").run(&writer).await.map_err(StoreError::Migrate)?;
        let readers =
            SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await.map_err(sql)?;
        Ok(Self { writer, readers })
    }

    /// What the writer's connection has this pragma set to.
    #[cfg(test)]
    pub(super) async fn pragma(&self, name: &str) -> String {
        use sqlx::Row as _;
        let row = sqlx::query(&format!("PRAGMA {name}")).fetch_one(&self.writer).await.unwrap();
        row.try_get::<String, _>(0).or_else(|_| row.try_get::<i64, _>(0).map(|n| n.to_string())).unwrap()
    }

    /// Closes every connection; the write-ahead log is folded in.
    pub async fn close(&self) {
        for pool in [&self.readers, &self.writer] {
            pool.close().await;
            // The pool does not always wait for a connection that is on its way back, and SQLite folds the log in only when the
            // last connection closes.
            let end = Instant::now() + BUSY;
            while pool.size() > 0 && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(2)).await;
                pool.close().await;
            }
        }
    }
}

impl Store for SqliteStore {
    type Tx = SqliteTx;

    async fn read(&self) -> Result<SqliteTx> {
        self.readers.begin().await.map(SqliteTx).map_err(sql)
    }

    async fn write(&self) -> Result<SqliteTx> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.map(SqliteTx).map_err(sql)
    }
}

/// A transaction; dropped without a commit it is rolled back.
#[derive(Debug)]
pub struct SqliteTx(Transaction<'static, Sqlite>);

/// Forwards each method of [`Tx`] to the function of the same name.
macro_rules! forward {
    ($($module:ident { $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)* })*) => {
        impl Tx for SqliteTx {
            async fn commit(self) -> Result<()> {
                self.0.commit().await.map_err(sql)
            }
            $($(
                async fn $name(&mut self, $($arg: $type),*) -> Result<$out> {
                    $module::$name(&mut self.0, $($arg),*).await
                }
            )*)*
        }
    };
}

forward! {
    references {
        pools() -> Vec<PoolRow>;
        pool(name: &PoolName) -> Option<PoolRow>;
        insert_pool(row: &PoolRow) -> bool;
        update_pool(row: &PoolRow) -> bool;
        delete_pool(name: &PoolName) -> bool;
        ek_roots(pool: &PoolName) -> Vec<EkRoot>;
        insert_ek_root(pool: &PoolName, root: &EkRoot) -> bool;
        delete_ek_root(pool: &PoolName, id: &Sha256Digest) -> bool;
        images() -> Vec<Tuple<ImageTuple>>;
        image(id: &Sha256Digest) -> Option<Tuple<ImageTuple>>;
        insert_image(row: &Tuple<ImageTuple>) -> bool;
        delete_image(id: &Sha256Digest) -> bool;
        platforms() -> Vec<Tuple<PlatformTuple>>;
        platform(id: &Sha256Digest) -> Option<Tuple<PlatformTuple>>;
        insert_platform(row: &Tuple<PlatformTuple>) -> bool;
        delete_platform(id: &Sha256Digest) -> bool;
        pairs(pool: Option<&PoolName>) -> Vec<(PoolName, Pair)>;
        insert_pair(pool: &PoolName, pair: &Pair) -> bool;
        delete_pair(pool: &PoolName, pair: &Pair) -> bool;
    }
    nodes {
        nodes(filter: &NodeFilter) -> Vec<NodeRow>;
        node(identity: &Sha256Digest) -> Option<NodeRow>;
        node_named(name: &NodeName) -> Option<NodeRow>;
        insert_node(row: &NodeRow) -> bool;
        update_node(row: &NodeRow) -> bool;
        delete_node(identity: &Sha256Digest) -> bool;
        last_evidence(identity: &Sha256Digest) -> Option<String>;
        set_last_evidence(identity: &Sha256Digest, record: &str) -> bool;
        report_released(identity: &Sha256Digest) -> bool;
        insert_released_report(identity: &Sha256Digest, now: u64) -> bool;
        volumes(identity: &Sha256Digest) -> Vec<VolumeRow>;
        volume(id: &str) -> Option<VolumeRow>;
        insert_volume(row: &VolumeRow) -> bool;
        swap_volume(from: (VolumeState, u64), row: &VolumeRow) -> bool;
        insert_session(row: &SessionRow) -> bool;
        session(nonce: &Nonce) -> Option<SessionRow>;
        set_session_grants(nonce: &Nonce, grants: &[u8]) -> bool;
        grant(id: &str) -> Option<GrantRow>;
        insert_grant(row: &GrantRow) -> bool;
        set_grant_certificate(id: &str, pem: &str) -> bool;
        purge(now: u64) -> ();
    }
    resources {
        resources() -> Vec<ResourceRow>;
        resource(name: &ResourceUri) -> Option<ResourceRow>;
        set_resource(row: &ResourceRow) -> bool;
        delete_resource(name: &ResourceUri) -> bool;
        delete_resources_of(node: &NodeName) -> u64;
        resource_nodes(name: &ResourceUri) -> Vec<NodeName>;
        resource_pools(name: &ResourceUri) -> Vec<PoolName>;
        allow_node(name: &ResourceUri, node: &Sha256Digest) -> bool;
        disallow_node(name: &ResourceUri, node: &Sha256Digest) -> bool;
        allow_pool(name: &ResourceUri, pool: &PoolName) -> bool;
        disallow_pool(name: &ResourceUri, pool: &PoolName) -> bool;
        is_reader(name: &ResourceUri, node: &Sha256Digest, pool: &PoolName) -> bool;
        reference_values(pool: &PoolName) -> BTreeMap<String, Value>;
        set_reference_value(pool: &PoolName, name: &str, value: &Value) -> bool;
        clear_reference_values(pool: &PoolName) -> u64;
    }
    records {
        refusals(filter: &RefusalFilter) -> Vec<RefusalRow>;
        refusal(id: u64) -> Option<RefusalRow>;
        insert_refusal(row: &RefusalRow) -> u64;
        trim_refusals(pool: Option<&PoolName>, node: Option<&NodeName>, keep: &Keep) -> ();
        last_audit() -> Option<AuditRow>;
        insert_audit(row: &AuditRow) -> bool;
        audit(filter: &AuditFilter) -> Vec<AuditRow>;
        audit_from(seq: u64) -> Vec<AuditRow>;
    }
}
