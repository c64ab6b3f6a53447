//! A node's volumes are to have other unlock keys.

use super::nodes::{Answer, assemble, done, reason, swap, unretired};
use super::{Admin, conflict};
use crate::extract::{Json, Part};
use crate::rekey::next_key;
use crate::service::Service;
use crate::store::{Store, Tx as _, VolumeRow};
use axum::extract::State;
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{NodeAction, VolumeState};
use serde_json::json;
use std::sync::Arc;

/// Each volume that is ready gets a next key, for the node to wrap its volume key under when it boots. Where one was asked for already,
/// nothing changes: the disk may hold a header under it.
pub(super) async fn rotate_key<S: Store>(
    State(service): State<Arc<Service<S>>>,
    admin: Admin,
    Part(name): Part<NodeName>,
    Json(action): Json<NodeAction>,
) -> Answer {
    let reason = reason(action)?;
    let mut tx = service.store.write().await?;
    let row = unretired(&mut tx, &name).await?;
    let mut ready = tx.volumes(&row.identity).await?;
    ready.retain(|volume| volume.record.state == VolumeState::Ready);
    if ready.is_empty() {
        let text =
            format!("no volume of `{name}` is ready: there is a key to change once a boot has filled one");
        return Err(conflict(text));
    }
    ready.retain(|volume| volume.next.is_none());
    if ready.is_empty() {
        return assemble(&mut tx, row).await.map(axum::Json);
    }
    let mut ids = Vec::new();
    for volume in &ready {
        let next = Some(next_key(&service, volume)?);
        swap(&mut tx, volume, &VolumeRow { next, ..volume.clone() }).await?;
        ids.push(volume.record.id.as_str());
    }
    let entry = admin.entry("node.rotate-key", &name, json!({"reason": reason, "volumes": ids}));
    done(&service, tx, row, entry).await
}
