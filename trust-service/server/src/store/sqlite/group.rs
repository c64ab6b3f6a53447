//! The writer's connection, and transactions that are committed with one another.
//!
//! Each transaction is a savepoint within an outer one. When it ends well, its end is announced only after the outer one is on the disk:
//! whoever waited for the writer by then has been let in first, so that one wait for the disk serves them all.

use super::query::sql;
use super::{Result, StoreError};
use ccnode_evidence::Sha256Digest;
use prometheus_client::metrics::histogram::Histogram;
use rusqlite::Connection;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedMutexGuard, oneshot};

/// Where the last commit served so many transactions, the next waits for company.
const CROWD: usize = 4;
/// How long it waits. A commit takes about as long, and the pages that all of them touch are written once.
const PATIENCE: Duration = Duration::from_millis(10);

/// How a transaction's commit ended.
pub(super) type Committed = std::result::Result<(), Arc<rusqlite::Error>>;

/// Number and hash of the audit log's last row.
pub(super) type AuditEnd = (u64, Sha256Digest);

/// The one connection that writes.
pub(super) struct Writer {
    /// None once it is closed.
    db: Option<Connection>,
    /// Transactions of the open outer one that ended well and wait for the disk.
    waiting: Vec<oneshot::Sender<Committed>>,
    /// Whether somebody is on the way to commit them.
    called: bool,
    /// How many the last commit served.
    served: usize,
    /// The last row that was appended within the open outer transaction: until it ends, nobody else appends.
    pub(super) appended: Option<AuditEnd>,
    /// How long commits take.
    commits: Histogram,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    pub(super) fn new(db: Connection, commits: Histogram) -> Self {
        Self { db: Some(db), waiting: Vec::new(), called: false, served: 0, appended: None, commits }
    }

    pub(super) fn db(&self) -> Result<&Connection> {
        self.db.as_ref().ok_or(StoreError::Closed)
    }

    /// Closes it; what ended well is committed first.
    pub(super) fn close(&mut self) {
        self.commit();
        self.db = None;
    }

    /// Opens a transaction within the outer one, which is opened with the first.
    pub(super) fn begin(&mut self) -> Result<()> {
        if self.db()?.is_autocommit() {
            // A look at the writer failed, and SQLite rolled back what waited with it: the next commit is not theirs.
            if !self.waiting.is_empty() {
                self.abandon(aborted());
            }
            self.appended = None;
            run(self.db()?, "BEGIN IMMEDIATE")?;
        }
        run(self.db()?, "SAVEPOINT one")
    }

    /// Undoes the open transaction, and no other.
    pub(super) fn undo(&mut self) {
        self.appended = None;
        let Some(db) = &self.db else { return };
        // SQLite has rolled all of it back on its own where the disk failed.
        let undone =
            !db.is_autocommit() && run(db, "ROLLBACK TO one").and_then(|()| run(db, "RELEASE one")).is_ok();
        if !undone || self.waiting.is_empty() {
            self.abandon(aborted());
        }
    }

    /// Ends the open transaction well, and tells what becomes of it.
    pub(super) fn release(&mut self) -> Result<oneshot::Receiver<Committed>> {
        run(self.db()?, "RELEASE one")?;
        let (told, end) = oneshot::channel();
        self.waiting.push(told);
        Ok(end)
    }

    /// Whether somebody has to come and commit: whoever asks first, until that one has come.
    pub(super) fn calls(&mut self) -> bool {
        !std::mem::replace(&mut self.called, true)
    }

    /// Commits what ended well, and tells all of them. Waits for the disk.
    pub(super) fn commit(&mut self) {
        self.called = false;
        let Some(db) = self.db.as_ref().filter(|_| !self.waiting.is_empty()) else { return };
        self.served = self.waiting.len();
        let start = Instant::now();
        let done = run(db, "COMMIT");
        self.commits.observe(start.elapsed().as_secs_f64());
        match done {
            Ok(()) => self.waiting.drain(..).for_each(|told| {
                // Who has gone away meanwhile need not hear it.
                let _ = told.send(Ok(()));
            }),
            Err(StoreError::Sql(error)) => self.abandon(error),
            Err(_) => {}
        }
    }

    /// Rolls the outer transaction back: all that was in it is told why.
    fn abandon(&mut self, error: rusqlite::Error) {
        if let Some(db) = self.db.as_ref().filter(|db| !db.is_autocommit())
            && let Err(error) = run(db, "ROLLBACK")
        {
            tracing::error!("rollback: {error}");
        }
        let error = Arc::new(error);
        for told in self.waiting.drain(..) {
            let _ = told.send(Err(error.clone()));
        }
    }
}

/// Why a transaction is rolled back that did nothing wrong.
fn aborted() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT), None)
}

fn run(db: &Connection, text: &'static str) -> Result<()> {
    db.prepare_cached(text).and_then(|mut statement| statement.execute([])).map(drop).map_err(sql)
}

/// Has what ended well committed, once all who wait for the writer now have had it.
pub(super) fn call(mut guard: OwnedMutexGuard<Writer>) {
    if !guard.calls() {
        return;
    }
    let writer = OwnedMutexGuard::mutex(&guard).clone();
    let is_crowded = guard.served >= CROWD;
    drop(guard);
    tokio::spawn(async move {
        // One wait for the disk is to serve all who are about to write. Where there were few of late, those are whoever can run now; where
        // nobody can, it is over at once.
        match is_crowded {
            true => tokio::time::sleep(PATIENCE).await,
            false => tokio::task::yield_now().await,
        }
        let mut writer = writer.lock_owned().await;
        tokio::task::spawn_blocking(move || writer.commit());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_rolled_back_while_it_waited_is_not_told_the_next_commit() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE rows (n INTEGER)").unwrap();
        let mut writer = Writer::new(db, crate::metrics::commits());
        let one = |writer: &mut Writer, n: i64| {
            writer.begin().unwrap();
            writer.db().unwrap().execute("INSERT INTO rows VALUES (?)", [n]).unwrap();
            writer.release().unwrap()
        };
        let lost = one(&mut writer, 1);
        // As SQLite does on its own where the disk fails under a statement, be it one that reads.
        writer.db().unwrap().execute_batch("ROLLBACK").unwrap();
        let kept = one(&mut writer, 2);
        writer.commit();
        assert!(lost.await.unwrap().is_err());
        assert!(kept.await.unwrap().is_ok());
        let rows: i64 =
            writer.db().unwrap().query_row("SELECT sum(n) FROM rows", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 2);
        // And where nobody writes in between, the commit itself finds nothing.
        let lost = one(&mut writer, 3);
        writer.db().unwrap().execute_batch("ROLLBACK").unwrap();
        writer.commit();
        assert!(lost.await.unwrap().is_err());
    }
}
