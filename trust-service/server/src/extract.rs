//! What handlers take from requests: strict bodies, the correlation id, the session, the administrator.

use crate::cookie::{CcnodeSession, CookieError, Session};
use crate::finish::CorrelationId;
use crate::problem::{About, Refusal};
use crate::service::Service;
use crate::shares::{Share, network};
use crate::store::Store;
use crate::tls::Peer;
use axum::RequestExt as _;
use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use ccnode_evidence::Code;
use http_body_util::{BodyExt as _, LengthLimitError};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Instant;

/// A JSON body, whatever its content type says.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let bytes = bytes(request).await?;
        let read = serde_json::from_slice(&bytes);
        read.map(Self).map_err(|e| {
            let text: String = e.to_string().chars().take(200).collect();
            Refusal::new(Code::MalformedRequest, format!("body: {text}"))
        })
    }
}

/// A body as it is.
#[derive(Debug)]
pub struct Raw(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        bytes(request).await.map(Self)
    }
}

/// The most that is set aside for a body before it comes.
const AHEAD: u64 = 128 * 1024;

/// A body, each piece of which is copied while it is still in the processor's caches; one of known length that came in one piece is not
/// copied.
async fn bytes(request: Request) -> Result<Bytes, Refusal> {
    let mut body = request.into_limited_body();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|error| unread(&error))?.into_data() else { break };
        if whole.is_empty() {
            if body.is_end_stream() {
                return Ok(piece);
            }
            let due = body.size_hint().lower().min(AHEAD);
            whole.reserve(piece.len().saturating_add(usize::try_from(due).unwrap_or_default()));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

fn unread(error: &axum::Error) -> Refusal {
    let mut causes = std::iter::successors(Some(error as &dyn std::error::Error), |cause| cause.source());
    match causes.any(|cause| cause.is::<LengthLimitError>()) {
        true => Refusal::new(Code::BodyTooLarge, "the body is larger than the limit"),
        false => Refusal::new(Code::MalformedRequest, "the body could not be read"),
    }
}

/// Typed parts of the path; what does not parse does not exist.
#[derive(Debug)]
pub struct Part<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Part<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(value) = Path::<T>::from_request_parts(parts, state)
            .await
            .map_err(|_| Refusal::new(Code::NotFound, "the path holds no valid name or id"))?;
        Ok(Self(value))
    }
}

/// A strict query string.
#[derive(Debug)]
pub struct Filter<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Filter<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Query(value) = Query::<T>::from_request_parts(parts, state)
            .await
            .map_err(|e| Refusal::new(Code::MalformedRequest, format!("query: {e}")))?;
        Ok(Self(value))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CorrelationId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Refusal::internal("no correlation id"))
    }
}

impl<S: Store> FromRequestParts<Arc<Service<S>>> for Session {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service<S>>) -> Result<Self, Refusal> {
        let cookie = parts.headers.get(header::COOKIE).and_then(|value| value.to_str().ok());
        Session::open(&service.cookies, cookie, service.now()).map_err(Refusal::from)
    }
}

impl<S: Store> FromRequestParts<Arc<Service<S>>> for CcnodeSession {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service<S>>) -> Result<Self, Refusal> {
        let session = Session::from_request_parts(parts, service).await?;
        Self::try_from(session).map_err(|session| {
            let text = "the session is of the stock transcript: it gets resources, and nothing else";
            Refusal {
                about: Box::new(About { pool: Some(session.pool), ..About::default() }),
                ..Refusal::new(Code::StockTranscript, text)
            }
        })
    }
}

impl From<CookieError> for Refusal {
    fn from(error: CookieError) -> Self {
        match error {
            CookieError::Expired { .. } => Self::new(Code::SessionExpired, error),
            CookieError::Missing | CookieError::Unknown => Self::new(Code::SessionUnknown, error),
        }
    }
}

/// That the peer's address has not begun too many sessions of late; asked before the body is read.
#[derive(Debug)]
pub struct InPace(());

impl<S: Store> FromRequestParts<Arc<Service<S>>> for InPace {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service<S>>) -> Result<Self, Refusal> {
        let peer = parts.extensions.get::<Peer>().ok_or_else(|| Refusal::internal("no peer address"))?;
        let network = network(peer.address.ip());
        if service.begun.take(&network, Instant::now()) {
            return Ok(Self(()));
        }
        let per_minute = service.config.limits.sessions_per_minute_per_address;
        let text = format!("{network} began more than {per_minute} sessions a minute");
        let mut refusal = Refusal::new(Code::SessionsTooMany, text);
        refusal.about.retry_after = Some(60_u32.div_ceil(per_minute.max(1)));
        Err(refusal)
    }
}

/// An attestation's body with its place among those that are read and judged at a time; the place is taken before the body is
/// read, and the body has to come soon.
#[derive(Debug)]
pub struct InTurn<T>(pub T, pub Share);

/// Why there is no attestation to judge.
#[derive(Debug)]
pub enum TurnError {
    /// The body took too long.
    Late,
    /// Something else.
    Refused(Refusal),
}

impl IntoResponse for TurnError {
    fn into_response(self) -> Response {
        match self {
            // The outermost layer gives it the body of every timeout.
            Self::Late => StatusCode::REQUEST_TIMEOUT.into_response(),
            Self::Refused(refusal) => refusal.into_response(),
        }
    }
}

impl<T: DeserializeOwned, S: Store> FromRequest<Arc<Service<S>>> for InTurn<T> {
    type Rejection = TurnError;

    async fn from_request(request: Request, service: &Arc<Service<S>>) -> Result<Self, TurnError> {
        let address = request.extensions().get::<Peer>().map(|peer| peer.address.ip());
        let address = address.ok_or_else(|| TurnError::Refused(Refusal::internal("no peer address")))?;
        let share = service.attestations.take(address).await;
        let share = share.map_err(|e| TurnError::Refused(Refusal::internal(e)))?;
        let body = Json::from_request(request, service);
        match tokio::time::timeout(service.config.limits.body_time.0, body).await {
            Ok(Ok(Json(value))) => Ok(Self(value, share)),
            Ok(Err(refusal)) => Err(TurnError::Refused(refusal)),
            Err(_) => Err(TurnError::Late),
        }
    }
}
