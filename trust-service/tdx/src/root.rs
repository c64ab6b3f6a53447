//! The roots that chains may lead to: Intel's, pinned by its public key, and others by an explicit choice alone.

use crate::chain::Facts;
use ccnode_evidence::Sha256Digest;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use std::sync::LazyLock;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// "Intel SGX Root CA", valid from 2018-05-21 to 2049-12-31.
const INTEL: &[u8] = include_bytes!("intel_sgx_root_ca.der");
/// SHA-256 of its SubjectPublicKeyInfo.
const INTEL_KEY: [u8; 32] = [
    0xa0, 0xaf, 0x03, 0x12, 0x89, 0xf5, 0xd5, 0xd4, 0x13, 0x2f, 0x91, 0x86, 0x06, 0x8a, 0x7f, 0xc1, 0x36,
    0x28, 0x63, 0x3b, 0xa2, 0x35, 0x77, 0x74, 0x72, 0xe2, 0x9b, 0x6b, 0x6c, 0x67, 0xa4, 0x9e,
];

/// Why bytes are no root.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RootError {
    /// Not one X.509 certificate in DER.
    #[error("not an X.509 certificate in DER")]
    Der,
    /// Bytes follow the certificate.
    #[error("{0} bytes follow the certificate")]
    Trailing(usize),
    /// Not a CA.
    #[error("not a CA's certificate")]
    NoCa,
    /// Its key is not on P-256, with which all of Intel's PKI signs.
    #[error("its key is not ECDSA P-256")]
    Key,
}

/// A trust anchor for PCK chains and collateral. Its key counts, not its name and not the copy of it that a chain carries.
#[derive(Clone, Debug)]
pub struct Root {
    pub(crate) anchor: TrustAnchor<'static>,
    pub(crate) facts: Facts,
}

impl PartialEq for Root {
    fn eq(&self, other: &Self) -> bool {
        self.facts.key == other.facts.key
    }
}

impl Root {
    /// Intel's SGX root CA, as it is compiled in.
    pub fn intel() -> Self {
        #[expect(clippy::expect_used, reason = "a constant that a test reads")]
        static READ: LazyLock<Root> = LazyLock::new(|| Root::read(INTEL).expect("the compiled-in root"));
        READ.clone()
    }

    /// Another root, DER: whoever holds its key can forge every TD quote. For pre-production platforms and for tests.
    pub fn danger_other_root(der: &[u8]) -> Result<Self, RootError> {
        Self::read(der)
    }

    /// Whether this is Intel's own.
    pub fn is_intel(&self) -> bool {
        self.facts.key.0 == INTEL_KEY
    }

    /// SHA-256 of its SubjectPublicKeyInfo.
    pub fn key(&self) -> Sha256Digest {
        self.facts.key
    }

    /// Its name, for people.
    pub fn subject(&self) -> &str {
        &self.facts.subject
    }

    fn read(der: &[u8]) -> Result<Self, RootError> {
        let (rest, cert) = X509Certificate::from_der(der).map_err(|_| RootError::Der)?;
        if !rest.is_empty() {
            return Err(RootError::Trailing(rest.len()));
        }
        if !cert.is_ca() {
            return Err(RootError::NoCa);
        }
        let der = CertificateDer::from(der);
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|_| RootError::Der)?.to_owned();
        Ok(Self { anchor, facts: Facts::read(&der).ok_or(RootError::Key)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_evidence::UnixTime;

    #[test]
    fn compiled_in_root_has_the_pinned_key() {
        let root = Root::intel();
        assert!(root.is_intel());
        assert_eq!(root.key().0, INTEL_KEY);
        assert_eq!(
            (root.facts.not_before, root.facts.not_after),
            (UnixTime(1526899510), UnixTime(2524607999))
        );
        assert!(root.subject().contains("Intel SGX Root CA"));
    }

    #[test]
    fn what_is_no_root_is_refused() {
        assert_eq!(Root::danger_other_root(b"root"), Err(RootError::Der));
        assert_eq!(Root::danger_other_root(&[INTEL, &[0]].concat()), Err(RootError::Trailing(1)));
        let leaf = ccnode_testkit::tdx::Platform::new().pck();
        assert_eq!(Root::danger_other_root(&leaf), Err(RootError::NoCa));
        let other_curve = ccnode_testkit::tdx::Platform::root_of_another_curve();
        assert_eq!(Root::danger_other_root(&other_curve), Err(RootError::Key));
    }
}
