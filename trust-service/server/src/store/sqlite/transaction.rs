//! Transactions: the writer's, and readers' snapshots.

use super::group::{self, AuditEnd, Writer};
use super::query::sql;
use super::{Result, Semaphore, StoreError};
use rusqlite::Connection;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit};

/// A transaction; dropped without a commit it is rolled back.
#[derive(Debug)]
pub struct SqliteTx(pub(super) Access);

/// How a transaction reaches its connection.
#[derive(Debug)]
pub(super) enum Access {
    Write(Write),
    Read(Read),
    Glance(OwnedMutexGuard<Writer>),
}

/// The writer, for as long as the transaction is open.
#[derive(Debug)]
pub(super) struct Write(Option<OwnedMutexGuard<Writer>>);

/// A reader's connection, which goes back when the snapshot is done with.
pub(super) struct Read {
    db: Option<Connection>,
    home: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Read")
    }
}

impl SqliteTx {
    pub(super) fn glance(writer: OwnedMutexGuard<Writer>) -> Self {
        Self(Access::Glance(writer))
    }

    pub(super) fn write(mut writer: OwnedMutexGuard<Writer>) -> Result<Self> {
        writer.begin()?;
        Ok(Self(Access::Write(Write(Some(writer)))))
    }
}

impl Access {
    pub(super) fn db(&self) -> Result<&Connection> {
        match self {
            Self::Write(write) => {
                let db = write.0.as_ref().ok_or(StoreError::Closed)?.db()?;
                // SQLite rolls everything back on its own where the disk fails; what came then would be written at once, and alone.
                if db.is_autocommit() { Err(StoreError::RolledBack) } else { Ok(db) }
            }
            Self::Read(read) => read.db.as_ref().ok_or(StoreError::Closed),
            Self::Glance(writer) => writer.db(),
        }
    }

    /// The end of the audit log, where it was appended to since the last commit.
    pub(super) fn appended(&self) -> Result<Option<AuditEnd>> {
        self.db()?;
        Ok(match self {
            Self::Write(write) => write.0.as_ref().and_then(|writer| writer.appended),
            Self::Read(_) | Self::Glance(_) => None,
        })
    }

    /// Says what the end of the audit log is now.
    pub(super) fn append(&mut self, end: AuditEnd) {
        if let Self::Write(write) = self
            && let Some(writer) = &mut write.0
        {
            writer.appended = Some(end);
        }
    }

    pub(super) async fn commit(self) -> Result<()> {
        let Self::Write(mut write) = self else { return Ok(()) };
        let ended = write.0.as_mut().ok_or(StoreError::Closed)?.release()?;
        if let Some(writer) = write.0.take() {
            group::call(writer);
        }
        ended.await.map_err(|_| StoreError::Closed)?.map_err(StoreError::Commit)
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if let Some(writer) = &mut self.0 {
            writer.undo();
        }
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        match db.prepare_cached("ROLLBACK").and_then(|mut end| end.execute([])) {
            Ok(_) => self.home.give_back(db),
            Err(error) => tracing::error!("a reader is lost: {error}"),
        }
    }
}

/// Connections that read.
pub(super) struct Readers {
    free: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    all: u32,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let count = connections.len();
        Self {
            free: Mutex::new(connections),
            permits: Arc::new(Semaphore::new(count)),
            all: u32::try_from(count).unwrap_or(u32::MAX),
        }
    }

    pub(super) async fn begin(self: &Arc<Self>) -> Result<SqliteTx> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let db = free.ok_or(StoreError::Closed)?;
        let read = Read { db: Some(db), home: self.clone(), _permit: permit };
        let access = Access::Read(read);
        access.db()?.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([])).map_err(sql)?;
        Ok(SqliteTx(access))
    }

    fn give_back(&self, db: Connection) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(db);
    }

    /// Waits for open snapshots, and closes all connections.
    pub(super) async fn close(&self) {
        if self.permits.acquire_many(self.all).await.is_ok() {
            self.permits.close();
        }
        self.free.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
