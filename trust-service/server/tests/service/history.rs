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
    Rotated {
        generation: u64,
        header: Sha256Digest,
        done: bool,
    },
    Committed {
        generation: u64,
        header: Sha256Digest,
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
            Self::Formatted { done, .. }
            | Self::Ready { done, .. }
            | Self::Rotated { done, .. }
            | Self::Committed { done, .. } => *done,
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
    /// What the change of its key has come to, where one was asked for.
    rotation: Option<Rotating>,
    /// Headers under a next key that were put on record, and those that took the place of others.
    rotated: usize,
    committed: usize,
    /// Sessions with a release, by boot.
    releases: BTreeMap<u32, u32>,
}

/// A key that is to change.
#[derive(Default)]
struct Rotating {
    /// The next one, once it was given.
    key: Option<Secret<32>>,
    /// The header under it that is on record.
    pending: Option<Sha256Digest>,
}

impl History {
    /// What is released opens what is on the disk.
    pub(crate) fn opens(grants: &Grants, disk: Option<Sha256Digest>) {
        if let VolumeAction::Open { header_digest, rotation, .. } = &grants.volume().unwrap().action {
            let pending = rotation.as_ref().and_then(|rotation| rotation.pending);
            assert!(disk == Some(*header_digest) || (disk.is_some() && disk == pending), "the disk is lost");
        }
    }

    pub(crate) fn asked(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        assert!(node.ready.is_some(), "there is no key to change");
        node.rotation.get_or_insert_default();
    }

    pub(crate) fn is_rotating(&self, node: usize) -> bool {
        self.nodes[node].rotation.is_some()
    }

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
            node.rotation = None;
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
            Said::Rotated { generation, header, .. } => {
                let node = &mut self.nodes[at];
                assert_eq!(*generation, node.generation + 1, "a grant of another generation was used");
                let rotation = node.rotation.as_mut().expect("nobody asked for another key");
                node.rotated += usize::from(rotation.pending.replace(*header) != Some(*header));
            }
            Said::Committed { generation, header, .. } => self.nodes[at].commits(*generation, *header),
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
        node.rotates(volume);
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
        assert_eq!(count("volume.formatted") + count("volume.committed"), formatted);
        assert_eq!(count("volume.ready"), self.nodes.iter().map(|node| node.readied).sum::<usize>());
        assert_eq!(count("certificate.issued"), self.certificates.len());
        assert_eq!(count("volume.rotated"), self.nodes.iter().map(|node| node.rotated).sum::<usize>());
        assert_eq!(count("volume.committed"), self.nodes.iter().map(|node| node.committed).sum::<usize>());
        for node in &self.nodes {
            node.is_all_that_is_kept(service).await;
        }
    }
}

impl Node {
    /// A release gives the next key where one was asked for, always the same, and what is on record.
    fn rotates(&mut self, volume: &VolumeGrant) {
        let VolumeAction::Open { rotation: given, .. } = &volume.action else { return };
        assert_eq!(given.is_some(), self.rotation.is_some(), "a next key, and nobody asked; or the reverse");
        let Some((given, rotation)) = given.as_ref().zip(self.rotation.as_mut()) else { return };
        assert_eq!(given.pending, rotation.pending, "another header is on record");
        assert!(!self.keys.contains(&given.next_key), "a key once more");
        let first = rotation.key.get_or_insert_with(|| given.next_key.clone());
        assert!(*first == given.next_key, "another next key");
    }

    /// The next key is the one, with the header that was on record.
    fn commits(&mut self, generation: u64, header: Sha256Digest) {
        if self.generation == generation {
            assert_eq!(self.formatted.get(&generation), Some(&header), "one rotation ended in two ways");
            return;
        }
        assert_eq!(generation, self.generation + 1, "a grant of another generation was used");
        let rotation = self.rotation.take().expect("nobody asked for another key");
        assert_eq!(rotation.pending, Some(header), "in force, and never on record");
        self.keys.push(rotation.key.expect("in force, and never given"));
        self.formatted.insert(generation, header);
        (self.generation, self.ready) = (generation, Some(generation));
        self.committed += 1;
    }

    /// Of all keys that it ever had, one is left.
    async fn is_all_that_is_kept(&self, service: &Service<SqliteStore>) {
        let Some(name) = &self.name else { return };
        let id = format!("{name}/root");
        let volume = service.store.read().await.unwrap().volume(&id).await.unwrap().unwrap();
        assert_eq!(service.unlock_key(&volume).unwrap().as_ref(), self.keys.last());
        assert!(volume.next.is_none());
        let mut tx = service.store.read().await.unwrap();
        for row in tx.sealed().await.unwrap() {
            let plain = service.at_rest.open(&row.place, &row.value).unwrap();
            let Ok(grants) = serde_json::from_slice::<Grants>(&plain) else { continue };
            if grants.volume().is_some_and(|granted| granted.id == id) {
                assert_eq!(Some(&grants.volume().unwrap().unlock_key), self.keys.last(), "kept in a session");
            }
        }
    }

    /// Before `ready` only formatting, after it only opening, with the header that was formatted.
    fn acts(&mut self, volume: &VolumeGrant, fresh: bool) {
        match &volume.action {
            VolumeAction::Format { .. } => {
                assert!(self.ready.is_none(), "a ready volume is made anew");
                assert!(!fresh || volume.generation > self.generation, "a generation was granted twice");
                assert!(!self.formatted.contains_key(&volume.generation), "formatted already");
            }
            VolumeAction::Open { header_digest, populated_from, .. } => {
                assert_eq!(Some(volume.generation), self.ready, "opened, and not ready");
                assert_eq!(Some(header_digest), self.formatted.get(&volume.generation), "another header");
                assert_eq!(*populated_from, verity());
            }
        }
        self.generation = volume.generation;
    }
}
