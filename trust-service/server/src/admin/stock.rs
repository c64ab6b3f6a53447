//! The stock administrators' paths: resources and reference values; policies are told where they are said here.
//!
//! Beside a client certificate of the role, a token of a key that `config.toml` names opens these paths, and no other one: they have a
//! router and a guard of their own.

use super::resources::{remove, store, uri};
use super::token;
use super::{Admin, Asked, absent, by_certificate};
use crate::audit;
use crate::extract::{Json, Part, Raw};
use crate::finish::CorrelationId;
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{Store, Tx as _};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any, get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_appraise::stock::ReferenceValues;
use ccnode_evidence::Code;
use ccnode_protocol::{ATTESTATION_POLICY, REFERENCE_VALUE, RESOURCE_POLICY, ReferenceValuePost};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A resource.
const RESOURCE: &str = "/kbs/v0/resource/{repository}/{type}/{tag}";
/// One name of reference values.
const VALUE: &str = "/kbs/v0/reference-value/{name}";

/// Every stock administrators' route; the router is made of this table, and so are the tests of its guard.
pub fn routes<S: Store>() -> Vec<(&'static str, MethodRouter<Arc<Service<S>>>)> {
    vec![
        (RESOURCE, post(set::<S>).delete(delete::<S>)),
        (REFERENCE_VALUE, post(post_values::<S>)),
        (VALUE, get(value::<S>)),
        (RESOURCE_POLICY, any(policy)),
        (ATTESTATION_POLICY, any(policy)),
    ]
}

pub(super) fn router<S: Store>(service: &Arc<Service<S>>) -> Router {
    routes::<S>()
        .into_iter()
        .fold(Router::new(), |router, (path, handlers)| router.route(path, handlers))
        .method_not_allowed_fallback(crate::serve::unknown)
        .layer(from_fn_with_state(service.clone(), guard::<S>))
        .with_state(service.clone())
}

/// Lets through whom the other guard does, and who shows a token of a listed key.
async fn guard<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    mut request: Request,
    next: Next,
) -> Response {
    let asked = Asked::of(&request, id.clone());
    let admin = match asked.client {
        Some(_) => by_certificate(&service, &asked).await,
        None => by_token(&service, request.headers(), id),
    };
    match admin {
        Ok(admin) => {
            request.extensions_mut().insert(admin);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn by_token<S: Store>(
    service: &Service<S>,
    headers: &HeaderMap,
    correlation_id: String,
) -> Result<Admin, Refusal> {
    let refused = |text: String| Refusal::new(Code::AdminUnauthenticated, text);
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = value.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(|| {
        refused("the connection has no client certificate, and the request no bearer token".into())
    })?;
    let key = token::verify(&service.admin_keys, token, service.now());
    let key = key.map_err(|error| refused(format!("Authorization: {error}")))?;
    Ok(Admin { name: key.name(), key: key.id(), correlation_id })
}

async fn set<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(parts): Part<(String, String, String)>,
    Raw(content): Raw,
) -> Result<StatusCode, Refusal> {
    store(&service, &admin, &uri(&parts)?, &content).await?;
    Ok(StatusCode::OK)
}

async fn delete<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(parts): Part<(String, String, String)>,
) -> Result<StatusCode, Refusal> {
    remove(&service, &admin, &uri(&parts)?).await?;
    Ok(StatusCode::OK)
}

/// The values of the pool of stock clients; each name replaces what it had.
async fn post_values<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Json(post): Json<ReferenceValuePost>,
) -> Result<StatusCode, Refusal> {
    let malformed = |text: &dyn std::fmt::Display| Refusal::new(Code::MalformedRequest, text);
    if post.version != "0.1.0" || post.kind != "sample" {
        return Err(malformed(&"reference values of version 0.1.0 and type `sample` are taken"));
    }
    let payload = STANDARD.decode(&post.payload).map_err(|_| malformed(&"payload: not base64"))?;
    let posted: BTreeMap<String, Value> =
        serde_json::from_slice(&payload).map_err(|e| malformed(&format_args!("payload: {e}")))?;
    let mut read = ReferenceValues::default();
    for (name, value) in &posted {
        read.add(name, value).map_err(|error| malformed(&error))?;
    }
    let mut tx = service.store.write().await?;
    let pool = stock_pool(&service, &mut tx).await?;
    for (name, value) in &posted {
        tx.set_reference_value(&pool, name, value).await?;
    }
    let entry = admin.entry("reference-values.post", &pool, json!({"values": posted}));
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await?;
    Ok(StatusCode::OK)
}

async fn value<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(name): Part<String>,
) -> Result<axum::Json<Value>, Refusal> {
    let mut tx = service.store.read().await?;
    let pool = stock_pool(&service, &mut tx).await?;
    let mut posted = tx.reference_values(&pool).await?;
    posted.remove(&name).map(axum::Json).ok_or_else(|| absent("reference value", name))
}

async fn stock_pool<S: Store>(
    service: &Service<S>,
    tx: &mut S::Tx,
) -> Result<ccnode_protocol::PoolName, Refusal> {
    let none = || {
        let text = "config.toml has no table [stock], so there is no pool that reference values could be of";
        Refusal::new(Code::PoolUnknown, text)
    };
    let config = service.config.stock.as_ref().ok_or_else(none)?;
    Ok(crate::stock::pool(tx, config).await?.name)
}

async fn policy(_: Admin) -> Refusal {
    let text = "policies are typed data here: `ccnode resource allow` says who reads what, \
        `ccnode pool allow` and `ccnode pool hardware` what is attested";
    Refusal::new(Code::PolicyIsData, text)
}
