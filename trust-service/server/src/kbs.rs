//! The key broker protocol's endpoints: authentication, attestation, resources.

use crate::audit;
use crate::cookie::Session;
use crate::enrol::{self, Decision, Facts};
use crate::extract::{InTurn, Json, Part};
use crate::finish::CorrelationId;
use crate::keys::random;
use crate::node_api;
use crate::problem::Refusal;
use crate::references::References;
use crate::service::Service;
use crate::store::{AuditEntry, NodeRow, PoolRow, SessionRow, SessionVerdict, Store, Tx as _};
use aes_gcm::aead::{AeadInPlace as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce as GcmNonce};
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse};
use ccnode_appraise::{TpmIdentity, UnixTime, Verdict, activated, appraise};
use ccnode_evidence::{Code, Ek, Nonce, Secret, Sha256Digest, transcript};
use ccnode_protocol::jwe::{self, Jwe};
use ccnode_protocol::{
    Activation, Asks, AttestResponse, Attestation, AuthRequest, COOKIE, Challenge, ChallengeExt, ExtParams,
    NameBox, NodeName, Tee, VERSION,
};
use rand_core::{OsRng, RngCore as _};
use serde_json::json;
use std::sync::Arc;

/// `POST /kbs/v0/auth`: a challenge. Nothing is written, and unknown TPMs are answered like known ones.
pub async fn auth<S: Store>(
    State(service): State<Arc<Service<S>>>,
    Json(request): Json<AuthRequest>,
) -> Result<impl IntoResponse, Refusal> {
    if request.version != VERSION {
        let text: String = request.version.chars().take(40).collect();
        return Err(Refusal::new(Code::VersionUnsupported, format!("version {text}; {VERSION} is due")));
    }
    if request.tee != Tee::Tpm {
        return Err(Refusal::new(Code::TeeUnsupported, format!("{} evidence; tpm is due", request.tee)));
    }
    let offer = request
        .extra_params
        .ccnode()
        .ok_or_else(|| Refusal::new(Code::StockTranscript, "extra-params hold no whole member `ccnode`"))?;
    if offer.version != 1 {
        let text = format!("transcript of version {}; 1 is due", offer.version);
        return Err(Refusal::new(Code::StockTranscript, text));
    }
    let malformed = |text: String| Refusal::new(Code::MalformedRequest, text);
    let offered = offer.identity().map_err(|e| malformed(e.to_string()))?;
    let Some(ccnode_evidence::Identity { ek: Ek::Certificate(ek_cert), ak_public }) = offered else {
        return Err(malformed("an EK certificate and an attestation key are due".to_owned()));
    };
    let identity = TpmIdentity::parse(&ek_cert, &ak_public).map_err(|r| Refusal::from(&r))?;
    let known = service.store.read().await?.node(&identity.node_id()).await?;
    let name = known.map_or_else(|| identity.default_name(&offer.pool), |node| node.name);

    let secret = random();
    let (credential, encrypted) =
        identity.make_credential(&secret, &mut OsRng).map_err(|r| Refusal::from(&r))?;
    let nonce = Nonce(*random().expose());
    let issued = service.now();
    let session = Session {
        nonce,
        ek_cert: ek_cert.into(),
        ak: ak_public.into(),
        secret: secret.clone(),
        pool: offer.pool.clone(),
        issued,
        expires: issued.saturating_add(service.config.session_lifetime.seconds()),
    };
    let cookie = session.seal(&service.cookies).map_err(Refusal::internal)?;
    let lifetime = service.config.session_lifetime.seconds();
    let challenge = Challenge {
        nonce,
        extra_params: ExtParams::Ccnode {
            ccnode: ChallengeExt {
                version: 1,
                asks: Asks::Activation(Activation {
                    credential: credential.into(),
                    secret: encrypted.into(),
                    name: name_box(&name, &secret)?,
                }),
            },
        },
    };
    let header = format!("{COOKIE}={cookie}; Path=/; Max-Age={lifetime}; Secure; HttpOnly");
    Ok((AppendHeaders([(SET_COOKIE, header)]), axum::Json(challenge)))
}

/// Bytes of a sealed name: the longest one's. A ciphertext as long as its name would tell chosen names from default ones, and
/// so who is enrolled.
const NAME: usize = 63;

fn name_box(name: &NodeName, secret: &Secret<32>) -> Result<NameBox, Refusal> {
    let mut iv = [0; 12];
    OsRng.fill_bytes(&mut iv);
    let mut text = name.as_str().as_bytes().to_vec();
    text.resize(NAME, 0);
    let tag = Aes256Gcm::new(transcript::name_key(secret).expose().into())
        .encrypt_in_place_detached(GcmNonce::from_slice(&iv), b"", &mut text)
        .map_err(Refusal::internal)?;
    Ok(NameBox { iv: iv.to_vec().into(), ciphertext: text.into(), tag: tag.to_vec().into() })
}

/// `POST /kbs/v0/attest`: the verdict over a session's evidence, once per nonce.
pub async fn attest<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    session: Session,
    InTurn(attestation, _share): InTurn<Attestation>,
) -> Result<axum::Json<AttestResponse>, Refusal> {
    let identity = TpmIdentity::parse(&session.ek_cert.0, &session.ak.0).map_err(|r| Refusal::from(&r))?;
    let offered = |refusal: Refusal| refusal.of(&session.pool, &identity.default_name(&session.pool));
    let challenge =
        ccnode_appraise::Session { nonce: &session.nonce, identity: &identity, secret: &session.secret };
    // Before the challenged TPM has activated, no record is read: neither answers nor their timing tell who is enrolled.
    activated(&challenge, &attestation).map_err(|r| offered(Refusal::from(&r)))?;
    jwe::check(&attestation.runtime_data.stock.tee_pubkey).map_err(|error| offered(tee_key(&error)))?;
    let node_id = identity.node_id();
    let mut tx = service.store.read().await?;
    let known = tx.node(&node_id).await?;
    if tx.session(&session.nonce).await?.is_some() {
        // Whoever has the body can send it again: that proves nothing.
        let name = known.map_or_else(|| identity.default_name(&session.pool), |node| node.name);
        return Err(offered(spent(&name)));
    }
    // For a known node the record decides, whatever its configuration says.
    let pool_name = known.as_ref().map_or_else(|| session.pool.clone(), |node| node.pool.clone());
    let name = known.map_or_else(|| identity.default_name(&session.pool), |node| node.name);
    let about = |refusal: Refusal| refusal.of(&pool_name, &name);
    let Some(pool) = tx.pool(&pool_name).await? else {
        return Err(about(Refusal::new(Code::PoolUnknown, format!("there is no pool `{pool_name}`"))));
    };
    let references = References::load(&mut tx, &pool).await?;
    drop(tx);

    let verdict = judge(&service, &session, identity, attestation, references).await;
    match verdict {
        Ok(verdict) => {
            settle(&service, &id, &session, &pool, &name, &verdict).await.map_err(|r| about(r.proven()))?;
            let now = service.now();
            let expires = session.expires.max(now);
            Ok(axum::Json(AttestResponse { token: service.token.issue(&verdict, &pool.name, now, expires) }))
        }
        Err(refusal) if refusal.about.proven => {
            // The nonce proved something: it is spent, although nothing came of it.
            spend(&service, &session, node_id, &name).await.map_err(|r| about(r.proven()))?;
            Err(about(refusal))
        }
        Err(refusal) => Err(about(refusal)),
    }
}

/// Appraisal on a thread of its own; so many at a time.
async fn judge<S: Store>(
    service: &Service<S>,
    session: &Session,
    identity: TpmIdentity,
    attestation: Attestation,
    references: References,
) -> Result<Verdict, Refusal> {
    let permit = service.appraisals.clone().acquire_owned().await.map_err(Refusal::internal)?;
    let (nonce, secret) = (session.nonce, session.secret.clone());
    let now = UnixTime(service.now());
    let work = move || {
        let _permit = permit;
        let session = ccnode_appraise::Session { nonce: &nonce, identity: &identity, secret: &secret };
        appraise(&session, &attestation, &references.borrow(), now).map_err(|r| Refusal::appraised(*r))
    };
    tokio::task::spawn_blocking(work).await.map_err(Refusal::internal)?
}

async fn spend<S: Store>(
    service: &Service<S>,
    session: &Session,
    identity: Sha256Digest,
    name: &NodeName,
) -> Result<(), Refusal> {
    let mut tx = service.store.write().await?;
    let now = service.now();
    session.unexpired(now)?;
    if !tx.insert_session(&session_row(session, identity, None)).await? {
        return Err(spent(name));
    }
    tx.purge(now).await?;
    Ok(tx.commit().await?)
}

fn session_row(session: &Session, identity: Sha256Digest, verdict: Option<SessionVerdict>) -> SessionRow {
    SessionRow { nonce: session.nonce, identity, expires: session.expires, verdict, grants: None }
}

fn spent(name: &NodeName) -> Refusal {
    Refusal::new(Code::NonceSpent, format!("{name} used this session's nonce before"))
}

/// Spends the nonce and decides whether the proven machine is a node: one transaction.
async fn settle<S: Store>(
    service: &Service<S>,
    id: &str,
    session: &Session,
    pool: &PoolRow,
    name: &NodeName,
    verdict: &Verdict,
) -> Result<(), Refusal> {
    let facts = facts(session, verdict);
    let mut tx = service.store.write().await?;
    // The appraisal may have waited long: the nonce of an ended session may have been forgotten since.
    let now = service.now();
    session.unexpired(now)?;
    let known = tx.node(&facts.identity).await?;
    if let Some(node) = known.as_ref().filter(|node| node.pool != pool.name) {
        let text =
            format!("{} came into pool {} while pool {} appraised it", node.name, node.pool, pool.name);
        return Err(Refusal::new(Code::SessionExpired, text));
    }
    let pool = tx
        .pool(&pool.name)
        .await?
        .ok_or_else(|| Refusal::new(Code::PoolUnknown, format!("pool `{}` was just deleted", pool.name)))?;
    let decision = enrol::decide(known.as_ref(), &pool, name, &facts, now);
    let accepted = matches!(decision, Decision::Accept(_)).then(|| SessionVerdict {
        reset_count: facts.counters.reset_count,
        tee_pubkey: verdict.tee_pubkey.clone(),
        platform: verdict.platform,
        image: verdict.image,
        verity_hash: verdict.verity_hash,
        csr: verdict.csr.as_ref().map(|csr| Sha256Digest::of(csr.der())),
    });
    if !tx.insert_session(&session_row(session, facts.identity, accepted)).await? {
        return Err(spent(name));
    }
    tx.purge(now).await?;
    let (row, action, refused) = match decision {
        Decision::Accept(row) => (Some(row), "session.accepted", None),
        Decision::Hold(row, code, text) => (Some(row), "node.held", Some((code, text))),
        Decision::Refuse(code, text) => (None, "", Some((code, text))),
    };
    if let Some(row) = &row {
        write_node(&mut tx, known.as_ref(), row).await?;
        let entry = AuditEntry {
            actor: format!("node:{}", row.name),
            action,
            object: row.pool.to_string(),
            detail: json!({
                "state": row.state, "level": facts.level, "counters": facts.counters, "platform": facts.platform,
                "image": facts.image, "new": known.is_none(), "code": refused.as_ref().map(|(code, _)| code),
            }),
            correlation_id: id,
        };
        audit::append(&mut tx, now, entry).await?;
    }
    tx.commit().await?;
    match refused {
        Some((code, text)) => Err(Refusal::new(code, text)),
        None => Ok(()),
    }
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

fn facts(session: &Session, verdict: &Verdict) -> Facts {
    Facts {
        challenged: session.issued,
        identity: verdict.node_id,
        ak_name: hex::encode(&verdict.ak_name),
        level: crate::references::level(verdict.level),
        counters: crate::references::counters(&verdict.counters),
        platform: verdict.platform,
        image: verdict.image,
    }
}

/// `GET /kbs/v0/resource/{repository}/{type}/{tag}`: what belongs to the asking node, and nothing else, foreign and absent
/// alike. `node/<name>/cluster` is the cluster that the node joins.
pub async fn resource<S: Store>(
    State(service): State<Arc<Service<S>>>,
    session: Session,
    Part((repository, kind, tag)): Part<(String, String, String)>,
) -> Result<axum::Json<Jwe>, Refusal> {
    let mut tx = service.store.read().await?;
    let (node, verdict, pool) = node_api::attested(&mut tx, &session).await?;
    if repository != "node" || kind != node.name.as_str() || tag != "cluster" {
        let text = format!("{} has nothing at {repository}/{kind}/{tag}", node.name);
        return Err(Refusal::new(Code::ResourceUnknown, text).of(&node.pool, &node.name).proven());
    }
    let cluster = node_api::cluster(&service, &pool)?;
    let plain = serde_json::to_vec(&cluster).map_err(Refusal::internal)?;
    jwe::seal(&verdict.tee_pubkey, &plain).map(axum::Json).map_err(|error| tee_key(&error))
}

/// Nothing could be released to this key.
pub(crate) fn tee_key(error: &jwe::JweError) -> Refusal {
    Refusal::new(Code::MalformedRequest, format!("runtime-data.tee-pubkey: {error}"))
}
