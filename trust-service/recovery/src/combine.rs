//! Shares that their custodians opened, and the key that enough of them make.

use ccnode_evidence::{Secret, Sha256Digest};
use ccnode_protocol::recovery::{KEY_LEN, LEAST, commitment};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use subtle::ConstantTimeEq as _;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

/// A share in the clear, as a custodian hands it over. Alone it says nothing of the key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Share {
    /// The trust service's name for the volume.
    pub volume: String,
    /// UUID of its LUKS2 header.
    pub uuid: String,
    /// The generation that formatted it.
    pub formatted: u64,
    /// Digests of the headers that its disk may hold.
    pub header_digests: Vec<Sha256Digest>,
    /// How many shares make the key.
    pub threshold: u8,
    /// To the key.
    pub commitment: Sha256Digest,
    /// Which one this is, from 1.
    pub index: u8,
    /// The share.
    pub share: Secret<KEY_LEN>,
}

/// The key of one volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RecoveredKey {
    /// The trust service's name for the volume.
    pub volume: String,
    /// UUID of its LUKS2 header.
    pub uuid: String,
    /// Digests of the headers that its disk may hold.
    pub header_digests: Vec<Sha256Digest>,
    /// What unwraps the volume key.
    pub key: Secret<KEY_LEN>,
}

/// Shares that make no key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CombineError {
    /// Fewer than the volume's threshold, not counting one twice.
    #[error("{have} shares, and {need} are needed")]
    TooFew {
        /// Different shares that are there.
        have: usize,
        /// The threshold.
        need: u8,
    },
    /// Two are of different volumes, formats or headers.
    #[error("shares of two volumes: {0} and {1}, or of two formats or headers of one")]
    Mixed(String, String),
    /// One index with two shares.
    #[error("two different shares have the index {0}")]
    Twice(u8),
    /// Together they make another key than the one that was split.
    #[error("the shares of {0} do not make the key that was split: one of them was changed")]
    Wrong(String),
}

impl CombineError {
    /// What to do about it.
    pub fn next(&self) -> &'static str {
        match self {
            Self::TooFew { .. } => "have more custodians open their shares with `ccnode recover open-share`",
            Self::Mixed(..) => "have all custodians open their shares of one file of `ccnode recover fetch`",
            Self::Twice(_) | Self::Wrong(_) => {
                "have the custodians open their shares anew, or take those of others"
            }
        }
    }
}

/// Puts shares together; one that is there twice counts once.
pub fn combine(shares: &[Share]) -> Result<RecoveredKey, CombineError> {
    let Some(first) = shares.first() else { return Err(CombineError::TooFew { have: 0, need: LEAST }) };
    let about = |s: &Share| {
        let Share { volume, uuid, formatted, header_digests, threshold, commitment, .. } = s.clone();
        (volume, uuid, formatted, header_digests, threshold, commitment)
    };
    if let Some(other) = shares.iter().find(|share| about(share) != about(first)) {
        return Err(CombineError::Mixed(first.volume.clone(), other.volume.clone()));
    }
    let mut parts: Zeroizing<Vec<Vec<u8>>> = Zeroizing::new(Vec::new());
    let mut seen: BTreeSet<u8> = BTreeSet::new();
    for share in shares {
        if seen.insert(share.index) {
            let mut part = Vec::with_capacity(1 + KEY_LEN);
            part.push(share.index);
            part.extend_from_slice(share.share.expose());
            parts.push(part);
        } else if shares.iter().any(|other| other.index == share.index && other.share != share.share) {
            return Err(CombineError::Twice(share.index));
        }
    }
    // Whatever a file says: one alone is never enough.
    let need = first.threshold.max(LEAST);
    if parts.len() < usize::from(need) {
        return Err(CombineError::TooFew { have: parts.len(), need });
    }
    let wrong = || CombineError::Wrong(first.volume.clone());
    let key = Zeroizing::new(Gf256::combine_bytes(&*parts).map_err(|_| wrong())?);
    let key = Secret::<KEY_LEN>::try_from(key.as_slice()).map_err(|_| wrong())?;
    if !bool::from(commitment(key.expose()).0.ct_eq(&first.commitment.0)) {
        return Err(wrong());
    }
    Ok(RecoveredKey {
        volume: first.volume.clone(),
        uuid: first.uuid.clone(),
        header_digests: first.header_digests.clone(),
        key,
    })
}
