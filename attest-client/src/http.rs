//! One bounded request: no redirect, no cookie jar, no proxy but one that is named; the answer is read up to a limit and sorted by its status.

use crate::error::{ClientError, Refused};
use crate::tls::{self, ClockAtLeast, PinError};
use ccnode_protocol::init_data::Proxy;
use ccnode_protocol::{COOKIE, PROBLEM_TYPE_BASE, Problem, limits};
use reqwest::header::{ACCEPT, CONTENT_TYPE, COOKIE as COOKIE_HEADER, HeaderMap, RETRY_AFTER, SET_COOKIE};
use reqwest::{Method, Response, StatusCode, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The longest cookie value that is believed to be one, in bytes.
const COOKIE_LEN: usize = 8192;
/// TCP and TLS must be through by then, so that the next URL gets its turn.
const CONNECT: Duration = Duration::from_secs(5);

/// The session cookie's value, sent back as it came.
#[derive(Clone, Debug)]
pub(crate) struct Cookie(String);

/// A request that is yet to be sent.
pub(crate) struct Request<'a> {
    pub(crate) path: &'a str,
    pub(crate) cookie: Option<&'a Cookie>,
    /// JSON; a request without a body is a GET.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) timeout: Duration,
}

/// A good answer.
pub(crate) struct Reply {
    url: String,
    path: String,
    body: Vec<u8>,
    pub(crate) cookie: Option<Cookie>,
}

#[derive(Clone, Debug)]
pub(crate) struct Http(reqwest::Client);

impl Http {
    /// `proxy` is asked to CONNECT: TLS ends at the service, and whoever runs the proxy sees no more than any router.
    pub(crate) fn new(
        pins: &[Vec<u8>],
        clock: ClockAtLeast,
        proxy: Option<&Proxy>,
    ) -> Result<Self, PinError> {
        let failed = |e: reqwest::Error| PinError::Provider(e.to_string());
        // Without one, none is taken from the environment either.
        let builder = reqwest::Client::builder().no_proxy();
        let builder = match proxy {
            Some(proxy) => builder.proxy(reqwest::Proxy::https(proxy.to_string()).map_err(failed)?),
            None => builder,
        };
        builder
            .use_preconfigured_tls(tls::config(pins, clock)?)
            .https_only(true)
            .http1_only()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .build()
            .map(Self)
            .map_err(failed)
    }

    pub(crate) async fn send(&self, url: &str, request: Request<'_>) -> Result<Reply, ClientError> {
        let Request { path, cookie, body, timeout } = request;
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let mut builder = self
            .0
            .request(method, format!("{url}{path}"))
            .timeout(timeout)
            .header(ACCEPT, "application/json");
        if let Some(Cookie(value)) = cookie {
            builder = builder.header(COOKIE_HEADER, format!("{COOKIE}={value}"));
        }
        if let Some(body) = body {
            builder = builder.header(CONTENT_TYPE, "application/json").body(body);
        }
        let failed = |e: reqwest::Error| ClientError::of(url, path, timeout, &e);
        let response = builder.send().await.map_err(failed)?;
        let status = response.status();
        let cookie = cookie_of(response.headers());
        let retry_after = retry_after(status, response.headers());
        let body = read(url, path, timeout, response).await?;
        match status.is_success() {
            true => Ok(Reply { url: url.to_owned(), path: path.to_owned(), body, cookie }),
            false => Err(refusal(url, path, status.as_u16(), retry_after, &body)),
        }
    }
}

impl Reply {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|e| self.garbage(format!("not the JSON that is due: {e}")))
    }

    pub(crate) fn garbage(&self, cause: String) -> ClientError {
        ClientError::Garbage { url: self.url.clone(), path: self.path.clone(), cause }
    }
}

async fn read(
    url: &str,
    path: &str,
    timeout: Duration,
    mut response: Response,
) -> Result<Vec<u8>, ClientError> {
    let limit = limits::RESPONSE_BODY;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| ClientError::of(url, path, timeout, &e))? {
        if chunk.len() > limit.saturating_sub(body.len()) {
            return Err(ClientError::Oversized { url: url.to_owned(), path: path.to_owned(), limit });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// An error body of a newer service may hold a code that this version does not know; its sentence still counts.
#[derive(Deserialize)]
struct Sentence {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    detail: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default, rename = "correlation-id")]
    correlation_id: Option<String>,
}

/// What `Retry-After` asks for beside a status that may have it. Seconds alone: a date would want a clock that is right.
fn retry_after(status: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().map(Duration::from_secs)
}

fn refusal(url: &str, path: &str, status: u16, retry_after: Option<Duration>, body: &[u8]) -> ClientError {
    if let Ok(problem) = serde_json::from_slice::<Problem>(body)
        && let Some(refused) = Refused::of(problem, retry_after)
    {
        return ClientError::Refused(Box::new(refused));
    }
    let (kind, detail, correlation_id) = match serde_json::from_slice::<Sentence>(body) {
        Ok(Sentence { kind, detail, code: Some(code), correlation_id }) => {
            (kind, format!("{code}: {detail}"), correlation_id)
        }
        Ok(Sentence { kind, detail, code: None, correlation_id }) => (kind, detail, correlation_id),
        Err(_) => (None, format!("{} bytes that are no error body", body.len()), None),
    };
    let kind = kind.and_then(|kind| kind.strip_prefix(PROBLEM_TYPE_BASE).map(Box::from));
    let correlation_id = correlation_id.map(Into::into);
    ClientError::Failed {
        url: url.to_owned(),
        path: path.to_owned(),
        status,
        kind,
        detail,
        correlation_id,
        retry_after,
    }
}

/// The session cookie among `Set-Cookie`; its attributes (the stock service sends no Path) say nothing to us.
fn cookie_of(headers: &HeaderMap) -> Option<Cookie> {
    headers.get_all(SET_COOKIE).iter().find_map(|header| {
        let (name, value) = header.to_str().ok()?.split(';').next()?.split_once('=')?;
        let value = value.trim();
        let sane =
            !value.is_empty() && value.len() <= COOKIE_LEN && value.bytes().all(|b| b.is_ascii_graphic());
        (name.trim() == COOKIE && sane).then(|| Cookie(value.to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::Code;
    use reqwest::header::HeaderValue;

    #[test]
    fn only_the_session_cookie_is_taken() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(SET_COOKIE, HeaderValue::from_str(value).unwrap());
            }
            cookie_of(&headers).map(|c| c.0)
        };
        assert_eq!(of(&["other=1", "kbs-session-id=abc; HttpOnly; Path=/x"]), Some("abc".into()));
        assert_eq!(of(&["kbs-session-id="]), None);
        assert_eq!(of(&["kbs-session-id"]), None);
        assert_eq!(of(&["xkbs-session-id=a"]), None);
        assert_eq!(of(&[&format!("kbs-session-id={}", "a".repeat(COOKIE_LEN + 1))]), None);
    }

    #[test]
    fn seconds_are_heeded_where_a_service_may_ask_for_them() {
        let of = |status: u16, text: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            retry_after(StatusCode::from_u16(status).unwrap(), &headers).map(|asked| asked.as_secs())
        };
        assert_eq!([of(429, "20"), of(503, "0"), of(429, " 7 ")], [Some(20), Some(0), Some(7)]);
        assert_eq!(of(429, "18446744073709551615"), Some(u64::MAX));
        for bad in ["", "-1", "+1", "1.5", "soon", "18446744073709551616", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(of(429, bad), None, "{bad}");
        }
        for status in [200, 301, 401, 408, 500, 502, 504] {
            assert_eq!(of(status, "20"), None, "{status}");
        }
        assert_eq!(retry_after(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new()), None);
    }

    #[test]
    fn an_error_body_is_a_refusal_by_its_code_alone() {
        let with = |body: &str| refusal("https://a", "/p", 401, None, body.as_bytes());
        let known = with(r#"{"type":"x","detail":"d","code":"image-unknown","correlation-id":"c"}"#);
        assert_eq!(known.code(), Code::ImageUnknown);
        let stock = with(
            r#"{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"d"}"#,
        );
        assert_eq!(
            (stock.code(), stock.to_string()),
            (Code::ServiceFailed, "https://a/p: status 401: d".into())
        );
        let newer = with(r#"{"type":"x","detail":"d","code":"from-the-future"}"#);
        assert_eq!(newer.to_string(), "https://a/p: status 401: from-the-future: d");
        assert_eq!(with("<html>").to_string(), "https://a/p: status 401: 6 bytes that are no error body");
    }
}
