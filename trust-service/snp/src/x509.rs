//! What every certificate and revocation list of AMD's has in common: DER without a rest, RSASSA-PSS over SHA-384.

use crate::shape;
use ccnode_evidence::UnixTime;
use x509_parser::asn1_rs::Tag;
use x509_parser::prelude::{
    ASN1Time, AlgorithmIdentifier, FromDer as _, X509Certificate, X509Extension, X509Name, X509Version,
};

/// Longest certificate that is read, in bytes; AMD's have 1.4 KiB.
pub const MAX_CERTIFICATE: usize = 16 * 1024;

/// Why bytes are no certificate of AMD's chain.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertError {
    /// Longer than any that is read.
    #[error("{0} bytes are too many")]
    Size(usize),
    /// Not an X.509 certificate in DER.
    #[error("not an X.509 certificate in DER")]
    Der,
    /// Of another version than 3, which has extensions.
    #[error("an X.509 certificate of version {0}; version 3 is due")]
    Version(u32),
    /// Bytes follow the certificate.
    #[error("{0} bytes follow the certificate")]
    Trailing(usize),
    /// Not signed by RSASSA-PSS with SHA-384, or inside and outside differ.
    #[error("not signed by RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt")]
    Algorithm,
    /// A name that is none of AMD's chain.
    #[error("common name `{0}` is none of AMD's chain")]
    Name(String),
    /// A critical extension that is not known here.
    #[error("critical extension {0} is not known")]
    Critical(String),
    /// The same extension twice.
    #[error("extension {0} occurs twice")]
    Twice(String),
    /// An extension that must be there is not.
    #[error("extension {0} is missing")]
    Missing(&'static str),
    /// An extension that must not be there is.
    #[error("extension {0} does not belong into this certificate")]
    Excess(&'static str),
    /// An extension has not the form that it must have.
    #[error("extension {0} can't be read")]
    Extension(&'static str),
    /// The product is none that is known here.
    #[error("product name `{0}` is not known")]
    Product(String),
    /// The public key is not of its kind.
    #[error("the public key is not {0}")]
    Key(&'static str),
    /// By its basic constraints no CA's, and by its name no endorsement key's.
    #[error("the certificate of `{0}` is neither a CA's nor an endorsement key's (SEV-VCEK, SEV-VLEK)")]
    NoCa(String),
    /// A CA whose key usage does not let it sign certificates.
    #[error("a CA whose key usage does not let it sign certificates")]
    KeyUsage,
}

/// Bytes of a certificate; printed by their number.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Raw(pub(crate) Vec<u8>);

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Reads one certificate of version 3 that RSASSA-PSS with SHA-384 signed.
pub(crate) fn read(der: &[u8]) -> Result<X509Certificate<'_>, CertError> {
    if der.len() > MAX_CERTIFICATE {
        return Err(CertError::Size(der.len()));
    }
    let (rest, cert) = X509Certificate::from_der(der).map_err(|_| CertError::Der)?;
    if !rest.is_empty() {
        return Err(CertError::Trailing(rest.len()));
    }
    if cert.version() != X509Version::V3 {
        return Err(CertError::Version(cert.version().0.saturating_add(1)));
    }
    if cert.signature_value.unused_bits != 0 {
        return Err(CertError::Der);
    }
    if cert.tbs_certificate.signature != cert.signature_algorithm || !is_pss(&cert.signature_algorithm) {
        return Err(CertError::Algorithm);
    }
    if !shape::is_exact(der, shape::CERTIFICATE) {
        return Err(CertError::Der);
    }
    let mut seen = Vec::new();
    for extension in cert.extensions() {
        if seen.contains(&extension.oid.as_bytes()) {
            return Err(CertError::Twice(extension.oid.to_id_string()));
        }
        seen.push(extension.oid.as_bytes());
    }
    Ok(cert)
}

/// The value of an extension by its encoded object identifier.
pub(crate) fn extension<'a, 'b>(cert: &'b X509Certificate<'a>, id: &[u8]) -> Option<&'b X509Extension<'a>> {
    cert.extensions().iter().find(|e| e.oid.as_bytes() == id)
}

/// The one common name.
pub(crate) fn common_name(name: &X509Name<'_>) -> Result<String, CertError> {
    let mut names = name.iter_common_name();
    match (names.next().and_then(|cn| cn.as_str().ok()), names.next()) {
        (Some(cn), None) => Ok(printable(cn)),
        _ => Err(CertError::Name(printable(&name.to_string()))),
    }
}

/// Foreign text, fit for a terminal.
pub(crate) fn printable(text: &str) -> String {
    ccnode_evidence::printable(text, 120)
}

/// Seconds since the epoch; times before it count as it.
pub(crate) fn unix(time: ASN1Time) -> UnixTime {
    UnixTime(u64::try_from(time.timestamp()).unwrap_or(0))
}

const PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
/// SHA-384 with and without the NULL that RFC 4055 lets writers leave out, as [0] of the parameters.
const HASH: [&[u8]; 2] = [
    &[0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00],
    &[0xa0, 0x0d, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02],
];
/// MGF1 with SHA-384, likewise, as [1].
const MGF: [&[u8]; 2] = [
    &[
        0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d,
        0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00,
    ],
    &[
        0xa1, 0x1a, 0x30, 0x18, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0b,
        0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02,
    ],
];
/// 48 bytes of salt, as [2].
const SALT: [&[u8]; 1] = [&[0xa2, 0x03, 0x02, 0x01, 0x30]];
/// The default trailer, written or left out, as [3].
const TRAILER: [&[u8]; 2] = [&[0xa3, 0x03, 0x02, 0x01, 0x01], &[]];

/// Whether this is RSASSA-PSS with exactly the parameters of AMD's keys (KDS 57230, section 3).
pub(crate) fn is_pss(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    let Some(params) = &algorithm.parameters else { return false };
    let mut rest = Some(params.data);
    for choices in [HASH.as_slice(), &MGF, &SALT, &TRAILER] {
        rest = rest.and_then(|bytes| choices.iter().find_map(|choice| bytes.strip_prefix(*choice)));
    }
    algorithm.algorithm.as_bytes() == PSS
        && params.tag() == Tag::Sequence
        && rest.is_some_and(<[u8]>::is_empty)
}
