//! Recovery of a volume by its custodians: whose keys the shares are sealed to, and in what form the service keeps them.
//!
//! A share is sealed on the node; neither the service nor one custodian alone learns anything of the key.

use crate::jwe::{ALG_ECDH, Jwe};
use ccnode_evidence::Sha256Digest;
use kbs_types::TeePubKey;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Most custodians of a volume.
pub const CUSTODIANS: usize = 16;
/// Fewest custodians that together recover a volume.
pub const LEAST: u8 = 2;
/// Bytes of a recovery key, and of a share of one.
pub const KEY_LEN: usize = 32;
/// Longest protected header of a sealed share, as text.
const PROTECTED: usize = 512;

/// Custodians that nothing can be sealed to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CustodiansError {
    /// A key of another kind, or none.
    #[error("custodian {0}: not a public key of P-256 in PEM (`ccnode recover keygen` makes one)")]
    Key(usize),
    /// Two are one and the same.
    #[error("custodian {0} has the key of one before it")]
    Twice(usize),
    /// More than there can be.
    #[error("{0} custodians, and {CUSTODIANS} at most are taken")]
    Many(usize),
    /// One alone would do, or all together would not.
    #[error("threshold {threshold} of {custodians} custodians: from {LEAST} to all of them are needed")]
    Threshold {
        /// How many are to be needed.
        threshold: u8,
        /// How many there are.
        custodians: usize,
    },
}

/// A custodian's public key: P-256.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Custodian {
    key: p256::PublicKey,
    id: Sha256Digest,
}

impl Custodian {
    /// The key of a SubjectPublicKeyInfo in PEM; none where it is another, or something else.
    pub fn from_pem(pem: &str) -> Option<Self> {
        Self::of(p256::PublicKey::from_public_key_pem(pem.trim()).ok()?)
    }

    /// Whose key this is; none where it can't be encoded.
    pub fn of(key: p256::PublicKey) -> Option<Self> {
        let id = Sha256Digest::of(key.to_public_key_der().ok()?.as_bytes());
        Some(Self { key, id })
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub fn id(&self) -> Sha256Digest {
        self.id
    }

    /// The key, as a JWE is sealed to it.
    pub fn public(&self) -> TeePubKey {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let point = self.key.to_encoded_point(false);
        let text = |part: Option<&p256::FieldBytes>| part.map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let (x, y) = (text(point.x()).unwrap_or_default(), text(point.y()).unwrap_or_default());
        TeePubKey::EC { crv: "P-256".into(), alg: ALG_ECDH.into(), x, y }
    }
}

/// `[recovery]` of a node's measured configuration: whose shares recover the volumes that the node makes.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "Wire")]
pub struct Custodians {
    all: Vec<Custodian>,
    threshold: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wire {
    custodians: Vec<String>,
    threshold: u8,
}

impl TryFrom<Wire> for Custodians {
    type Error = CustodiansError;

    fn try_from(wire: Wire) -> Result<Self, CustodiansError> {
        let keys = wire.custodians.iter().zip(1..);
        let all = keys.map(|(pem, n)| Custodian::from_pem(pem).ok_or(CustodiansError::Key(n)));
        Self::new(all.collect::<Result<_, _>>()?, wire.threshold)
    }
}

impl Custodians {
    /// `threshold` of `all`, from [`LEAST`] on; all have keys of their own.
    pub fn new(all: Vec<Custodian>, threshold: u8) -> Result<Self, CustodiansError> {
        let custodians = all.len();
        if custodians > CUSTODIANS {
            return Err(CustodiansError::Many(custodians));
        }
        if threshold < LEAST || usize::from(threshold) > custodians {
            return Err(CustodiansError::Threshold { threshold, custodians });
        }
        let mut seen = BTreeSet::new();
        match all.iter().zip(1..).find(|(custodian, _)| !seen.insert(custodian.id)) {
            Some((_, n)) => Err(CustodiansError::Twice(n)),
            None => Ok(Self { all, threshold }),
        }
    }

    /// Each of them, in the configuration's order.
    pub fn all(&self) -> &[Custodian] {
        &self.all
    }

    /// By their ids.
    pub fn holders(&self) -> Holders {
        Holders { threshold: self.threshold, custodians: self.all.iter().map(Custodian::id).collect() }
    }

    /// How many are needed.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }
}

/// Who recovers a volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Holders {
    /// How many of them are needed.
    pub threshold: u8,
    /// Ids of the custodians, in their order.
    pub custodians: Vec<Sha256Digest>,
}

/// The shares of a volume's recovery key, each sealed to its custodian.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Recovery {
    /// How many shares make the key.
    pub threshold: u8,
    /// [`commitment`] to the key: whoever puts shares together knows by it whether they are the right ones.
    pub commitment: Sha256Digest,
    /// One for each custodian, from [`LEAST`] to [`CUSTODIANS`]; the first is of index 1.
    pub shares: Vec<SealedShare>,
}

impl Recovery {
    /// Who has the shares.
    pub fn holders(&self) -> Holders {
        let custodians = self.shares.iter().map(|share| share.custodian).collect();
        Holders { threshold: self.threshold, custodians }
    }
}

/// A share that its custodian alone can read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SealedShare {
    /// SHA-256 of the custodian's SubjectPublicKeyInfo.
    pub custodian: Sha256Digest,
    /// The share, bound to what [`Bound::bytes`] says.
    pub jwe: Jwe,
}

/// Shares that are not of their form. Whether they open is their custodians' to find out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecoveryError {
    /// Their number, or the threshold.
    #[error("{shares} shares with a threshold of {threshold}")]
    Number {
        /// How many there are.
        shares: usize,
        /// How many are needed.
        threshold: u8,
    },
    /// Two are for one custodian.
    #[error("share {0} is for the custodian of one before it")]
    Twice(usize),
    /// A JWE that is no sealed share's.
    #[error("share {0} is longer or shorter than one")]
    Length(usize),
}

impl Recovery {
    /// Refuses what no node would send.
    pub fn check(&self) -> Result<(), RecoveryError> {
        let Self { threshold, shares, .. } = self;
        if shares.len() > CUSTODIANS || *threshold < LEAST || usize::from(*threshold) > shares.len() {
            return Err(RecoveryError::Number { shares: shares.len(), threshold: *threshold });
        }
        let mut seen = BTreeSet::new();
        for (share, n) in shares.iter().zip(1..) {
            if !seen.insert(share.custodian) {
                return Err(RecoveryError::Twice(n));
            }
            let Jwe { protected, encrypted_key, iv, ciphertext, tag } = &share.jwe;
            let have = [&encrypted_key.0, &iv.0, &ciphertext.0, &tag.0].map(Vec::len);
            if protected.len() > PROTECTED || have != [40, 12, KEY_LEN, 16] {
                return Err(RecoveryError::Length(n));
            }
        }
        Ok(())
    }
}

/// What a share is bound to: it can't be passed off as another volume's, or as another one of this.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Bound<'a> {
    /// The trust service's name for the volume.
    pub volume: &'a str,
    /// UUID of its LUKS2 header.
    pub uuid: &'a str,
    /// The generation that formatted it.
    pub generation: u64,
    /// How many shares make the key.
    pub threshold: u8,
    /// How many there are.
    pub shares: usize,
    /// Which one this is, from 1.
    pub index: u8,
    /// Whose.
    pub custodian: Sha256Digest,
    /// To the key.
    pub commitment: Sha256Digest,
}

impl Bound<'_> {
    /// The bytes that the JWE authenticates beside its header.
    pub fn bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&("ccnode/recovery/1", self))
    }
}

/// SHA-256 by which a recovery key is known and that says nothing of its 256 random bits.
pub fn commitment(key: &[u8; KEY_LEN]) -> Sha256Digest {
    use sha2::{Digest as _, Sha256};
    Sha256Digest(Sha256::new().chain_update(b"ccnode/recovery/1 key").chain_update(key).finalize().into())
}

#[cfg(test)]
mod tests;
