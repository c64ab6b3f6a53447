//! On the node: the recovery key is split, and each share sealed to its custodian.

use ccnode_protocol::jwe::{self, JweError};
use ccnode_protocol::recovery::{Bound, Custodians, KEY_LEN, Recovery, SealedShare, commitment};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng as _;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

/// The volume that a key recovers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Volume<'a> {
    /// The trust service's name for it.
    pub id: &'a str,
    /// UUID of its LUKS2 header.
    pub uuid: &'a str,
    /// The generation that formats it.
    pub generation: u64,
}

/// A key can't be split or sealed.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// The library refuses the numbers.
    #[error("splitting the recovery key: {0}")]
    Split(String),
    /// A share can't be sealed.
    #[error("sealing the share of custodian {index}: {source}")]
    Seal {
        /// Whose, from 1.
        index: u8,
        /// Why.
        #[source]
        source: JweError,
    },
    /// What a share is bound to can't be written.
    #[error("binding a share: {0}")]
    Bind(String),
}

/// Splits `key` (Shamir over GF(256), with randomness from the secret `seed`) and seals each share to its custodian.
pub fn split(
    key: &[u8; KEY_LEN],
    seed: Zeroizing<[u8; 32]>,
    volume: &Volume<'_>,
    custodians: &Custodians,
) -> Result<Recovery, SplitError> {
    let all = custodians.all();
    let (threshold, commitment) = (custodians.threshold(), commitment(key));
    let rng = ChaCha20Rng::from_seed(*seed);
    // Each one begins with its index.
    let parts = Gf256::split_bytes(threshold.into(), all.len(), key, rng);
    let parts = Zeroizing::new(parts.map_err(|e| SplitError::Split(e.to_string()))?);
    let mut shares = Vec::with_capacity(all.len());
    for (custodian, part) in all.iter().zip(parts.iter()) {
        let odd = || SplitError::Split("a share of another form".to_owned());
        let (index, part) = part.split_first().ok_or_else(odd)?;
        let bound = Bound {
            volume: volume.id,
            uuid: volume.uuid,
            generation: volume.generation,
            threshold,
            shares: all.len(),
            index: *index,
            custodian: custodian.id(),
            commitment,
        };
        let bound = bound.bytes().map_err(|e| SplitError::Bind(e.to_string()))?;
        let sealed = jwe::seal_bound(&custodian.public(), part, &bound);
        let jwe = sealed.map_err(|source| SplitError::Seal { index: *index, source })?;
        shares.push(SealedShare { custodian: custodian.id(), jwe });
    }
    Ok(Recovery { threshold, commitment, shares })
}
