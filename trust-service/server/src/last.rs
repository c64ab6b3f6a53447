//! The last evidence of a node: what it sent, with what was decided over it, bounded in size and without a secret.

use crate::config::Keep;
use crate::cookie::{Form, Session};
use crate::enrol::Facts;
use crate::problem::Refusal;
use crate::store::EvidenceRow;
use ccnode_evidence::{Base64Url, Ek, Sha256Digest};
use ccnode_protocol::admin::{
    EvidenceVerdict, LAST_EVIDENCE_KIND, LAST_EVIDENCE_VERSION, LastEvidence, SessionOffer,
};
use ccnode_protocol::{Attestation, NodeName, PoolName};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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

    /// The record; of evidence that makes it larger than `keep` says, the verdict alone.
    pub fn record(
        mut self,
        verdict: EvidenceVerdict,
        logs: Logs,
        now: u64,
        keep: &Keep,
    ) -> Result<EvidenceRow, serde_json::Error> {
        let log = match logs {
            Logs::Bound => take_log(&mut self.attestation),
            Logs::Unproven => None,
        };
        let mut session = offer(self.session);
        let keys = take_keys(&mut session)?;
        let mut record = LastEvidence {
            version: LAST_EVIDENCE_VERSION,
            kind: LAST_EVIDENCE_KIND.to_owned(),
            time: now,
            session,
            attestation: Some(self.attestation),
            verdict,
        };
        let text = serde_json::to_string(&record)?;
        let beside = [&log, &keys].into_iter().flatten().map(|(_, part)| part.len());
        if text.len().saturating_add(beside.sum()) <= keep.last_evidence {
            return Ok(EvidenceRow { record: text, log, keys });
        }
        record.attestation = None;
        Ok(EvidenceRow { record: serde_json::to_string(&record)?, log: None, keys })
    }
}

/// What is known of an attestation's logs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Logs {
    /// They are those that the transcript binds: appraisal compared them.
    Bound,
    /// Appraisal may have ended before.
    Unproven,
}

/// The member of primary evidence with the firmware's log.
pub const LOG: &str = "/ccnode/event-log";

/// Takes the firmware's log out, by the digest of all logs.
fn take_log(attestation: &mut Attestation) -> Option<(Sha256Digest, String)> {
    let digest = attestation.runtime_data.ccnode.as_ref()?.bound.event_logs?;
    match attestation.tee_evidence.primary_evidence.pointer_mut(LOG)?.take() {
        Value::String(log) => Some((digest, log)),
        _ => None,
    }
}

/// What a TPM offers: the same at each of its boots.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct OfferedKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    ek_cert: Option<Base64Url>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ek: Option<Base64Url>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ak: Option<Base64Url>,
}

/// Takes the keys out, where there are some, by the digest of their text.
fn take_keys(offer: &mut SessionOffer) -> Result<Option<(Sha256Digest, String)>, serde_json::Error> {
    let SessionOffer { ek_cert, ek, ak, .. } = offer;
    if ek_cert.is_none() && ek.is_none() && ak.is_none() {
        return Ok(None);
    }
    let keys = OfferedKeys { ek_cert: ek_cert.take(), ek: ek.take(), ak: ak.take() };
    let text = serde_json::to_string(&keys)?;
    Ok(Some((Sha256Digest::of(text.as_bytes()), text)))
}

/// The record as it was sent. It is read so that nothing unreadable is sent on.
pub fn read(row: EvidenceRow) -> Result<LastEvidence, serde_json::Error> {
    let mut record: LastEvidence = serde_json::from_str(&row.record)?;
    if let Some((_, keys)) = row.keys {
        let OfferedKeys { ek_cert, ek, ak } = serde_json::from_str(&keys)?;
        record.session = SessionOffer { ek_cert, ek, ak, ..record.session };
    }
    if let Some((_, log)) = row.log {
        let evidence = record.attestation.as_mut().map(|sent| &mut sent.tee_evidence.primary_evidence);
        let place = evidence.and_then(|evidence| evidence.pointer_mut(LOG));
        *place.ok_or_else(|| serde_json::Error::custom("no place for the log"))? = log.into();
    }
    Ok(record)
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
