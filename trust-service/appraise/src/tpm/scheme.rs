//! Signing schemes of attestation keys: which are appraised, and which are known to be weak.

use super::ALG_NULL;
use crate::reader::{ReadError, Reader};
use ccnode_evidence::HashAlg;
use std::fmt;

/// How a signature is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SchemeKind {
    /// TPM_ALG_RSASSA: RSASSA-PKCS1-v1_5.
    Rsassa,
    /// TPM_ALG_RSAPSS: RSASSA-PSS.
    Rsapss,
    /// TPM_ALG_ECDSA.
    Ecdsa,
}

impl SchemeKind {
    /// The TPM_ALG_ID.
    pub fn id(self) -> u16 {
        match self {
            Self::Rsassa => 0x0014,
            Self::Rsapss => 0x0016,
            Self::Ecdsa => 0x0018,
        }
    }

    fn from_id(id: u16) -> Option<Self> {
        [Self::Rsassa, Self::Rsapss, Self::Ecdsa].into_iter().find(|kind| kind.id() == id)
    }
}

/// A signing scheme that is appraised: RSASSA, RSAPSS or ECDSA with SHA-256 or SHA-384.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheme {
    /// How it signs.
    pub kind: SchemeKind,
    /// What it hashes with: the message, and the PCRs into a quote's digest. SHA-256 or SHA-384.
    pub hash: HashAlg,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            SchemeKind::Rsassa => "RSASSA",
            SchemeKind::Rsapss => "RSAPSS",
            SchemeKind::Ecdsa => "ECDSA",
        };
        write!(f, "{kind} with {}", self.hash.name())
    }
}

/// Why two TPM_ALG_IDs are no scheme that is appraised.
pub(super) enum SchemeFault {
    /// The structure ends before them.
    Short,
    /// One that is known, with SHA-1.
    Sha1(SchemeKind),
    /// Any other.
    Unknown { scheme: u16, hash: u16 },
}

impl Scheme {
    /// Reads a scheme and its hash, as TPMT_*_SCHEME and TPMT_SIGNATURE begin.
    pub(super) fn read(r: &mut Reader<'_>) -> Result<Self, SchemeFault> {
        let short = |_: ReadError| SchemeFault::Short;
        let scheme = r.u16().map_err(short)?;
        if scheme == ALG_NULL {
            return Err(SchemeFault::Unknown { scheme, hash: 0 });
        }
        let hash = r.u16().map_err(short)?;
        let Some(kind) = SchemeKind::from_id(scheme) else {
            return Err(SchemeFault::Unknown { scheme, hash });
        };
        match HashAlg::from_id(hash) {
            Some(hash @ (HashAlg::Sha256 | HashAlg::Sha384)) => Ok(Self { kind, hash }),
            Some(HashAlg::Sha1) => Err(SchemeFault::Sha1(kind)),
            _ => Err(SchemeFault::Unknown { scheme, hash }),
        }
    }
}
