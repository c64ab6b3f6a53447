//! A volume on a rescue machine, opened by the key that its custodians put together.

use crate::args::Global;
use crate::error::Denied;
use crate::{output, recover};
use anyhow::{Context as _, Result};
use ccnode_luks_header::{Allowlist, Expected, HeaderDigest, Integrity, Refusal, find, read};
use ccnode_luks_volume::{Name, OpenError, RecoveryKey, open_recovered};
use serde_json::json;
use std::fs::File;
use std::path::Path;
use zeroize::Zeroizing;

/// Maps the volume from the header that was judged, never from the disk's own.
pub(super) fn open(global: &Global, device: &Path, name: &Name, key: &Path) -> Result<()> {
    let key = recover::recovered(key)?;
    let file = File::open(device).with_context(|| format!("reading {}", device.display()))?;
    let wanted: Vec<_> = key.header_digests.iter().map(|digest| HeaderDigest(digest.0)).collect();
    let header = judged(file, &wanted).map_err(|refusal| {
        let what = format!("{}: {}: {refusal}", device.display(), refusal.code());
        let next = match &refusal {
            Refusal::Digest { .. } => format!(
                "where the unlock key was changed since, fetch, open and combine anew; else see that this is the disk of {}",
                key.volume
            ),
            _ => format!("see that this is the partition of {}", key.volume),
        };
        Denied::new(what, next)
    })?;
    let is = (header.token().volume.as_str(), header.uuid());
    if is != (key.volume.as_str(), key.uuid.as_str()) {
        let what = format!("{} is {} ({}), and the key is of {}", device.display(), is.0, is.1, key.volume);
        return Err(Denied::new(what, "take the key of this volume, or the disk of that one").into());
    }
    let recovery_key = RecoveryKey::new(Zeroizing::new(*key.key.expose()));
    let opened = open_recovered(&header, device, &recovery_key, name).map_err(|error| match error {
        error @ (OpenError::RecoveryKeyWrong | OpenError::NoRecovery | OpenError::VolumeKeyWrong) => {
            let what = format!("{}: {error}", device.display());
            Denied::new(what, "fetch the shares of this volume, and combine them anew").into()
        }
        error => anyhow::Error::from(error).context(format!("opening {}", device.display())),
    })?;
    let path = opened.path().display().to_string();
    match global.json {
        true => output::json(&json!({ "device": path, "volume": key.volume, "bytes": opened.len() })),
        false => output::line(&path),
    }
}

/// The header on the disk, if it is one of those on record, which pin their integrity protection as well.
fn judged(disk: File, wanted: &[HeaderDigest]) -> Result<Expected, Refusal> {
    let bytes = read(disk, &Allowlist::VOLUME)?;
    let mut refused = None;
    for integrity in Integrity::ALL {
        match find(bytes.clone(), &Allowlist::volume(integrity), wanted) {
            Ok(found) => return Ok(found.into_header()),
            // Acceptable, and not on record: that says more than what the others want.
            Err(refusal @ Refusal::Digest { .. }) => return Err(refusal),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    Err(refused.unwrap_or(Refusal::NotLuks2))
}

/// Unmaps it.
pub(super) fn close(name: &Name) -> Result<()> {
    ccnode_luks_volume::close_volume(name).with_context(|| format!("closing {name}"))
}
