//! X.509 certificates as TPM makers issue them: read strictly, led upwards to a CA, with every check here and none left to chance.
//!
//! A verifier made for TLS refuses what makers issue (critical policies, for one), so this is RFC 5280, section 6, without policies and
//! revocation: names chain byte for byte, signatures, validity, basicConstraints, path lengths, keyUsage, name constraints,
//! and no critical extension that is not known. Nothing is fetched: a certificate's pointers to others are not followed.

mod chain;
mod memo;
mod names;
mod shape;
mod signature;

pub use chain::ChainFault;
pub(crate) use chain::climb;
pub use signature::SignatureFault;

use crate::UnixTime;
use std::ops::RangeInclusive;
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate, X509Version};

/// Why bytes are no certificate that is judged.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CertError {
    /// Longer than any that is read.
    #[error("{0} bytes are too many")]
    Size(usize),
    /// Not an X.509 certificate in DER.
    #[error("not an X.509 certificate in DER")]
    Der,
    /// Bytes follow the certificate.
    #[error("{0} bytes follow the certificate")]
    Trailing(usize),
    /// Of a version without extensions.
    #[error("a certificate of version {0}; version 3 is judged")]
    Version(u32),
    /// The signature's algorithm is one inside of what is signed and another outside, or what stands outside is not DER.
    #[error("what is not signed of it differs from what was, or is not DER")]
    Algorithm,
    /// An extension twice.
    #[error("extension {0} occurs twice")]
    ExtensionTwice(String),
    /// An extension that can't be read.
    #[error("extension {0} can't be read")]
    Extension(String),
    /// A critical extension that is not known.
    #[error("critical extension {0} is not known")]
    Critical(String),
}

/// Reads a certificate of version 3 to its end, its extensions too; nothing is said of its issuer.
pub(crate) fn read(der: &[u8], limit: usize) -> Result<X509Certificate<'_>, CertError> {
    if der.len() > limit {
        return Err(CertError::Size(der.len()));
    }
    let (rest, cert) = X509Certificate::from_der(der).map_err(|_| CertError::Der)?;
    if !rest.is_empty() {
        return Err(CertError::Trailing(rest.len()));
    }
    if cert.version() != X509Version::V3 {
        return Err(CertError::Version(cert.version().0.saturating_add(1)));
    }
    shape::same_algorithm(der).ok_or(CertError::Algorithm)?;
    for (i, extension) in cert.extensions().iter().enumerate() {
        let oid = || extension.oid.to_id_string();
        if cert.extensions().iter().skip(i + 1).any(|other| other.oid == extension.oid) {
            return Err(CertError::ExtensionTwice(oid()));
        }
        match extension.parsed_extension() {
            ParsedExtension::ParseError { .. } => return Err(CertError::Extension(oid())),
            parsed if extension.critical && !known(parsed, extension.oid.as_bytes()) => {
                return Err(CertError::Critical(oid()));
            }
            _ => {}
        }
    }
    Ok(cert)
}

/// subjectDirectoryAttributes, 2.5.29.9: claims of the maker about the TPM.
pub(crate) const SUBJECT_DIRECTORY_ATTRIBUTES: &[u8] = &[0x55, 0x1d, 0x09];

/// What is judged here, or holds nothing that could forbid anything.
fn known(extension: &ParsedExtension<'_>, oid: &[u8]) -> bool {
    use ParsedExtension as E;
    match extension {
        E::BasicConstraints(_) | E::KeyUsage(_) | E::ExtendedKeyUsage(_) | E::NameConstraints(_) => true,
        E::SubjectAlternativeName(_) | E::IssuerAlternativeName(_) => true,
        // No policy is asked for, so every policy will do; what restricts policies is another extension.
        E::CertificatePolicies(_) => true,
        E::AuthorityKeyIdentifier(_) | E::SubjectKeyIdentifier(_) => true,
        E::CRLDistributionPoints(_) | E::AuthorityInfoAccess(_) => true,
        _ => oid == SUBJECT_DIRECTORY_ATTRIBUTES,
    }
}

/// First and last second of its validity.
pub(crate) fn validity(cert: &X509Certificate<'_>) -> (UnixTime, UnixTime) {
    let at = |time: x509_parser::time::ASN1Time| UnixTime(u64::try_from(time.timestamp()).unwrap_or(0));
    (at(cert.validity().not_before), at(cert.validity().not_after))
}

/// The seconds around `now` in which none of these begins or ends to be valid.
pub(crate) fn unchanged<'a>(
    certs: impl Iterator<Item = &'a X509Certificate<'a>>,
    now: UnixTime,
) -> RangeInclusive<UnixTime> {
    let (mut from, mut until) = (UnixTime(0), UnixTime(u64::MAX));
    // The first second of each state: valid, and over.
    for start in certs.flat_map(|cert| {
        let (not_before, UnixTime(not_after)) = validity(cert);
        [not_before, UnixTime(not_after.saturating_add(1))]
    }) {
        match start <= now {
            true => from = from.max(start),
            false => until = until.min(UnixTime(start.0 - 1)),
        }
    }
    from..=until
}

/// Foreign text, fit for a terminal.
pub(crate) fn printable(text: &str) -> String {
    ccnode_evidence::printable(text, 200)
}
