//! The last evidence of a node: what it sent, with what was decided over it, bounded in size and without a secret.

use crate::config::Keep;
use crate::cookie::{Form, Session};
use crate::enrol::Facts;
use crate::problem::Refusal;
use ccnode_evidence::Ek;
use ccnode_protocol::admin::{
    EvidenceVerdict, LAST_EVIDENCE_KIND, LAST_EVIDENCE_VERSION, LastEvidence, SessionOffer,
};
use ccnode_protocol::{Attestation, NodeName, PoolName};

/// An attestation under judgement, with whom it is about.
#[derive(Debug)]
pub struct Sent<'a> {
    /// The request's correlation id.
    pub id: &'a str,
    /// The session that it answers.
    pub session: &'a Session,
    /// The body, as it was read.
    pub attestation: Attestation,
    /// The pool that judges.
    pub pool: &'a PoolName,
    /// The node's name.
    pub name: &'a NodeName,
}

impl Sent<'_> {
    /// The verdict of evidence that appraisal refused.
    pub fn refused(&self, refusal: &Refusal) -> EvidenceVerdict {
        EvidenceVerdict {
            accepted: false,
            code: Some(refusal.code),
            detail: Some(refusal.detail.clone()),
            node: self.name.clone(),
            pool: self.pool.clone(),
            level: refusal.about.level,
            platform: refusal.about.platform,
            image: refusal.about.image,
            hardware: refusal.about.hardware.clone(),
            correlation_id: self.id.to_owned(),
        }
    }

    /// The verdict of evidence that satisfied the pool; `held` is why the node may not go on all the same.
    pub fn judged(&self, facts: &Facts, held: Option<&Refusal>) -> EvidenceVerdict {
        EvidenceVerdict {
            accepted: held.is_none(),
            code: held.map(|refusal| refusal.code),
            detail: held.map(|refusal| refusal.detail.clone()),
            node: self.name.clone(),
            pool: self.pool.clone(),
            level: Some(facts.level),
            platform: facts.tpm.as_ref().and_then(|tpm| tpm.platform),
            image: facts.image,
            hardware: facts.hardware.clone(),
            correlation_id: self.id.to_owned(),
        }
    }

    /// The record's text; of evidence that makes it larger than `keep` says, the verdict alone.
    pub fn record(
        self,
        verdict: EvidenceVerdict,
        now: u64,
        keep: &Keep,
    ) -> Result<String, serde_json::Error> {
        let mut record = LastEvidence {
            version: LAST_EVIDENCE_VERSION,
            kind: LAST_EVIDENCE_KIND.to_owned(),
            time: now,
            session: offer(self.session),
            attestation: Some(self.attestation),
            verdict,
        };
        let text = serde_json::to_string(&record)?;
        if text.len() <= keep.last_evidence {
            return Ok(text);
        }
        record.attestation = None;
        serde_json::to_string(&record)
    }
}

fn offer(session: &Session) -> SessionOffer {
    let identity = session.tpm.as_ref().map(|tpm| &tpm.identity);
    let (ek_cert, ek) = match identity.map(|identity| &identity.ek) {
        Some(Ek::Certificate(der)) => (Some(der.clone().into()), None),
        Some(Ek::Public(public)) => (None, Some(public.clone().into())),
        None => (None, None),
    };
    let ak = identity.map(|identity| identity.ak_public.clone().into());
    let stock = session.form == Form::Stock;
    SessionOffer { nonce: session.nonce, tee: session.kind, stock, ek_cert, ek, ak }
}
