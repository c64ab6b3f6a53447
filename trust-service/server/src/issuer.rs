//! The `cluster-ca` issuer: kubelet client certificates for the name that the service chose.

use crate::pki::{self, PkiError};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use ccnode_appraise::{Csr, CsrError};
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::NodeName;
use rcgen::{
    DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
    SignatureAlgorithm, SigningKey, SubjectPublicKeyInfo,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// Certificates start five minutes back, for clocks that lag.
const BACKDATED: Duration = Duration::minutes(5);

/// Why no certificate is issued.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The request is not one for this node.
    #[error("certificate request: {0}")]
    Csr(#[source] CsrError),
    /// rcgen could not use the key or sign.
    #[error("certificate: {0}")]
    Sign(#[source] rcgen::Error),
}

/// A CA that the API server trusts for clients. It could sign any identity: only this function may use it.
pub struct ClusterCa {
    issuer: Issuer<'static, CaKey>,
    lifetime: Duration,
}

impl std::fmt::Debug for ClusterCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterCa(redacted)")
    }
}

impl ClusterCa {
    /// From certificate and key in PEM.
    pub fn new(cert: &str, key: &str, lifetime: std::time::Duration) -> Result<Self, PkiError> {
        let key = CaKey::from_pem(key)?;
        let der = pki::der_of_pem(cert)?;
        let public = pki::parse(&der)?.public_key().subject_public_key.data.to_vec();
        if public != key.der_bytes() {
            return Err(PkiError::OtherKey);
        }
        let issuer = Issuer::from_ca_cert_pem(cert, key).map_err(PkiError::Make)?;
        let lifetime = Duration::try_from(lifetime).unwrap_or(Duration::DAY);
        Ok(Self { issuer, lifetime })
    }

    /// Signs the key of a request that was checked when it was attested, by its digest, for `node`. Of the request only the key is used;
    /// subject, usages and times are ours.
    pub fn issue(
        &self,
        node: &NodeName,
        (csr, attested): (&[u8], &Sha256Digest),
        now: OffsetDateTime,
    ) -> Result<String, IssueError> {
        let request = Csr::checked_before(csr, attested).map_err(IssueError::Csr)?;
        request.check_name(node).map_err(IssueError::Csr)?;
        let key = SubjectPublicKeyInfo::from_der(request.spki_der()).map_err(IssueError::Sign)?;
        let mut params = pki::params(now, BACKDATED, self.lifetime);
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(&key, &self.issuer).map(|cert| cert.pem()).map_err(IssueError::Sign)
    }
}

/// A P-256 key, by the library that signs fastest.
struct CaKey(EcdsaKeyPair);

impl CaKey {
    fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let der = Zeroizing::new(KeyPair::from_pem(pem).map_err(PkiError::Make)?.serialize_der());
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der);
        key.map(Self).map_err(|_| PkiError::Make(rcgen::Error::CouldNotParseKeyPair))
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(&SystemRandom::new(), message);
        signature.map(|bytes| bytes.as_ref().to_vec()).map_err(|_| rcgen::Error::RingUnspecified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::CertificateParams;

    fn setup() -> (ClusterCa, NodeName) {
        let (ca, _) = pki::ca("cluster", OffsetDateTime::now_utc()).unwrap();
        let key = String::from_utf8(ca.key.expose().to_vec()).unwrap();
        let day = std::time::Duration::from_secs(86400);
        (ClusterCa::new(&ca.cert, &key, day).unwrap(), "workers-a".parse().unwrap())
    }

    fn csr(edit: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let key = pki::new_key().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.distinguished_name.push(DnType::CommonName, "system:node:workers-a");
        edit(&mut params);
        params.serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn issues_a_short_client_certificate() {
        let (ca, node) = setup();
        let now = OffsetDateTime::now_utc();
        let pem = {
            let csr = csr(|_| ());
            ca.issue(&node, (&csr, &Sha256Digest::of(&csr)), now).unwrap()
        };
        let der = pki::der_of_pem(&pem).unwrap();
        let cert = pki::parse(&der).unwrap();
        assert_eq!(cert.subject().to_string(), "O=system:nodes, CN=system:node:workers-a");
        let eku = cert.extended_key_usage().unwrap().unwrap().value;
        assert!(eku.client_auth && !eku.server_auth && !eku.any);
        assert!(!cert.is_ca() && cert.subject_alternative_name().unwrap().is_none());
        assert_eq!(cert.validity().not_before.timestamp(), now.unix_timestamp() - 300);
        assert_eq!(cert.validity().not_after.timestamp(), now.unix_timestamp() + 86400);
    }

    #[test]
    fn refuses_other_names_and_bytes() {
        let (ca, node) = setup();
        let now = OffsetDateTime::now_utc();
        let refused = |csr: &[u8]| match ca.issue(&node, (csr, &Sha256Digest::of(csr)), now) {
            Err(IssueError::Csr(error)) => error,
            other => panic!("{other:?}"),
        };
        let other = csr(|p| p.distinguished_name.push(DnType::CommonName, "system:node:workers-b"));
        assert!(matches!(refused(&other), CsrError::Name { .. }));
        let masters = csr(|p| p.distinguished_name.push(DnType::OrganizationName, "system:masters"));
        assert!(matches!(refused(&masters), CsrError::Subject));
        assert!(matches!(refused(b"x"), CsrError::Der));
        let other = ca.issue(&node, (&csr(|_| ()), &Sha256Digest::of(b"another")), now);
        assert!(matches!(other, Err(IssueError::Csr(CsrError::Signature))));
    }
}
