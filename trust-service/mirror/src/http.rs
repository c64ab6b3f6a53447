//! HTTPS to a mirror: pinned CAs, no redirects, answers of a bounded size in a bounded time.

use reqwest::{Client, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an answer, at most; Intel's TCB information, the longest, has some 10 KB.
pub const MAX_ANSWER: usize = 1 << 20;
/// From the connection to the end of an answer.
const WHOLE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(3);

/// Why a mirror gives nothing.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// A URL that is not taken.
    #[error("`{0}` is no https:// URL without query")]
    Url(String),
    /// Neither mirror has a URL.
    #[error("neither `snp` nor `tdx` has a URL: give one, or leave [mirror] out")]
    Nowhere,
    /// No CA at all.
    #[error("`cas` is empty: name the PEM files of the CAs above the mirrors' certificates")]
    NoCa,
    /// A file that holds no CA, counted from 1.
    #[error("file {0} of `cas` holds no certificate")]
    Ca(usize),
    /// The HTTP client can't be set up.
    #[error("HTTP client: {0}")]
    Client(String),
    /// No answer.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why, down to the last cause.
        reason: String,
    },
    /// An answer that is none.
    #[error("{url}: status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// Of HTTP.
        status: u16,
    },
    /// An answer without end.
    #[error("{0}: the answer is longer than {MAX_ANSWER} bytes")]
    Long(String),
    /// A header of the answer is absent.
    #[error("{url}: the answer has no header {header}")]
    Header {
        /// What was asked for.
        url: String,
        /// Its name.
        header: &'static str,
    },
    /// The answer is not what was asked for.
    #[error("{url}: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// Why.
        reason: String,
    },
}

/// An answer: body and, where one was asked for, a header.
pub(crate) struct Answer {
    pub(crate) url: String,
    pub(crate) body: Vec<u8>,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, names: [&'static str; 2]) -> Result<&[u8], MirrorError> {
        let found = names.iter().find_map(|name| self.headers.get(*name));
        let missing = || MirrorError::Header { url: self.url.clone(), header: names[0] };
        found.map(reqwest::header::HeaderValue::as_bytes).ok_or_else(missing)
    }

    pub(crate) fn wrong(&self, reason: impl ToString) -> MirrorError {
        MirrorError::Answer { url: self.url.clone(), reason: reason.to_string() }
    }
}

#[derive(Debug)]
pub(crate) struct Http(Client);

pub(crate) fn check(url: &str) -> Result<(), MirrorError> {
    let parsed = reqwest::Url::parse(url).ok();
    let good = parsed.is_some_and(|url| {
        url.scheme() == "https" && url.has_host() && url.query().is_none() && url.fragment().is_none()
    });
    if good { Ok(()) } else { Err(MirrorError::Url(url.to_owned())) }
}

impl Http {
    pub(crate) fn new(cas: &[Vec<u8>]) -> Result<Self, MirrorError> {
        let mut roots = RootCertStore::empty();
        for (n, pem) in cas.iter().enumerate() {
            let before = roots.len();
            for ca in CertificateDer::pem_slice_iter(pem) {
                ca.ok().and_then(|ca| roots.add(ca).ok()).ok_or(MirrorError::Ca(n + 1))?;
            }
            if roots.len() == before {
                return Err(MirrorError::Ca(n + 1));
            }
        }
        if roots.is_empty() {
            return Err(MirrorError::NoCa);
        }
        let failed = |error: &dyn std::fmt::Display| MirrorError::Client(error.to_string());
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .use_preconfigured_tls(tls)
            .https_only(true)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(WHOLE)
            .build();
        client.map(Self).map_err(|e| failed(&e))
    }

    /// GET of `base` with `path` behind it.
    pub(crate) async fn get(&self, base: &str, path: &str) -> Result<Answer, MirrorError> {
        let url = format!("{}{path}", base.trim_end_matches('/'));
        let unreachable =
            |error: reqwest::Error| MirrorError::Unreachable { url: url.clone(), reason: causes(&error) };
        let mut response = self.0.get(&url).send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(MirrorError::Status { url, status: response.status().as_u16() });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len().saturating_add(chunk.len()) > MAX_ANSWER {
                return Err(MirrorError::Long(url));
            }
            body.extend_from_slice(&chunk);
        }
        let headers = response.headers().clone();
        Ok(Answer { url, body, headers })
    }
}

/// reqwest's own words leave out the cause, and repeat the URL.
fn causes(error: &reqwest::Error) -> String {
    let mut last: &dyn Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}
