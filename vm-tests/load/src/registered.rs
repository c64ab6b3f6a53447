//! Nodes that are on record and silent.

use anyhow::{Context as _, Result, ensure};
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{NodeFilter, VolumeState};
use ccnode_server::store::{NodeRow, SqliteStore, Store as _, Tx as _, VolumeRow};
use std::path::Path;
use std::str::FromStr as _;

/// Adds `count` nodes to the stopped service in `dir`, each like the first one there is, with a volume that is ready.
///
/// Their evidence is not kept: 60 KiB each would be a matter of disks alone.
pub(crate) async fn fill(dir: &Path, count: usize) -> Result<()> {
    let store = SqliteStore::open(&dir.join("db.sqlite"), false).await?;
    let mut tx = store.write().await?;
    let model = tx.nodes(&NodeFilter::default()).await?.into_iter().next().context("no node is on record")?;
    let volume = tx.volumes(&model.identity).await?.into_iter().next().context("it has no volume")?;
    ensure!(volume.record.state == VolumeState::Ready, "its volume is not ready");
    for n in 0..count {
        let identity = Sha256Digest::of(format!("silent {n}").as_bytes());
        let name = NodeName::from_str(&format!("silent-{n}"))?;
        let row = NodeRow { identity, name: name.clone(), ..model.clone() };
        let mut record = volume.record.clone();
        record.id = format!("{name}/root");
        ensure!(tx.insert_node(&row).await?, "{name} is there already");
        tx.insert_volume(&VolumeRow { identity, record, ..volume.clone() }).await?;
    }
    tx.commit().await?;
    store.close().await;
    Ok(())
}
