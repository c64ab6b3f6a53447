//! TPMT_SIGNATURE (TPM 2.0 Library, part 2, section 11.3.4).

use super::scheme::SchemeFault;
use super::{QuoteError, Scheme, SchemeKind};
use crate::reader::Reader;

/// RSA of 16384 bits and two heads; nothing longer is a signature.
const MAX: usize = 2048 + 8;
/// Bytes of the order of P-521, the longest that is read.
const COORDINATE: usize = 66;

/// A signature with its scheme, not yet verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Signature<'a> {
    pub(crate) scheme: Scheme,
    pub(crate) value: SignatureValue<'a>,
}

/// The bytes that the scheme gives, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SignatureValue<'a> {
    /// As long as the modulus.
    Rsa(&'a [u8]),
    /// Each at most as long as the curve's order; TPMs differ in whether they pad.
    Ecdsa { r: &'a [u8], s: &'a [u8] },
}

impl<'a> Signature<'a> {
    /// Reads a TPMT_SIGNATURE to its end.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, QuoteError> {
        const WHAT: &str = "TPMT_SIGNATURE";
        if bytes.len() > MAX {
            return Err(QuoteError::Size(WHAT, bytes.len()));
        }
        let at = |e| QuoteError::read(WHAT, e);
        let mut r = Reader::new(bytes);
        let scheme = Scheme::read(&mut r).map_err(|fault| match fault {
            SchemeFault::Short => QuoteError::Short(WHAT),
            SchemeFault::Sha1(kind) => QuoteError::Sha1Scheme(kind),
            SchemeFault::Unknown { scheme, hash } => QuoteError::Scheme { scheme, hash },
        })?;
        let value = match scheme.kind {
            SchemeKind::Rsassa | SchemeKind::Rsapss => SignatureValue::Rsa(r.sized().map_err(at)?),
            SchemeKind::Ecdsa => SignatureValue::Ecdsa {
                r: coordinate(r.sized().map_err(at)?)?,
                s: coordinate(r.sized().map_err(at)?)?,
            },
        };
        r.end().map_err(at)?;
        Ok(Self { scheme, value })
    }
}

fn coordinate(bytes: &[u8]) -> Result<&[u8], QuoteError> {
    if (1..=COORDINATE).contains(&bytes.len()) { Ok(bytes) } else { Err(QuoteError::Coordinate(bytes.len())) }
}
