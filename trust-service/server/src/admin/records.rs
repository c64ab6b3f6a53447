//! Refusals and the audit log, to be read.

use super::{Admin, absent};
use crate::extract::{Filter, Part};
use crate::metrics::CONTENT_TYPE;
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{Store, Tx as _};
use axum::extract::State;
use axum::http::header::{self, HeaderName};
use ccnode_protocol::admin::{AuditFilter, AuditRow, RefusalFilter, RefusalRecord};
use std::sync::Arc;

pub(super) async fn refusals<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Filter(filter): Filter<RefusalFilter>,
) -> Result<axum::Json<Vec<RefusalRecord>>, Refusal> {
    let rows = service.store.read().await?.refusals(&filter).await?;
    Ok(axum::Json(rows.into_iter().map(|row| row.record).collect()))
}

pub(super) async fn refusal<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(id): Part<u32>,
) -> Result<axum::Json<RefusalRecord>, Refusal> {
    let row = service.store.read().await?.refusal(id.into()).await?;
    row.map(|row| axum::Json(row.record)).ok_or_else(|| absent("refusal", id))
}

pub(super) async fn audit_rows<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Filter(filter): Filter<AuditFilter>,
) -> Result<axum::Json<Vec<AuditRow>>, Refusal> {
    Ok(axum::Json(service.store.read().await?.audit(&filter).await?))
}

pub(super) async fn metrics<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
) -> Result<([(HeaderName, &'static str); 1], String), Refusal> {
    let page = service.metrics.page(&service).await.map_err(Refusal::internal)?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], page))
}
