//! What the service remembers: the `Store` trait with its rows. Decisions are made above, once, for every store.

#[cfg(test)]
mod contract;
mod rows;
mod sqlite;

pub use rows::{
    AllowanceRow, AllowanceUsed, AuditEntry, EvidenceRow, GrantKind, GrantRow, Machine, NextKey, NodeRow,
    Once, PoolRow, ProposalRow, RefusalRow, ResourceRow, Sealed, SealedAt, Seen, SessionRow, SessionVerdict,
    StockAccepted, Tuple, VolumeRow, VolumeVersion,
};
pub use sqlite::SqliteStore;

use crate::config::Keep;
use ccnode_evidence::{ImageTuple, Nonce, PlatformTuple, Sha256Digest};
use ccnode_protocol::admin::{AuditFilter, AuditRow, EkRoot, NodeFilter, Pair, RefusalFilter};
use ccnode_protocol::{NodeName, PoolName, ResourceUri};
use serde_json::Value;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

/// Why the store failed. None of it is a decision: callers answer `internal`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or failed.
    #[error("database: {0}")]
    Sql(#[source] rusqlite::Error),
    /// The schema could not be brought up to date.
    #[error("migration: {0}")]
    Migrate(#[source] rusqlite_migration::Error),
    /// The transaction could not be committed, and with it all that were to be committed at once.
    #[error("commit: {0}")]
    Commit(#[source] Arc<rusqlite::Error>),
    /// The database rolled the transaction back on its own: its disk failed.
    #[error("the transaction was rolled back when the disk failed")]
    RolledBack,
    /// The process is ending.
    #[error("the store is being closed")]
    Closed,
    /// A column holds what this version does not read.
    #[error("column `{column}` holds something unreadable: {source}")]
    Corrupt {
        /// Which column.
        column: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The audit log has this row already: what was appended does not follow on its end.
    #[error("the audit log has a row {0} already")]
    NotTheEnd(u64),
    /// A number that does not fit into the column.
    #[error("column `{0}`: the number is too large")]
    Range(&'static str),
}

type Result<T> = std::result::Result<T, StoreError>;

/// A durable store with serializable writes.
///
/// An implementer owes: `write` gives a transaction that sees the latest commit and runs alone until it is committed or
/// dropped (which rolls it back); a committed transaction survives power loss; `read` gives one consistent snapshot.
pub trait Store: Clone + Send + Sync + 'static {
    /// A transaction.
    type Tx: Tx;
    /// A snapshot to read from.
    fn read(&self) -> impl Future<Output = Result<Self::Tx>> + Send;
    /// For a short look whose outcome a transaction that writes decides again: what the writer has now, which may be on its way to the
    /// disk still, or a snapshot where it is busy. It never waits for the writer. Nobody writes in this process while it is held, and
    /// nothing is written by it.
    fn glance(&self) -> impl Future<Output = Result<Self::Tx>> + Send;
    /// The one writer.
    fn write(&self) -> impl Future<Output = Result<Self::Tx>> + Send;
    /// Takes what committed transactions overwrote or removed out of the files: `false` while somebody's snapshot holds it there.
    fn scrub(&self) -> impl Future<Output = Result<bool>> + Send;
}

/// Rows, inside one transaction. `insert_*` answer `false` where the key exists; `delete_*` and `update_*` where it does not.
#[expect(missing_docs, reason = "names say it: one row in, one row out; exceptions are documented")]
pub trait Tx: Send {
    fn commit(self) -> impl Future<Output = Result<()>> + Send;
    /// Whether all that is read here was committed, and stays as it is until the end.
    fn is_snapshot(&self) -> bool;

    fn pools(&mut self) -> impl Future<Output = Result<Vec<PoolRow>>> + Send;
    fn pool(&mut self, name: &PoolName) -> impl Future<Output = Result<Option<PoolRow>>> + Send;
    fn insert_pool(&mut self, row: &PoolRow) -> impl Future<Output = Result<bool>> + Send;
    fn update_pool(&mut self, row: &PoolRow) -> impl Future<Output = Result<bool>> + Send;
    /// Takes its EK roots and pairs along; the caller has made sure that no node is in it.
    fn delete_pool(&mut self, name: &PoolName) -> impl Future<Output = Result<bool>> + Send;

    /// Another number after each change of pools, roots, tuples and pairs, whoever made it.
    fn revision(&mut self) -> impl Future<Output = Result<u64>> + Send;

    fn ek_roots(&mut self, pool: &PoolName) -> impl Future<Output = Result<Vec<EkRoot>>> + Send;
    fn insert_ek_root(&mut self, pool: &PoolName, root: &EkRoot)
    -> impl Future<Output = Result<bool>> + Send;
    fn delete_ek_root(
        &mut self,
        pool: &PoolName,
        id: &Sha256Digest,
    ) -> impl Future<Output = Result<bool>> + Send;

    fn images(&mut self) -> impl Future<Output = Result<Vec<Tuple<ImageTuple>>>> + Send;
    fn image(&mut self, id: &Sha256Digest) -> impl Future<Output = Result<Option<Tuple<ImageTuple>>>> + Send;
    fn insert_image(&mut self, row: &Tuple<ImageTuple>) -> impl Future<Output = Result<bool>> + Send;
    fn delete_image(&mut self, id: &Sha256Digest) -> impl Future<Output = Result<bool>> + Send;

    fn platforms(&mut self) -> impl Future<Output = Result<Vec<Tuple<PlatformTuple>>>> + Send;
    fn platform(
        &mut self,
        id: &Sha256Digest,
    ) -> impl Future<Output = Result<Option<Tuple<PlatformTuple>>>> + Send;
    fn insert_platform(&mut self, row: &Tuple<PlatformTuple>) -> impl Future<Output = Result<bool>> + Send;
    fn delete_platform(&mut self, id: &Sha256Digest) -> impl Future<Output = Result<bool>> + Send;

    /// Of one pool, or of all with the pool's name.
    fn pairs(
        &mut self,
        pool: Option<&PoolName>,
    ) -> impl Future<Output = Result<Vec<(PoolName, Pair)>>> + Send;
    fn insert_pair(&mut self, pool: &PoolName, pair: &Pair) -> impl Future<Output = Result<bool>> + Send;
    fn delete_pair(&mut self, pool: &PoolName, pair: &Pair) -> impl Future<Output = Result<bool>> + Send;

    fn nodes(&mut self, filter: &NodeFilter) -> impl Future<Output = Result<Vec<NodeRow>>> + Send;
    fn node(&mut self, identity: &Sha256Digest) -> impl Future<Output = Result<Option<NodeRow>>> + Send;
    /// Its name and its pool alone.
    fn node_called(
        &mut self,
        identity: &Sha256Digest,
    ) -> impl Future<Output = Result<Option<(NodeName, PoolName)>>> + Send;
    fn node_named(&mut self, name: &NodeName) -> impl Future<Output = Result<Option<NodeRow>>> + Send;
    fn insert_node(&mut self, row: &NodeRow) -> impl Future<Output = Result<bool>> + Send;
    fn update_node(&mut self, row: &NodeRow) -> impl Future<Output = Result<bool>> + Send;
    /// Takes its volumes and grants along.
    fn delete_node(&mut self, identity: &Sha256Digest) -> impl Future<Output = Result<bool>> + Send;

    fn last_evidence(
        &mut self,
        identity: &Sha256Digest,
    ) -> impl Future<Output = Result<Option<EvidenceRow>>> + Send;
    /// Replaces it; the node's row is there.
    fn set_last_evidence(
        &mut self,
        identity: &Sha256Digest,
        row: &EvidenceRow,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Whether this identity without a TPM had its release.
    fn report_released(&mut self, identity: &Sha256Digest) -> impl Future<Output = Result<bool>> + Send;
    /// Spends the one release of an identity without a TPM: `false` where it was spent before.
    fn insert_released_report(
        &mut self,
        identity: &Sha256Digest,
        now: u64,
    ) -> impl Future<Output = Result<bool>> + Send;

    fn volumes(&mut self, identity: &Sha256Digest) -> impl Future<Output = Result<Vec<VolumeRow>>> + Send;
    fn volume(&mut self, id: &str) -> impl Future<Output = Result<Option<VolumeRow>>> + Send;
    fn insert_volume(&mut self, row: &VolumeRow) -> impl Future<Output = Result<bool>> + Send;
    /// Compare-and-swap: writes `row` only where the volume is still of the version `from`.
    fn swap_volume(
        &mut self,
        from: VolumeVersion,
        row: &VolumeRow,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Hands a volume over to the identity of `row`, with the key that is sealed for it: only from `from`, and only at this version.
    fn move_volume(
        &mut self,
        from: &Sha256Digest,
        row: &VolumeRow,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Spends the nonce: `false` where it was spent before.
    fn insert_session(&mut self, row: &SessionRow) -> impl Future<Output = Result<bool>> + Send;
    fn session(&mut self, nonce: &Nonce) -> impl Future<Output = Result<Option<SessionRow>>> + Send;
    /// Keeps what was released, sealed, so that a repeated request is answered alike.
    fn set_session_grants(
        &mut self,
        nonce: &Nonce,
        grants: &[u8],
    ) -> impl Future<Output = Result<bool>> + Send;
    /// Empties what sessions of this node were granted, for there is a key in it; answers how many there were.
    fn forget_session_grants(&mut self, identity: &Sha256Digest) -> impl Future<Output = Result<u64>> + Send;

    fn grant(&mut self, id: &str) -> impl Future<Output = Result<Option<GrantRow>>> + Send;
    fn insert_grant(&mut self, row: &GrantRow) -> impl Future<Output = Result<bool>> + Send;
    fn set_grant_certificate(&mut self, id: &str, pem: &str) -> impl Future<Output = Result<bool>> + Send;

    /// Without their content.
    fn resources(&mut self) -> impl Future<Output = Result<Vec<ResourceRow>>> + Send;
    fn resource(&mut self, name: &ResourceUri) -> impl Future<Output = Result<Option<ResourceRow>>> + Send;
    /// Makes it or replaces its content; who may read it stays.
    fn set_resource(&mut self, row: &ResourceRow) -> impl Future<Output = Result<bool>> + Send;
    fn delete_resource(&mut self, name: &ResourceUri) -> impl Future<Output = Result<bool>> + Send;
    /// Those whose repository is the node's name; answers how many there were.
    fn delete_resources_of(&mut self, node: &NodeName) -> impl Future<Output = Result<u64>> + Send;
    fn resource_nodes(&mut self, name: &ResourceUri) -> impl Future<Output = Result<Vec<NodeName>>> + Send;
    fn resource_pools(&mut self, name: &ResourceUri) -> impl Future<Output = Result<Vec<PoolName>>> + Send;
    fn allow_node(
        &mut self,
        name: &ResourceUri,
        node: &Sha256Digest,
    ) -> impl Future<Output = Result<bool>> + Send;
    fn disallow_node(
        &mut self,
        name: &ResourceUri,
        node: &Sha256Digest,
    ) -> impl Future<Output = Result<bool>> + Send;
    fn allow_pool(
        &mut self,
        name: &ResourceUri,
        pool: &PoolName,
    ) -> impl Future<Output = Result<bool>> + Send;
    fn disallow_pool(
        &mut self,
        name: &ResourceUri,
        pool: &PoolName,
    ) -> impl Future<Output = Result<bool>> + Send;
    /// Lets `to` read what `from` might, in its place.
    fn move_readers(
        &mut self,
        from: &Sha256Digest,
        to: &Sha256Digest,
    ) -> impl Future<Output = Result<()>> + Send;
    /// Whether node or pool were allowed to read it; whose repository it is counts not here.
    fn is_reader(
        &mut self,
        name: &ResourceUri,
        node: &Sha256Digest,
        pool: &PoolName,
    ) -> impl Future<Output = Result<bool>> + Send;

    fn reference_values(
        &mut self,
        pool: &PoolName,
    ) -> impl Future<Output = Result<BTreeMap<String, Value>>> + Send;
    /// Makes or replaces the one of this name.
    fn set_reference_value(
        &mut self,
        pool: &PoolName,
        name: &str,
        value: &Value,
    ) -> impl Future<Output = Result<bool>> + Send;
    /// Answers how many there were.
    fn clear_reference_values(&mut self, pool: &PoolName) -> impl Future<Output = Result<u64>> + Send;

    /// Removes sessions and grants that expired more than a day before `now`: a nonce is on record for longer than any clock of
    /// a replica may be wrong. A session stays for the `grants_last` seconds more that a grant of its last moment lasts: where that one
    /// is spent, the session's verdict is asked once more.
    fn purge(&mut self, now: u64, grants_last: u64) -> impl Future<Output = Result<()>> + Send;
    /// Removes nodes of one boot that have expired, and all that is theirs.
    fn purge_nodes(&mut self, now: u64) -> impl Future<Output = Result<()>> + Send;

    /// Newest first, without evidence and differences.
    fn refusals(&mut self, filter: &RefusalFilter) -> impl Future<Output = Result<Vec<RefusalRow>>> + Send;
    /// With evidence, where there is some.
    fn refusal(&mut self, id: u64) -> impl Future<Output = Result<Option<RefusalRow>>> + Send;
    /// Answers the new row's number; `row.id` is not read.
    fn insert_refusal(&mut self, row: &RefusalRow) -> impl Future<Output = Result<u64>> + Send;
    /// Keeps the newest refusals and evidence, so many of `node` as one may have, then so many of the pool.
    fn trim_refusals(
        &mut self,
        pool: Option<&PoolName>,
        node: Option<&NodeName>,
        keep: &Keep,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Oldest first.
    fn proposals(&mut self) -> impl Future<Output = Result<Vec<ProposalRow>>> + Send;
    fn proposal(&mut self, id: u64) -> impl Future<Output = Result<Option<ProposalRow>>> + Send;
    /// Answers the new row's number, which no other ever had; `row.id` is not read.
    fn insert_proposal(&mut self, row: &ProposalRow) -> impl Future<Output = Result<u64>> + Send;
    fn delete_proposal(&mut self, id: u64) -> impl Future<Output = Result<bool>> + Send;
    /// Removes those that ended before `now`.
    fn purge_proposals(&mut self, now: u64) -> impl Future<Output = Result<()>> + Send;
    /// What the node was allowed last.
    fn allowance(
        &mut self,
        identity: &Sha256Digest,
    ) -> impl Future<Output = Result<Option<AllowanceRow>>> + Send;
    /// Makes it in the place of the one before, unused.
    fn set_allowance(&mut self, row: &AllowanceRow) -> impl Future<Output = Result<bool>> + Send;
    /// Spends it: `false` where it was spent, has ended by `used.at` or was replaced.
    fn use_allowance(
        &mut self,
        row: &AllowanceRow,
        used: &AllowanceUsed,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// All that is sealed, wherever it lies.
    fn sealed(&mut self) -> impl Future<Output = Result<Vec<Sealed>>> + Send;
    /// Replaces one sealed value where it lies.
    fn set_sealed(&mut self, row: &Sealed) -> impl Future<Output = Result<bool>> + Send;

    /// Number and hash of the newest row.
    fn audit_end(&mut self) -> impl Future<Output = Result<Option<(u64, Sha256Digest)>>> + Send;
    fn insert_audit(&mut self, row: &AuditRow) -> impl Future<Output = Result<bool>> + Send;
    /// Newest first.
    fn audit(&mut self, filter: &AuditFilter) -> impl Future<Output = Result<Vec<AuditRow>>> + Send;
    /// Oldest first, from a sequence number on, at most 1000.
    fn audit_from(&mut self, seq: u64) -> impl Future<Output = Result<Vec<AuditRow>>> + Send;
}
