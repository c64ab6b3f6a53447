//! The walk through a session with retries, and the messages that spend grants.

use crate::endpoints::{Endpoints, Tries};
use crate::error::{AttestError, ClientError, Cure};
use crate::evidence;
use crate::http::{Cookie, Http, Reply, Request};
use crate::retry::{Deadline, Retry};
use crate::session::{Attested, Challenged, Peer};
use crate::tls::{ClockAtLeast, PinError};
use ccnode_evidence::{EventLogs, EvidenceSource, Identity};
use ccnode_protocol::grants::{
    Certificate, CertificateRequest, Committed, Formatted, Grants, Ready, Rotated,
};
use ccnode_protocol::init_data::Proxy;
use ccnode_protocol::jwe::EphemeralKey;
use ccnode_protocol::{
    CERTIFICATE, COMMITTED, FORMATTED, NodeName, NodeRefusal, PoolName, READY, REFUSALS, ROTATED,
};
use kbs_types::InitData;
use serde::Serialize;
use std::time::Duration;

/// New sessions that a service may ask for before it is given up: each released one counts there.
pub(crate) const SESSIONS: u32 = 3;

/// What the measured configuration says about the service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base URLs without a trailing slash; the one that answers first is kept.
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
    endpoints: Endpoints,
    pool: PoolName,
    cookie: Option<Cookie>,
    init_data: Option<InitData>,
}

impl Client {
    /// A client for `settings`; connects to nothing yet.
    pub fn new(settings: Settings) -> Result<Self, PinError> {
        Self::through(settings, None)
    }

    /// The same by way of `proxy`, which is asked to CONNECT: the pinned CAs hold behind it as they do without it.
    pub fn through(settings: Settings, proxy: Option<&Proxy>) -> Result<Self, PinError> {
        let http = Http::new(&settings.pins, settings.clock, proxy)?;
        Ok(Self {
            http,
            endpoints: Endpoints::new(settings.urls),
            pool: settings.pool,
            cookie: None,
            init_data: None,
        })
    }

    /// Sends `init_data` along, bound by its digest. PCR 8 must hold that digest already.
    #[must_use]
    pub fn with_init_data(self, init_data: Option<InitData>) -> Self {
        Self { init_data, ..self }
    }

    /// The URL that is in use.
    pub fn url(&self) -> &str {
        self.endpoints.url()
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
            let error =
                match self.session(subject, source, &mut csr, deadline, &mut tries, &mut progress).await {
                    Ok(outcome) => return Ok(outcome),
                    Err(AttestError::Client(error)) => error,
                    Err(error) => return Err(error),
                };
            sessions += u32::from(error.cure() == Cure::NewSession);
            if sessions >= SESSIONS {
                return Err(AttestError::Client(error));
            }
            self.endpoints
                .wait(error, &mut tries, deadline, &mut progress)
                .await
                .map_err(AttestError::Client)?;
        }
    }

    async fn session<S, C>(
        &mut self,
        subject: &Subject,
        source: &S,
        csr: &mut impl FnMut(&NodeName) -> Result<Vec<u8>, C>,
        deadline: Deadline,
        tries: &mut Tries,
        progress: &mut impl FnMut(Retry),
    ) -> Result<Outcome, AttestError<S::Error, C>>
    where
        S: EvidenceSource,
        C: std::error::Error + 'static,
    {
        let (http, pool) = (&self.http, &self.pool);
        let request = |url| {
            let peer = Peer { http: http.clone(), url, deadline };
            Challenged::request(peer, pool, evidence::kind(source), subject.identity.as_ref())
        };
        // The key is made while the request is under way.
        let (challenged, key) =
            tokio::join!(self.endpoints.race(tries, deadline, progress, request), async {
                EphemeralKey::generate()
            });
        let challenged = challenged.map_err(AttestError::Client)?;
        self.cookie = Some(challenged.cookie().clone());
        let activated = challenged.activate(source).await?;
        let csr = csr(activated.name()).map_err(AttestError::Csr)?;
        let quoted = activated.quote(source, key, &csr, &subject.logs, self.init_data.clone()).await?;
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
                    self.endpoints.wait_here(error, &mut tries, *attested.deadline(), progress).await?;
                }
                done => return done,
            }
        }
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

    /// Reports the header under a volume's next key before it is written; repeated until it is answered.
    pub async fn rotated(
        &mut self,
        message: &Rotated,
        deadline: Deadline,
        progress: impl FnMut(Retry),
    ) -> Result<(), ClientError> {
        self.spend(ROTATED, message, deadline, progress).await.map(drop)
    }

    /// Reports that this header is on the disk; repeated until it is answered.
    pub async fn committed(
        &mut self,
        message: &Committed,
        deadline: Deadline,
        progress: impl FnMut(Retry),
    ) -> Result<(), ClientError> {
        self.spend(COMMITTED, message, deadline, progress).await.map(drop)
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
                Err(error) => self.endpoints.wait(error, &mut tries, deadline, &mut progress).await?,
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
            path: path.to_owned(),
            cause: format!("the request has no JSON form: {e}"),
        })?;
        let request = Request { path, cookie: self.cookie.as_ref(), body: Some(body), timeout };
        self.http.send(self.url(), request).await
    }
}
