//! The states of one `ccnode/1` session; each is made by consuming the one before, and none is made twice.

use crate::error::{AttestError, ClientError};
use crate::evidence::{self, Binding, Collected};
use crate::http::{Cookie, Http, Reply, Request};
use crate::retry::Deadline;
use ccnode_evidence::{
    Activated as Secret, EventLogs, EvidenceKind, EvidenceSource, Identity, Nonce, TpmSource as _,
};
use ccnode_protocol::grants::Grants;
use ccnode_protocol::jwe::{EphemeralKey, Jwe};
use ccnode_protocol::{
    ATTEST, AUTH, Activation, Asks, AttestResponse, Attestation, AuthExt, AuthRequest, Challenge, ExtParams,
    GRANTS, NodeName, PoolName, RuntimeData, VERSION,
};
use kbs_types::InitData;
use serde::Serialize;

/// The service that a session talks to; it stays with the URL it began with.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) http: Http,
    pub(crate) url: String,
    pub(crate) deadline: Deadline,
}

impl Peer {
    pub(crate) async fn post<T: Serialize>(
        &self,
        path: &str,
        cookie: Option<&Cookie>,
        body: &T,
    ) -> Result<Reply, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| ClientError::Garbage {
            url: self.url.clone(),
            path: path.to_owned(),
            cause: format!("the request has no JSON form: {e}"),
        })?;
        let timeout = self.deadline.request();
        self.http.send(&self.url, Request { path, cookie, body: Some(body), timeout }).await
    }
}

/// The service has answered with a challenge of `ccnode/1`.
#[derive(Debug)]
pub struct Challenged {
    peer: Peer,
    cookie: Cookie,
    nonce: Nonce,
    asks: Asks,
}

/// The TPM, where there is one, has opened the credential: the service holds our keys for ours, and we know our name.
#[derive(Debug)]
pub struct Activated {
    peer: Peer,
    cookie: Cookie,
    nonce: Nonce,
    secret: Option<Secret>,
    name: NodeName,
}

/// Evidence is bound to nonce, ephemeral key, logs and certificate request.
pub struct Quoted {
    peer: Peer,
    cookie: Cookie,
    name: NodeName,
    key: EphemeralKey,
    attestation: Attestation,
}

/// The service has accepted the evidence.
pub struct Attested {
    peer: Peer,
    cookie: Cookie,
    name: NodeName,
    key: EphemeralKey,
    token: String,
}

impl Challenged {
    /// `POST /kbs/v0/auth`: says what evidence comes, and offers who the TPM is.
    pub(crate) async fn request(
        peer: Peer,
        pool: &PoolName,
        kind: EvidenceKind,
        identity: Option<&Identity>,
    ) -> Result<Self, ClientError> {
        let ext = AuthExt::new(pool.clone(), identity);
        let request = AuthRequest {
            version: VERSION.to_owned(),
            tee: ccnode_protocol::tee(kind),
            extra_params: ExtParams::Ccnode { ccnode: ext },
        };
        let reply = peer.post(AUTH, None, &request).await?;
        let challenge: Challenge = reply.json()?;
        let stock = || ClientError::ChallengeStock { url: peer.url.clone() };
        let ext =
            challenge.extra_params.ccnode().filter(|ext| ext.version == 1).cloned().ok_or_else(stock)?;
        let cookie = reply.cookie.clone().ok_or_else(|| reply.garbage("no session cookie".to_owned()))?;
        Ok(Self { peer, cookie, nonce: challenge.nonce, asks: ext.asks })
    }

    pub(crate) fn cookie(&self) -> &Cookie {
        &self.cookie
    }

    /// TPM2_ActivateCredential, then the name that travels under the secret; without a TPM the name alone.
    pub(crate) async fn activate<S: EvidenceSource, C: std::error::Error + 'static>(
        self,
        source: &S,
    ) -> Result<Activated, AttestError<S::Error, C>> {
        let url = self.peer.url.clone();
        let garbage = |cause: &str| {
            AttestError::Client(ClientError::Garbage { url, path: AUTH.to_owned(), cause: cause.to_owned() })
        };
        let (secret, name) = match (self.asks, source.supports_tpm()) {
            (Asks::Activation(Activation { credential, secret, name }), Some(tpm)) => {
                let secret = tpm.activate(credential.0, secret.0).await.map_err(AttestError::Source)?;
                let name = name.open(&secret);
                (
                    Some(secret),
                    name.ok_or_else(|| garbage("the node's name does not open with the activated secret"))?,
                )
            }
            (Asks::Report { node }, None) => (None, node),
            (Asks::Activation(_), None) => {
                return Err(garbage("a credential, and no TPM was offered"));
            }
            (Asks::Report { .. }, Some(_)) => {
                return Err(garbage("no credential for the TPM that was offered"));
            }
        };
        Ok(Activated { peer: self.peer, cookie: self.cookie, nonce: self.nonce, secret, name })
    }
}

impl Activated {
    /// The name that the service chose.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Binds `key`, made for this session, `csr` (DER) and `logs` to the transcript and has the machine prove it.
    pub(crate) async fn quote<S: EvidenceSource, C: std::error::Error + 'static>(
        self,
        source: &S,
        key: EphemeralKey,
        csr: &[u8],
        logs: &EventLogs,
        init_data: Option<InitData>,
    ) -> Result<Quoted, AttestError<S::Error, C>> {
        let tee_pubkey = key.public();
        let binding = Binding {
            nonce: &self.nonce,
            tee_pubkey: &tee_pubkey,
            csr,
            logs,
            init_data: init_data.as_ref(),
            secret: self.secret.as_ref(),
        };
        let Collected { ext, evidence } = evidence::collect(source, &binding).await?;
        let stock = kbs_types::RuntimeData { nonce: self.nonce.text(), tee_pubkey };
        let attestation = Attestation {
            init_data,
            runtime_data: RuntimeData { stock, ccnode: Some(ext) },
            tee_evidence: evidence,
        };
        Ok(Quoted { peer: self.peer, cookie: self.cookie, name: self.name, key, attestation })
    }
}

impl Quoted {
    /// `POST /kbs/v0/attest`. Sent once: the nonce is spent by it, whatever becomes of the answer.
    pub(crate) async fn attest(self) -> Result<Attested, ClientError> {
        let reply = self.peer.post(ATTEST, Some(&self.cookie), &self.attestation).await?;
        let AttestResponse { token } = reply.json()?;
        Ok(Attested { peer: self.peer, cookie: self.cookie, name: self.name, key: self.key, token })
    }
}

impl Attested {
    /// The service's attestation result: an EAR token (JWT, ES256), not verified here.
    pub fn token(&self) -> &str {
        &self.token
    }

    pub(crate) fn deadline(&self) -> &Deadline {
        &self.peer.deadline
    }

    /// `GET /ccnode/v1/grants`, opened with this session's key. May be repeated within the session.
    pub(crate) async fn grants(&self) -> Result<Grants, ClientError> {
        let timeout = self.peer.deadline.request();
        let request = Request { path: GRANTS, cookie: Some(&self.cookie), body: None, timeout };
        let reply = self.peer.http.send(&self.peer.url, request).await?;
        let jwe: Jwe = reply.json()?;
        let plain = self.key.open(&jwe).map_err(|e| reply.garbage(e.to_string()))?;
        // The parser's message may quote what it read: it stays out of the error.
        let grants: Grants = serde_json::from_slice(plain.expose())
            .map_err(|e| reply.garbage(format!("grants of another form, column {}", e.column())))?;
        if grants.version != 1 {
            return Err(reply.garbage(format!("grants of version {}", grants.version)));
        }
        if grants.node != self.name {
            return Err(reply.garbage(format!("grants for {} in a session of {}", grants.node, self.name)));
        }
        Ok(grants)
    }
}
