//! Another unlock key for a volume that is open: made → on record → on the disk → in force, each proven by the one before.
//!
//! A power cut in between leaves one of the two headers on the disk, or one with a copy of each, and both of them on record.
//!
//! What is not on record is not written, and what is not on the disk is not put in force:
//!
//! ```compile_fail,E0599
//! use ccnode_bootstrap::rotation::Rewrapped;
//! fn unrecorded(made: Rewrapped) {
//!     let _ = made.write(|_, _| Ok(()));
//! }
//! ```
//!
//! ```compile_fail,E0599
//! use ccnode_bootstrap::rotation::Recorded;
//! async fn unwritten(recorded: Recorded) {
//!     let _ = recorded.commit(async |_: &_| Ok::<(), ()>(())).await;
//! }
//! ```

use ccnode_evidence::Sha256Digest;
use ccnode_luks_header::{Expected, METADATA_SIZE};
use ccnode_luks_volume::{RewrapError, UnlockKey, rewrap};
use ccnode_protocol::grants::{Committed, Rotated, Rotation, VolumeGrant};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use zeroize::Zeroizing;

/// A header under the next key, made of one that the current key opens. It is nowhere but in memory.
pub struct Rewrapped {
    header: Expected,
    rotation: Rotation,
}

/// The service has the header on record beside the current one: it may take its place.
pub struct Recorded(Rewrapped);

/// The header is on the disk, whole and flushed: it may become the only one.
pub struct Written {
    generation: u64,
    digest: Sha256Digest,
    rotation: Rotation,
}

/// The key that opens `header`: that of `rotation`, where its header is on the disk already.
pub fn key_of(header: &Expected, volume: &VolumeGrant, rotation: Option<&Rotation>) -> UnlockKey {
    match rotation.filter(|rotation| Written::found(header, rotation).is_some()) {
        Some(rotation) => next_key(rotation),
        None => Zeroizing::new(*volume.unlock_key.expose()),
    }
}

fn next_key(rotation: &Rotation) -> UnlockKey {
    Zeroizing::new(*rotation.next_key.expose())
}

impl Rewrapped {
    /// Wraps the volume key, which `current` unwraps, under the next key.
    pub fn new(header: &Expected, current: &UnlockKey, rotation: &Rotation) -> Result<Self, RewrapError> {
        Ok(Self { header: rewrap(header, current, &next_key(rotation))?, rotation: rotation.clone() })
    }

    /// Has the service put it on record, in place of what an earlier boot began.
    pub async fn record<E>(self, tell: impl AsyncFnOnce(&Rotated) -> Result<(), E>) -> Result<Recorded, E> {
        let Rotation { grant, pending, .. } = &self.rotation;
        let message = Rotated {
            grant: grant.id.clone(),
            secret: grant.secret.clone(),
            generation: self.header.token().generation,
            header_digest: Sha256Digest(self.header.digest().0),
            replaces: *pending,
        };
        tell(&message).await?;
        Ok(Recorded(self))
    }
}

impl Recorded {
    /// Writes it, one copy after the other. `put` writes bytes at an offset, and comes back when they are on the disk.
    pub fn write(self, mut put: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<Written> {
        let Rewrapped { header, rotation } = self.0;
        let len = usize::try_from(METADATA_SIZE).unwrap_or_default();
        let (primary, rest) = header.bytes().split_at_checked(len).unwrap_or_default();
        let secondary = rest.get(..len).unwrap_or_default();
        // While one copy is written, the other is whole.
        put(METADATA_SIZE, secondary)?;
        put(0, primary)?;
        Ok(Written::on_disk(&header, &rotation))
    }
}

impl Written {
    /// The header that an earlier boot had put on record and written: `header` was found on the disk, and is whole there.
    pub fn found(header: &Expected, rotation: &Rotation) -> Option<Self> {
        let written = Self::on_disk(header, rotation);
        (Some(written.digest) == rotation.pending).then_some(written)
    }

    fn on_disk(header: &Expected, rotation: &Rotation) -> Self {
        let digest = Sha256Digest(header.digest().0);
        Self { generation: header.token().generation, digest, rotation: rotation.clone() }
    }

    /// Has the service put it in force, and forget the key before it.
    pub async fn commit<E>(self, tell: impl AsyncFnOnce(&Committed) -> Result<(), E>) -> Result<u64, E> {
        let grant = &self.rotation.grant;
        let message = Committed {
            grant: grant.id.clone(),
            secret: grant.secret.clone(),
            generation: self.generation,
            header_digest: self.digest,
        };
        tell(&message).await?;
        Ok(self.generation)
    }
}

/// Writes to the root partition, and waits until it is there.
pub fn put(root: &File) -> impl FnMut(u64, &[u8]) -> io::Result<()> {
    |offset, bytes| root.write_all_at(bytes, offset).and_then(|()| root.sync_all())
}

#[cfg(test)]
mod tests;
