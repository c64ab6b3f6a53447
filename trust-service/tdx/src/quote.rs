//! The parser of TD quotes, versions 4 and 5: bounded, strict, and believing nothing.

use crate::body::BodyKind;
use crate::{QeFacts, TdBody};
use ccnode_evidence::Reader;

/// More bytes than any buffer that a quote comes in; longer ones are not read.
pub const MAX_QUOTE: usize = 64 * 1024;

/// ECDSA-256 with the curve P-256.
const KEY_ECDSA_P256: u16 = 2;
const TEE_TDX: u32 = 0x81;
/// The vendor of Intel's quoting enclaves: 939a7233-f79c-4ca9-940a-0db3957f0607.
const INTEL_QE: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
/// Certification data that hold a QE report and further certification data.
const CERTIFICATION_QE_REPORT: u16 = 6;
/// Certification data that hold the PCK chain as PEM, leaf first.
const CERTIFICATION_PCK_CHAIN: u16 = 5;
/// What a TDREPORT_STRUCT begins with: TEE type, subtype 0.
const LOCAL_REPORT: [u8; 2] = [0x81, 0x00];

/// Why bytes are not a TD quote that is judged here.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum QuoteError {
    /// Longer than any quote.
    #[error("{len} bytes, and a quote has at most {MAX_QUOTE}")]
    TooLong {
        /// How many bytes.
        len: usize,
    },
    /// A TDREPORT, which only the same machine can check.
    #[error("a local TDREPORT proves nothing to anybody else; a quote is due")]
    LocalReport,
    /// The bytes end inside a field.
    #[error("the quote ends inside {0}")]
    Truncated(&'static str),
    /// A version other than 4 and 5.
    #[error("quote of version {0}; versions 4 and 5 are judged here")]
    Version(u16),
    /// An attestation key other than ECDSA P-256.
    #[error("attestation key of type {0}; type 2 (ECDSA-256 with P-256) is due")]
    AttestationKeyType(u16),
    /// Another TEE than TDX.
    #[error("TEE type {0:#x}; 0x81 (TDX) is due")]
    TeeType(u32),
    /// Another vendor's quoting enclave.
    #[error("quoting enclave of vendor {}; Intel's is 939a7233f79c4ca9940a0db3957f0607", hex::encode(.0))]
    QeVendor([u8; 16]),
    /// A version 5 quote with a body that is none of a TD's.
    #[error("body of type {0}; types 2 (TD 1.0), 3 (TD 1.5) and 4 (TD 1.5 extended) are judged here")]
    BodyType(u16),
    /// A body of another length than its type has.
    #[error("body of type {body_type} has {size} bytes; {due} are due")]
    BodySize {
        /// The type.
        body_type: u16,
        /// Length that the quote gives.
        size: u32,
        /// Length that is due.
        due: usize,
    },
    /// The outer certification data are not a QE report.
    #[error("certification data of type {0}; type 6 (QE report) is due")]
    CertificationType(u16),
    /// The QE report is not certified by a PCK chain.
    #[error("the QE report is certified by data of type {0}; type 5 (PCK chain) is due")]
    PckChainType(u16),
    /// Bytes that belong to no field, inside the signature data.
    #[error("{extra} bytes too many in {what}")]
    Excess {
        /// The field.
        what: &'static str,
        /// How many.
        extra: usize,
    },
    /// Something other than zeros follows the quote.
    #[error("the quote ends at byte {end}, and byte {at} after it is not zero")]
    Trailing {
        /// Where the quote ends.
        end: usize,
        /// Position of the first byte that is not zero.
        at: usize,
    },
}

/// A TD quote as it was read; nothing of it is believed. See [`crate::verify`].
#[derive(Clone, Debug)]
pub struct Quote<'a> {
    pub(crate) version: u16,
    pub(crate) body: TdBody,
    /// Header and body: what the attestation key signs.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: &'a [u8; 64],
    pub(crate) attestation_key: &'a [u8; 64],
    /// An enclave report (SGX REPORT body), signed by the PCK.
    pub(crate) qe_report: &'a [u8; 384],
    /// What it says.
    pub(crate) qe: QeFacts,
    pub(crate) qe_report_signature: &'a [u8; 64],
    pub(crate) qe_auth_data: &'a [u8],
    /// PEM, leaf first.
    pub(crate) pck_chain: &'a [u8],
}

impl<'a> Quote<'a> {
    /// Reads a quote; zero bytes may follow it, since clouds hand out whole buffers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        if bytes.len() > MAX_QUOTE {
            return Err(QuoteError::TooLong { len: bytes.len() });
        }
        if bytes.len() == crate::TD_REPORT_LEN && bytes.starts_with(&LOCAL_REPORT) {
            return Err(QuoteError::LocalReport);
        }
        let r = &mut Reader::new(bytes);
        let version = header(r)?;
        let kind = if version == 4 { BodyKind::Td10 } else { described(r)? };
        let body = within(r, "the TD's body", |r| r.take(kind.len()))?;
        let body = TdBody::read(kind, body).ok_or(QuoteError::Truncated("the TD's body"))?;
        let signed = bytes.get(..r.offset()).unwrap_or_default();
        let mut data = Reader::new(within(r, "the signature data", Reader::sized_u32)?);
        let trailing = r.rest();
        if let Some(at) = trailing.iter().position(|b| *b != 0) {
            return Err(QuoteError::Trailing { end: r.offset(), at: r.offset() + at });
        }
        let r = &mut data;
        let signature = within(r, "the quote's signature", Reader::array)?;
        let attestation_key = within(r, "the attestation key", Reader::array)?;
        let mut qe = Reader::new(certification(r, CERTIFICATION_QE_REPORT, QuoteError::CertificationType)?);
        all_read(r, "the signature data")?;
        let r = &mut qe;
        let qe_report = within(r, "the QE report", Reader::array)?;
        let quote = Self {
            version,
            body,
            signed,
            signature,
            attestation_key,
            qe_report,
            qe: QeFacts::read(qe_report).ok_or(QuoteError::Truncated("the QE report"))?,
            qe_report_signature: within(r, "the QE report's signature", Reader::array)?,
            qe_auth_data: within(r, "the QE's authentication data", Reader::sized_u16)?,
            pck_chain: certification(r, CERTIFICATION_PCK_CHAIN, QuoteError::PckChainType)?,
        };
        all_read(r, "the QE report's certification data")?;
        Ok(quote)
    }

    /// The quote's version: 4 or 5.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// What the quote claims, to be shown beside the reason why it is not proven; never a ground for trust.
    pub fn unproven_body(&self) -> &TdBody {
        &self.body
    }

    /// FMSPC (6 bytes) and PCEID (2 bytes) that the PCK certificate claims, to look up collateral by; `None` where it can't be read.
    pub fn unproven_platform(&self) -> Option<([u8; 6], [u8; 2])> {
        let certs = crate::chain::read_pem(self.pck_chain).ok()?;
        let pck = crate::Pck::read(certs.first()?).ok()?;
        Some((pck.fmspc, pck.pce_id))
    }
}

/// The header (48 bytes): its version.
fn header(r: &mut Reader<'_>) -> Result<u16, QuoteError> {
    const WHAT: &str = "the header";
    let version = within(r, WHAT, Reader::u16)?;
    if !matches!(version, 4 | 5) {
        return Err(QuoteError::Version(version));
    }
    let key_type = within(r, WHAT, Reader::u16)?;
    if key_type != KEY_ECDSA_P256 {
        return Err(QuoteError::AttestationKeyType(key_type));
    }
    let tee = within(r, WHAT, Reader::u32)?;
    if tee != TEE_TDX {
        return Err(QuoteError::TeeType(tee));
    }
    // Reserved; SVNs of QE and PCE in quotes of SGX.
    within(r, WHAT, |r| r.take(4))?;
    let vendor = *within(r, WHAT, Reader::array)?;
    if vendor != INTEL_QE {
        return Err(QuoteError::QeVendor(vendor));
    }
    // The quoting enclave's own data.
    within(r, WHAT, |r| r.take(20))?;
    Ok(version)
}

/// The body descriptor of version 5.
fn described(r: &mut Reader<'_>) -> Result<BodyKind, QuoteError> {
    let body_type = within(r, "the body's type", Reader::u16)?;
    let kind = BodyKind::from_type(body_type).ok_or(QuoteError::BodyType(body_type))?;
    let size = within(r, "the body's length", Reader::u32)?;
    if usize::try_from(size) != Ok(kind.len()) {
        return Err(QuoteError::BodySize { body_type, size, due: kind.len() });
    }
    Ok(kind)
}

fn certification<'a>(
    r: &mut Reader<'a>,
    due: u16,
    other: fn(u16) -> QuoteError,
) -> Result<&'a [u8], QuoteError> {
    let seen = within(r, "the certification data's type", Reader::u16)?;
    if seen != due {
        return Err(other(seen));
    }
    within(r, "the certification data", Reader::sized_u32)
}

fn within<'a, T>(
    r: &mut Reader<'a>,
    what: &'static str,
    read: impl FnOnce(&mut Reader<'a>) -> Option<T>,
) -> Result<T, QuoteError> {
    read(r).ok_or(QuoteError::Truncated(what))
}

fn all_read(r: &Reader<'_>, what: &'static str) -> Result<(), QuoteError> {
    match r.rest().len() {
        0 => Ok(()),
        extra => Err(QuoteError::Excess { what, extra }),
    }
}
