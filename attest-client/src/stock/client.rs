//! The walk through a stock session: challenge by whichever service answers first, evidence, and the resources that are wanted.

use super::session::{Attested, Challenged};
use crate::client::SESSIONS;
use crate::endpoints::{Endpoints, Tries};
use crate::error::{AttestError, ClientError, Cure};
use crate::evidence;
use crate::http::Http;
use crate::retry::{Deadline, Retry};
use crate::session::Peer;
use crate::tls::{ClockAtLeast, PinError};
use ccnode_evidence::{EvidenceSource, SecretBytes};
use ccnode_protocol::ResourceUri;
use ccnode_protocol::init_data::Proxy;
use ccnode_protocol::jwe::{SessionKey, SessionKeyKind};
use kbs_types::InitData;
use std::convert::Infallible;

/// What the configuration says about the key brokers.
#[derive(Clone, Debug)]
pub struct StockSettings {
    /// Base URLs without a trailing slash; the one that answers first is kept.
    pub urls: Vec<String>,
    /// The pinned CAs, PEM.
    pub pins: Vec<Vec<u8>>,
    /// The clock for certificates.
    pub clock: ClockAtLeast,
    /// What the sessions' keys are made of.
    pub key: SessionKeyKind,
}

/// A session that ended well.
#[derive(Debug)]
pub struct StockOutcome {
    /// The attestation result: an EAR token (JWT, ES256), not verified here.
    pub token: String,
    /// The resources, in the order in which they were asked for.
    pub resources: Vec<SecretBytes>,
}

/// The client; it remembers which service answered.
#[derive(Clone, Debug)]
pub struct StockClient {
    http: Http,
    endpoints: Endpoints,
    key: SessionKeyKind,
}

impl StockClient {
    /// A client for `settings`; connects to nothing yet.
    pub fn new(settings: StockSettings) -> Result<Self, PinError> {
        Self::through(settings, None)
    }

    /// The same by way of `proxy`, which is asked to CONNECT: the pinned CAs hold behind it as they do without it.
    pub fn through(settings: StockSettings, proxy: Option<&Proxy>) -> Result<Self, PinError> {
        let http = Http::new(&settings.pins, settings.clock, proxy)?;
        Ok(Self { http, endpoints: Endpoints::new(settings.urls), key: settings.key })
    }

    /// The URL that is in use.
    pub fn url(&self) -> &str {
        self.endpoints.url()
    }

    /// Attests and reads `resources`, all in one session, and starts again where that can help, until `deadline`.
    ///
    /// `init_data` must be what the evidence of `source` carries already. Refusals end it at once: no 401 is answered with a new
    /// session but the one that says the session is lost.
    pub async fn fetch<S: EvidenceSource>(
        &mut self,
        source: &S,
        resources: &[ResourceUri],
        init_data: Option<&InitData>,
        deadline: Deadline,
        mut progress: impl FnMut(Retry),
    ) -> Result<StockOutcome, AttestError<S::Error, Infallible>> {
        let mut tries = Tries::new();
        let mut sessions = 0;
        loop {
            let session = self.session(source, resources, init_data, deadline, &mut tries, &mut progress);
            let error = match session.await {
                Ok(outcome) => return Ok(outcome),
                Err(AttestError::Client(error)) => error,
                Err(error) => return Err(error),
            };
            sessions += u32::from(error.cure() == Cure::NewSession);
            if sessions >= SESSIONS {
                return Err(AttestError::Client(error));
            }
            let waited = self.endpoints.wait(error, &mut tries, deadline, &mut progress).await;
            waited.map_err(AttestError::Client)?;
        }
    }

    async fn session<S: EvidenceSource>(
        &mut self,
        source: &S,
        resources: &[ResourceUri],
        init_data: Option<&InitData>,
        deadline: Deadline,
        tries: &mut Tries,
        progress: &mut impl FnMut(Retry),
    ) -> Result<StockOutcome, AttestError<S::Error, Infallible>> {
        let (http, kind) = (&self.http, evidence::kind(source));
        let request = |url| Challenged::request(Peer { http: http.clone(), url, deadline }, kind);
        let key = self.key;
        let making = tokio::task::spawn_blocking(move || SessionKey::generate(key));
        let challenged = self.endpoints.race(tries, deadline, progress, request).await;
        let challenged = challenged.map_err(AttestError::Client)?;
        let made = making.await.map_err(|_| AttestError::Client(ClientError::KeyLost))?;
        let key = made.map_err(|e| AttestError::Client(ClientError::Key(e)))?;
        let quoted = challenged.quote(source, key, init_data.cloned()).await?;
        let attested = quoted.attest().await.map_err(AttestError::Client)?;
        let mut read = Vec::with_capacity(resources.len());
        for uri in resources {
            let one = self.resource(&attested, uri, deadline, progress).await;
            read.push(one.map_err(AttestError::Client)?);
        }
        Ok(StockOutcome { token: attested.token, resources: read })
    }

    /// Reading may repeat within a session; a new one would be another attestation.
    async fn resource(
        &mut self,
        attested: &Attested,
        uri: &ResourceUri,
        deadline: Deadline,
        progress: &mut impl FnMut(Retry),
    ) -> Result<SecretBytes, ClientError> {
        let mut tries = Tries::new();
        loop {
            match attested.resource(uri).await {
                Err(error) if error.cure() == Cure::Again => {
                    self.endpoints.wait_here(error, &mut tries, deadline, progress).await?;
                }
                done => return done,
            }
        }
    }
}
