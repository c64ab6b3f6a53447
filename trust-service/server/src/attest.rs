//! Attestation: the verdict over a session's evidence, and whether the proven machine is a node; one transaction a nonce.

use crate::audit;
use crate::cookie::{Form, Session};
use crate::enrol::{self, Decision, Facts, TpmFacts};
use crate::extract::InTurn;
use crate::finish::CorrelationId;
use crate::kbs::tee_key;
use crate::last::{LOG, Logs, Sent};
use crate::once;
use crate::problem::Refusal;
use crate::references::References;
use crate::service::Service;
use crate::stock;
use crate::store::{
    AllowanceRow, AuditEntry, Machine, NodeRow, PoolRow, SessionRow, SessionVerdict, StockAccepted, Store, Tx,
};
use axum::extract::State;
use ccnode_appraise::{Refused, TpmIdentity, UnixTime, Verdict, activated, appraise_allowing};
use ccnode_evidence::{Code, EvidenceKind, Sha256Digest};
use ccnode_mirror::AtHand;
use ccnode_protocol::admin::NodeState;
use ccnode_protocol::{AttestResponse, Attestation, NodeName, jwe};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tracing::Instrument as _;

/// `POST /kbs/v0/attest`: the verdict over a session's evidence, once per nonce.
pub async fn attest<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    session: Session,
    InTurn(attestation, _share): InTurn<Attestation>,
) -> Result<axum::Json<AttestResponse>, Refusal> {
    let token = match session.form {
        Form::Ccnode => ccnode(&service, &id, session, attestation).await?,
        Form::Stock => stock::attest::attest(&service, &id, session, attestation).await?,
    };
    Ok(axum::Json(AttestResponse { token }))
}

/// A session of `ccnode/1`; answers its token.
async fn ccnode<S: Store>(
    service: &Service<S>,
    id: &str,
    session: Session,
    attestation: Attestation,
) -> Result<String, Refusal> {
    let identity = session.identity().map_err(|r| Refusal::from(&r))?;
    let default = session.default_name(identity.as_ref());
    let offered = |refusal: Refusal| refusal.of(&session.pool, &default);
    // Before the challenged TPM has activated, no record is read: neither answers nor their timing tell who is enrolled.
    activated(&session.challenge(identity.as_ref()), &attestation).map_err(|r| offered(Refusal::from(&r)))?;
    jwe::check(&attestation.runtime_data.stock.tee_pubkey).map_err(|error| offered(tee_key(&error)))?;
    let node_id = identity.as_ref().map(|identity| identity.node_id(session.kind));
    let mut tx = service.store.glance().await?;
    let known = match &node_id {
        Some(node_id) => tx.node_called(node_id).await?,
        None => None,
    };
    if tx.session(&session.nonce).await?.is_some() {
        // Whoever has the body can send it again: that proves nothing.
        return Err(offered(spent(known.as_ref().map_or(&default, |(name, _)| name))));
    }
    // For a known node the record decides, whatever its configuration says.
    let is_known = known.is_some();
    let once = match node_id.as_ref().filter(|_| is_known) {
        Some(node_id) => once::open(&mut tx, node_id, service.now()).await?,
        None => None,
    };
    let machine = identity.as_ref().zip(node_id).map(|(tpm, identity)| {
        // What a refusal is of, and an exception from it.
        Machine { identity, ak_name: hex::encode(tpm.ak_name()) }
    });
    let (pool_name, name) = match known {
        Some((name, pool)) => (pool, name),
        None => (session.pool.clone(), default.clone()),
    };
    let about = |refusal: Refusal| refusal.of(&pool_name, &name).by_machine(machine.as_ref());
    let mut pool = service.references.unchanged(&mut tx, &pool_name).await?;
    drop(tx);
    if pool.is_none() {
        pool = service.references.pool(&mut service.store.read().await?, &pool_name).await?;
    }
    let references = match &pool {
        Some(pool) => {
            let once = once.as_ref().map(AllowanceRow::appraised);
            References::of(pool, service.at_hand()).allowing(once)
        }
        None => References::of_no_pool(AtHand::shelf(service.collateral.current(UnixTime(service.now())))),
    };
    let unknown = || Refusal::new(Code::PoolUnknown, format!("there is no pool `{pool_name}`"));
    if pool.is_none() && identity.is_some() {
        return Err(about(unknown()));
    }

    let case = Case { session: session.clone(), identity, attestation, references };
    let (Case { attestation, .. }, verdict) = judge(service, id, case, ccnode_case).await.map_err(about)?;
    let Some(pool) = pool else {
        // Which pools there are is told to those alone whose report is genuine and of this session.
        let genuine = |refusal: &Refusal| refusal.about.hardware.is_some();
        return Err(about(verdict.err().filter(|refusal| !genuine(refusal)).unwrap_or_else(unknown)));
    };
    let sent = Sent { id, session: &session, attestation, pool: &pool.name, name: &name };
    match verdict {
        Ok(verdict) => {
            let facts = facts(&session, &verdict, boot_ends(service));
            let accepted = accepted(&verdict, &facts, pool.judged_by(), once.as_ref());
            let accepted = Accepted::Ccnode(Box::new(accepted));
            settle(service, sent, &pool, &facts, accepted).await.map_err(|r| about(r.proven()))?;
            let now = service.now();
            Ok(service.token.get().issue(&verdict, &session.nonce, &pool.name, now, session.expires.max(now)))
        }
        // A node on record has proven who it is by activating; others by what appraisal found.
        Err(refusal) if refusal.about.proven || is_known => {
            // The nonce proved something: it is spent, although nothing came of it.
            let refusal = refusal.proven();
            spend(service, sent, node_id, &refusal).await.map_err(|r| about(r.proven()))?;
            Err(about(refusal))
        }
        Err(refusal) => Err(about(refusal)),
    }
}

/// Appraisal, once more where a mirror has what the first one missed.
pub(crate) async fn judge<S: Store, V: Send + 'static>(
    service: &Service<S>,
    id: &str,
    case: Case,
    how: Judge<V>,
) -> Result<(Case, Result<V, Refusal>), Refusal> {
    let (mut case, verdict) = case.appraised(service, how).await?;
    let missed = case.references.collateral.missed(verdict.is_err());
    let Some(mirror) = service.mirror.as_ref().filter(|_| !missed.is_empty()) else {
        return Ok((case, verdict));
    };
    let wants = mirror.admitted(missed, Instant::now());
    // What the mirror does not give is logged, and is why this request is refused.
    let span = tracing::info_span!("attest", id);
    if !mirror.mirror.fetch(&wants, UnixTime(service.now())).instrument(span).await {
        return Ok((case, verdict));
    }
    case.references.collateral = service.at_hand();
    case.appraised(service, how).await
}

/// How a case is judged at a time.
pub(crate) type Judge<V> = fn(&Case, UnixTime) -> Result<V, Box<Refused>>;

/// All that an appraisal looks at.
pub(crate) struct Case {
    pub(crate) session: Session,
    /// The TPM that was offered, where one was.
    pub(crate) identity: Option<TpmIdentity>,
    pub(crate) attestation: Attestation,
    pub(crate) references: References,
}

/// Bytes of logs that take a fraction of a millisecond.
const SHORT: usize = 128 * 1024;

impl Case {
    /// Whether it is a quote with a log of ordinary length.
    fn is_short(&self) -> bool {
        let evidence = &self.attestation.tee_evidence.primary_evidence;
        let size = |place| evidence.pointer(place).and_then(Value::as_str).map_or(0, str::len);
        self.session.kind == EvidenceKind::Tpm && size(LOG) + size("/ccnode/own-log") <= SHORT
    }

    /// On a thread of its own, so many at a time; at once where it takes less than that thread would.
    async fn appraised<S: Store, V: Send + 'static>(
        self,
        service: &Service<S>,
        how: Judge<V>,
    ) -> Result<(Self, Result<V, Refusal>), Refusal> {
        if self.is_short() {
            let (start, now) = (Instant::now(), UnixTime(service.now()));
            let verdict = how(&self, now);
            service.metrics.appraised(self.session.kind, verdict.is_ok(), start.elapsed());
            return Ok((self, verdict.map_err(|r| Refusal::appraised(*r))));
        }
        let permit = service.appraisals.clone().acquire_owned().await.map_err(Refusal::internal)?;
        let now = UnixTime(service.now());
        let work = move || {
            let _permit = permit;
            let start = Instant::now();
            let verdict = how(&self, now);
            (start.elapsed(), self, verdict.map_err(|r| Refusal::appraised(*r)))
        };
        let (took, case, verdict) = tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?;
        service.metrics.appraised(case.session.kind, verdict.is_ok(), took);
        Ok((case, verdict))
    }
}

fn ccnode_case(case: &Case, now: UnixTime) -> Result<Verdict, Box<Refused>> {
    let challenge = case.session.challenge(case.identity.as_ref());
    let References { once, .. } = &case.references;
    appraise_allowing(&challenge, &case.attestation, &case.references.borrow(), once.as_ref(), now)
}

/// When the record of a node of one boot goes that attests now.
pub(crate) fn boot_ends<S: Store>(service: &Service<S>) -> u64 {
    service.now().saturating_add(service.config.ephemeral_lifetime.seconds())
}

/// Spends the nonce of refused evidence, which a known node's record keeps.
pub(crate) async fn spend<S: Store>(
    service: &Service<S>,
    sent: Sent<'_>,
    identity: Option<Sha256Digest>,
    refusal: &Refusal,
) -> Result<(), Refusal> {
    // Without a TPM nobody is known from one session to the next.
    let identity = identity.unwrap_or_else(|| Sha256Digest::of(&sent.session.nonce.0));
    let mut tx = service.store.write().await?;
    let now = service.now();
    sent.session.unexpired(now)?;
    if !tx.insert_session(&session_row(sent.session, identity, None)).await? {
        return Err(spent(sent.name));
    }
    service.purge(&mut tx, now).await?;
    if tx.node(&identity).await?.is_some() {
        let verdict = sent.refused(refusal);
        let record = sent.record(verdict, Logs::Unproven, now, &service.config.keep);
        tx.set_last_evidence(&identity, &record.map_err(Refusal::internal)?).await?;
    }
    tx.commit().await?;
    service.purged.fetch_max(now, Ordering::Relaxed);
    Ok(())
}

/// What an accepted session may ask for, by its transcript.
pub(crate) enum Accepted {
    /// Grants, and resources.
    Ccnode(Box<SessionVerdict>),
    /// Resources alone.
    Stock(StockAccepted),
}

fn session_row(session: &Session, identity: Sha256Digest, accepted: Option<Accepted>) -> SessionRow {
    let (verdict, stock) = match accepted {
        Some(Accepted::Ccnode(verdict)) => (Some(*verdict), None),
        Some(Accepted::Stock(stock)) => (None, Some(stock)),
        None => (None, None),
    };
    SessionRow { nonce: session.nonce, identity, expires: session.expires, verdict, stock, grants: None }
}

pub(crate) fn spent(name: &NodeName) -> Refusal {
    Refusal::new(Code::NonceSpent, format!("{name} used this session's nonce before"))
}

/// Spends the nonce and decides whether the proven machine is a node: one transaction.
pub(crate) async fn settle<S: Store>(
    service: &Service<S>,
    sent: Sent<'_>,
    pool: &PoolRow,
    facts: &Facts,
    accepted: Accepted,
) -> Result<(), Refusal> {
    let Sent { id, session, name, .. } = sent;
    let mut tx = service.store.write().await?;
    // The appraisal may have waited long: the nonce of an ended session may have been forgotten since.
    let now = service.now();
    session.unexpired(now)?;
    // First, so that a record that has ended is nobody's: its node comes anew.
    service.purge(&mut tx, now).await?;
    let known = tx.node(&facts.identity).await?;
    if let Some(node) = known.as_ref().filter(|node| node.pool != pool.name) {
        let text =
            format!("{} came into pool {} while pool {} appraised it", node.name, node.pool, pool.name);
        return Err(Refusal::new(Code::SessionExpired, text));
    }
    let pool =
        service.references.pool(&mut tx, &pool.name).await?.ok_or_else(|| {
            Refusal::new(Code::PoolUnknown, format!("pool `{}` was just deleted", pool.name))
        })?;
    if session.form == Form::Stock {
        stock::allowed(&pool)?;
        if known.is_none() {
            stock::waiting_room(service, &mut tx, &pool).await?;
        }
    }
    let decision = if facts.tpm.is_none() && tx.report_released(&facts.identity).await? {
        let text = format!("{name} had its release in another session: a boot without a TPM has one");
        Decision::Refuse(Code::ReleasesExhausted, text)
    } else {
        enrol::decide(known.as_ref(), &pool, name, facts, now)
    };
    if let Accepted::Ccnode(verdict) = &accepted
        && let Some(once) = &verdict.once
    {
        // It was looked up where it may not have been committed yet.
        once::still_open(&mut tx, &facts.identity, once, now).await?;
    }
    let accepted = matches!(decision, Decision::Accept(_)).then_some(accepted);
    if !tx.insert_session(&session_row(session, facts.identity, accepted)).await? {
        return Err(spent(name));
    }
    let (row, action, refused) = match decision {
        Decision::Accept(row) => (Some(row), "session.accepted", None),
        Decision::Hold(mut row, code, text) => {
            if session.form == Form::Stock && row.state == NodeState::Pending {
                // The key is all that tells it from others: whoever approves compares it.
                row.reason = Some(stock::waits(&row, &text));
            }
            (Some(row), "node.held", Some((code, text)))
        }
        Decision::Refuse(code, text) => (None, "", Some((code, text))),
    };
    if let Some(row) = &row {
        write_node(&mut tx, known.as_ref(), row).await?;
    }
    // Who waits may ask for ever, and anybody can wait who makes up a key: of that the audit log has as much as of other refusals.
    let again = known.as_ref().is_some_and(|node| node.state == NodeState::Pending) && refused.is_some();
    let audited = |row: &&NodeRow| !again || service.proven.take(&Some(row.name.clone()), Instant::now());
    if let Some(row) = row.as_ref().filter(audited) {
        let entry = AuditEntry {
            actor: format!("node:{}", row.name),
            action,
            object: row.pool.to_string(),
            detail: json!({
                "state": row.state, "kind": facts.kind, "level": facts.level, "counters": row.counters,
                "platform": row.platform, "image": facts.image, "hardware": facts.hardware, "new": known.is_none(),
                "code": refused.as_ref().map(|(code, _)| code),
            }),
            correlation_id: id,
        };
        audit::append(&mut tx, now, entry).await?;
    }
    let outcome = match refused {
        Some((code, text)) => Err(Refusal::new(code, text)),
        None => Ok(()),
    };
    if known.is_some() || row.is_some() {
        let verdict = sent.judged(facts, outcome.as_ref().err());
        let record = sent.record(verdict, Logs::Bound, now, &service.config.keep);
        tx.set_last_evidence(&facts.identity, &record.map_err(Refusal::internal)?).await?;
    }
    tx.commit().await?;
    service.purged.fetch_max(now, Ordering::Relaxed);
    if outcome.is_ok() {
        service.admitted.admit(Sha256Digest(session.nonce.0));
    }
    outcome
}

async fn write_node<T: crate::store::Tx>(
    tx: &mut T,
    known: Option<&NodeRow>,
    row: &NodeRow,
) -> Result<(), Refusal> {
    let written = match known {
        Some(_) => tx.update_node(row).await?,
        None => tx.insert_node(row).await?,
    };
    match written {
        true => Ok(()),
        false => Err(Refusal::new(Code::Conflict, format!("another TPM has the name {}", row.name))),
    }
}

fn accepted(
    verdict: &Verdict,
    facts: &Facts,
    judged_by: Sha256Digest,
    once: Option<&AllowanceRow>,
) -> SessionVerdict {
    SessionVerdict {
        reset_count: facts.tpm.as_ref().map(|tpm| tpm.counters.reset_count),
        tee_pubkey: verdict.tee_pubkey.clone(),
        platform: verdict.tpm.as_ref().and_then(|tpm| tpm.platform),
        image: verdict.image,
        level: Some(facts.level),
        kind: Some(facts.kind),
        ephemeral: verdict.ephemeral,
        verity_hash: verdict.verity_hash,
        layout: verdict.layout,
        data: verdict.data.clone(),
        csr: verdict.csr.as_ref().map(|csr| Sha256Digest::of(csr.der())),
        judged_by: Some(judged_by),
        once: once.filter(|_| verdict.allowed_once).map(AllowanceRow::once),
    }
}

fn facts(session: &Session, verdict: &Verdict, expires: u64) -> Facts {
    Facts {
        challenged: session.issued,
        identity: verdict.node_id,
        kind: verdict.kind,
        level: crate::references::level(verdict.level),
        tpm: verdict.tpm.as_ref().map(|tpm| TpmFacts {
            ak_name: hex::encode(&tpm.ak_name),
            counters: crate::references::counters(&tpm.counters),
            platform: tpm.platform,
        }),
        hardware: verdict.hardware.clone(),
        image: Some(verdict.image),
        expires: verdict.ephemeral.then_some(expires),
    }
}
