//! The administration interface: one table of routes behind one guard that denies by default.

mod nodes;
mod pools;
mod proposals;
mod records;
mod recovery;
mod resources;
mod rotate_key;
pub mod stock;
pub mod token;
mod tuples;

use crate::audit;
use crate::finish::CorrelationId;
use crate::metrics;
use crate::pki::{CLUSTER_ADMIN, METRICS};
use crate::problem::{Refusal, printable};
use crate::service::Service;
use crate::store::{AuditEntry, Store, StoreError};
use crate::tls::{Client, Peer};
use axum::Router;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post};
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::admin;
use std::sync::Arc;

/// Every route there is. The router is made of this table, and so are the tests of its guard.
pub fn routes<S: Store>() -> Vec<(&'static str, MethodRouter<Arc<Service<S>>>)> {
    vec![
        (admin::POOLS, get(pools::list::<S>).post(pools::create::<S>)),
        (admin::POOL, get(pools::show::<S>).patch(pools::edit::<S>).delete(pools::delete::<S>)),
        (admin::POOL_HARDWARE, get(pools::hardware::<S>).put(pools::set_hardware::<S>)),
        (admin::PAIRS, post(pools::allow::<S>)),
        (admin::PAIR, delete(pools::disallow::<S>)),
        (admin::EK_ROOTS, post(pools::add_ek_root::<S>)),
        (admin::EK_ROOT, delete(pools::remove_ek_root::<S>)),
        (admin::POOL_REFERENCE_VALUES, get(resources::values::<S>).delete(resources::clear_values::<S>)),
        (admin::RESOURCES, get(resources::list::<S>)),
        (admin::RESOURCE, get(resources::show::<S>).put(resources::set::<S>).delete(resources::delete::<S>)),
        (admin::RESOURCE_READERS, post(resources::allow::<S>)),
        (admin::RESOURCE_NODE, delete(resources::disallow_node::<S>)),
        (admin::RESOURCE_POOL, delete(resources::disallow_pool::<S>)),
        (admin::IMAGES, get(tuples::images::<S>).post(tuples::register_image::<S>)),
        (admin::IMAGE, get(tuples::image::<S>).delete(tuples::delete_image::<S>)),
        (admin::PLATFORMS, get(tuples::platforms::<S>).post(tuples::register_platform::<S>)),
        (admin::PLATFORM, get(tuples::platform::<S>).delete(tuples::delete_platform::<S>)),
        (admin::NODES, get(nodes::list::<S>)),
        (admin::NODE, get(nodes::show::<S>).delete(nodes::delete::<S>)),
        (admin::NODE_EVIDENCE, get(nodes::last_evidence::<S>)),
        (admin::NODE_APPROVE, post(nodes::approve::<S>)),
        (admin::NODE_REVOKE, post(nodes::revoke::<S>)),
        (admin::NODE_REGRANT, post(nodes::regrant::<S>)),
        (admin::NODE_RETIRE, post(nodes::retire::<S>)),
        (admin::NODE_ROTATE_KEY, post(rotate_key::rotate_key::<S>)),
        (admin::NODE_RECOVERY, post(recovery::fetch::<S>)),
        (admin::PROPOSALS, get(proposals::list::<S>).post(proposals::make::<S>)),
        (admin::PROPOSAL, get(proposals::show::<S>).delete(proposals::withdraw::<S>)),
        (admin::PROPOSAL_APPROVE, post(proposals::approve::<S>)),
        (admin::REFUSALS, get(records::refusals::<S>)),
        (admin::REFUSAL, get(records::refusal::<S>)),
        (admin::AUDIT, get(records::audit_rows::<S>)),
        (metrics::PATH, get(records::metrics::<S>)),
    ]
}

/// The router; the guard stands before every route and before the answer that there is none.
pub fn router<S: Store>(service: &Arc<Service<S>>) -> Router {
    routes::<S>()
        .into_iter()
        .fold(Router::new(), |router, (path, handlers)| router.route(path, handlers))
        .fallback(crate::serve::unknown)
        .method_not_allowed_fallback(crate::serve::unknown)
        .layer(from_fn_with_state(service.clone(), guard::<S>))
        .with_state(service.clone())
        .merge(stock::router(service))
}

/// An administrator, as the certificate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admin {
    /// The certificate's common name.
    pub name: String,
    /// SHA-256 of the key that spoke: the certificate's SubjectPublicKeyInfo, or the one of a token's key.
    pub key: Sha256Digest,
    /// The request's correlation id.
    pub correlation_id: String,
}

/// Lets administrators of the role through, whoever may read the metrics to these, and nobody else.
async fn guard<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(correlation_id): CorrelationId,
    mut request: Request,
    next: Next,
) -> Response {
    let asked = Asked::of(&request, correlation_id);
    match by_certificate(&service, &asked).await {
        Ok(admin) => {
            request.extensions_mut().insert(admin);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

/// Who asks, and for what, as far as a guard looks at it.
struct Asked {
    client: Option<Client>,
    path: String,
    /// Whether it is the page of metrics.
    metrics: bool,
    correlation_id: String,
}

impl Asked {
    fn of(request: &Request, correlation_id: String) -> Self {
        let client = request.extensions().get::<Peer>().and_then(|peer| peer.client.clone());
        let route = request.extensions().get::<MatchedPath>();
        let metrics = route.is_some_and(|route| route.as_str() == metrics::PATH);
        Self { client, path: printable(request.uri().path()), metrics, correlation_id }
    }
}

/// The administrator of the role that the connection's certificate names; of the metrics' page, also who may read that alone.
async fn by_certificate<S: Store>(service: &Service<S>, asked: &Asked) -> Result<Admin, Refusal> {
    let Asked { client, path, metrics, correlation_id } = asked;
    let none = || Refusal::new(Code::AdminUnauthenticated, "the connection has no client certificate");
    let client = client.as_ref().ok_or_else(none)?;
    let (name, correlation_id) = (printable(&client.name), correlation_id.clone());
    let admin = Admin { name, key: client.key, correlation_id };
    let allowed = |role: &String| role == CLUSTER_ADMIN || (role == METRICS && *metrics);
    if !client.roles.iter().any(allowed) {
        if let Err(error) = denied(service, &admin, path).await {
            let id = admin.correlation_id.as_str();
            tracing::error!(id, %error, "a denied administrator could not be audited");
        }
        let text = format!("`{}` has not the role {CLUSTER_ADMIN}", admin.name);
        return Err(Refusal::new(Code::RoleMissing, text));
    }
    Ok(admin)
}

async fn denied<S: Store>(service: &Service<S>, admin: &Admin, path: &str) -> Result<(), StoreError> {
    let mut tx = service.store.write().await?;
    let entry = admin.entry("admin.denied", path, serde_json::json!({}));
    audit::append(&mut tx, service.now(), entry).await?;
    crate::store::Tx::commit(tx).await
}

impl Admin {
    /// An audit entry of this administrator's request.
    fn entry(
        &self,
        action: &'static str,
        object: impl ToString,
        detail: serde_json::Value,
    ) -> AuditEntry<'_> {
        AuditEntry {
            actor: format!("admin:{}", self.name),
            action,
            object: object.to_string(),
            detail,
            correlation_id: &self.correlation_id,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Admin {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let none = || Refusal::new(Code::AdminUnauthenticated, "no administrator stands behind this request");
        parts.extensions.get::<Self>().cloned().ok_or_else(none)
    }
}

fn absent(kind: &str, name: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::NotFound, format!("there is no {kind} `{name}`"))
}

fn conflict(text: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::Conflict, text)
}
