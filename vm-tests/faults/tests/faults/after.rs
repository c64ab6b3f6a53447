//! What must hold whatever happened: nothing acknowledged is lost, no grant worked twice, the audit log is whole.

use crate::node::Walk;
use crate::service::Service;
use ccnode_protocol::admin::AuditRow;
use ccnode_protocol::grants::VolumeAction;
use ccnode_server::release::RELEASES_PER_BOOT;
use ccnode_server::store::{SqliteStore, Store as _, Tx as _};
use std::collections::BTreeMap;

/// What the next boot of a node shows of the one before.
pub(crate) fn goes_on_from(first: &Walk, second: &Walk) {
    let volume = second.volume().unwrap();
    let opens = matches!(volume.action, VolumeAction::Open { .. });
    assert!(opens || !first.ready, "a volume that was ready is made anew");
    if let Some(before) = first.volume() {
        assert!(before.unlock_key == volume.unlock_key, "another key");
        assert_eq!(before.uuid, volume.uuid);
        let grown = volume.generation > before.generation;
        assert!(if opens { volume.generation == before.generation } else { grown }, "generations");
    }
}

/// What a stopped service has on record of boots; all of one node but the last, which is another one's.
pub(crate) async fn on_record(service: &Service, walks: &[&Walk], other: &Walk) {
    assert_eq!(service.audit_verified().await, Ok(()));
    let rows = rows(service).await;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for row in &rows {
        let of = match row.action.as_str() {
            "volume.formatted" | "volume.ready" => &row.detail["generation"],
            "certificate.issued" => &row.detail["csr"],
            "session.granted" => &row.detail["reset-count"],
            _ => continue,
        };
        *counts.entry(format!("{} {} {of}", row.action, row.object)).or_default() += 1;
    }
    for (what, count) in &counts {
        let most = if what.starts_with("session.granted") { RELEASES_PER_BOOT } else { 1 };
        assert!(*count <= most, "{count} times: {what}");
    }
    for walk in walks.iter().copied().chain([other]) {
        let Some(volume) = walk.volume() else { continue };
        let has =
            |action: &str| counts.contains_key(&format!("{action} {} {}", volume.id, volume.generation));
        assert!(has("volume.formatted") || !walk.formatted, "formatted was acknowledged and is lost");
        assert!(has("volume.ready") || !walk.ready, "ready was acknowledged and is lost");
        assert!(rows.iter().any(|row| row.action == "session.granted" && row.object == volume.id));
        let csr = serde_json::to_value(ccnode_evidence::Sha256Digest::of(&walk.csr)).unwrap();
        let issued = rows.iter().any(|row| row.action == "certificate.issued" && row.detail["csr"] == csr);
        assert!(issued || !walk.certified, "a certificate was given and is not on record");
    }
    let last = other.volume().unwrap();
    for walk in walks {
        let foreign = walk.volume().is_some_and(|volume| volume.unlock_key == last.unlock_key);
        assert!(!foreign, "two nodes have one key");
    }
}

/// All rows of the audit log.
pub(crate) async fn rows(service: &Service) -> Vec<AuditRow> {
    let store = SqliteStore::open(&service.dir().join("db.sqlite"), false).await.unwrap();
    let rows = store.read().await.unwrap().audit_from(1).await.unwrap();
    store.close().await;
    rows
}
