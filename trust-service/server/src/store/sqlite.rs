//! The embedded store: SQLite in WAL mode with full synchronisation, one writer, several readers.
//!
//! Statements run where they are asked for: a page that is cached is nearer than another thread. What waits for the disk, the commit,
//! runs on a thread of its own; transactions that were waiting for the writer meanwhile are committed with one another.

mod columns;
mod group;
mod nodes;
mod proposals;
mod query;
mod records;
mod references;
mod resources;
mod sealed;
mod transaction;

use super::*;
use group::Writer;
use prometheus_client::metrics::histogram::Histogram;
use query::sql;
use rusqlite::{Connection, OpenFlags};
use rusqlite_migration::{M, Migrations};
use std::path::Path;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use transaction::Readers;
pub(super) use transaction::SqliteTx;

/// How long a connection waits for another process's lock before it fails.
const BUSY: Duration = Duration::from_secs(5);
/// Pages of the write-ahead log (4 KiB each) after which it is folded in: the longer, the oftener a page was written meanwhile.
const CHECKPOINT: u32 = 8_000;
/// Statements that a connection keeps prepared: all there are.
const PREPARED: usize = 128;
const READERS: u32 = 4;
/// KiB of pages that the writer keeps; a reader's last until the next commit.
const WRITERS_CACHE: i64 = 64 * 1024;

/// The schema's versions, each made of the one before.
const SCHEMA: &[&str] = &[
    include_str!("../../migrations/0001_initial.sql"),
    include_str!("../../migrations/0002_refusals_by_node.sql"),
    include_str!("../../migrations/0003_hardware.sql"),
    include_str!("../../migrations/0004_stock.sql"),
    include_str!("../../migrations/0005_nodes_by_expiry.sql"),
    include_str!("../../migrations/0006_revision.sql"),
    include_str!("../../migrations/0007_grants_by_session.sql"),
    include_str!("../../migrations/0008_evidence_logs.sql"),
    include_str!("../../migrations/0009_proposals.sql"),
    include_str!("../../migrations/0010_next_keys.sql"),
    include_str!("../../migrations/0011_recovery.sql"),
    include_str!("../../migrations/0012_sessions_outlive_grants.sql"),
    include_str!("../../migrations/0013_evidence_keys.sql"),
];

/// A database file.
#[derive(Clone)]
pub struct SqliteStore {
    // The only connection that writes: a writer waits here, in order, and never for SQLite's lock.
    writer: Arc<Mutex<Writer>>,
    readers: Arc<Readers>,
    commits: Histogram,
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SqliteStore")
    }
}

impl SqliteStore {
    /// Opens the database at `path`, which `create` says may be new, and brings its schema up to date.
    pub async fn open(path: &Path, create: bool) -> Result<Self> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || Self::open_now(&path, create))
            .await
            .map_err(|_| StoreError::Closed)?
    }

    fn open_now(path: &Path, create: bool) -> Result<Self> {
        let mut writer = connection(path, create)?;
        writer.pragma_update(None, "cache_size", -WRITERS_CACHE).map_err(sql)?;
        adopt(&writer)?;
        let versions: Vec<M<'_>> = SCHEMA.iter().map(|text| M::up(text)).collect();
        Migrations::new(versions).to_latest(&mut writer).map_err(StoreError::Migrate)?;
        // A crash may have left what was to be gone.
        folded(&writer)?;
        let readers: Result<Vec<Connection>> = (0..READERS).map(|_| connection(path, false)).collect();
        let commits = crate::metrics::commits();
        Ok(Self {
            writer: Arc::new(Mutex::new(Writer::new(writer, commits.clone()))),
            readers: Arc::new(Readers::new(readers?)),
            commits,
        })
    }

    /// What the writer's connection has this pragma set to.
    #[cfg(test)]
    pub(super) async fn pragma(&self, name: &str) -> String {
        let writer = self.writer.lock().await;
        let value = writer
            .db()
            .unwrap()
            .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        match value.unwrap() {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(n) => n.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// How long its commits take, seconds.
    pub fn commits(&self) -> Histogram {
        self.commits.clone()
    }

    /// Closes every connection; the write-ahead log is folded in by the last one. Open transactions end first.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.lock().await.close();
    }
}

/// The first versions of this program had their migrations counted in a table of another library's: its count goes on.
fn adopt(db: &Connection) -> Result<()> {
    let there = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
    if db.query_row(there, [], |row| row.get::<_, i64>(0)).map_err(sql)? == 0 {
        return Ok(());
    }
    let applied = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success";
    let applied: i64 = db.query_row(applied, [], |row| row.get(0)).map_err(sql)?;
    let both = format!("BEGIN; PRAGMA user_version = {applied}; DROP TABLE _sqlx_migrations; COMMIT");
    db.execute_batch(&both).map_err(sql)
}

/// Folds the write-ahead log in and leaves nothing of it; `false` while somebody reads from it.
fn folded(db: &Connection) -> Result<bool> {
    // Whoever writes waits meanwhile: it is not for this to wait for readers.
    db.busy_timeout(Duration::ZERO).map_err(sql)?;
    let busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    db.busy_timeout(BUSY).map_err(sql)?;
    Ok(busy.map_err(sql)? == 0)
}

fn connection(path: &Path, create: bool) -> Result<Connection> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, create);
    let db = Connection::open_with_flags(path, flags).map_err(sql)?;
    db.busy_timeout(BUSY).map_err(sql)?;
    db.pragma_update(None, "journal_mode", "wal").map_err(sql)?;
    db.pragma_update(None, "synchronous", "full").map_err(sql)?;
    db.pragma_update(None, "foreign_keys", true).map_err(sql)?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT).map_err(sql)?;
    // What a transaction would put back goes into memory, and not through a file.
    db.pragma_update(None, "temp_store", "memory").map_err(sql)?;
    // What is deleted is overwritten: keys among it.
    db.pragma_update(None, "secure_delete", true).map_err(sql)?;
    db.set_prepared_statement_cache_capacity(PREPARED);
    Ok(db)
}

impl Store for SqliteStore {
    type Tx = SqliteTx;

    async fn read(&self) -> Result<SqliteTx> {
        self.readers.begin().await
    }

    async fn glance(&self) -> Result<SqliteTx> {
        // Its pages are in memory. A reader's are read anew whenever something was written.
        match self.writer.clone().try_lock_owned() {
            Ok(writer) => Ok(SqliteTx::glance(writer)),
            Err(_) => self.readers.begin().await,
        }
    }

    async fn write(&self) -> Result<SqliteTx> {
        SqliteTx::write(self.writer.clone().lock_owned().await)
    }

    async fn scrub(&self) -> Result<bool> {
        let mut writer = self.writer.clone().lock_owned().await;
        let work = move || {
            writer.commit();
            folded(writer.db()?)
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)?
    }
}

/// Forwards each method of [`Tx`] to the function of the same name, but for the end of the audit log, which the writer knows.
macro_rules! forward {
    ($($module:ident { $($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)* })*) => {
        impl Tx for SqliteTx {
            async fn commit(self) -> Result<()> {
                self.0.commit().await
            }
            fn is_snapshot(&self) -> bool {
                matches!(self.0, transaction::Access::Read(_))
            }
            async fn audit_end(&mut self) -> Result<Option<(u64, Sha256Digest)>> {
                match self.0.appended()? {
                    Some(end) => Ok(Some(end)),
                    None => records::audit_end(self.0.db()?),
                }
            }
            async fn insert_audit(&mut self, row: &AuditRow) -> Result<bool> {
                let inserted = records::insert_audit(self.0.db()?, row)?;
                if inserted {
                    self.0.append((row.seq, row.hash));
                }
                Ok(inserted)
            }
            $($(
                async fn $name(&mut self, $($arg: $type),*) -> Result<$out> {
                    $module::$name(self.0.db()?, $($arg),*)
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
        revision() -> u64;
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
        node_called(identity: &Sha256Digest) -> Option<(NodeName, PoolName)>;
        node_named(name: &NodeName) -> Option<NodeRow>;
        insert_node(row: &NodeRow) -> bool;
        update_node(row: &NodeRow) -> bool;
        delete_node(identity: &Sha256Digest) -> bool;
        last_evidence(identity: &Sha256Digest) -> Option<EvidenceRow>;
        set_last_evidence(identity: &Sha256Digest, row: &EvidenceRow) -> bool;
        report_released(identity: &Sha256Digest) -> bool;
        insert_released_report(identity: &Sha256Digest, now: u64) -> bool;
        volumes(identity: &Sha256Digest) -> Vec<VolumeRow>;
        volume(id: &str) -> Option<VolumeRow>;
        insert_volume(row: &VolumeRow) -> bool;
        swap_volume(from: VolumeVersion, row: &VolumeRow) -> bool;
        move_volume(from: &Sha256Digest, row: &VolumeRow) -> bool;
        insert_session(row: &SessionRow) -> bool;
        session(nonce: &Nonce) -> Option<SessionRow>;
        set_session_grants(nonce: &Nonce, grants: &[u8]) -> bool;
        forget_session_grants(identity: &Sha256Digest) -> u64;
        grant(id: &str) -> Option<GrantRow>;
        insert_grant(row: &GrantRow) -> bool;
        set_grant_certificate(id: &str, pem: &str) -> bool;
        purge(now: u64, grants_last: u64) -> ();
        purge_nodes(now: u64) -> ();
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
        move_readers(from: &Sha256Digest, to: &Sha256Digest) -> ();
        allow_pool(name: &ResourceUri, pool: &PoolName) -> bool;
        disallow_pool(name: &ResourceUri, pool: &PoolName) -> bool;
        is_reader(name: &ResourceUri, node: &Sha256Digest, pool: &PoolName) -> bool;
        reference_values(pool: &PoolName) -> BTreeMap<String, Value>;
        set_reference_value(pool: &PoolName, name: &str, value: &Value) -> bool;
        clear_reference_values(pool: &PoolName) -> u64;
    }
    proposals {
        proposals() -> Vec<ProposalRow>;
        proposal(id: u64) -> Option<ProposalRow>;
        insert_proposal(row: &ProposalRow) -> u64;
        delete_proposal(id: u64) -> bool;
        purge_proposals(now: u64) -> ();
        allowance(identity: &Sha256Digest) -> Option<AllowanceRow>;
        set_allowance(row: &AllowanceRow) -> bool;
        use_allowance(row: &AllowanceRow, used: &AllowanceUsed) -> bool;
    }
    sealed {
        sealed() -> Vec<Sealed>;
        set_sealed(row: &Sealed) -> bool;
    }
    records {
        refusals(filter: &RefusalFilter) -> Vec<RefusalRow>;
        refusal(id: u64) -> Option<RefusalRow>;
        insert_refusal(row: &RefusalRow) -> u64;
        trim_refusals(pool: Option<&PoolName>, node: Option<&NodeName>, keep: &Keep) -> ();
        audit(filter: &AuditFilter) -> Vec<AuditRow>;
        audit_from(seq: u64) -> Vec<AuditRow>;
    }
}
