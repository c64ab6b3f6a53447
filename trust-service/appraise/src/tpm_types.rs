//! TPM structures as far as appraisal needs them: TPMT_PUBLIC, TPMS_ATTEST, TPMT_SIGNATURE (TPM 2.0 Library, part 2).

use crate::reader::{ReadError, Reader};
use ccnode_protocol::limits;

pub(crate) const ALG_RSA: u16 = 0x0001;
pub(crate) const ALG_AES: u16 = 0x0006;
pub(crate) const ALG_SHA256: u16 = 0x000b;
pub(crate) const ALG_NULL: u16 = 0x0010;
pub(crate) const ALG_RSASSA: u16 = 0x0014;
pub(crate) const ALG_CFB: u16 = 0x0043;
/// TPM_GENERATED_VALUE.
const GENERATED: u32 = 0xff54_4347;
/// TPM_ST_ATTEST_QUOTE.
const ST_QUOTE: u16 = 0x8018;
/// The exponent that 0 stands for, and the only one that is accepted.
pub(crate) const EXPONENT: u32 = 65537;

/// Why bytes are no attestation key that is appraised.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublicError {
    /// Longer than any that is read.
    #[error("{0} bytes of TPMT_PUBLIC are too many")]
    Size(usize),
    /// The structure ends inside a field.
    #[error("the TPMT_PUBLIC ends early")]
    Short,
    /// Bytes follow the structure.
    #[error("the TPMT_PUBLIC has {0} bytes too many")]
    Trailing(usize),
    /// An object type that is not appraised; 0x0023 is ECC.
    #[error("object type {0:#06x} is not appraised; use an RSA key")]
    Type(u16),
    /// The Name would be of another hash than SHA-256.
    #[error("name algorithm {0:#06x} is not SHA-256")]
    NameAlg(u16),
    /// A symmetric algorithm, which a signing key doesn't have.
    #[error("symmetric algorithm {0:#06x} in a signing key")]
    Symmetric(u16),
    /// A scheme other than RSASSA with SHA-256.
    #[error("signing scheme {scheme:#06x} with hash {hash:#06x} is not RSASSA with SHA-256")]
    Scheme {
        /// TPM_ALG_ID of the scheme.
        scheme: u16,
        /// TPM_ALG_ID of the hash; 0 where the scheme has none.
        hash: u16,
    },
    /// The modulus has another length than `keyBits` says, or its first bit is zero.
    #[error("a modulus that has not the {0} bits it says")]
    Modulus(u16),
    /// Shorter than 2048 bits, or longer than 4096.
    #[error("an RSA key of {0} bits; 2048 to 4096 are accepted")]
    Bits(u16),
    /// An exponent other than 65537.
    #[error("an RSA exponent of {0}; 65537 is accepted")]
    Exponent(u32),
}

impl From<ReadError> for PublicError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Short => Self::Short,
            ReadError::Trailing(n) => Self::Trailing(n),
        }
    }
}

/// TPMT_PUBLIC of an RSA signing key with RSASSA-SHA256, 2048 to 4096 bits, exponent 65537.
#[derive(Clone, Debug)]
pub(crate) struct SigningKey {
    /// TPMA_OBJECT.
    pub(crate) attributes: u32,
    /// Big-endian, without leading zeros.
    pub(crate) modulus: Vec<u8>,
}

impl SigningKey {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, PublicError> {
        if bytes.len() > limits::AK_PUBLIC {
            return Err(PublicError::Size(bytes.len()));
        }
        let mut r = Reader::new(bytes);
        match r.u16()? {
            ALG_RSA => {}
            other => return Err(PublicError::Type(other)),
        }
        match r.u16()? {
            ALG_SHA256 => {}
            other => return Err(PublicError::NameAlg(other)),
        }
        let attributes = r.u32()?;
        let _auth_policy = r.sized()?;
        match r.u16()? {
            ALG_NULL => {}
            other => return Err(PublicError::Symmetric(other)),
        }
        let scheme = r.u16()?;
        let hash = if scheme == ALG_NULL { 0 } else { r.u16()? };
        if (scheme, hash) != (ALG_RSASSA, ALG_SHA256) {
            return Err(PublicError::Scheme { scheme, hash });
        }
        let bits = r.u16()?;
        let exponent = match r.u32()? {
            0 => EXPONENT,
            other => other,
        };
        let modulus = r.sized()?.to_vec();
        r.end()?;
        if !(2048..=4096).contains(&bits) {
            return Err(PublicError::Bits(bits));
        }
        if exponent != EXPONENT {
            return Err(PublicError::Exponent(exponent));
        }
        let whole = modulus.len().saturating_mul(8) == usize::from(bits);
        if !whole || modulus.first().is_none_or(|first| first & 0x80 == 0) {
            return Err(PublicError::Modulus(bits));
        }
        Ok(Self { attributes, modulus })
    }
}

/// Why bytes are no quote, or no signature over one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuoteError {
    /// The structure ends inside a field.
    #[error("the {0} ends early")]
    Short(&'static str),
    /// Bytes follow the structure.
    #[error("the {0} has {1} bytes too many")]
    Trailing(&'static str, usize),
    /// Not TPM_GENERATED_VALUE.
    #[error("magic {0:#010x} is not TPM_GENERATED_VALUE")]
    Magic(u32),
    /// An attestation of another type.
    #[error("structure tag {0:#06x} is not a quote's")]
    Type(u16),
    /// `clockInfo.safe` is neither YES nor NO.
    #[error("clockInfo.safe is {0}")]
    Safe(u8),
    /// The PCR digest has not 32 bytes.
    #[error("a PCR digest of {0} bytes")]
    DigestLength(usize),
    /// A signature of another scheme than RSASSA with SHA-256.
    #[error("signature scheme {scheme:#06x} with hash {hash:#06x} is not RSASSA with SHA-256")]
    Scheme {
        /// TPM_ALG_ID of the scheme.
        scheme: u16,
        /// TPM_ALG_ID of the hash; 0 where it was not read.
        hash: u16,
    },
    /// The PCR values sent are too many to be a bank's.
    #[error("{0} PCR values; exactly 16 are due")]
    Values(usize),
}

/// TPMS_CLOCK_INFO: what tells boots and copies of a TPM apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockInfo {
    /// Milliseconds that the TPM was powered, since it was cleared.
    pub clock: u64,
    /// Number of TPM resets since it was cleared.
    pub reset_count: u32,
    /// Number of TPM restarts and resumes since the last reset.
    pub restart_count: u32,
    /// Whether `clock` is surely no value that was seen before.
    pub safe: bool,
}

/// TPMS_ATTEST of type quote.
#[derive(Clone, Debug)]
pub(crate) struct Quote {
    /// `extraData`.
    pub(crate) extra: Vec<u8>,
    pub(crate) clock: ClockInfo,
    /// Banks and bitmaps as they stand there.
    pub(crate) selections: Vec<(u16, Vec<u8>)>,
    pub(crate) pcr_digest: [u8; 32],
}

/// More banks than any TPM has.
const MAX_SELECTIONS: u32 = 16;

impl Quote {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        let at = |e| QuoteError::read("TPMS_ATTEST", e);
        let mut r = Reader::new(bytes);
        match r.u32().map_err(at)? {
            GENERATED => {}
            other => return Err(QuoteError::Magic(other)),
        }
        match r.u16().map_err(at)? {
            ST_QUOTE => {}
            other => return Err(QuoteError::Type(other)),
        }
        let _qualified_signer = r.sized().map_err(at)?;
        let extra = r.sized().map_err(at)?.to_vec();
        let clock = ClockInfo {
            clock: r.u64().map_err(at)?,
            reset_count: r.u32().map_err(at)?,
            restart_count: r.u32().map_err(at)?,
            safe: match r.u8().map_err(at)? {
                0 => false,
                1 => true,
                other => return Err(QuoteError::Safe(other)),
            },
        };
        let _firmware_version = r.u64().map_err(at)?;
        let count = r.u32().map_err(at)?;
        if count > MAX_SELECTIONS {
            return Err(at(ReadError::Short));
        }
        let mut selections = Vec::new();
        for _ in 0..count {
            let bank = r.u16().map_err(at)?;
            let len = r.u8().map_err(at)?;
            selections.push((bank, r.take(len.into()).map_err(at)?.to_vec()));
        }
        let digest = r.sized().map_err(at)?;
        r.end().map_err(at)?;
        let pcr_digest = digest.try_into().map_err(|_| QuoteError::DigestLength(digest.len()))?;
        Ok(Self { extra, clock, selections, pcr_digest })
    }
}

/// The signature's bytes out of a TPMT_SIGNATURE of RSASSA with SHA-256.
pub(crate) fn rsassa(bytes: &[u8]) -> Result<&[u8], QuoteError> {
    let at = |e| QuoteError::read("TPMT_SIGNATURE", e);
    let mut r = Reader::new(bytes);
    let scheme = r.u16().map_err(at)?;
    if scheme != ALG_RSASSA {
        return Err(QuoteError::Scheme { scheme, hash: 0 });
    }
    match r.u16().map_err(at)? {
        ALG_SHA256 => {}
        hash => return Err(QuoteError::Scheme { scheme, hash }),
    }
    let signature = r.sized().map_err(at)?;
    r.end().map_err(at)?;
    Ok(signature)
}

impl QuoteError {
    fn read(what: &'static str, error: ReadError) -> Self {
        match error {
            ReadError::Short => Self::Short(what),
            ReadError::Trailing(n) => Self::Trailing(what, n),
        }
    }
}
