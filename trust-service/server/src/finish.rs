//! The outermost layer of both listeners: correlation id, deadline, and the one place that records and answers refusals.

use crate::audit;
use crate::metrics::{self, Answered, Route};
use crate::problem::{Refusal, admin_status, node_status};
use crate::service::Service;
use crate::shares::network;
use crate::stock::names::Place;
use crate::store::{AuditEntry, RefusalRow, Store, StoreError, Tx as _};
use crate::tls::Peer;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ccnode_evidence::Code;
use ccnode_protocol::admin::{RefusalRecord, RefusedBy};
use ccnode_protocol::{NodeName, PROBLEM_TYPE_BASE, Problem};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tracing::Instrument as _;

/// Nodes that an audit row of refusals left out names; of others the sum is enough.
const NAMED: usize = 100;

/// The id under which a request is found in log, audit and answer.
#[derive(Clone, Debug)]
pub struct CorrelationId(pub String);

/// Which listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Nodes'.
    Node,
    /// Administrators'.
    Admin,
}

impl Side {
    /// As metrics and log have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Admin => "admin",
        }
    }
}

/// What the log and the metrics are told of a refusal beside its answer.
struct Refused(Response, Code);

/// Runs a request and completes its answer; a line of the log for each, of the route and never of the path: that may name resources.
pub async fn finish<S: Store>(
    State((service, side)): State<(Arc<Service<S>>, Side)>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = uuid::Uuid::new_v4().simple().to_string();
    request.extensions_mut().insert(CorrelationId(id.clone()));
    let route = service.metrics.route(request.extensions().get::<MatchedPath>());
    let peer = request.extensions().get::<Peer>().map(|peer| network(peer.address.ip()).to_string());
    let method = request.method().clone();
    // The lines of requests name the id themselves: a span in every line costs a hundredth of a session.
    let span = tracing::debug_span!("request", id);
    let start = Instant::now();
    let place = match side {
        Side::Node => Place::of(request.method(), request.uri(), request.headers()),
        Side::Admin => Place::of_admin(request.uri()),
    };
    async {
        let limit = service.config.limits.request_time.0;
        let (response, code) = match tokio::time::timeout(limit, next.run(request)).await {
            Err(_) => {
                tracing::warn!(id, "request took longer than {limit:?}");
                (timeout(&id), None)
            }
            Ok(response) if response.status() == StatusCode::REQUEST_TIMEOUT => {
                tracing::warn!(id, "the body took too long");
                (timeout(&id), None)
            }
            Ok(mut response) => match response.extensions_mut().remove::<Refusal>() {
                Some(refusal) => {
                    let Refused(response, code) = answer(&service, (side, route, place), &refusal, &id).await;
                    (response, Some(code))
                }
                None => (response, None),
            },
        };
        let (status, took) = (response.status().as_u16(), start.elapsed());
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            id,
            method = metrics::method(&method),
            route = route.as_str(),
            status,
            code = code.map(Code::as_str),
            ms,
            peer,
            listener = side.as_str(),
            "answered"
        );
        service.metrics.answered(&Answered { side, method, route, status, code, took });
        response
    }
    .instrument(span)
    .await
}

async fn answer<S: Store>(
    service: &Service<S>,
    (side, route, place): (Side, Route, Place),
    refusal: &Refusal,
    id: &str,
) -> Refused {
    let about = &refusal.about;
    let status = match side {
        Side::Node => node_status(refusal.code),
        Side::Admin => place.status(refusal.code).unwrap_or_else(|| admin_status(refusal.code)),
    };
    let recorded = match side {
        Side::Node if !is_bound(refusal.code) => {
            // The refusal stands, recorded or not.
            let failed = |error| tracing::error!(id, %error, "the refusal could not be recorded");
            record(service, refusal, id).await.map_err(failed).unwrap_or(true)
        }
        _ => true,
    };
    let node = about.node.as_ref().map(ToString::to_string);
    let (code, proven) = (refusal.code, about.proven);
    // What is refused at the resources names the one that was asked for, to administrators too.
    let named = matches!(place, Place::Resource { .. }) || route.is_of_resources();
    let detail = (!named).then_some(&refusal.detail);
    if let Some(cause) = &about.cause {
        tracing::error!(id, cause, "internal error");
    }
    match recorded {
        true => tracing::info!(id, %code, detail, node, proven, "refused"),
        false => tracing::debug!(id, %code, detail, node, proven, "refused, too many to record"),
    }
    let mut problem = refusal.problem(id);
    if let Some(variant) = place.variant(refusal.code) {
        problem.kind = format!("{PROBLEM_TYPE_BASE}{variant}");
    }
    let mut response = body(status, &problem);
    if let Some(seconds) = about.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    Refused(response, code)
}

/// Whether a code says nothing of the peer that a record is for: a failure, a path, or what the record itself would count towards.
fn is_bound(code: Code) -> bool {
    matches!(code, Code::Internal | Code::NotFound | Code::SessionsTooMany | Code::ReleasesTooMany)
}

/// Stores and audits a refusal as far as its bucket allows: each proven peer has one, the others share one. Answers whether it
/// was recorded; what was not is counted, see [`left_out`].
pub async fn record<S: Store>(service: &Service<S>, refusal: &Refusal, id: &str) -> Result<bool, StoreError> {
    let about = &refusal.about;
    let at = Instant::now();
    let own = || service.proven.take(&about.node, at);
    let taken = match (about.by, about.proven) {
        (RefusedBy::Service, true) => own(),
        (RefusedBy::Node, true) => own() && service.reports.take(at),
        (_, false) => service.unproven.take(at),
    };
    if !taken {
        return Ok(false);
    }
    let now = service.now();
    let mut tx = service.store.write().await?;
    // Pools that don't exist would give each peer a quota of its own.
    let pool = match &about.pool {
        Some(name) => tx.pool(name).await?.map(|row| row.name),
        None => None,
    };
    let record = RefusalRecord {
        id: 0,
        time: now,
        by: about.by,
        node: about.node.clone(),
        pool: pool.clone(),
        code: refusal.code,
        detail: refusal.detail.clone(),
        pcr: about.pcr,
        event: about.event.clone(),
        closest: about.closest.clone(),
        differences: about.differences.clone(),
        image: about.image,
        platform: about.platform,
        correlation_id: about.correlation_id.clone().unwrap_or_else(|| id.to_owned()),
        has_evidence: about.kept.is_some(),
        kept: about.kept.clone(),
    };
    let text = refusal.text(&record.correlation_id);
    let machine = about.machine.clone().filter(|_| about.proven);
    let number = tx.insert_refusal(&RefusalRow { record, proven: about.proven, machine }).await?;
    tx.trim_refusals(pool.as_ref(), about.node.as_ref(), &service.config.keep).await?;
    let name = about.node.as_ref().map_or("?".to_owned(), ToString::to_string);
    let who = if about.proven { "node" } else { "unproven" };
    let detail = json!({
        "refusal": number, "code": refusal.code, "detail": refusal.detail, "pcr": about.pcr, "text": text,
    });
    let entry = AuditEntry {
        actor: format!("{who}:{name}"),
        action: if about.by == RefusedBy::Node { "node.refused" } else { "session.refused" },
        object: pool.map_or("?".to_owned(), |p| p.to_string()),
        detail,
        correlation_id: id,
    };
    audit::append(&mut tx, now, entry).await?;
    tx.commit().await?;
    Ok(true)
}

/// Audits in one row how many refusals were not recorded since the last one; none where there were none.
pub async fn left_out<S: Store>(service: &Service<S>) -> Result<(), StoreError> {
    service.begun.left_out(Instant::now());
    service.released.left_out(Instant::now());
    let nodes = service.proven.left_out(Instant::now());
    let (unproven, reports) = (service.unproven.left_out(), service.reports.left_out());
    if nodes.is_empty() && unproven == 0 && reports == 0 {
        return Ok(());
    }
    let name = |node: Option<NodeName>| node.map_or("?".to_owned(), |node| node.to_string());
    let mut nodes = nodes.into_iter().map(|(node, count)| (name(node), count));
    let named: BTreeMap<String, u64> = nodes.by_ref().take(NAMED).collect();
    let entry = AuditEntry {
        actor: "service".into(),
        action: "refusals.left-out",
        object: "refusals".into(),
        detail: json!({
            "unproven": unproven, "reports": reports, "nodes": named,
            "other-nodes": nodes.map(|(_, count)| count).sum::<u64>(),
        }),
        correlation_id: "",
    };
    let mut tx = service.store.write().await?;
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await
}

fn timeout(id: &str) -> Response {
    let problem = Problem {
        kind: format!("{PROBLEM_TYPE_BASE}RequestTimeout"),
        detail: "the request took too long".into(),
        code: None,
        correlation_id: Some(id.to_owned()),
        pcr: None,
        event: None,
        closest: None,
        differences: Vec::new(),
    };
    body(StatusCode::REQUEST_TIMEOUT, &problem)
}

fn body(status: StatusCode, problem: &Problem) -> Response {
    let text = serde_json::to_vec(problem).unwrap_or_default();
    let mut response = (status, Body::from(text)).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
