//! What load balancers and verifiers of tokens ask a running service, on the nodes' listener and without a session.

use crate::service::Service;
use crate::store::Store;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// `200` while the process answers.
pub const LIVE: &str = "/livez";
/// `200` while it can decide: its store answers in time; else `503`.
pub const READY: &str = "/readyz";
/// The public keys of tokens, as a JWK set (RFC 7517).
pub const JWKS: &str = "/.well-known/jwks.json";

/// How long the store may take for a read before the service counts as not ready.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a verifier may keep the keys, seconds: a key that is to be retired is shown beside the new one for longer.
const KEEP: &str = "max-age=300";

/// `GET /livez`.
pub async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`. It tells no more than whether: why is in the log.
pub async fn ready<S: Store>(State(service): State<Arc<Service<S>>>) -> (StatusCode, &'static str) {
    match tokio::time::timeout(PATIENCE, service.store.read()).await {
        Ok(Ok(_)) => return (StatusCode::OK, "ok\n"),
        Ok(Err(error)) => tracing::error!(%error, "not ready: the store"),
        Err(_) => tracing::error!("not ready: the store took longer than {PATIENCE:?}"),
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n")
}

/// `GET /.well-known/jwks.json`.
pub async fn jwks<S: Store>(State(service): State<Arc<Service<S>>>) -> (HeaderMap, axum::Json<Value>) {
    let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(KEEP))]);
    (headers, axum::Json(json!({"keys": service.token.get().jwks(service.now())})))
}
