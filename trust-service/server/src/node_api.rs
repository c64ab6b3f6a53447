//! The node's own paths: grants are spent here, and its refusals reported.

use crate::audit;
use crate::cookie::{CcnodeSession, Session};
use crate::extract::Json;
use crate::finish::{self, CorrelationId};
use crate::issuer::IssueError;
use crate::keys::secret_hash;
use crate::problem::{Refusal, printable};
use crate::recovery;
use crate::references::Pool;
use crate::release::still_allowed;
use crate::service::Service;
use crate::store::{
    AuditEntry, GrantKind, GrantRow, NodeRow, PoolRow, SessionRow, SessionVerdict, Store, Tx, VolumeRow,
};
use axum::extract::State;
use axum::http::StatusCode;
use ccnode_evidence::codes::By;
use ccnode_evidence::{Code, Secret, Sha256Digest, UnixTime};
use ccnode_protocol::NodeRefusal;
use ccnode_protocol::admin::{RefusedBy, VolumeRecord, VolumeState};
use ccnode_protocol::grants::{Certificate, CertificateRequest, Cluster, Formatted, Ready};
use serde_json::{Value, json};
use std::sync::Arc;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;

/// Longest correlation id that a node may choose.
const CORRELATION_ID: usize = 64;

/// The active node behind an accepted session, as of `now`.
pub async fn attested<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
    session: &Session,
) -> Result<Attested, Refusal> {
    let unknown = || Refusal::new(Code::SessionUnknown, "this session has no accepted attestation");
    let mut row = tx.session(&session.nonce).await?.ok_or_else(unknown)?;
    let verdict = row.verdict.take().ok_or_else(unknown)?;
    let (node, pool) = active(service, tx, &row.identity).await?;
    Ok(Attested { session: row, verdict, node, pool })
}

/// An accepted session, and whose it is.
pub struct Attested {
    /// Its row, without the verdict.
    pub session: SessionRow,
    /// What was accepted.
    pub verdict: SessionVerdict,
    /// The node, which is active.
    pub node: NodeRow,
    /// The node's pool.
    pub pool: Arc<Pool>,
}

/// A node that is active now, whatever it was when it attested.
pub(crate) async fn active<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
    identity: &Sha256Digest,
) -> Result<(NodeRow, Arc<Pool>), Refusal> {
    let gone = || Refusal::new(Code::NodeUnknown, "the node's record was deleted, or has ended").proven();
    // What has ended is gone, whether or not somebody has swept since.
    let now = service.now();
    let node = tx.node(identity).await?.filter(|node| !node.ended(now)).ok_or_else(gone)?;
    if let Some(refusal) = Refusal::of_state(node.state, &node.name, node.reason.as_deref()) {
        return Err(refusal.of(&node.pool, &node.name).proven());
    }
    let pool = service.references.pool(tx, &node.pool).await?;
    Ok((node, pool.ok_or_else(|| Refusal::internal("the node's pool is gone"))?))
}

/// The cluster that a pool's nodes join.
pub fn cluster<S>(service: &Service<S>, pool: &PoolRow) -> Result<Cluster, Refusal> {
    pool.cluster.clone().or_else(|| service.cluster.clone()).ok_or_else(|| {
        Refusal::new(
            Code::Conflict,
            format!("pool {} has no cluster, and the service has no default one", pool.name),
        )
    })
}

/// A grant that is spent now: the writer, and whose it is.
pub(crate) struct Spent<T> {
    pub(crate) tx: T,
    pub(crate) grant: GrantRow,
    pub(crate) node: NodeRow,
    pool: Arc<Pool>,
}

/// A grant of this kind whose secret the peer knows, and its active node. Expiry is the caller's: repeats outlive it.
async fn grant<S: Store>(
    service: &Service<S>,
    mut tx: S::Tx,
    (kind, id): (GrantKind, &str),
    hash: &Sha256Digest,
) -> Result<Spent<S::Tx>, Refusal> {
    let unknown = || Refusal::new(Code::GrantUnknown, "no grant of this id and secret");
    let grant = tx.grant(id).await?.ok_or_else(unknown)?;
    let same = bool::from(hash.0.ct_eq(&grant.secret_hash.0));
    if !same || grant.kind != kind {
        return Err(unknown());
    }
    let (node, pool) = active(service, &mut tx, &grant.identity).await?;
    Ok(Spent { tx, grant, node, pool })
}

/// The writer, for those alone whose grant is good; looked up in it once more, for it may have been waited for.
pub(crate) async fn granted<S: Store>(
    service: &Service<S>,
    kind: GrantKind,
    id: &str,
    secret: &Secret<32>,
) -> Result<Spent<S::Tx>, Refusal> {
    let hash = secret_hash(secret);
    if !service.admitted.has(&hash) {
        grant(service, service.store.read().await?, (kind, id), &hash).await?;
    }
    grant(service, service.store.write().await?, (kind, id), &hash).await
}

pub(crate) fn unexpired(grant: &GrantRow, now: u64) -> Result<(), Refusal> {
    match grant.expires < now {
        true => Err(Refusal::new(
            Code::GrantExpired,
            format!("the grant ended at {}, and now is {}", UnixTime(grant.expires), UnixTime(now)),
        )),
        false => Ok(()),
    }
}

/// The volume of a format grant, if it is still at the grant's generation.
async fn volume<T: Tx>(tx: &mut T, grant: &GrantRow, generation: u64) -> Result<VolumeRow, Refusal> {
    let id = grant.volume.as_deref().unwrap_or_default();
    let volume = tx.volume(id).await?.filter(|volume| volume.identity == grant.identity);
    let volume = volume.ok_or_else(|| Refusal::internal("the grant's volume is gone"))?;
    if grant.generation != Some(generation) || volume.record.generation != generation {
        let text = format!("{id} is at generation {}, the request at {generation}", volume.record.generation);
        return Err(Refusal::new(Code::GenerationStale, text));
    }
    match volume.record.state {
        VolumeState::Retired => {
            Err(Refusal::new(Code::VolumeRetired, format!("the key of {id} was forgotten")))
        }
        _ => Ok(volume),
    }
}

/// One transition by compare-and-swap, with its audit row; commits.
pub(crate) async fn advance<S: Store>(
    service: &Service<S>,
    mut tx: S::Tx,
    node: &NodeRow,
    (from, to): (&VolumeRow, &VolumeRow),
    (action, detail, id): (&'static str, Value, &str),
) -> Result<StatusCode, Refusal> {
    if !tx.swap_volume(from.version(), to).await? {
        return Err(Refusal::new(Code::GenerationStale, format!("{} moved on", to.record.id)));
    }
    let entry = AuditEntry {
        actor: format!("node:{}", node.name),
        action,
        object: to.record.id.clone(),
        detail,
        correlation_id: id,
    };
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the audit log says of a volume that is made.
fn made(record: &VolumeRecord) -> Value {
    json!({
        "generation": record.generation, "header-digest": record.header_digest,
        "populated-from": record.populated_from,
    })
}

/// `POST /ccnode/v1/volumes/formatted`: granted → formatted.
pub async fn formatted<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    Json(request): Json<Formatted>,
) -> Result<StatusCode, Refusal> {
    let Spent { mut tx, grant, node, .. } =
        granted(&service, GrantKind::Format, &request.grant, &request.secret).await?;
    let about = |refusal: Refusal| refusal.of(&node.pool, &node.name).proven();
    let from = volume(&mut tx, &grant, request.generation).await.map_err(about)?;
    let record = &from.record;
    if record.header_digest == Some(request.header_digest) {
        return Ok(StatusCode::NO_CONTENT);
    }
    if record.state != VolumeState::Granted {
        let text = format!("{} was formatted under this grant with another header", record.id);
        return Err(about(Refusal::new(Code::GrantSpent, text)));
    }
    unexpired(&grant, service.now()).map_err(about)?;
    let kept = request.recovery.map(|shares| recovery::seal(&service, &from, shares)).transpose();
    let kept = kept.map_err(about)?;
    let record = VolumeRecord {
        state: VolumeState::Formatted,
        header_digest: Some(request.header_digest),
        populated_from: Some(grant.populated_from),
        ..record.clone()
    };
    let what = ("volume.formatted", made(&record), id.as_str());
    let to = VolumeRow { record, recovery: kept, ..from.clone() };
    advance(&service, tx, &node, (&from, &to), what).await.map_err(about)
}

/// `POST /ccnode/v1/volumes/ready`: formatted → ready.
pub async fn ready<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    Json(request): Json<Ready>,
) -> Result<StatusCode, Refusal> {
    let Spent { mut tx, grant, node, .. } =
        granted(&service, GrantKind::Format, &request.grant, &request.secret).await?;
    let about = |refusal: Refusal| refusal.of(&node.pool, &node.name).proven();
    let from = volume(&mut tx, &grant, request.generation).await.map_err(about)?;
    let record = &from.record;
    if request.populated_from != grant.populated_from {
        let text = format!(
            "{} was filled from {}, and a volume of the attested image is from {}",
            record.id, request.populated_from, grant.populated_from
        );
        return Err(about(Refusal::new(Code::PopulatedFromOther, text)));
    }
    match record.state {
        VolumeState::Ready => return Ok(StatusCode::NO_CONTENT),
        VolumeState::Formatted => {}
        state => {
            let text = format!("{} is {state:?}; `formatted` comes before `ready`", record.id);
            return Err(about(Refusal::new(Code::Conflict, text)));
        }
    }
    // However long wiping and copying took: the next boot's grant ends this one by its generation.
    let record = VolumeRecord {
        state: VolumeState::Ready,
        populated_from: Some(request.populated_from),
        ..record.clone()
    };
    let what = ("volume.ready", made(&record), id.as_str());
    let to = VolumeRow { record, ..from.clone() };
    advance(&service, tx, &node, (&from, &to), what).await.map_err(about)
}

/// Whether the pool still takes what the grant's session attested.
async fn granted_still<T: Tx>(tx: &mut T, grant: &GrantRow, pool: &Pool) -> Result<(), Refusal> {
    let session = match &grant.session {
        Some(nonce) => tx.session(nonce).await?,
        None => None,
    };
    let text = "the session that was granted is not on record any more";
    let verdict = session.and_then(|session| session.verdict.zip(Some(session.nonce)));
    let (verdict, nonce) = verdict.ok_or_else(|| Refusal::new(Code::SessionExpired, text))?;
    still_allowed(tx, pool, (&grant.identity, &nonce), &verdict).await
}

/// `POST /ccnode/v1/certificate`: one certificate for the request that the transcript bound, while the pool takes what was attested.
pub async fn certificate<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    Json(request): Json<CertificateRequest>,
) -> Result<axum::Json<Certificate>, Refusal> {
    let Spent { mut tx, grant, node, pool } =
        granted(&service, GrantKind::Certificate, &request.grant, &request.secret).await?;
    let about = |refusal: Refusal| refusal.of(&node.pool, &node.name).proven();
    let Some(attested) = grant.csr_digest.filter(|digest| *digest == Sha256Digest::of(&request.csr.0)) else {
        let text = "the certificate request is not the one that the attested transcript bound";
        return Err(about(Refusal::new(Code::CsrRefused, text)));
    };
    granted_still(&mut tx, &grant, &pool).await.map_err(about)?;
    if let Some(chain) = grant.certificate {
        return Ok(axum::Json(Certificate { chain }));
    }
    let now = service.now();
    unexpired(&grant, now).map_err(about)?;
    let clock = OffsetDateTime::from_unix_timestamp(i64::try_from(now).unwrap_or(i64::MAX))
        .map_err(Refusal::internal)?;
    let chain =
        service.cluster_ca.get().issue(&node.name, (&request.csr.0, &attested), clock).map_err(|error| {
            match error {
                IssueError::Csr(reason) => about(Refusal::new(Code::CsrRefused, reason)),
                IssueError::Sign(_) => Refusal::internal(error),
            }
        })?;
    if !tx.set_grant_certificate(&grant.id, &chain).await? {
        return Err(about(Refusal::new(Code::GrantSpent, "the certificate grant was used just now")));
    }
    let entry = AuditEntry {
        actor: format!("node:{}", node.name),
        action: "certificate.issued",
        object: node.name.to_string(),
        detail: json!({
            "csr": grant.csr_digest, "certificate": Sha256Digest::of(chain.as_bytes()),
            "lifetime": service.config.certificate_lifetime,
        }),
        correlation_id: &id,
    };
    audit::append(&mut tx, now, entry).await?;
    tx.commit().await?;
    Ok(axum::Json(Certificate { chain }))
}

/// `POST /ccnode/v1/refusals`: a refusal that the node decided itself. What it says is recorded as its claim.
pub async fn refusals<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    CcnodeSession(session): CcnodeSession,
    Json(report): Json<NodeRefusal>,
) -> Result<StatusCode, Refusal> {
    if report.code.by() != By::Node {
        let text = format!("`{}` is no code that a node decides", report.code);
        return Err(Refusal::new(Code::MalformedRequest, text));
    }
    let graphic = report.correlation_id.bytes().all(|b| b.is_ascii_graphic());
    if report.correlation_id.len() > CORRELATION_ID || !graphic {
        return Err(Refusal::new(
            Code::MalformedRequest,
            "correlation-id: at most 64 printable ASCII characters",
        ));
    }
    let identity = session.identity().map_err(|r| Refusal::from(&r))?;
    let mut tx = service.store.read().await?;
    let judged = tx.session(&session.nonce).await?;
    let proven = judged.is_some();
    let offered = identity.as_ref().map(|identity| identity.node_id(session.kind));
    let node = match offered.or(judged.map(|row| row.identity)) {
        Some(identity) => tx.node(&identity).await?,
        None => None,
    };
    drop(tx);
    let (pool, name) = match node {
        Some(node) => (node.pool, node.name),
        None => (session.pool.clone(), session.default_name(identity.as_ref())),
    };
    let mut refusal = Refusal::new(report.code, printable(&report.detail)).of(&pool, &name);
    refusal.about.proven = proven;
    refusal.about.by = RefusedBy::Node;
    refusal.about.correlation_id = Some(report.correlation_id);
    finish::record(&service, &refusal, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
