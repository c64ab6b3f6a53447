//! Another unlock key for a volume: made beside the current one, given to the node with it, and in force once the node has the header
//! under it on its disk.

use crate::erase::{self, DestroyedKey};
use crate::extract::Json;
use crate::finish::CorrelationId;
use crate::keys::random;
use crate::node_api::{Spent, advance, granted, unexpired};
use crate::problem::Refusal;
use crate::service::Service;
use crate::store::{GrantKind, GrantRow, NextKey, Store, Tx, VolumeRow};
use axum::extract::State;
use axum::http::StatusCode;
use ccnode_evidence::{Code, Secret, Sha256Digest};
use ccnode_protocol::admin::{VolumeRecord, VolumeState};
use ccnode_protocol::grants::{Committed, Grant, Rotated, Rotation};
use serde_json::json;
use std::sync::Arc;

/// A new key to take the place of the volume's, which no header is on record for yet.
pub(crate) fn next_key<S>(service: &Service<S>, volume: &VolumeRow) -> Result<NextKey, Refusal> {
    let place = VolumeRow::next_place(&volume.identity, &volume.record.id);
    let key = service.at_rest.seal(&place, random().expose()).map_err(Refusal::internal)?;
    Ok(NextKey { key, digest: None })
}

/// The next key of a volume that goes over to the node `to`, sealed for its place there.
pub(crate) fn moved<S>(
    service: &Service<S>,
    volume: &VolumeRow,
    to: &Sha256Digest,
) -> Result<Option<NextKey>, Refusal> {
    let Some(next) = &volume.next else { return Ok(None) };
    let key = open(service, volume, next)?;
    let place = VolumeRow::next_place(to, &volume.record.id);
    let key = service.at_rest.seal(&place, key.expose()).map_err(Refusal::internal)?;
    Ok(Some(NextKey { key, digest: next.digest }))
}

/// What a release says of a rotation that was asked for; `grant` spends it.
pub(crate) fn offer<S>(
    service: &Service<S>,
    volume: &VolumeRow,
    next: &NextKey,
    grant: Grant,
) -> Result<Rotation, Refusal> {
    Ok(Rotation { next_key: open(service, volume, next)?, pending: next.digest, grant })
}

fn open<S>(service: &Service<S>, volume: &VolumeRow, next: &NextKey) -> Result<Secret<32>, Refusal> {
    let place = VolumeRow::next_place(&volume.identity, &volume.record.id);
    let key = service.at_rest.open(&place, &next.key).map_err(Refusal::internal)?;
    Secret::try_from(key.as_slice()).map_err(|_| Refusal::internal("a sealed key of another length"))
}

/// The volume of a rotation's grant, whatever its generation.
async fn volume<T: Tx>(tx: &mut T, grant: &GrantRow, generation: u64) -> Result<VolumeRow, Refusal> {
    let id = grant.volume.as_deref().unwrap_or_default();
    let volume = tx.volume(id).await?.filter(|volume| volume.identity == grant.identity);
    let volume = volume.ok_or_else(|| Refusal::internal("the grant's volume is gone"))?;
    match (volume.record.state, grant.generation) {
        (VolumeState::Retired, _) => {
            Err(Refusal::new(Code::VolumeRetired, format!("the key of {id} was forgotten")))
        }
        (_, granted) if granted == Some(generation) => Ok(volume),
        (_, granted) => {
            Err(stale(&volume, &format!("the grant is for {granted:?}, the request for {generation}")))
        }
    }
}

/// The key that is to take the place of the volume's at `generation`.
fn next(volume: &VolumeRow, generation: u64) -> Result<&NextKey, Refusal> {
    let record = &volume.record;
    let turn = record.state == VolumeState::Ready && record.generation.checked_add(1) == Some(generation);
    let next = volume.next.as_ref().filter(|_| turn);
    next.ok_or_else(|| stale(volume, &format!("no key of generation {generation} is to take its place")))
}

fn stale(volume: &VolumeRow, text: &str) -> Refusal {
    let VolumeRecord { id, generation, state, .. } = &volume.record;
    Refusal::new(Code::GenerationStale, format!("{id} is {state:?} at generation {generation}: {text}"))
}

/// `POST /ccnode/v1/volumes/rotated`: a header under the next key is on record beside the current one. The node may write it now.
pub async fn rotated<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    Json(request): Json<Rotated>,
) -> Result<StatusCode, Refusal> {
    let Spent { mut tx, grant, node, .. } =
        granted(&service, GrantKind::Rotate, &request.grant, &request.secret).await?;
    let about = |refusal: Refusal| refusal.of(&node.pool, &node.name).proven();
    let from = volume(&mut tx, &grant, request.generation).await.map_err(about)?;
    let next = next(&from, request.generation).map_err(about)?;
    if next.digest == Some(request.header_digest) {
        return Ok(StatusCode::NO_CONTENT);
    }
    // Somebody else began meanwhile, and may have written what is on record now.
    if next.digest != request.replaces {
        return Err(about(stale(&from, "another header is on record than the one to replace")));
    }
    unexpired(&grant, service.now()).map_err(about)?;
    let next = NextKey { key: next.key.clone(), digest: Some(request.header_digest) };
    let to = VolumeRow { next: Some(next), ..from.clone() };
    let detail = json!({
        "generation": request.generation, "header-digest": request.header_digest, "replaces": request.replaces,
    });
    let what = ("volume.rotated", detail, id.as_str());
    advance(&service, tx, &node, (&from, &to), what).await.map_err(about)
}

/// `POST /ccnode/v1/volumes/committed`: the header on record is on the disk. Its key and digest are the volume's from now on, and the key
/// before is nowhere any more.
pub async fn committed<S: Store>(
    State(service): State<Arc<Service<S>>>,
    CorrelationId(id): CorrelationId,
    Json(request): Json<Committed>,
) -> Result<StatusCode, Refusal> {
    let Spent { mut tx, grant, node, .. } =
        granted(&service, GrantKind::Rotate, &request.grant, &request.secret).await?;
    let about = |refusal: Refusal| refusal.of(&node.pool, &node.name).proven();
    let from = volume(&mut tx, &grant, request.generation).await.map_err(about)?;
    let record = &from.record;
    if (record.generation, record.header_digest) == (request.generation, Some(request.header_digest)) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let next = next(&from, request.generation).map_err(about)?;
    if next.digest != Some(request.header_digest) {
        return Err(about(stale(&from, "another header is on record than the one that was written")));
    }
    unexpired(&grant, service.now()).map_err(about)?;
    let key = open(&service, &from, next)?;
    let place = VolumeRow::place(&from.identity, &record.id);
    let sealed = service.at_rest.seal(&place, key.expose()).map_err(Refusal::internal)?;
    let to = VolumeRow {
        record: VolumeRecord {
            generation: request.generation,
            header_digest: Some(request.header_digest),
            ..record.clone()
        },
        unlock_key: Some(sealed),
        next: None,
        ..from.clone()
    };
    // What sessions were granted before has the old key in it.
    tx.forget_session_grants(&from.identity).await?;
    let detail = json!({
        "generation": request.generation, "header-digest": request.header_digest,
        "before": record.header_digest, erase::MEMBER: DestroyedKey::of_key(&from).as_slice(),
    });
    let what = ("volume.committed", detail, id.as_str());
    let answer = advance(&service, tx, &node, (&from, &to), what).await.map_err(about)?;
    erase::scrub(&service).await;
    Ok(answer)
}
