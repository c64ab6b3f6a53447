//! Resources and reference values: set, listed without content, bound to readers, deleted.

use super::{Admin, absent};
use crate::audit;
use crate::extract::{Json, Part, Raw};
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{PoolRow, ResourceRow, Store, Tx};
use axum::extract::State;
use axum::http::StatusCode;
use ccnode_evidence::Code;
use ccnode_protocol::admin::{Reader, ResourceRecord};
use ccnode_protocol::{NodeName, PoolName, ResourceUri, limits};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The repository below which the service answers of itself.
const OWN: &str = "node";

type Parts = (String, String, String);

pub(super) async fn list<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
) -> Result<axum::Json<Vec<ResourceRecord>>, Refusal> {
    let mut tx = service.store.read().await?;
    let mut out = Vec::new();
    for row in tx.resources().await? {
        out.push(record(&mut tx, row).await?);
    }
    Ok(axum::Json(out))
}

pub(super) async fn show<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(parts): Part<Parts>,
) -> Result<axum::Json<ResourceRecord>, Refusal> {
    let mut tx = service.store.read().await?;
    let row = find(&mut tx, &uri(&parts)?).await?;
    record(&mut tx, row).await.map(axum::Json)
}

pub(super) async fn set<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(parts): Part<Parts>,
    Raw(content): Raw,
) -> Result<axum::Json<ResourceRecord>, Refusal> {
    let name = uri(&parts)?;
    store(&service, &admin, &name, &content).await?;
    let mut tx = service.store.read().await?;
    let row = find(&mut tx, &name).await?;
    record(&mut tx, row).await.map(axum::Json)
}

/// Makes the resource or replaces its content; the audit row has its size alone.
pub(super) async fn store<S: Store>(
    service: &Service<S>,
    admin: &Admin,
    name: &ResourceUri,
    content: &[u8],
) -> Result<(), Refusal> {
    if name.repository() == OWN {
        let text = format!("{name}: of the repository `{OWN}` the service answers itself; take another one");
        return Err(Refusal::new(Code::MalformedRequest, text));
    }
    if content.len() > limits::RESOURCE {
        let text = format!("{name}: {} bytes, {} at most", content.len(), limits::RESOURCE);
        return Err(Refusal::new(Code::BodyTooLarge, text));
    }
    let sealed = service.at_rest.seal(&ResourceRow::place(name), content).map_err(Refusal::internal)?;
    let size = u64::try_from(content.len()).map_err(Refusal::internal)?;
    let mut tx = service.store.write().await?;
    let now = service.now();
    let known = tx.resource(name).await?.is_some();
    tx.set_resource(&ResourceRow { name: name.clone(), content: sealed, size, updated: now }).await?;
    let entry = admin.entry("resource.set", name, json!({"size": size, "new": !known}));
    audit::append(&mut tx, now, entry).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn delete<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(parts): Part<Parts>,
) -> Result<StatusCode, Refusal> {
    remove(&service, &admin, &uri(&parts)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn remove<S: Store>(
    service: &Service<S>,
    admin: &Admin,
    name: &ResourceUri,
) -> Result<(), Refusal> {
    let mut tx = service.store.write().await?;
    if !tx.delete_resource(name).await? {
        return Err(absent("resource", name));
    }
    audit::append(&mut tx, service.now(), admin.entry("resource.delete", name, json!({}))).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn allow<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(parts): Part<Parts>,
    Json(reader): Json<Reader>,
) -> Result<axum::Json<ResourceRecord>, Refusal> {
    let name = uri(&parts)?;
    let mut tx = service.store.write().await?;
    let row = find(&mut tx, &name).await?;
    match &reader {
        Reader::Node(node) => {
            let found = tx.node_named(node).await?.ok_or_else(|| absent("node", node))?;
            tx.allow_node(&name, &found.identity).await?;
        }
        Reader::Pool(pool) => {
            let found = tx.pool(pool).await?.ok_or_else(|| absent("pool", pool))?;
            tx.allow_pool(&name, &found.name).await?;
        }
    }
    let entry = admin.entry("resource.allow", &name, json!({"reader": reader}));
    audit::append(&mut tx, service.now(), entry).await?;
    let record = record(&mut tx, row).await?;
    tx.commit().await?;
    Ok(axum::Json(record))
}

pub(super) async fn disallow_node<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part((repository, kind, tag, node)): Part<(String, String, String, NodeName)>,
) -> Result<StatusCode, Refusal> {
    let name = uri(&(repository, kind, tag))?;
    let mut tx = service.store.write().await?;
    let found = tx.node_named(&node).await?.ok_or_else(|| absent("node", &node))?;
    if !tx.disallow_node(&name, &found.identity).await? {
        return Err(absent(&format!("reader of {name}"), node));
    }
    disallowed(&service, tx, &admin, &name, &Reader::Node(node)).await
}

pub(super) async fn disallow_pool<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part((repository, kind, tag, pool)): Part<(String, String, String, PoolName)>,
) -> Result<StatusCode, Refusal> {
    let name = uri(&(repository, kind, tag))?;
    let mut tx = service.store.write().await?;
    if !tx.disallow_pool(&name, &pool).await? {
        return Err(absent(&format!("reader of {name}"), pool));
    }
    disallowed(&service, tx, &admin, &name, &Reader::Pool(pool)).await
}

async fn disallowed<S: Store>(
    service: &Service<S>,
    mut tx: S::Tx,
    admin: &Admin,
    name: &ResourceUri,
    reader: &Reader,
) -> Result<StatusCode, Refusal> {
    let entry = admin.entry("resource.disallow", name, json!({"reader": reader}));
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn values<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(name): Part<PoolName>,
) -> Result<axum::Json<BTreeMap<String, Value>>, Refusal> {
    let mut tx = service.store.read().await?;
    let pool = pool(&mut tx, &name).await?;
    Ok(axum::Json(tx.reference_values(&pool.name).await?))
}

/// Tuples decide again.
pub(super) async fn clear_values<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<PoolName>,
) -> Result<StatusCode, Refusal> {
    let mut tx = service.store.write().await?;
    let pool = pool(&mut tx, &name).await?;
    let count = tx.clear_reference_values(&pool.name).await?;
    let entry = admin.entry("reference-values.clear", &name, json!({"names": count}));
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The resource that three parts of a path name; what names none does not exist.
pub(super) fn uri((repository, kind, tag): &Parts) -> Result<ResourceUri, Refusal> {
    let text = format!("kbs:///{repository}/{kind}/{tag}");
    text.parse().map_err(|error| Refusal::new(Code::MalformedRequest, error))
}

async fn pool<T: Tx>(tx: &mut T, name: &PoolName) -> Result<PoolRow, Refusal> {
    tx.pool(name).await?.ok_or_else(|| absent("pool", name))
}

async fn find<T: Tx>(tx: &mut T, name: &ResourceUri) -> Result<ResourceRow, Refusal> {
    tx.resource(name).await?.ok_or_else(|| absent("resource", name))
}

async fn record<T: Tx>(tx: &mut T, row: ResourceRow) -> Result<ResourceRecord, Refusal> {
    Ok(ResourceRecord {
        nodes: tx.resource_nodes(&row.name).await?,
        pools: tx.resource_pools(&row.name).await?,
        name: row.name,
        size: row.size,
        updated: row.updated,
    })
}
