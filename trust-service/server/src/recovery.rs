//! What recovers a volume: shares that its custodians alone can open, kept sealed like a key, moved and destroyed with it.

use crate::problem::Refusal;
use crate::service::Service;
use crate::store::VolumeRow;
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::admin::RecoveryRecord;
use ccnode_protocol::recovery::Recovery;
use serde::{Deserialize, Serialize};

/// As it lies below the seal.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    /// The generation that formatted the volume; the volume's own goes on with its unlock keys.
    formatted: u64,
    recovery: Recovery,
}

/// The shares that came with the header of a new volume, sealed for its row.
pub(crate) fn seal<S>(
    service: &Service<S>,
    volume: &VolumeRow,
    recovery: Recovery,
) -> Result<Vec<u8>, Refusal> {
    recovery.check().map_err(|error| Refusal::new(Code::MalformedRequest, format!("recovery: {error}")))?;
    let kept = Kept { formatted: volume.record.generation, recovery };
    let plain = serde_json::to_vec(&kept).map_err(Refusal::internal)?;
    let place = VolumeRow::recovery_place(&volume.identity, &volume.record.id);
    service.at_rest.seal(&place, &plain).map_err(Refusal::internal)
}

/// The shares of a volume that goes over to the node `to`, sealed for its row there.
pub(crate) fn moved<S>(
    service: &Service<S>,
    volume: &VolumeRow,
    to: &Sha256Digest,
) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(sealed) = &volume.recovery else { return Ok(None) };
    let id = &volume.record.id;
    let place = VolumeRow::recovery_place(&volume.identity, id);
    let plain = service.at_rest.open(&place, sealed).map_err(Refusal::internal)?;
    let place = VolumeRow::recovery_place(to, id);
    service.at_rest.seal(&place, &plain).map(Some).map_err(Refusal::internal)
}

/// What an administrator takes to the custodians; none where the volume has no header or no custodians.
pub(crate) fn record<S>(service: &Service<S>, volume: &VolumeRow) -> Result<Option<RecoveryRecord>, Refusal> {
    let record = &volume.record;
    let Some((sealed, digest)) = volume.recovery.as_ref().zip(record.header_digest) else { return Ok(None) };
    let place = VolumeRow::recovery_place(&volume.identity, &record.id);
    let plain = service.at_rest.open(&place, sealed).map_err(Refusal::internal)?;
    let Kept { formatted, recovery } = serde_json::from_slice(&plain).map_err(Refusal::internal)?;
    let next = volume.next.as_ref().and_then(|next| next.digest);
    Ok(Some(RecoveryRecord {
        volume: record.id.clone(),
        uuid: record.uuid.clone(),
        formatted,
        header_digests: std::iter::once(digest).chain(next).collect(),
        recovery,
    }))
}
