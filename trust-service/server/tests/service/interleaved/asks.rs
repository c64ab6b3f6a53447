//! The messages that spend a session's grants, as a node sends them and as it must not.

use super::Step;
use crate::fixture::*;
use crate::history::Said;
use ccnode_evidence::Sha256Digest;
use ccnode_testkit::kubelet_csr;

/// What a session says of a key that is to change.
pub(super) struct Rotating<'a> {
    pub(super) session: &'a Challenged,
    pub(super) grants: &'a ccnode_protocol::grants::Grants,
    pub(super) disk: Option<Sha256Digest>,
    pub(super) recorded: Option<(Sha256Digest, bool)>,
}

impl Rotating<'_> {
    pub(super) async fn spend(&self, step: Step, other: bool) -> Said {
        use ccnode_protocol::grants::{Committed, Rotated, VolumeAction};
        let volume = self.grants.volume().unwrap();
        let VolumeAction::Open { rotation: Some(rotation), .. } = &volume.action else {
            return Said::Nothing;
        };
        let (grant, secret) = (rotation.grant.id.clone(), rotation.grant.secret.clone());
        let generation = volume.generation + 1;
        let found = self.disk.filter(|disk| Some(*disk) == rotation.pending);
        if step == Step::Rotated {
            // The disk holds it already: there is nothing to begin.
            if found.is_some() {
                return Said::Nothing;
            }
            let header = Sha256Digest::of(format!("{grant} {other}").as_bytes());
            let replaces = rotation.pending;
            let request = Rotated { grant, secret, generation, header_digest: header, replaces };
            let done = self.session.post::<()>(ccnode_protocol::ROTATED, &request).await.is_ok();
            return Said::Rotated { generation, header, done };
        }
        let written = self.recorded.filter(|(_, written)| *written).map(|(header, _)| header);
        // Nobody has put the other one on record.
        let header = if other { Some(Sha256Digest::of(grant.as_bytes())) } else { found.or(written) };
        let Some(header) = header else { return Said::Nothing };
        let request = Committed { grant, secret, generation, header_digest: header };
        let done = self.session.post::<()>(ccnode_protocol::COMMITTED, &request).await.is_ok();
        Said::Committed { generation, header, done }
    }
}

/// What a session with grants asks.
pub(super) struct AskOf<'a> {
    pub(super) session: &'a Challenged,
    pub(super) grants: &'a ccnode_protocol::grants::Grants,
    pub(super) csr: Vec<u8>,
}

impl AskOf<'_> {
    pub(super) async fn spend(&self, step: Step, other: bool) -> Said {
        use ccnode_protocol::grants::{Certificate, CertificateRequest, Formatted, Ready, VolumeAction};
        let volume = self.grants.volume().unwrap();
        let generation = volume.generation;
        if step == Step::Certificate {
            let csr = if other { kubelet_csr(&self.grants.node).0 } else { self.csr.clone() };
            let grant = &self.grants.certificate;
            let request =
                CertificateRequest { grant: grant.id.clone(), secret: grant.secret.clone(), csr: csr.into() };
            let answer: Answered<Certificate> =
                self.session.post(ccnode_protocol::CERTIFICATE, &request).await;
            return Said::Certified {
                grant: grant.id.clone(),
                bound: !other,
                chain: answer.ok().map(|c| c.chain),
            };
        }
        let VolumeAction::Format { grant, .. } = &volume.action else { return Said::Nothing };
        let (grant, secret) = (grant.id.clone(), grant.secret.clone());
        if step == Step::Formatted {
            let header = Sha256Digest::of(format!("{grant} {other}").as_bytes());
            let request = Formatted { grant, secret, generation, header_digest: header, recovery: None };
            let done = self.session.post::<()>(ccnode_protocol::FORMATTED, &request).await.is_ok();
            return Said::Formatted { generation, header, done };
        }
        let request = Ready { grant, secret, generation, populated_from: verity() };
        Said::Ready {
            generation,
            done: self.session.post::<()>(ccnode_protocol::READY, &request).await.is_ok(),
        }
    }
}
