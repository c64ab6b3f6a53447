//! Issues certificates for tests: servers, clients, and ones that have expired.

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose as Usage, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct CertKey {
    /// Certificate.
    pub cert_pem: String,
    /// Private key, PKCS #8.
    pub key_pem: String,
}

/// A certificate authority with its key.
#[derive(Clone, Debug)]
pub struct Ca(CertKey);

impl std::fmt::Debug for CertKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertKey").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

impl Ca {
    /// Makes an authority of that name, valid for a day.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = params(name, validity(0));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let cert = params.self_signed(&key)?;
        Ok(Self(CertKey { cert_pem: cert.pem(), key_pem: key.serialize_pem() }))
    }

    /// An authority that exists.
    ///
    /// # Errors
    /// When either PEM text cannot be read as what it should be.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self> {
        let ca = Self(CertKey { cert_pem: cert_pem.to_owned(), key_pem: key_pem.to_owned() });
        ca.issuer()?;
        Ok(ca)
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn cert_pem(&self) -> &str {
        &self.0.cert_pem
    }

    /// The authority's key, PEM.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.0.key_pem
    }

    /// A server's certificate for these DNS names and IP addresses, the first of which is its common name. Valid from an
    /// hour ago for a day.
    ///
    /// # Errors
    /// When a name is no name.
    pub fn server(&self, names: &[&str]) -> Result<CertKey> {
        self.server_aged(names, 0)
    }

    /// A server's certificate that expired yesterday.
    ///
    /// # Errors
    /// When a name is no name.
    pub fn expired_server(&self, names: &[&str]) -> Result<CertKey> {
        self.server_aged(names, 2)
    }

    fn server_aged(&self, names: &[&str], days: i64) -> Result<CertKey> {
        let mut params = params(names.first().unwrap_or(&"server"), validity(days));
        let alt = CertificateParams::new(names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>())?;
        params.subject_alt_names = alt.subject_alt_names;
        params.extended_key_usages = vec![Usage::ServerAuth];
        self.issue(&params)
    }

    /// A client's certificate: the user's name as the common name, the groups as organizations.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn client(&self, user: &str, groups: &[&str]) -> Result<CertKey> {
        let mut params = params(user, validity(0));
        for &group in groups {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![Usage::ClientAuth];
        self.issue(&params)
    }

    fn issue(&self, params: &CertificateParams) -> Result<CertKey> {
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer()?)?;
        Ok(CertKey { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>> {
        let key = KeyPair::from_pem(&self.0.key_pem).context("reading the authority's key")?;
        Issuer::from_ca_cert_pem(&self.0.cert_pem, key).context("reading the authority's certificate")
    }
}

fn params(name: &str, (from, to): (OffsetDateTime, OffsetDateTime)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = from;
    params.not_after = to;
    params
}

/// A day's validity that began an hour and some days ago.
fn validity(days: i64) -> (OffsetDateTime, OffsetDateTime) {
    let from = OffsetDateTime::now_utc() - Duration::hours(1) - Duration::days(days);
    (from, from + Duration::days(1))
}

/// The certificates of a PEM text.
///
/// # Errors
/// When one cannot be read.
pub fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().context("reading certificates")
}

/// The private key of a PEM text.
///
/// # Errors
/// When there is none.
pub fn key(pem: &str) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).context("reading a private key")
}

/// A trust store of the certificates of a PEM text.
///
/// # Errors
/// When one cannot be read.
pub fn roots(pem: &str) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for cert in chain(pem)? {
        store.add(cert)?;
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::pem::parse_x509_pem;

    #[test]
    fn a_client_carries_user_and_groups() {
        let ca = Ca::new("cluster").unwrap();
        let ca = Ca::from_pem(ca.cert_pem(), ca.key_pem()).unwrap();
        let node = ca.client("system:node:a", &["system:nodes"]).unwrap();
        let (_, pem) = parse_x509_pem(node.cert_pem.as_bytes()).unwrap();
        let cert = pem.parse_x509().unwrap();
        assert_eq!(cert.issuer().to_string(), "CN=cluster");
        assert_eq!(cert.subject().to_string(), "CN=system:node:a, O=system:nodes");
        assert!(cert.validity().is_valid());
        assert!(!format!("{node:?}").contains("PRIVATE"));
    }

    #[test]
    fn an_expired_server() {
        let ca = Ca::new("any").unwrap();
        let server = ca.expired_server(&["10.0.2.100", "localhost"]).unwrap();
        let (_, pem) = parse_x509_pem(server.cert_pem.as_bytes()).unwrap();
        let cert = pem.parse_x509().unwrap();
        assert!(!cert.validity().is_valid());
        assert_eq!(cert.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 2);
    }

    #[test]
    fn a_foreign_key_is_no_authority() {
        let ca = Ca::new("any").unwrap();
        assert!(Ca::from_pem(ca.cert_pem(), "nonsense").is_err());
    }
}
