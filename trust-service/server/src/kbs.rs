//! Authentication: the challenge of every session, whichever its transcript.

use crate::cookie::{Form, OfferedTpm, Session, session_name};
use crate::extract::{InPace, Json};
use crate::keys::random;
use crate::problem::Refusal;
use crate::service::Service;
use crate::stock;
use crate::store::{Store, Tx as _};
use aes_gcm::aead::{AeadInPlace as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce as GcmNonce};
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::SET_COOKIE;
use axum::response::AppendHeaders;
use ccnode_appraise::TpmIdentity;
use ccnode_evidence::{Code, EvidenceKind, Identity, Nonce, Secret, transcript};
use ccnode_protocol::jwe;
use ccnode_protocol::{
    Activation, Asks, AuthRequest, COOKIE, Challenge, ChallengeExt, ExtParams, NameBox, NodeName, PoolName,
    VERSION,
};
use rand_core::{OsRng, RngCore as _};
use std::sync::Arc;

/// `POST /kbs/v0/auth`: a challenge. Nothing is written, and unknown TPMs are answered like known ones.
pub async fn auth<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: InPace,
    Json(request): Json<AuthRequest>,
) -> Result<Challenged, Refusal> {
    if !speaks(&request.version) {
        let text: String = request.version.chars().take(40).collect();
        return Err(Refusal::new(Code::VersionUnsupported, format!("version {text}; {VERSION} is due")));
    }
    let kind = ccnode_protocol::kind(request.tee).ok_or_else(|| {
        let due: Vec<&str> = EvidenceKind::ALL.iter().map(|kind| kind.as_str()).collect();
        Refusal::new(Code::TeeUnsupported, format!("{} evidence; due are {}", request.tee, due.join(", ")))
    })?;
    let offer = match &request.extra_params {
        ExtParams::Ccnode { ccnode } => ccnode,
        ExtParams::Stock(params) => return stock::challenge(&service, kind, params).await,
    };
    if offer.version != 1 {
        let text = format!("transcript of version {}; 1 is due", offer.version);
        return Err(Refusal::new(Code::StockTranscript, text));
    }
    let malformed = |text: &dyn std::fmt::Display| Refusal::new(Code::MalformedRequest, text);
    let offered = offer.identity().map_err(|e| malformed(&e))?;
    if offered.is_none() && !kind.takes_additional() {
        return Err(malformed(&format_args!("{kind} evidence needs a TPM, and none is offered")));
    }
    let nonce = fresh();
    let (asks, tpm) = match offered {
        Some(identity) => {
            let (activation, tpm) = ask(&service, kind, &offer.pool, identity).await?;
            (Asks::Activation(activation), Some(tpm))
        }
        None => (Asks::Report { node: session_name(&offer.pool, &nonce) }, None),
    };
    let ext = ChallengeExt { version: 1, asks };
    let start = Start { form: Form::Ccnode, nonce, kind, tpm, pool: offer.pool.clone() };
    challenged(&service, start, ExtParams::Ccnode { ccnode: ext })
}

/// Whether a version is one of protocol 0.4.0 by semantic versioning, which lets build metadata follow a `+`.
fn speaks(version: &str) -> bool {
    let metadata = |text: &str| {
        let word =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        text.split('.').all(word)
    };
    version
        .strip_prefix(VERSION)
        .is_some_and(|rest| rest.is_empty() || rest.strip_prefix('+').is_some_and(metadata))
}

/// A nonce of 32 random bytes.
pub(crate) fn fresh() -> Nonce {
    Nonce(*random().expose())
}

/// A challenge and the cookie that goes with it.
pub(crate) type Challenged = (AppendHeaders<[(HeaderName, String); 1]>, axum::Json<Challenge>);

/// What a session starts from.
pub(crate) struct Start {
    pub(crate) form: Form,
    pub(crate) nonce: Nonce,
    pub(crate) kind: EvidenceKind,
    pub(crate) tpm: Option<OfferedTpm>,
    pub(crate) pool: PoolName,
}

/// The challenge of a session that starts now.
pub(crate) fn challenged<S: Store>(
    service: &Service<S>,
    start: Start,
    extra_params: ExtParams<ChallengeExt>,
) -> Result<Challenged, Refusal> {
    let Start { form, nonce, kind, tpm, pool } = start;
    let (issued, lifetime) = (service.now(), service.config.session_lifetime.seconds());
    let session = Session { form, nonce, kind, tpm, pool, issued, expires: issued.saturating_add(lifetime) };
    let cookie = session.seal(&service.cookies).map_err(Refusal::internal)?;
    let header = format!("{COOKIE}={cookie}; Path=/; Max-Age={lifetime}; Secure; HttpOnly");
    Ok((AppendHeaders([(SET_COOKIE, header)]), axum::Json(Challenge { nonce, extra_params })))
}

/// A credential for the offered TPM, and the name that its node has or would get.
async fn ask<S: Store>(
    service: &Service<S>,
    kind: EvidenceKind,
    pool: &PoolName,
    identity: Identity,
) -> Result<(Activation, OfferedTpm), Refusal> {
    let tpm = TpmIdentity::of(&identity).map_err(|r| Refusal::from(&r))?;
    let known = service.store.glance().await?.node_called(&tpm.node_id(kind)).await?;
    let name = known.map_or_else(|| tpm.default_name(kind, pool), |(name, _)| name);
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

/// Nothing could be released to this key.
pub(crate) fn tee_key(error: &jwe::JweError) -> Refusal {
    Refusal::new(Code::MalformedRequest, format!("runtime-data.tee-pubkey: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_metadata_are_no_other_version() {
        for version in ["0.4.0", "0.4.0+x", "0.4.0+x.1-a"] {
            assert!(speaks(version), "{version}");
        }
        for version in
            ["", "0.4", "0.4.1", "0.4.00", "0.4.0-rc1", "0.4.0+", "0.4.0+a..b", "0.4.0+a b", "0.4.0 "]
        {
            assert!(!speaks(version), "{version}");
        }
    }
}
