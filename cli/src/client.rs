//! HTTPS to the administration interface: mutual TLS 1.3, the context's CA alone, problems as errors.

use crate::context::Context;
use crate::error::{Mistrust, Peer, Refused, Unreachable};
use anyhow::{Context as _, Result, anyhow};
use ccnode_protocol::{Problem, limits};
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// The largest answer that is read: a refusal with two event logs.
const ANSWER: usize = 4 * limits::EVENT_LOG;

/// A connection to one trust service.
pub(crate) struct Client {
    http: reqwest::Client,
    peer: Peer,
    url: String,
}

impl Client {
    pub(crate) fn new(context: &Context) -> Result<Self> {
        let roots = roots(&context.ca).context("ca.pem of the context")?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&context.cert)
            .collect::<Result<_, _>>()
            .context("cert.pem of the context")?;
        let key = PrivateKeyDer::from_pem_slice(&context.key).context("key.pem of the context")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .context("certificate and key of the context")?;
        Self::over(tls, Peer::Service, &context.url, HeaderMap::new())
    }

    /// A connection to Trustee: the pinned CAs (PEM) alone, and a bearer token.
    pub(crate) fn with_token(url: &str, ca: &[u8], token: &str) -> Result<Self> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).context("the token")?;
        bearer.set_sensitive(true);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots(ca).context("the CA's file")?)
            .with_no_client_auth();
        Self::over(tls, Peer::Trustee, url, HeaderMap::from_iter([(AUTHORIZATION, bearer)]))
    }

    fn over(tls: rustls::ClientConfig, peer: Peer, url: &str, headers: HeaderMap) -> Result<Self> {
        let http = reqwest::Client::builder()
            .use_preconfigured_tls(tls)
            .https_only(true)
            .no_proxy()
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .build()?;
        Ok(Self { http, peer, url: url.trim_end_matches('/').to_owned() })
    }

    /// A POST that is answered without a body, or with one that says nothing.
    pub(crate) async fn tell(&self, path: &str, body: &impl Serialize) -> Result<()> {
        self.send(Method::POST, path, None::<&()>, Some(body)).await.map(drop)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.call(Method::GET, path, None::<&()>, None::<&()>).await
    }

    pub(crate) async fn list<T: DeserializeOwned>(&self, path: &str, filter: &impl Serialize) -> Result<T> {
        self.call(Method::GET, path, Some(filter), None::<&()>).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::POST, path, None::<&()>, Some(body)).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::PUT, path, None::<&()>, Some(body)).await
    }

    /// A body that is no JSON.
    pub(crate) async fn put_bytes<T: DeserializeOwned>(&self, path: &str, body: &[u8]) -> Result<T> {
        let request = self.http.request(Method::PUT, format!("{}{path}", self.url)).body(body.to_vec());
        let bytes = self.answered(request, path).await?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{path} answered what this version does not understand"))
    }

    pub(crate) async fn patch<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.call(Method::PATCH, path, None::<&()>, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        self.send(Method::DELETE, path, None::<&()>, None::<&()>).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: Option<&impl Serialize>,
        body: Option<&impl Serialize>,
    ) -> Result<T> {
        let bytes = self.send(method, path, query, body).await?;
        serde_json::from_slice(&bytes)
            .with_context(|| format!("{path} answered what this version does not understand"))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: Option<&impl Serialize>,
        body: Option<&impl Serialize>,
    ) -> Result<Vec<u8>> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(query) = query {
            request = request.query(query);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answered(request, path).await
    }

    async fn answered(&self, request: reqwest::RequestBuilder, path: &str) -> Result<Vec<u8>> {
        let mut response = request.send().await.map_err(|error| {
            let (why, mistrust) = root_cause(&error);
            let error = match mistrust {
                true => anyhow!(Mistrust(self.peer, self.url.clone())),
                false => anyhow!(Unreachable(self.peer, self.url.clone())),
            };
            error.context(why)
        })?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.context("reading the service's answer")? {
            if bytes.len() + chunk.len() > ANSWER {
                return Err(anyhow!("the service's answer to {path} is larger than {ANSWER} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(bytes);
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(anyhow!(Refused(problem))),
            Err(_) => {
                let what = match self.peer {
                    Peer::Service => "a trust service",
                    Peer::Trustee => "Trustee",
                };
                Err(anyhow!("{path} answered {status} without a problem body: is this {what}?"))
            }
        }
    }
}

fn roots(pem: &[u8]) -> Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(pem) {
        roots.add(cert?)?;
    }
    match roots.is_empty() {
        true => Err(anyhow!("no certificate in PEM form")),
        false => Ok(roots),
    }
}

/// The innermost cause, and whether it is about certificates.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> (String, bool) {
    let mut cause = error;
    let mut mistrust = false;
    loop {
        let inner = match cause.downcast_ref::<std::io::Error>().and_then(|e| e.get_ref()) {
            Some(inner) => inner as &(dyn std::error::Error + 'static),
            None => match cause.source() {
                Some(inner) => inner,
                None => return (cause.to_string(), mistrust),
            },
        };
        cause = inner;
        mistrust |= matches!(
            cause.downcast_ref::<rustls::Error>(),
            Some(rustls::Error::InvalidCertificate(_) | rustls::Error::AlertReceived(_))
        );
    }
}
