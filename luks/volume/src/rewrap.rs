//! Wraps the volume key anew under another unlock key; the caller registers and writes the finished header.

use ccnode_luks_header::{Expected, Refusal, Token, retoken};

use crate::keys::{RecoveryKey, UnlockKey, VolumeKey};

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
    let key = unwrap(header, current)?;
    // The volume key is the same, and so is who recovers it.
    following(header, &key, next, header.token().recovery.clone())
}

/// Makes the header of the same volume under the same unlock key, of the generation after, with another recovery key or none.
pub fn renew(
    header: &Expected,
    unlock_key: &UnlockKey,
    recovery_key: Option<&RecoveryKey>,
) -> Result<Expected, RewrapError> {
    let key = unwrap(header, unlock_key)?;
    following(header, &key, unlock_key, recovery_key.map(|recovery| key.wrap(recovery.bytes())))
}

fn unwrap(header: &Expected, unlock_key: &UnlockKey) -> Result<VolumeKey, RewrapError> {
    VolumeKey::unwrap(&header.token().wrapped, unlock_key).ok_or(RewrapError::UnlockKeyWrong)
}

fn following(
    header: &Expected,
    key: &VolumeKey,
    next: &UnlockKey,
    recovery: Option<Vec<u8>>,
) -> Result<Expected, RewrapError> {
    let old = header.token();
    let generation = old.generation.saturating_add(1);
    let token = Token { volume: old.volume.clone(), generation, wrapped: key.wrap(next), recovery };
    Ok(retoken(header, &token)?)
}
