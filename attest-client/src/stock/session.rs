//! The states of one stock session; each is made by consuming the one before, and none is made twice.

use super::evidence;
use crate::error::{AttestError, ClientError};
use crate::http::{Cookie, Request};
use crate::session::Peer;
use ccnode_evidence::{EvidenceKind, EvidenceSource, Nonce, SecretBytes};
use ccnode_protocol::jwe::{Jwe, SessionKey};
use ccnode_protocol::{
    ATTEST, AUTH, AttestResponse, Attestation, AuthRequest, Challenge, ExtParams, ResourceUri, VERSION,
};
use kbs_types::InitData;
use serde_json::json;
use std::convert::Infallible;

/// The one hash of the transcript that is made here; services that choose another are refused.
const HASH: &str = "sha384";

/// The service has answered with a challenge.
#[derive(Debug)]
pub(super) struct Challenged {
    peer: Peer,
    cookie: Cookie,
    nonce: Nonce,
}

/// Evidence is bound to nonce and session key.
pub(super) struct Quoted {
    peer: Peer,
    cookie: Cookie,
    key: SessionKey,
    attestation: Attestation,
}

/// The service has accepted the evidence; whether it thinks well of it shows by what it gives.
pub(super) struct Attested {
    peer: Peer,
    cookie: Cookie,
    key: SessionKey,
    pub(super) token: String,
}

/// The first request, with the offer of hashes that stock clients make.
fn auth_request(kind: EvidenceKind) -> AuthRequest {
    let hashes = json!({"supported-hash-algorithms": ["sha256", "sha384", "sha512", "sm3"]});
    AuthRequest {
        version: VERSION.to_owned(),
        tee: ccnode_protocol::tee(kind),
        extra_params: ExtParams::Stock(hashes),
    }
}

impl Challenged {
    /// `POST /kbs/v0/auth`.
    pub(super) async fn request(peer: Peer, kind: EvidenceKind) -> Result<Self, ClientError> {
        let reply = peer.post(AUTH, None, &auth_request(kind)).await?;
        let challenge: Challenge = reply.json()?;
        if let ExtParams::Stock(params) = &challenge.extra_params
            && let Some(chosen) = params.get("selected-hash-algorithm")
            && chosen.as_str() != Some(HASH)
        {
            return Err(reply.garbage("a hash other than SHA-384 was chosen".to_owned()));
        }
        let cookie = reply.cookie.clone().ok_or_else(|| reply.garbage("no session cookie".to_owned()))?;
        Ok(Self { peer, cookie, nonce: challenge.nonce })
    }

    /// Binds `key`, made for this session, to the transcript and has the machine prove it.
    pub(super) async fn quote<S: EvidenceSource>(
        self,
        source: &S,
        key: SessionKey,
        init_data: Option<InitData>,
    ) -> Result<Quoted, AttestError<S::Error, Infallible>> {
        let attestation = evidence::attestation(source, &self.nonce, key.public(), init_data).await?;
        Ok(Quoted { peer: self.peer, cookie: self.cookie, key, attestation })
    }
}

impl Quoted {
    /// `POST /kbs/v0/attest`, once: the stock service does not say whether a refusal could pass.
    pub(super) async fn attest(self) -> Result<Attested, ClientError> {
        let reply = self.peer.post(ATTEST, Some(&self.cookie), &self.attestation).await;
        let reply = reply.map_err(|error| match error {
            ClientError::Failed { url, kind: Some(kind), detail, .. } if &*kind == "AttestationError" => {
                ClientError::EvidenceRefused { url, detail }
            }
            other => other,
        })?;
        let AttestResponse { token } = reply.json()?;
        Ok(Attested { peer: self.peer, cookie: self.cookie, key: self.key, token })
    }
}

impl Attested {
    /// `GET /kbs/v0/resource/…`, opened with this session's key. May be repeated within the session.
    ///
    /// The error's `type` alone says what a refusal means: the stock service answers 401 to nearly everything.
    pub(super) async fn resource(&self, uri: &ResourceUri) -> Result<SecretBytes, ClientError> {
        let path = uri.request_path();
        let timeout = self.peer.deadline.request();
        let request = Request { path: &path, cookie: Some(&self.cookie), body: None, timeout };
        let reply = self.peer.http.send(&self.peer.url, request).await.map_err(|e| sort(uri, e))?;
        let jwe: Jwe = reply.json()?;
        self.key.open(&jwe).map_err(|e| reply.garbage(e.to_string()))
    }
}

fn sort(uri: &ResourceUri, error: ClientError) -> ClientError {
    match error {
        ClientError::Failed { url, kind: Some(kind), detail, .. }
            if ["PolicyDeny", "PluginInternalError", "ResourceNotFound"].contains(&&*kind) =>
        {
            ClientError::ResourceRefused {
                url,
                resource: uri.to_string(),
                detail: format!("{kind}: {detail}"),
            }
        }
        ClientError::Failed { url, kind: Some(kind), detail, .. } if &*kind == "TokenNotFound" => {
            ClientError::SessionLost { url, resource: uri.to_string(), detail }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
