//! Azure's instance metadata service: certificates of the chip, and quotes made of TD reports.
//!
//! It is the host's, by plain HTTP: nothing it says is believed. What it gives is signed by AMD or Intel, and is judged by
//! the trust service.

use ccnode_protocol::limits;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an answer is waited for.
const WAIT: Duration = Duration::from_secs(10);
const CERTIFICATES: &str = "/metadata/THIM/amd/certification";
const QUOTE: &str = "/acc/tdquote";

/// Why the metadata service gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ImdsError {
    /// No connection, or no answer in time.
    #[error("instance metadata service, {path}: {cause}")]
    Unreachable {
        /// What was asked for.
        path: &'static str,
        /// The innermost cause.
        cause: String,
    },
    /// An answer other than success.
    #[error("instance metadata service, {path}: status {status}")]
    Status {
        /// What was asked for.
        path: &'static str,
        /// The status.
        status: StatusCode,
    },
    /// An answer that can't be read, or is too large.
    #[error("instance metadata service, {path}: {what}")]
    Answer {
        /// What was asked for.
        path: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Where the service is.
#[derive(Clone, Copy, Debug)]
pub struct Imds(SocketAddrV4);

impl Default for Imds {
    /// The address that every Azure machine sees it at.
    fn default() -> Self {
        Self::at(SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certificates {
    vcek_cert: String,
}

#[derive(Serialize)]
struct TdReport {
    report: ccnode_evidence::Base64Url,
}

#[derive(Deserialize)]
struct TdQuote {
    quote: ccnode_evidence::Base64UrlPadded,
}

impl Imds {
    /// A service at another address.
    pub fn at(address: SocketAddrV4) -> Self {
        Self(address)
    }

    /// The chip's certificate, DER.
    pub async fn vcek(&self) -> Result<Vec<u8>, ImdsError> {
        let wrong = |what| ImdsError::Answer { path: CERTIFICATES, what };
        let request = Request::get(CERTIFICATES).header("Metadata", "true").body(Full::default());
        let answer = self.ask(CERTIFICATES, request).await?;
        let answer: Certificates = serde_json::from_slice(&answer).map_err(|_| wrong("no certificates"))?;
        let pem = CertificateDer::from_pem_slice(answer.vcek_cert.as_bytes());
        Ok(pem.map_err(|_| wrong("no PEM certificate"))?.to_vec())
    }

    /// A quote of this TD report.
    pub async fn td_quote(&self, td_report: &[u8]) -> Result<Vec<u8>, ImdsError> {
        let wrong = |what| ImdsError::Answer { path: QUOTE, what };
        let body = TdReport { report: td_report.to_vec().into() };
        let body = serde_json::to_vec(&body).map_err(|_| wrong("the report has no JSON form"))?;
        let request = Request::builder()
            .method(Method::POST)
            .uri(QUOTE)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body));
        let answer = self.ask(QUOTE, request).await?;
        let answer: TdQuote = serde_json::from_slice(&answer).map_err(|_| wrong("no quote"))?;
        Ok(answer.quote.0)
    }

    async fn ask(
        &self,
        path: &'static str,
        request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    ) -> Result<Bytes, ImdsError> {
        let unreachable = |cause: String| ImdsError::Unreachable { path, cause };
        let mut request = request.map_err(|e| unreachable(e.to_string()))?;
        let host = self.0.to_string().parse().map_err(|_| unreachable("no host".to_owned()))?;
        request.headers_mut().insert(HOST, host);
        let exchange = async {
            let stream = TcpStream::connect(self.0).await.map_err(|e| unreachable(e.to_string()))?;
            let shake = http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = shake.map_err(|e| unreachable(e.to_string()))?;
            // It ends with the sender, or with the connection.
            tokio::spawn(connection);
            let answer = sender.send_request(request).await.map_err(|e| unreachable(e.to_string()))?;
            if answer.status() != StatusCode::OK {
                return Err(ImdsError::Status { path, status: answer.status() });
            }
            let body = Limited::new(answer.into_body(), limits::RESPONSE_BODY).collect().await;
            body.map(|body| body.to_bytes()).map_err(|e| match e.is::<LengthLimitError>() {
                true => ImdsError::Answer { path, what: "larger than any that is read" },
                false => unreachable(e.to_string()),
            })
        };
        timeout(WAIT, exchange).await.map_err(|_| unreachable("no answer in time".to_owned()))?
    }
}

#[cfg(test)]
mod tests;
