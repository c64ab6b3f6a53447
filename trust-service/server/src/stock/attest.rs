//! Attestation by the stock transcript: the verdict, the state machine of every other node, and a token that stock verifiers read.

use crate::attest::{Accepted, Case, boot_ends, judge, settle, spend, spent};
use crate::cookie::{Session, session_name};
use crate::enrol::{Facts, TpmFacts};
use crate::kbs::tee_key;
use crate::last::Sent;
use crate::problem::Refusal;
use crate::references::{self, Pool, References};
use crate::service::Service;
use crate::store::{StockAccepted, Store, Tx as _};
use ccnode_appraise::stock::{StockSession, StockVerdict, appraise, claimed};
use ccnode_appraise::{Refused, UnixTime, default_name};
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::{Attestation, jwe};
use serde_json::Value;
use std::collections::BTreeMap;

/// The verdict over a stock session's evidence, once per nonce; answers its token.
pub async fn attest<S: Store>(
    service: &Service<S>,
    id: &str,
    session: Session,
    attestation: Attestation,
) -> Result<String, Refusal> {
    let nameless = session_name(&session.pool, &session.nonce);
    let unproven = |refusal: Refusal| refusal.of(&session.pool, &nameless);
    // Before the key that came along has signed this session, no record is read.
    let claimed = claimed(&challenge(&session), &attestation).map_err(|r| unproven(Refusal::from(&r)))?;
    jwe::check(&attestation.runtime_data.stock.tee_pubkey).map_err(|error| unproven(tee_key(&error)))?;
    let mut tx = service.store.read().await?;
    let known = match &claimed {
        Some(node_id) => tx.node(node_id).await?,
        None => None,
    };
    let default = claimed.map_or(nameless.clone(), |node_id| default_name(&session.pool, &node_id));
    let is_known = known.is_some();
    // For a known node the record decides, whatever config.toml says by now.
    let (pool_name, name) = match known {
        Some(node) => (node.pool, node.name),
        None => (session.pool.clone(), default),
    };
    let about = |refusal: Refusal| refusal.of(&pool_name, &name);
    if tx.session(&session.nonce).await?.is_some() {
        return Err(about(spent(&name)));
    }
    let gone = || Refusal::new(Code::PoolUnknown, format!("there is no pool `{pool_name}`"));
    let pool = service.references.pool(&mut tx, &pool_name).await?.ok_or_else(|| about(gone()))?;
    super::allowed(&pool).map_err(about)?;
    let posted = tx.reference_values(&pool.name).await?;
    let references = References::of_stock(&pool, &posted, service.at_hand())?;
    drop(tx);

    let case = Case { session: session.clone(), identity: None, attestation, references };
    let (Case { attestation, .. }, verdict) = judge(service, id, case, stock_case).await.map_err(about)?;
    match verdict {
        Ok(verdict) => {
            // Without a TPM, it is only now that anybody is named.
            let name =
                if claimed.is_some() { name.clone() } else { default_name(&pool.name, &verdict.node_id) };
            let about = |refusal: Refusal| refusal.of(&pool_name, &name);
            let facts = facts(&session, &verdict, boot_ends(service));
            let accepted = accepted(&verdict, &facts, &pool, &posted)?;
            let additional = attestation.tee_evidence.additional_evidence.clone();
            let sent = Sent { id, session: &session, attestation, pool: &pool.name, name: &name };
            settle(service, sent, &pool, &facts, Accepted::Stock(accepted))
                .await
                .map_err(|refusal| about(refusal.proven()))?;
            let (now, end) = (service.now(), session.expires);
            Ok(service.token.get().issue_stock(
                &verdict,
                &session.nonce,
                &additional,
                &pool.name,
                now,
                end.max(now),
            ))
        }
        Err(refusal) if refusal.about.proven || is_known => {
            let refusal = refusal.proven();
            let sent = Sent { id, session: &session, attestation, pool: &pool.name, name: &name };
            spend(service, sent, claimed, &refusal).await.map_err(|r| about(r.proven()))?;
            Err(about(refusal))
        }
        Err(refusal) => Err(about(refusal)),
    }
}

fn challenge(session: &Session) -> StockSession<'_> {
    StockSession { nonce: &session.nonce, kind: session.kind }
}

fn stock_case(case: &Case, now: UnixTime) -> Result<StockVerdict, Box<Refused>> {
    appraise(&challenge(&case.session), &case.attestation, &case.references.stock(), now)
}

/// What an attestation key is called on record: SHA-256 of its SubjectPublicKeyInfo.
pub fn ak_name(spki: &[u8]) -> String {
    Sha256Digest::of(spki).hex()
}

fn facts(session: &Session, verdict: &StockVerdict, expires: u64) -> Facts {
    Facts {
        challenged: session.issued,
        identity: verdict.node_id,
        kind: verdict.kind,
        level: references::level(verdict.level),
        tpm: verdict.tpm.as_ref().map(|tpm| TpmFacts {
            ak_name: ak_name(&tpm.ak),
            counters: references::counters(&tpm.counters),
            platform: verdict.matched.platform(),
        }),
        hardware: verdict.hardware.clone(),
        image: verdict.matched.image(),
        expires: verdict.ephemeral.then_some(expires),
    }
}

fn accepted(
    verdict: &StockVerdict,
    facts: &Facts,
    pool: &Pool,
    posted: &BTreeMap<String, Value>,
) -> Result<StockAccepted, Refusal> {
    Ok(StockAccepted {
        reset_count: facts.tpm.as_ref().map(|tpm| tpm.counters.reset_count),
        tee_pubkey: verdict.tee_pubkey.clone(),
        level: facts.level,
        kind: facts.kind,
        platform: verdict.matched.platform(),
        image: verdict.matched.image(),
        judged_by: judged_by(pool, posted)?,
    })
}

/// What of a pool's demands stock evidence can't be judged by once more, reference values among it.
pub fn judged_by(pool: &Pool, posted: &BTreeMap<String, Value>) -> Result<Sha256Digest, Refusal> {
    let all = (pool.judged_by(), posted, pool.allow_init_data);
    serde_json::to_vec(&all).map(|json| Sha256Digest::of(&json)).map_err(Refusal::internal)
}
