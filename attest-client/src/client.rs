//! The walk through a session with retries, and the messages that spend grants.

use crate::error::{AttestError, ClientError, Cure};
use crate::evidence;
use crate::http::{Cookie, Http, Reply, Request};
use crate::retry::{Backoff, Deadline, Retry};
use crate::session::{Attested, Challenged, Peer};
use crate::tls::{ClockAtLeast, PinError};
use ccnode_evidence::{EventLogs, EvidenceSource, Identity};
use ccnode_protocol::grants::{Certificate, CertificateRequest, Formatted, Grants, Ready};
use ccnode_protocol::jwe::EphemeralKey;
use ccnode_protocol::{CERTIFICATE, FORMATTED, NodeName, NodeRefusal, PoolName, READY, REFUSALS};
use serde::Serialize;
use std::time::Duration;

/// New sessions that a service may ask for before it is given up: each released one counts there.
const SESSIONS: u32 = 3;

/// What the measured configuration says about the service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base URLs without a trailing slash; the first that answers is kept.
    pub urls: Vec<String>,
    /// The pinned CAs, PEM.
    pub pins: Vec<Vec<u8>>,
    /// The pool that is asked for.
    pub pool: PoolName,
    /// The clock for certificates.
    pub clock: ClockAtLeast,
}

/// What attests: read from the TPM while the network came up.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Endorsement key and attestation key, where there is a TPM.
    pub identity: Option<Identity>,
    /// The logs as they are now; PCRs must not move until the quote.
    pub logs: EventLogs,
}

/// An attestation that ended well.
#[derive(Debug)]
pub struct Outcome {
    /// What the service gave.
    pub grants: Grants,
    /// The certificate request (DER) that the transcript bound.
    pub csr: Vec<u8>,
}

/// The client; it remembers which URL answered and the last session's cookie.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    urls: Vec<String>,
    pool: PoolName,
    current: usize,
    cookie: Option<Cookie>,
}

/// What was tried for one end.
struct Tries {
    backoff: Backoff,
    /// URLs that are not asked again: who answers there is not the service, or not well.
    lost: Vec<usize>,
}

impl Tries {
    fn new() -> Self {
        Self { backoff: Backoff::new(), lost: Vec::new() }
    }
}

impl Client {
    /// A client for `settings`; connects to nothing yet.
    pub fn new(settings: Settings) -> Result<Self, PinError> {
        let http = Http::new(&settings.pins, settings.clock)?;
        Ok(Self { http, urls: settings.urls, pool: settings.pool, current: 0, cookie: None })
    }

    /// The URL that is in use.
    pub fn url(&self) -> &str {
        self.urls.get(self.current).map_or("", String::as_str)
    }

    /// Walks one session to its grants, and starts again where that can help, until `deadline`.
    ///
    /// `csr` makes the certificate request (DER) for the name that the service chose. Refusals end it at once.
    pub async fn attest<S, C>(
        &mut self,
        subject: &Subject,
        source: &S,
        mut csr: impl FnMut(&NodeName) -> Result<Vec<u8>, C>,
        deadline: Deadline,
        mut progress: impl FnMut(Retry),
    ) -> Result<Outcome, AttestError<S::Error, C>>
    where
        S: EvidenceSource,
        C: std::error::Error + 'static,
    {
        let mut tries = Tries::new();
        let mut sessions = 0;
        loop {
            let error = match self.session(subject, source, &mut csr, deadline, &mut progress).await {
                Ok(outcome) => return Ok(outcome),
                Err(AttestError::Client(error)) => error,
                Err(error) => return Err(error),
            };
            sessions += u32::from(error.cure() == Cure::NewSession);
            if sessions >= SESSIONS {
                return Err(AttestError::Client(error));
            }
            self.wait(error, &mut tries, deadline, &mut progress).await.map_err(AttestError::Client)?;
        }
    }

    async fn session<S, C>(
        &mut self,
        subject: &Subject,
        source: &S,
        csr: &mut impl FnMut(&NodeName) -> Result<Vec<u8>, C>,
        deadline: Deadline,
        progress: &mut impl FnMut(Retry),
    ) -> Result<Outcome, AttestError<S::Error, C>>
    where
        S: EvidenceSource,
        C: std::error::Error + 'static,
    {
        let peer = Peer { http: self.http.clone(), url: self.url().to_owned(), deadline };
        // The key is made while the request is under way.
        let (challenged, key) = tokio::join!(
            Challenged::request(peer, &self.pool, evidence::kind(source), subject.identity.as_ref()),
            async { EphemeralKey::generate() }
        );
        let challenged = challenged.map_err(AttestError::Client)?;
        self.cookie = Some(challenged.cookie().clone());
        let activated = challenged.activate(source).await?;
        let csr = csr(activated.name()).map_err(AttestError::Csr)?;
        let quoted = activated.quote(source, key, &csr, &subject.logs).await?;
        let attested = quoted.attest().await.map_err(AttestError::Client)?;
        let grants = self.grants(&attested, progress).await.map_err(AttestError::Client)?;
        Ok(Outcome { grants, csr })
    }

    /// Delivery may repeat within a session; a new one would count as another release.
    async fn grants(
        &mut self,
        attested: &Attested,
        progress: &mut impl FnMut(Retry),
    ) -> Result<Grants, ClientError> {
        let mut tries = Tries::new();
        loop {
            match attested.grants().await {
                Err(error) if error.cure() == Cure::Again => {
                    let url = self.current;
                    self.wait(error, &mut tries, *attested.deadline(), progress).await?;
                    self.current = url;
                }
                done => return done,
            }
        }
    }

    /// Waits before another attempt, or gives the error back where none helps or none fits before the deadline.
    async fn wait(
        &mut self,
        error: ClientError,
        tries: &mut Tries,
        deadline: Deadline,
        progress: &mut impl FnMut(Retry),
    ) -> Result<(), ClientError> {
        let next = match error.cure() {
            Cure::None => None,
            // No wait: it is another one's turn.
            Cure::Elsewhere => {
                tries.lost.push(self.current);
                Some(Duration::ZERO).filter(|_| !deadline.left().is_zero())
            }
            Cure::Again | Cure::NewSession => tries.backoff.next(&deadline),
        };
        let url = match error.cure() {
            Cure::NewSession => Some(self.current),
            _ => self.after_current(&tries.lost),
        };
        let (Some(next), Some(url)) = (next, url) else { return Err(error) };
        self.current = url;
        progress(Retry { reason: error.to_string(), next, left: deadline.left() });
        tokio::time::sleep(next).await;
        Ok(())
    }

    /// The next URL in the round, the current one last, that is not `lost`.
    fn after_current(&self, lost: &[usize]) -> Option<usize> {
        let mut round = (1..=self.urls.len()).filter_map(|n| (self.current + n).checked_rem(self.urls.len()));
        round.find(|url| !lost.contains(url))
    }

    /// Reports that a volume is formatted; repeated until it is answered.
    pub async fn formatted(
        &mut self,
        message: &Formatted,
        deadline: Deadline,
        progress: impl FnMut(Retry),
    ) -> Result<(), ClientError> {
        self.spend(FORMATTED, message, deadline, progress).await.map(drop)
    }

    /// Reports that a volume is filled and ready; repeated until it is answered.
    pub async fn ready(
        &mut self,
        message: &Ready,
        deadline: Deadline,
        progress: impl FnMut(Retry),
    ) -> Result<(), ClientError> {
        self.spend(READY, message, deadline, progress).await.map(drop)
    }

    /// Trades the certificate grant and request for a certificate; repeated until it is answered.
    pub async fn certificate(
        &mut self,
        message: &CertificateRequest,
        deadline: Deadline,
        progress: impl FnMut(Retry),
    ) -> Result<Certificate, ClientError> {
        self.spend(CERTIFICATE, message, deadline, progress).await?.json()
    }

    /// Tells the service of a refusal that the node decided itself: one attempt, best effort.
    ///
    /// Without a session there is nobody to tell; that is no error.
    pub async fn refusal(&self, refusal: &NodeRefusal, timeout: Duration) -> Result<(), ClientError> {
        if self.cookie.is_none() {
            return Ok(());
        }
        self.post(REFUSALS, refusal, timeout).await.map(drop)
    }

    async fn spend<T: Serialize>(
        &mut self,
        path: &'static str,
        message: &T,
        deadline: Deadline,
        mut progress: impl FnMut(Retry),
    ) -> Result<Reply, ClientError> {
        let mut tries = Tries::new();
        loop {
            match self.post(path, message, deadline.request()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.wait(error, &mut tries, deadline, &mut progress).await?,
            }
        }
    }

    async fn post<T: Serialize>(
        &self,
        path: &'static str,
        message: &T,
        timeout: Duration,
    ) -> Result<Reply, ClientError> {
        let body = serde_json::to_vec(message).map_err(|e| ClientError::Garbage {
            url: self.url().to_owned(),
            path,
            cause: format!("the request has no JSON form: {e}"),
        })?;
        let request = Request { path, cookie: self.cookie.as_ref(), body: Some(body), timeout };
        self.http.send(self.url(), request).await
    }
}
