//! A custodian's key pair, and the one share that it opens.

use crate::combine::Share;
use ccnode_evidence::Secret;
use ccnode_protocol::admin::RecoveryRecord;
use ccnode_protocol::jwe::{EphemeralKey, JweError};
use ccnode_protocol::recovery::{Bound, Custodian, KEY_LEN, RecoveryError};
use p256::SecretKey;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rand_core::OsRng;
use zeroize::Zeroizing;

/// A custodian's private key.
pub struct CustodianKey(SecretKey);

impl std::fmt::Debug for CustodianKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CustodianKey(…)")
    }
}

/// A key that can't be read or written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a private key of P-256 in PKCS #8, PEM")]
pub struct KeyError;

impl CustodianKey {
    /// A new one, from the operating system's randomness.
    pub fn generate() -> Self {
        Self(SecretKey::random(&mut OsRng))
    }

    /// Reads PKCS #8 in PEM.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SecretKey::from_pkcs8_pem(pem.trim()).map(Self).map_err(|_| KeyError)
    }

    /// The key as PKCS #8 in PEM.
    pub fn pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.0.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError)
    }

    /// The public half as SubjectPublicKeyInfo in PEM, for `[recovery]` of a node's configuration.
    pub fn public_pem(&self) -> Result<String, KeyError> {
        self.0.public_key().to_public_key_pem(LineEnding::LF).map_err(|_| KeyError)
    }

    /// Whose key this is.
    pub fn custodian(&self) -> Result<Custodian, KeyError> {
        Custodian::of(self.0.public_key()).ok_or(KeyError)
    }
}

/// A custodian's share can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The shares are not of their form.
    #[error("the sealed shares are not of their form: {0}")]
    Form(#[from] RecoveryError),
    /// None of the shares is for this key.
    #[error("none of the shares is sealed to this key, which is custodian {0}")]
    NotMine(String),
    /// The share was not sealed for what it is said to be for.
    #[error("the share does not open: it, or what is said of its volume, was changed ({0})")]
    Changed(JweError),
    /// What it is bound to can't be written.
    #[error("the record can't be written: {0}")]
    Bind(String),
}

/// Opens the share of this custodian; what the record says of volume, threshold and index is what the node sealed it for, or it does not
/// open. The header's digests are the service's word alone.
pub fn open(record: &RecoveryRecord, key: &CustodianKey) -> Result<Share, OpenError> {
    let recovery = &record.recovery;
    recovery.check()?;
    let custodian = key.custodian()?.id();
    let mut shares = recovery.shares.iter().zip(1..);
    let found = shares.find(|(share, _)| share.custodian == custodian);
    let (share, index) = found.ok_or_else(|| OpenError::NotMine(custodian.to_string()))?;
    let bound = Bound {
        volume: &record.volume,
        uuid: &record.uuid,
        generation: record.formatted,
        threshold: recovery.threshold,
        shares: recovery.shares.len(),
        index,
        custodian,
        commitment: recovery.commitment,
    };
    let bound = bound.bytes().map_err(|e| OpenError::Bind(e.to_string()))?;
    let scalar = Zeroizing::new(<[u8; 32]>::from(key.0.to_bytes()));
    let own = EphemeralKey::from_scalar(&Secret::new(*scalar)).map_err(|_| KeyError)?;
    let plain = own.open_bound(&share.jwe, &bound).map_err(OpenError::Changed)?;
    let share = Secret::<KEY_LEN>::try_from(plain.expose());
    let share = share.map_err(|_| OpenError::Form(RecoveryError::Length(index.into())))?;
    Ok(Share {
        volume: record.volume.clone(),
        uuid: record.uuid.clone(),
        formatted: record.formatted,
        header_digests: record.header_digests.clone(),
        threshold: recovery.threshold,
        commitment: recovery.commitment,
        index,
        share,
    })
}
