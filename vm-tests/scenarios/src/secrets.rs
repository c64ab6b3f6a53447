//! What must never show: opens a service's store with its key-encryption key to learn what to search for.

use anyhow::{Context as _, Result};
use ccnode_server::keys::Kek;
use ccnode_server::store::SqliteStore;
use ccnode_server::store::{Store as _, Tx as _, VolumeRow};

use crate::trust::TrustDir;

/// Every unlock key that the service holds.
///
/// # Errors
/// When the store doesn't open with the key beside it.
pub fn unlock_keys(trust: &TrustDir) -> Result<Vec<Vec<u8>>> {
    let dir = trust.path();
    let at_rest = Kek::load(&dir.join("kek.key"))?.sealer(ccnode_server::service::AT_REST);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let store = SqliteStore::open(&dir.join("db.sqlite"), false).await?;
        let mut tx = store.read().await?;
        let mut keys = Vec::new();
        for node in tx.nodes(&Default::default()).await? {
            for volume in tx.volumes(&node.identity).await? {
                let sealed = volume.unlock_key.as_ref().context("a volume without a key")?;
                keys.push(
                    at_rest.open(&VolumeRow::place(&volume.identity, &volume.record.id), sealed)?.to_vec(),
                );
            }
        }
        Ok(keys)
    })
}

/// The forms in which a key could leak: raw, hex in both cases, base64 in both alphabets, and a debug list.
#[must_use]
pub fn forms(key: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
    let list: Vec<String> = key.iter().map(u8::to_string).collect();
    vec![
        key.to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        data_encoding::BASE64_NOPAD.encode(key).into_bytes(),
        data_encoding::BASE64URL_NOPAD.encode(key).into_bytes(),
        list.join(", ").into_bytes(),
    ]
}
