//! What the service has given to two stock nodes so far, and what it therefore must never give.

use ccnode_server::audit;
use ccnode_server::service::Service;
use ccnode_server::store::{SqliteStore, Store as _, Tx as _};
use std::collections::{BTreeMap, BTreeSet};

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// By evidence of a boot that the pool takes, or of one that it does not.
    Attest { good: bool },
    /// The node's own resource.
    Own,
    /// The one that is bound to the pool, or not.
    Shared,
    /// What is never a stock node's: the resource of another, or the grants of `ccnode/1`.
    Never,
}

/// What the answer was.
#[derive(Debug)]
pub(crate) enum Told {
    /// None: the service went away.
    Nothing,
    Refused,
    Accepted(String),
    Content(Vec<u8>),
}

#[derive(Default)]
pub(crate) struct History {
    pub(crate) revoked: [bool; 2],
    pub(crate) forbidden: bool,
    /// Whether the shared resource is bound to the pool.
    pub(crate) bound: bool,
    /// Resources that were read.
    pub(crate) reads: usize,
    /// Nonces that were accepted, and whose they are.
    accepted: BTreeMap<[u8; 32], usize>,
    /// Nonces whose acceptance nobody heard of.
    unheard: BTreeSet<[u8; 32]>,
    /// Reads that may have been, and nobody heard of.
    unheard_reads: usize,
    /// The number of each node's own content.
    contents: [u32; 2],
}

impl History {
    /// Another content for a node's own resource, unlike every one before.
    pub(crate) fn content(&mut self, node: usize) -> Vec<u8> {
        self.contents[node] += 1;
        self.own(node)
    }

    fn own(&self, node: usize) -> Vec<u8> {
        format!("key {} of node {node}", self.contents[node]).into_bytes()
    }

    pub(crate) fn hear(&mut self, node: usize, nonce: [u8; 32], said: Said, told: Told) {
        match (said, told) {
            (_, Told::Refused) => {}
            (Said::Attest { .. }, Told::Nothing) => _ = self.unheard.insert(nonce),
            (_, Told::Nothing) => self.unheard_reads += 1,
            (Said::Attest { good }, Told::Accepted(_)) => {
                self.is_let(node);
                assert!(good, "accepted after the cap, or by another boot than is allowed");
                // The one that nobody heard of was none; if it was, there is a row too many at the end.
                self.unheard.remove(&nonce);
                assert!(self.accepted.insert(nonce, node).is_none(), "a nonce was spent twice");
            }
            (Said::Own | Said::Shared, Told::Content(content)) => {
                self.is_let(node);
                if self.unheard.remove(&nonce) {
                    self.accepted.insert(nonce, node);
                }
                assert_eq!(self.accepted.get(&nonce), Some(&node), "given, and never accepted");
                match said {
                    Said::Own => assert_eq!(content, self.own(node), "not the node's own, or not its last"),
                    _ => assert!(self.bound && content == b"shared", "not bound to its pool"),
                }
                self.reads += 1;
            }
            (said, told) => panic!("{said:?} was answered {told:?}"),
        }
    }

    fn is_let(&self, node: usize) {
        assert!(!self.revoked[node], "a revoked node was given something");
        assert!(!self.forbidden, "something was given although the pair was taken back");
    }

    /// The audit log is whole, and has one row for each decision that was told, and at most one for each that nobody heard.
    pub(crate) async fn on_record(&self, service: &Service<SqliteStore>) {
        audit::verify(&service.store, None).await.unwrap();
        let rows = service.store.read().await.unwrap().audit_from(1).await.unwrap();
        assert!(rows.len() < 1000, "one page holds them all");
        let count = |action: &str| rows.iter().filter(|row| row.action == action).count();
        let (accepted, heard) = (count("session.accepted"), self.accepted.len());
        assert!(
            (heard..=heard + self.unheard.len()).contains(&accepted),
            "{accepted} rows of {heard} acceptances"
        );
        let read = count("resource.read");
        assert!(
            (self.reads..=self.reads + self.unheard_reads).contains(&read),
            "{read} rows of {} reads",
            self.reads
        );
        let granted = rows.iter().any(|row| row.action.starts_with("session.granted"));
        assert!(!granted, "grants are not for stock nodes");
    }
}
