//! Image and platform tuples.

use super::{Admin, absent, conflict};
use crate::audit;
use crate::extract::{Json, Part};
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{Store, Tuple, Tx as _};
use axum::extract::State;
use axum::http::StatusCode;
use ccnode_evidence::{Code, ImageTuple, PlatformTuple, Sha256Digest, TupleError};
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::{ImageRecord, Pair, PlatformRecord};
use serde_json::json;
use std::sync::Arc;

fn malformed(error: TupleError) -> Refusal {
    Refusal::new(Code::MalformedRequest, error)
}

/// What the release compares with the root on disk has to be what the measured command line makes the kernel mount.
fn declares(tuple: &ImageTuple) -> Result<(), Refusal> {
    let mut declared = tuple.cmdline.split(' ').filter_map(|word| word.strip_prefix("ccnode.roothash="));
    match (declared.next(), declared.next()) {
        (Some(hash), None) if hash == tuple.verity_hash.hex() => Ok(()),
        _ => {
            let text = format!("cmdline does not hold ccnode.roothash={} and no other", tuple.verity_hash);
            Err(Refusal::new(Code::MalformedRequest, text))
        }
    }
}

/// Pools with a pair of which `of` is this tuple's id.
fn pools(pairs: &[(PoolName, Pair)], of: impl Fn(&Pair) -> bool) -> Vec<PoolName> {
    let mut names: Vec<_> = pairs.iter().filter(|(_, p)| of(p)).map(|(name, _)| name.clone()).collect();
    names.dedup();
    names
}

fn image_record(row: Tuple<ImageTuple>, pairs: &[(PoolName, Pair)]) -> ImageRecord {
    let pools = pools(pairs, |pair| pair.image == row.id);
    ImageRecord { id: row.id, registered: row.registered, pools, tuple: row.tuple }
}

fn platform_record(row: Tuple<PlatformTuple>, pairs: &[(PoolName, Pair)]) -> PlatformRecord {
    let pools = pools(pairs, |pair| pair.platform == row.id);
    PlatformRecord { id: row.id, registered: row.registered, pools, tuple: row.tuple }
}

pub(super) async fn images<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
) -> Result<axum::Json<Vec<ImageRecord>>, Refusal> {
    let mut tx = service.store.read().await?;
    let pairs = tx.pairs(None).await?;
    Ok(axum::Json(tx.images().await?.into_iter().map(|row| image_record(row, &pairs)).collect()))
}

pub(super) async fn image<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(id): Part<Sha256Digest>,
) -> Result<axum::Json<ImageRecord>, Refusal> {
    let mut tx = service.store.read().await?;
    let row = tx.image(&id).await?.ok_or_else(|| absent("image", id))?;
    Ok(axum::Json(image_record(row, &tx.pairs(None).await?)))
}

pub(super) async fn register_image<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Json(tuple): Json<ImageTuple>,
) -> Result<(StatusCode, axum::Json<ImageRecord>), Refusal> {
    if tuple.format != 1 {
        return Err(malformed(TupleError::Format(tuple.format)));
    }
    tuple.check().map_err(malformed)?;
    declares(&tuple)?;
    let now = service.now();
    let row = Tuple { id: tuple.id(), registered: now, tuple };
    let mut tx = service.store.write().await?;
    if !tx.insert_image(&row).await? {
        return Err(conflict(format!("image {} is registered already", row.id)));
    }
    let detail = json!({"name": row.tuple.name, "version": row.tuple.version, "verity-hash": row.tuple.verity_hash, "layout": row.tuple.layout});
    audit::append(&mut tx, now, admin.entry("image.register", row.id, detail)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, axum::Json(image_record(row, &[]))))
}

pub(super) async fn delete_image<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(id): Part<Sha256Digest>,
) -> Result<StatusCode, Refusal> {
    let mut tx = service.store.write().await?;
    let row = tx.image(&id).await?.ok_or_else(|| absent("image", id))?;
    let record = image_record(row, &tx.pairs(None).await?);
    if let Some(pool) = record.pools.first() {
        return Err(conflict(format!("pool `{pool}` allows image {id}; disallow it first")));
    }
    tx.delete_image(&id).await?;
    audit::append(
        &mut tx,
        service.now(),
        admin.entry("image.delete", id, json!({"name": record.tuple.name})),
    )
    .await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn platforms<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
) -> Result<axum::Json<Vec<PlatformRecord>>, Refusal> {
    let mut tx = service.store.read().await?;
    let pairs = tx.pairs(None).await?;
    Ok(axum::Json(tx.platforms().await?.into_iter().map(|row| platform_record(row, &pairs)).collect()))
}

pub(super) async fn platform<S: Store>(
    State(service): State<Arc<Service<S>>>,
    _: Admin,
    Part(id): Part<Sha256Digest>,
) -> Result<axum::Json<PlatformRecord>, Refusal> {
    let mut tx = service.store.read().await?;
    let row = tx.platform(&id).await?.ok_or_else(|| absent("platform", id))?;
    Ok(axum::Json(platform_record(row, &tx.pairs(None).await?)))
}

pub(super) async fn register_platform<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Json(tuple): Json<PlatformTuple>,
) -> Result<(StatusCode, axum::Json<PlatformRecord>), Refusal> {
    if tuple.format != 1 {
        return Err(malformed(TupleError::Format(tuple.format)));
    }
    tuple.check().map_err(malformed)?;
    let now = service.now();
    let row = Tuple { id: tuple.id(), registered: now, tuple };
    let mut tx = service.store.write().await?;
    if !tx.insert_platform(&row).await? {
        return Err(conflict(format!("platform {} is registered already", row.id)));
    }
    let detail = json!({"name": row.tuple.name});
    audit::append(&mut tx, now, admin.entry("platform.register", row.id, detail)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, axum::Json(platform_record(row, &[]))))
}

pub(super) async fn delete_platform<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(id): Part<Sha256Digest>,
) -> Result<StatusCode, Refusal> {
    let mut tx = service.store.write().await?;
    let row = tx.platform(&id).await?.ok_or_else(|| absent("platform", id))?;
    let record = platform_record(row, &tx.pairs(None).await?);
    if let Some(pool) = record.pools.first() {
        return Err(conflict(format!("pool `{pool}` allows platform {id}; disallow it first")));
    }
    tx.delete_platform(&id).await?;
    let entry = admin.entry("platform.delete", id, json!({"name": record.tuple.name}));
    audit::append(&mut tx, service.now(), entry).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
