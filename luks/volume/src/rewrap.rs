//! Wraps the volume key anew under another unlock key; the caller registers and writes the finished header.

use ccnode_luks_header::{Expected, Refusal, Token, retoken};

use crate::keys::{UnlockKey, VolumeKey};

/// The header under the next key could not be made. Nothing was written to any disk.
#[derive(Debug, thiserror::Error)]
pub enum RewrapError {
    /// The unlock key is not the one that wrapped this volume's key.
    #[error("the unlock key does not unwrap the volume key")]
    UnlockKeyWrong,
    /// The header that was made is not what the allowlist wants.
    #[error("the new header: {0}")]
    Refused(#[from] Refusal),
}

/// Makes the header of the same volume under `next`, of the generation after: `current` opens what is there.
///
/// The same arguments make the same bytes, so that what was begun and cut short is begun again alike.
pub fn rewrap(header: &Expected, current: &UnlockKey, next: &UnlockKey) -> Result<Expected, RewrapError> {
    let old = header.token();
    let key = VolumeKey::unwrap(&old.wrapped, current).ok_or(RewrapError::UnlockKeyWrong)?;
    let token = Token {
        volume: old.volume.clone(),
        generation: old.generation.saturating_add(1),
        wrapped: key.wrap(next),
        // The volume key is the same, and so is who recovers it.
        recovery: old.recovery.clone(),
    };
    Ok(retoken(header, &token)?)
}
