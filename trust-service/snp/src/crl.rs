//! Revocation lists of AMD's: signed by the ARK, they name ASKs and ASVKs by serial number.
//!
//! All VCEKs and VLEKs have the serial number 0, so a single chip is not revoked by a list but denied by its id in a policy.

use crate::ca::CaCertificate;
use crate::shape;
use crate::x509::{self, Raw};
use ccnode_evidence::UnixTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _, ParsedExtension, X509Version};

/// Longest list that is read, in bytes.
pub const MAX_CRL: usize = 256 * 1024;

/// Why bytes are no revocation list, or not one that can be relied on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CrlError {
    /// Longer than any that is read.
    #[error("{0} bytes are too many")]
    Size(usize),
    /// Not an X.509 revocation list in DER.
    #[error("not an X.509 revocation list in DER")]
    Der,
    /// Of another version than 2, which has extensions.
    #[error("a revocation list of version {0}; version 2 is due")]
    Version(u32),
    /// Bytes follow the list.
    #[error("{0} bytes follow the list")]
    Trailing(usize),
    /// Not signed by RSASSA-PSS with SHA-384, or inside and outside differ.
    #[error("not signed by RSASSA-PSS with SHA-384")]
    Algorithm,
    /// A critical extension that limits the list in a way that is not understood here.
    #[error("a critical extension limits what it covers")]
    Critical,
    /// An entry with a critical extension, which limits or extends what it revokes.
    #[error("a critical extension of an entry is not understood")]
    CriticalEntry,
    /// It does not say when the next is due.
    #[error("it does not say when the next one is due")]
    NextUpdate,
}

/// A revocation list as it was read; it counts only once its issuer's signature verifies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Crl {
    der: Raw,
    pub(crate) issuer: Raw,
    signed: Raw,
    signature: Raw,
    validity: (UnixTime, UnixTime),
    revoked: Vec<Vec<u8>>,
}

impl Crl {
    /// Reads exactly one list in DER.
    pub fn parse(der: &[u8]) -> Result<Self, CrlError> {
        if der.len() > MAX_CRL {
            return Err(CrlError::Size(der.len()));
        }
        let (rest, crl) = CertificateRevocationList::from_der(der).map_err(|_| CrlError::Der)?;
        if !rest.is_empty() {
            return Err(CrlError::Trailing(rest.len()));
        }
        let version = crl.version().unwrap_or(X509Version::V1);
        if version != X509Version::V2 {
            return Err(CrlError::Version(version.0.saturating_add(1)));
        }
        if crl.signature_value.unused_bits != 0 {
            return Err(CrlError::Der);
        }
        if crl.tbs_cert_list.signature != crl.signature_algorithm || !x509::is_pss(&crl.signature_algorithm) {
            return Err(CrlError::Algorithm);
        }
        if !shape::is_exact(der, shape::LIST) {
            return Err(CrlError::Der);
        }
        for extension in crl.extensions().iter().filter(|e| e.critical) {
            match extension.parsed_extension() {
                ParsedExtension::IssuingDistributionPoint(point)
                    if !point.indirect_crl
                        && point.only_some_reasons.is_none()
                        && !point.only_contains_user_certs
                        && !point.only_contains_attribute_certs => {}
                _ => return Err(CrlError::Critical),
            }
        }
        let mut revoked = Vec::new();
        for entry in crl.iter_revoked_certificates() {
            if entry.extensions().iter().any(|e| e.critical) {
                return Err(CrlError::CriticalEntry);
            }
            revoked.push(entry.raw_serial().to_vec());
        }
        let next = crl.next_update().ok_or(CrlError::NextUpdate)?;
        Ok(Self {
            der: Raw(der.to_vec()),
            issuer: Raw(crl.issuer().as_raw().to_vec()),
            signed: Raw(crl.tbs_cert_list.as_ref().to_vec()),
            signature: Raw(crl.signature_value.data.to_vec()),
            validity: (x509::unix(crl.last_update()), x509::unix(next)),
            revoked,
        })
    }

    /// The list, DER.
    pub fn der(&self) -> &[u8] {
        &self.der.0
    }

    /// When it was made, and when the next one is due.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        self.validity
    }

    pub(crate) fn is_signed_by(&self, ca: &CaCertificate) -> bool {
        ca.signs_crls() && ca.signed(&self.signed.0, &self.signature.0).is_some()
    }

    pub(crate) fn names(&self, serial: &[u8]) -> bool {
        self.revoked.iter().any(|revoked| revoked == serial)
    }
}
