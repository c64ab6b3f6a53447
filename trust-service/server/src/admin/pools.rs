//! Pools, their endorsement key roots and allowed pairs.

use super::{Admin, absent, conflict};
use crate::audit;
use crate::extract::{Json, Part};
use crate::pki;
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{PoolRow, Store, Tx};
use axum::extract::State;
use axum::http::StatusCode;
use ccnode_appraise::{Hardware, HardwarePolicy};
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::{EkRootAdd, NodeFilter, Pair, Pool, PoolCreate, PoolEdit, TrustLevel};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

type Answer = Result<axum::Json<Pool>, Refusal>;

pub(super) async fn list<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
) -> Result<axum::Json<Vec<Pool>>, Refusal> {
    let mut tx = service.store.read().await?;
    let mut out = Vec::new();
    for row in tx.pools().await? {
        out.push(assemble(&mut tx, row).await?);
    }
    Ok(axum::Json(out))
}

pub(super) async fn show<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(name): Part<PoolName>,
) -> Answer {
    let mut tx = service.store.read().await?;
    let row = find(&mut tx, &name).await?;
    assemble(&mut tx, row).await.map(axum::Json)
}

pub(super) async fn create<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Json(wish): Json<PoolCreate>,
) -> Result<(StatusCode, axum::Json<Pool>), Refusal> {
    if wish.cluster.is_none() && service.cluster.is_none() {
        return Err(conflict(format!(
            "pool `{}` names no cluster, and config.toml has no [cluster] for pools that name none: give \
             --cluster-server and --cluster-ca, or add that table and start the service again",
            wish.name
        )));
    }
    let now = service.now();
    let detail = json!({"wish": wish});
    let mut row = PoolRow {
        name: wish.name,
        on_unknown: wish.on_unknown,
        rules: wish.rules,
        on_foreign_disk: wish.on_foreign_disk,
        allow_init_data: wish.allow_init_data,
        hardware: HardwarePolicy::default(),
        cluster: wish.cluster,
        created: now,
    };
    row.rules.sort();
    row.rules.dedup();
    let mut tx = service.store.write().await?;
    if !tx.insert_pool(&row).await? {
        return Err(conflict(format!("there is a pool `{}` already", row.name)));
    }
    audit::append(&mut tx, now, admin.entry("pool.create", &row.name, detail)).await?;
    let pool = assemble(&mut tx, row).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, axum::Json(pool)))
}

pub(super) async fn edit<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<PoolName>,
    Json(edit): Json<PoolEdit>,
) -> Answer {
    let mut tx = service.store.write().await?;
    let mut row = find(&mut tx, &name).await?;
    let detail = json!({"edit": edit});
    row.on_unknown = edit.on_unknown.unwrap_or(row.on_unknown);
    row.rules = edit.rules.unwrap_or(row.rules);
    row.on_foreign_disk = edit.on_foreign_disk.unwrap_or(row.on_foreign_disk);
    row.allow_init_data = edit.allow_init_data.unwrap_or(row.allow_init_data);
    row.cluster = edit.cluster.or(row.cluster);
    row.rules.sort();
    row.rules.dedup();
    tx.update_pool(&row).await?;
    done(&service, tx, row, admin.entry("pool.edit", &name, detail)).await
}

pub(super) async fn delete<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<PoolName>,
) -> Result<StatusCode, Refusal> {
    let mut tx = service.store.write().await?;
    let row = find(&mut tx, &name).await?;
    let nodes = count(&mut tx, &name).await?;
    if nodes > 0 {
        return Err(conflict(format!("pool `{name}` has {nodes} nodes; delete them first")));
    }
    tx.delete_pool(&row.name).await?;
    audit::append(&mut tx, service.now(), admin.entry("pool.delete", &name, json!({}))).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn allow<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<PoolName>,
    Json(pair): Json<Pair>,
) -> Answer {
    let mut tx = service.store.write().await?;
    let row = find(&mut tx, &name).await?;
    if tx.platform(&pair.platform).await?.is_none() {
        return Err(absent("platform", pair.platform));
    }
    if tx.image(&pair.image).await?.is_none() {
        return Err(absent("image", pair.image));
    }
    tx.insert_pair(&name, &pair).await?;
    done(&service, tx, row, admin.entry("pool.allow", &name, json!({"pair": pair}))).await
}

pub(super) async fn disallow<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part((name, platform, image)): Part<(PoolName, Sha256Digest, Sha256Digest)>,
) -> Result<StatusCode, Refusal> {
    let mut tx = service.store.write().await?;
    find(&mut tx, &name).await?;
    let pair = Pair { platform, image };
    if !tx.delete_pair(&name, &pair).await? {
        return Err(absent("allowed pair", format_args!("{platform} with {image}")));
    }
    audit::append(&mut tx, service.now(), admin.entry("pool.disallow", &name, json!({"pair": pair}))).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn add_ek_root<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<PoolName>,
    Json(add): Json<EkRootAdd>,
) -> Answer {
    let malformed = |e: pki::PkiError| Refusal::new(Code::MalformedRequest, e);
    let der = pki::der_of_pem(&add.certificate).map_err(malformed)?;
    if matches!(add.level, TrustLevel::Tee | TrustLevel::TeeBoundVtpm) {
        let text = "level: no certificate of an endorsement key proves a TEE; hypervisor-vtpm and discrete-tpm can be given";
        return Err(Refusal::new(Code::MalformedRequest, text));
    }
    let root = pki::ek_root(&der, add.level).map_err(malformed)?;
    let mut tx = service.store.write().await?;
    let row = find(&mut tx, &name).await?;
    if !tx.insert_ek_root(&name, &root).await? {
        return Err(conflict(format!("pool `{name}` has the EK root {} already", root.id)));
    }
    let detail = json!({"id": root.id, "subject": root.subject, "level": root.level});
    done(&service, tx, row, admin.entry("pool.ek-root.add", &name, detail)).await
}

pub(super) async fn remove_ek_root<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part((name, id)): Part<(PoolName, Sha256Digest)>,
) -> Result<StatusCode, Refusal> {
    let mut tx = service.store.write().await?;
    find(&mut tx, &name).await?;
    if !tx.delete_ek_root(&name, &id).await? {
        return Err(absent("EK root", id));
    }
    audit::append(&mut tx, service.now(), admin.entry("pool.ek-root.remove", &name, json!({"id": id})))
        .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn hardware<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(name): Part<PoolName>,
) -> Result<axum::Json<HardwarePolicy>, Refusal> {
    Ok(axum::Json(find(&mut service.store.read().await?, &name).await?.hardware))
}

/// A hardware policy as the body of a request.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Demands(#[serde(deserialize_with = "ccnode_appraise::table")] HardwarePolicy);

/// The whole policy takes the place of the one before, once its roots are read and its images are registered.
pub(super) async fn set_hardware<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<PoolName>,
    Json(Demands(policy)): Json<Demands>,
) -> Result<axum::Json<HardwarePolicy>, Refusal> {
    let hardware = Hardware::new(policy).map_err(|e| Refusal::new(Code::MalformedRequest, e))?;
    let mut tx = service.store.write().await?;
    let mut row = find(&mut tx, &name).await?;
    for image in hardware.policy().images() {
        if tx.image(&image).await?.is_none() {
            return Err(absent("image", image));
        }
    }
    let entry = admin.entry("pool.hardware", &name, json!({"from": row.hardware, "to": hardware.policy()}));
    row.hardware = hardware.policy().clone();
    tx.update_pool(&row).await?;
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await?;
    Ok(axum::Json(row.hardware))
}

async fn find<T: Tx>(tx: &mut T, name: &PoolName) -> Result<PoolRow, Refusal> {
    tx.pool(name).await?.ok_or_else(|| absent("pool", name))
}

async fn count<T: Tx>(tx: &mut T, name: &PoolName) -> Result<u64, Refusal> {
    let filter = NodeFilter { pool: Some(name.clone()), state: None };
    Ok(u64::try_from(tx.nodes(&filter).await?.len()).unwrap_or(u64::MAX))
}

async fn done<S: Store>(
    service: &Service<S>,
    mut tx: S::Tx,
    row: PoolRow,
    entry: crate::store::AuditEntry<'_>,
) -> Answer {
    audit::append(&mut tx, service.now(), entry).await?;
    let pool = assemble(&mut tx, row).await?;
    tx.commit().await?;
    Ok(axum::Json(pool))
}

async fn assemble<T: Tx>(tx: &mut T, row: PoolRow) -> Result<Pool, Refusal> {
    let pairs = tx.pairs(Some(&row.name)).await?.into_iter().map(|(_, pair)| pair).collect();
    Ok(Pool {
        ek_roots: tx.ek_roots(&row.name).await?,
        pairs,
        nodes: count(tx, &row.name).await?,
        name: row.name,
        on_unknown: row.on_unknown,
        rules: row.rules,
        on_foreign_disk: row.on_foreign_disk,
        allow_init_data: row.allow_init_data,
        least_level: row.hardware.least_level.map(crate::references::level),
        cluster: row.cluster,
        created: row.created,
    })
}
