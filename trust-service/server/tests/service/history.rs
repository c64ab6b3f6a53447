//! What the service has said to two nodes so far, and what it therefore must never say again.

use crate::fixture::*;
use ccnode_evidence::{Nonce, Secret, Sha256Digest};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{NodeRecord, VolumeState};
use ccnode_protocol::grants::{Grants, VolumeAction, VolumeGrant};
use ccnode_server::audit;
use ccnode_server::release::RELEASES_PER_BOOT;
use ccnode_server::service::Service;
use ccnode_server::store::{SqliteStore, Store as _, Tx as _};
use std::collections::{BTreeMap, BTreeSet};

/// An answer, with what was asked.
pub(crate) enum Said {
    /// There was nothing to ask.
    Nothing,
    Challenged(Box<Challenged>),
    Attested {
        nonce: Nonce,
        capped: bool,
        accepted: bool,
    },
    Granted {
        nonce: Nonce,
        boot: u32,
        grants: Option<Box<Grants>>,
    },
    Formatted {
        generation: u64,
        header: Sha256Digest,
        done: bool,
    },
    Ready {
        generation: u64,
        done: bool,
    },
    Certified {
        grant: String,
        bound: bool,
        chain: Option<String>,
    },
}

impl Said {
    /// Whether the node was given something, or believed.
    fn good(&self) -> bool {
        match self {
            Self::Nothing | Self::Challenged(_) => false,
            Self::Attested { accepted, .. } => *accepted,
            Self::Granted { grants, .. } => grants.is_some(),
            Self::Formatted { done, .. } | Self::Ready { done, .. } => *done,
            Self::Certified { chain, .. } => chain.is_some(),
        }
    }
}

#[derive(Default)]
pub(crate) struct History {
    pub(crate) revoked: [bool; 2],
    pub(crate) forbidden: bool,
    nodes: [Node; 2],
    /// Nonces that were accepted.
    accepted: BTreeSet<[u8; 32]>,
    /// What sessions were granted first.
    granted: BTreeMap<[u8; 32], Grants>,
    /// Grants repeated within a session.
    repeated: usize,
    certificates: BTreeMap<String, String>,
}

#[derive(Default)]
struct Node {
    name: Option<NodeName>,
    /// Every key it ever had; the last is the one that it has.
    keys: Vec<Secret<32>>,
    /// Of the newest grant, or beyond it after an administrator's word.
    generation: u64,
    /// Generations that were formatted, with their headers.
    formatted: BTreeMap<u64, Sha256Digest>,
    /// The generation that is ready.
    ready: Option<u64>,
    /// How many ever were.
    readied: usize,
    /// Whether an administrator had the volume made anew: the next key is another one.
    regranted: bool,
    /// Sessions with a release, by boot.
    releases: BTreeMap<u32, u32>,
}

impl History {
    pub(crate) fn named(&mut self, node: usize, name: NodeName) {
        let before = self.nodes[node].name.replace(name.clone());
        assert!(before.is_none_or(|before| before == name), "another name");
    }

    pub(crate) fn name(&self, node: usize) -> Option<&NodeName> {
        self.nodes[node].name.as_ref()
    }

    pub(crate) fn is_ready(&self, node: usize) -> bool {
        self.nodes[node].ready.is_some()
    }

    pub(crate) fn regranted(&mut self, node: usize, record: &NodeRecord) {
        let node = &mut self.nodes[node];
        for volume in &record.volumes {
            assert!(volume.state == VolumeState::None && volume.generation > node.generation);
            (node.generation, node.ready, node.regranted) = (volume.generation, None, true);
        }
    }

    pub(crate) fn hear(&mut self, at: usize, said: &Said) {
        if !said.good() {
            return;
        }
        assert!(!self.revoked[at], "a revoked node was given something");
        match said {
            Said::Nothing | Said::Challenged(_) => {}
            Said::Attested { nonce, capped, .. } => {
                assert!(!capped, "accepted after the cap");
                assert!(!self.forbidden, "accepted although the pair was taken back");
                assert!(self.accepted.insert(nonce.0), "a nonce was spent twice");
            }
            Said::Granted { nonce, boot, grants } => {
                assert!(self.accepted.contains(&nonce.0), "granted, and never accepted");
                assert!(!self.forbidden, "granted although the pair was taken back");
                self.released(at, *nonce, *boot, grants.as_deref().unwrap());
            }
            Said::Formatted { generation, header, .. } => {
                let node = &mut self.nodes[at];
                assert_eq!(*generation, node.generation, "a grant of another generation was used");
                let first = node.formatted.entry(*generation).or_insert(*header);
                assert_eq!(first, header, "one grant was used twice");
            }
            Said::Ready { generation, .. } => {
                let node = &mut self.nodes[at];
                assert_eq!(*generation, node.generation, "a grant of another generation was used");
                assert!(node.formatted.contains_key(generation), "ready before formatted");
                node.readied += usize::from(node.ready.replace(*generation).is_none());
            }
            Said::Certified { grant, bound, chain } => {
                assert!(bound, "a certificate for a request that was not bound");
                let chain = chain.clone().unwrap();
                let first = self.certificates.entry(grant.clone()).or_insert_with(|| chain.clone());
                assert_eq!(*first, chain, "one grant, two certificates");
            }
        }
    }

    fn released(&mut self, at: usize, nonce: Nonce, boot: u32, grants: &Grants) {
        let volume = grants.volume().unwrap();
        assert!(!self.nodes[1 - at].keys.contains(&volume.unlock_key), "another node's key");
        let node = &mut self.nodes[at];
        if let Some(first) = self.granted.get(&nonce.0) {
            self.repeated += 1;
            assert_eq!(volume, first.volume().unwrap(), "a repeat is the same");
            assert_eq!(volume.generation, node.generation, "a repeat of what is over");
            node.acts(volume, false);
            return;
        }
        let releases = node.releases.entry(boot).or_default();
        *releases += 1;
        assert!(*releases <= RELEASES_PER_BOOT, "more releases than one boot has");
        match node.keys.last() {
            Some(key) if node.regranted => assert!(*key != volume.unlock_key, "the old key after a regrant"),
            Some(key) => assert!(*key == volume.unlock_key, "another key"),
            None => {}
        }
        node.regranted = false;
        node.keys.push(volume.unlock_key.clone());
        node.acts(volume, true);
        self.granted.insert(nonce.0, grants.clone());
    }

    /// The audit log is whole, and has a row for each decision that was told.
    pub(crate) async fn on_record(&self, service: &Service<SqliteStore>) {
        audit::verify(&service.store, None).await.unwrap();
        let rows = service.store.read().await.unwrap().audit_from(1).await.unwrap();
        assert!(rows.len() < 1000, "one page holds them all");
        let count = |action: &str| rows.iter().filter(|row| row.action == action).count();
        assert_eq!(count("session.accepted"), self.accepted.len());
        assert_eq!(count("session.granted"), self.granted.len());
        assert_eq!(count("session.repeated"), self.repeated);
        let formatted = self.nodes.iter().map(|node| node.formatted.len()).sum::<usize>();
        assert_eq!(count("volume.formatted"), formatted);
        assert_eq!(count("volume.ready"), self.nodes.iter().map(|node| node.readied).sum::<usize>());
        assert_eq!(count("certificate.issued"), self.certificates.len());
    }
}

impl Node {
    /// Before `ready` only formatting, after it only opening, with the header that was formatted.
    fn acts(&mut self, volume: &VolumeGrant, fresh: bool) {
        match &volume.action {
            VolumeAction::Format { .. } => {
                assert!(self.ready.is_none(), "a ready volume is made anew");
                assert!(!fresh || volume.generation > self.generation, "a generation was granted twice");
                assert!(!self.formatted.contains_key(&volume.generation), "formatted already");
            }
            VolumeAction::Open { header_digest, populated_from } => {
                assert_eq!(Some(volume.generation), self.ready, "opened, and not ready");
                assert_eq!(Some(header_digest), self.formatted.get(&volume.generation), "another header");
                assert_eq!(*populated_from, verity());
            }
        }
        self.generation = volume.generation;
    }
}
