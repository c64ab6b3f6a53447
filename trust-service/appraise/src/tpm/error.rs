//! Why bytes are no attestation key, no quote, or no signature that is appraised.

use super::{Scheme, SchemeKind};
use crate::public_key::{Curve, KeyFault};
use crate::reader::ReadError;
use ccnode_evidence::Code;

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
    /// TPM_PUBKEY or TPM_KEY.
    #[error("this is a key of a TPM 1.2; TPM 2.0 is appraised")]
    Tpm12,
    /// An object type that is not appraised.
    #[error("object type {0:#06x} is not appraised; use an RSA or ECC key")]
    Type(u16),
    /// The Name would be of another hash than SHA-256 or SHA-384.
    #[error("name algorithm {0:#06x} is neither SHA-256 nor SHA-384")]
    NameAlg(u16),
    /// Reserved bits of TPMA_OBJECT are set.
    #[error("the reserved attribute bits {0:#010x} are set")]
    Reserved(u32),
    /// The authorization policy is neither empty nor a digest of the name algorithm.
    #[error("an authorization policy of {0} bytes is no digest of the name algorithm")]
    AuthPolicy(usize),
    /// A symmetric algorithm, which a signing key doesn't have.
    #[error("symmetric algorithm {0:#06x} in a signing key")]
    Symmetric(u16),
    /// A scheme that is not appraised with this type of key.
    #[error("signing scheme {scheme:#06x} with hash {hash:#06x} is not appraised with this type of key")]
    Scheme {
        /// TPM_ALG_ID of the scheme.
        scheme: u16,
        /// TPM_ALG_ID of the hash; 0 where the scheme has none.
        hash: u16,
    },
    /// A scheme with SHA-1: weak.
    #[error("signing scheme {:#06x} with SHA-1 is weak; use SHA-256 or SHA-384", .0.id())]
    Sha1Scheme(SchemeKind),
    /// The modulus has another length than `keyBits` says, or its first bit is zero.
    #[error("a modulus that has not the {0} bits it says")]
    Modulus(u16),
    /// Fewer than 2048 bits: weak.
    #[error("an RSA key of {0} bits is weak; 2048 to 4096 are accepted")]
    WeakBits(u16),
    /// More than 4096 bits.
    #[error("an RSA key of {0} bits; 2048 to 4096 are accepted")]
    Bits(u16),
    /// An exponent other than 65537: weak.
    #[error("an RSA exponent of {0} is weak; 65537 is accepted")]
    Exponent(u32),
    /// A curve other than P-256 and P-384.
    #[error("curve {0:#06x} is neither P-256 nor P-384")]
    Curve(u16),
    /// A curve with a hash that is not its own: P-256 goes with SHA-256, P-384 with SHA-384.
    #[error("{scheme} does not go with {curve}")]
    CurveHash {
        /// The key's curve.
        curve: Curve,
        /// The key's scheme.
        scheme: Scheme,
    },
    /// A key derivation scheme, which a signing key doesn't have.
    #[error("key derivation scheme {0:#06x} in a signing key")]
    Kdf(u16),
    /// The coordinates are no point of the curve.
    #[error("the coordinates are no point of {0}")]
    Point(Curve),
}

impl PublicError {
    /// Whether the key is well formed and too weak to be believed.
    pub fn is_weak(&self) -> bool {
        matches!(self, Self::Sha1Scheme(_) | Self::WeakBits(_) | Self::Exponent(_))
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Tpm12 => Code::Tpm12,
            weak if weak.is_weak() => Code::AkWeak,
            _ => Code::AkMalformed,
        }
    }
}

impl From<ReadError> for PublicError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Short => Self::Short,
            ReadError::Trailing(n) => Self::Trailing(n),
        }
    }
}

impl From<KeyFault> for PublicError {
    fn from(fault: KeyFault) -> Self {
        match fault {
            KeyFault::Modulus(bits) => Self::Modulus(bits),
            KeyFault::WeakBits(bits) => Self::WeakBits(bits),
            KeyFault::Bits(bits) => Self::Bits(bits),
            KeyFault::Point(curve) => Self::Point(curve),
        }
    }
}

/// Why bytes are no quote, or no signature over one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QuoteError {
    /// Longer than any that is read.
    #[error("{1} bytes of {0} are too many")]
    Size(&'static str, usize),
    /// The structure ends inside a field.
    #[error("the {0} ends early")]
    Short(&'static str),
    /// Bytes follow the structure.
    #[error("the {0} has {1} bytes too many")]
    Trailing(&'static str, usize),
    /// TPM_QUOTE_INFO or TPM_QUOTE_INFO2.
    #[error("this is a quote of a TPM 1.2; TPM 2.0 is appraised")]
    Tpm12,
    /// Not TPM_GENERATED_VALUE.
    #[error("magic {0:#010x} is not TPM_GENERATED_VALUE")]
    Magic(u32),
    /// An attestation of another type.
    #[error("structure tag {0:#06x} is not a quote's")]
    Type(u16),
    /// `qualifiedSigner` is no Name.
    #[error("a qualified signer of {0} bytes is no Name")]
    Signer(usize),
    /// `extraData` is longer than any hash.
    #[error("{0} bytes of extraData are too many")]
    ExtraData(usize),
    /// `clockInfo.safe` is neither YES nor NO.
    #[error("clockInfo.safe is {0}")]
    Safe(u8),
    /// More banks than any TPM has.
    #[error("{0} selections are more than any TPM has banks")]
    Selections(u32),
    /// A selection's bitmap of no bytes, or of more than any TPM has.
    #[error("a PCR bitmap of {0} bytes")]
    Bitmap(u8),
    /// A bank twice.
    #[error("bank {0:#06x} is selected twice")]
    BankTwice(u16),
    /// The PCR digest has no length that the key's hash gives.
    #[error("a PCR digest of {0} bytes")]
    DigestLength(usize),
    /// A signature of a scheme that is not appraised.
    #[error("signature scheme {scheme:#06x} with hash {hash:#06x} is not appraised")]
    Scheme {
        /// TPM_ALG_ID of the scheme.
        scheme: u16,
        /// TPM_ALG_ID of the hash; 0 where it was not read.
        hash: u16,
    },
    /// A signature over SHA-1: weak.
    #[error("signature scheme {:#06x} with SHA-1 is weak; use SHA-256 or SHA-384", .0.id())]
    Sha1Scheme(SchemeKind),
    /// A signature of another scheme than the key has.
    #[error("the signature is {signature}, the key signs by {key} alone")]
    SchemeMismatch {
        /// The signature's scheme.
        signature: Scheme,
        /// The key's.
        key: Scheme,
    },
    /// A coordinate of an ECDSA signature that is empty or longer than the curve's order.
    #[error("an ECDSA signature with a coordinate of {0} bytes")]
    Coordinate(usize),
    /// The PCR values sent are more or fewer than those selected.
    #[error("{sent} PCR values; exactly {due} are due")]
    Values {
        /// How many were sent.
        sent: usize,
        /// How many the selection has.
        due: usize,
    },
}

impl QuoteError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Tpm12 => Code::Tpm12,
            Self::Sha1Scheme(_) => Code::AkWeak,
            _ => Code::QuoteMalformed,
        }
    }

    pub(super) fn read(what: &'static str, error: ReadError) -> Self {
        match error {
            ReadError::Short => Self::Short(what),
            ReadError::Trailing(n) => Self::Trailing(what, n),
        }
    }
}
