//! The key broker protocol's endpoints beside attestation: authentication and resources.

use crate::cookie::{OfferedTpm, Session, session_name};
use crate::extract::Json;
use crate::keys::random;
use crate::node_api;
use crate::problem::Refusal;
use crate::service::Service;
use crate::stock;
use crate::store::{Store, Tx as _};
use aes_gcm::aead::{AeadInPlace as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce as GcmNonce};
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{Method, Uri};
use axum::response::{AppendHeaders, IntoResponse};
use ccnode_appraise::TpmIdentity;
use ccnode_evidence::{Code, EvidenceKind, Identity, Nonce, Secret, transcript};
use ccnode_protocol::jwe::{self, Jwe};
use ccnode_protocol::{
    Activation, Asks, AuthRequest, COOKIE, Challenge, ChallengeExt, ExtParams, NameBox, NodeName, PoolName,
    VERSION,
};
use rand_core::{OsRng, RngCore as _};
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
    let kind = ccnode_protocol::kind(request.tee).ok_or_else(|| {
        let due: Vec<&str> = EvidenceKind::ALL.iter().map(|kind| kind.as_str()).collect();
        Refusal::new(Code::TeeUnsupported, format!("{} evidence; due are {}", request.tee, due.join(", ")))
    })?;
    let offer = request
        .extra_params
        .ccnode()
        .ok_or_else(|| Refusal::new(Code::StockTranscript, "extra-params hold no whole member `ccnode`"))?;
    if offer.version != 1 {
        let text = format!("transcript of version {}; 1 is due", offer.version);
        return Err(Refusal::new(Code::StockTranscript, text));
    }
    let malformed = |text: &dyn std::fmt::Display| Refusal::new(Code::MalformedRequest, text);
    let offered = offer.identity().map_err(|e| malformed(&e))?;
    if offered.is_none() && !kind.takes_additional() {
        return Err(malformed(&format_args!("{kind} evidence needs a TPM, and none is offered")));
    }
    let nonce = Nonce(*random().expose());
    let (asks, tpm) = match offered {
        Some(identity) => {
            let (activation, tpm) = ask(&service, kind, &offer.pool, identity).await?;
            (Asks::Activation(activation), Some(tpm))
        }
        None => (Asks::Report { node: session_name(&offer.pool, &nonce) }, None),
    };
    let issued = service.now();
    let session = Session {
        nonce,
        kind,
        tpm,
        pool: offer.pool.clone(),
        issued,
        expires: issued.saturating_add(service.config.session_lifetime.seconds()),
    };
    let cookie = session.seal(&service.cookies).map_err(Refusal::internal)?;
    let lifetime = service.config.session_lifetime.seconds();
    let challenge =
        Challenge { nonce, extra_params: ExtParams::Ccnode { ccnode: ChallengeExt { version: 1, asks } } };
    let header = format!("{COOKIE}={cookie}; Path=/; Max-Age={lifetime}; Secure; HttpOnly");
    Ok((AppendHeaders([(SET_COOKIE, header)]), axum::Json(challenge)))
}

/// A credential for the offered TPM, and the name that its node has or would get.
async fn ask<S: Store>(
    service: &Service<S>,
    kind: EvidenceKind,
    pool: &PoolName,
    identity: Identity,
) -> Result<(Activation, OfferedTpm), Refusal> {
    let tpm = TpmIdentity::of(&identity).map_err(|r| Refusal::from(&r))?;
    let known = service.store.read().await?.node(&tpm.node_id(kind)).await?;
    let name = known.map_or_else(|| tpm.default_name(kind, pool), |node| node.name);
    let secret = random();
    let (credential, encrypted) = tpm.make_credential(&secret, &mut OsRng).map_err(|r| Refusal::from(&r))?;
    let name = name_box(&name, &secret)?;
    let activation = Activation { credential: credential.into(), secret: encrypted.into(), name };
    Ok((activation, OfferedTpm { identity, secret }))
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

/// `GET /kbs/v0/resource/{repository}/{type}/{tag}`: what belongs to the asking node, and nothing else, foreign and absent
/// alike. `node/<name>/cluster` is the cluster that the node joins.
///
/// Other methods and paths of another shape come here too: as the stock service does, it tells them apart only to who has
/// attested.
pub async fn resource<S: Store>(
    State(service): State<Arc<Service<S>>>,
    session: Session,
    method: Method,
    uri: Uri,
) -> Result<axum::Json<Jwe>, Refusal> {
    let mut tx = service.store.read().await?;
    let (node, verdict, pool) = node_api::attested(&mut tx, &session, service.now()).await?;
    if stock::resource(&method, &uri) != Some(["node", node.name.as_str(), "cluster"]) {
        let path: String = uri.path().chars().take(200).collect();
        let text = format!("{} has nothing by {method} at {path}", node.name);
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
