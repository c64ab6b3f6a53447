//! What handlers take from requests: strict bodies, the correlation id, the session, the administrator.

use crate::cookie::{CookieError, Session};
use crate::finish::CorrelationId;
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::Store;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse as _;
use ccnode_evidence::Code;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A JSON body, whatever its content type says.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state).await.map_err(|error| {
            match error.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => {
                    Refusal::new(Code::BodyTooLarge, "the body is larger than the limit")
                }
                _ => Refusal::new(Code::MalformedRequest, "the body could not be read"),
            }
        })?;
        let read = serde_json::from_slice(&bytes);
        read.map(Self).map_err(|e| {
            let text: String = e.to_string().chars().take(200).collect();
            Refusal::new(Code::MalformedRequest, format!("body: {text}"))
        })
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

impl From<CookieError> for Refusal {
    fn from(error: CookieError) -> Self {
        match error {
            CookieError::Expired { .. } => Self::new(Code::SessionExpired, error),
            CookieError::Missing | CookieError::Unknown => Self::new(Code::SessionUnknown, error),
        }
    }
}

/// A place among the attestations that are read and judged at a time; taken before the body is read.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held, and given back on drop")] OwnedSemaphorePermit);

impl<S: Store> FromRequestParts<Arc<Service<S>>> for Slot {
    type Rejection = Refusal;

    async fn from_request_parts(_: &mut Parts, service: &Arc<Service<S>>) -> Result<Self, Refusal> {
        service.attestations.clone().acquire_owned().await.map(Self).map_err(Refusal::internal)
    }
}
