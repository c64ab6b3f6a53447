//! The endorsement key certificate: read strictly, and led to a root of the pool.

use crate::{Rejection, UnixTime};
use ccnode_protocol::limits;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPublicKey};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// tcg-kp-EKCertificate, 2.23.133.8.1 (TCG EK Credential Profile, section 3.2.16), as DER has it.
const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// rsaEncryption and id-RSAES-OAEP: what EK certificates call their RSA key.
const RSA_OIDS: [&[u8]; 2] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01],
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07],
];
const EK_BITS: usize = 2048;

/// How far evidence reaches; derived by the service, never claimed by a node. The strongest is the least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrustLevel {
    /// A vTPM whose key a confidential VM's report vouches for.
    TeeBoundVtpm,
    /// A confidential VM's report or quote alone.
    Tee,
    /// A TPM of its own, in hardware.
    DiscreteTpm,
    /// A TPM that the hypervisor's operator controls: no protection from the host.
    HypervisorVtpm,
}

impl TrustLevel {
    /// As it is printed and stored: `hypervisor-vtpm`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TeeBoundVtpm => "tee-bound-vtpm",
            Self::Tee => "tee",
            Self::DiscreteTpm => "discrete-tpm",
            Self::HypervisorVtpm => "hypervisor-vtpm",
        }
    }
}

impl std::fmt::Display for TrustLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A CA, root or intermediate, that a pool trusts to certify endorsement keys. It also completes the chains of the pool's others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EkRoot {
    /// The CA's certificate, DER.
    pub cert_der: Vec<u8>,
    /// What an endorsement key below it is worth.
    pub level: TrustLevel,
}

impl EkRoot {
    /// Reads the CA's certificate, so that a bad one is refused when it is added and not when it is missed.
    pub fn parse(cert_der: Vec<u8>, level: TrustLevel) -> Result<Self, EkCertError> {
        let cert = read(&cert_der)?;
        if !cert.is_ca() {
            return Err(EkCertError::NoCa);
        }
        anchor(&cert_der).ok_or(EkCertError::Der)?;
        Ok(Self { cert_der, level })
    }

    /// The CA's subject, for people.
    pub fn subject(&self) -> String {
        read(&self.cert_der).map(|cert| cert.subject().to_string()).unwrap_or_default()
    }
}

/// Why a certificate is none of an endorsement key, or of a CA above one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EkCertError {
    /// Longer than any that is read.
    #[error("{0} bytes are too many")]
    Size(usize),
    /// Not an X.509 certificate in DER.
    #[error("not an X.509 certificate in DER")]
    Der,
    /// Bytes follow the certificate.
    #[error("{0} bytes follow the certificate")]
    Trailing(usize),
    /// The extended key usage lacks tcg-kp-EKCertificate.
    #[error("extended key usage 2.23.133.8.1 (EK certificate) is missing")]
    Usage,
    /// A key usage other than key encipherment.
    #[error("the key usage does not allow key encipherment")]
    KeyUsage,
    /// A CA's certificate in place of an endorsement key's.
    #[error("a CA's certificate is no endorsement key's")]
    Ca,
    /// An endorsement key's, or another, in place of a CA's.
    #[error("not a CA's certificate")]
    NoCa,
    /// Not an RSA key of 2048 bits with exponent 65537.
    #[error("its key is not RSA of 2048 bits with exponent 65537")]
    Key,
    /// The chain verifier does not read it: an unknown critical extension, say.
    #[error("{0}")]
    Unreadable(webpki::Error),
}

/// The certificate with its key; nothing is said of its issuer yet.
pub(crate) fn parse(der: &[u8]) -> Result<RsaPublicKey, EkCertError> {
    if der.len() > limits::EK_CERT {
        return Err(EkCertError::Size(der.len()));
    }
    let cert = read(der)?;
    if cert.is_ca() {
        return Err(EkCertError::Ca);
    }
    let usage = cert.extended_key_usage().map_err(|_| EkCertError::Der)?;
    if !usage.is_some_and(|usage| usage.value.other.iter().any(|oid| oid.as_bytes() == EK_CERTIFICATE)) {
        return Err(EkCertError::Usage);
    }
    if cert.key_usage().map_err(|_| EkCertError::Der)?.is_some_and(|usage| !usage.value.key_encipherment()) {
        return Err(EkCertError::KeyUsage);
    }
    let spki = cert.public_key();
    if !RSA_OIDS.contains(&spki.algorithm.algorithm.as_bytes()) {
        return Err(EkCertError::Key);
    }
    let key = RsaPublicKey::from_pkcs1_der(&spki.subject_public_key.data).map_err(|_| EkCertError::Key)?;
    if key.n().bits() != EK_BITS || *key.e() != BigUint::from(crate::tpm_types::EXPONENT) {
        return Err(EkCertError::Key);
    }
    EndEntityCert::try_from(&CertificateDer::from(der)).map_err(EkCertError::Unreadable)?;
    Ok(key)
}

fn read(der: &[u8]) -> Result<X509Certificate<'_>, EkCertError> {
    let (rest, cert) = X509Certificate::from_der(der).map_err(|_| EkCertError::Der)?;
    if rest.is_empty() { Ok(cert) } else { Err(EkCertError::Trailing(rest.len())) }
}

/// Proof that a CA of the pool leads to the EK certificate, all within their validity.
#[derive(Debug)]
pub struct EkChainValid {
    level: TrustLevel,
}

impl EkChainValid {
    /// Of the CAs that lead to the certificate, the weakest level counts.
    pub(crate) fn check(ek_cert: &[u8], roots: &[EkRoot], now: UnixTime) -> Result<Self, Rejection> {
        let mut level: Option<TrustLevel> = None;
        let mut expired = None;
        for root in roots {
            match leads(root, ek_cert, roots, now) {
                Ok(()) => level = level.max(Some(root.level)),
                Err(Some(rejection)) => expired = expired.or(Some(rejection)),
                Err(None) => {}
            }
        }
        match (level, expired) {
            (Some(level), _) => Ok(Self { level }),
            (None, Some(expired)) => Err(expired),
            (None, None) => Err(Rejection::EkUntrusted { issuer: issuer(ek_cert) }),
        }
    }

    /// What the endorsement key is worth.
    pub fn level(&self) -> TrustLevel {
        self.level
    }
}

/// `Err(Some)`: only the time stands against it.
fn leads(root: &EkRoot, ek_cert: &[u8], pool: &[EkRoot], now: UnixTime) -> Result<(), Option<Rejection>> {
    let anchors = [anchor(&root.cert_der).ok_or(None)?];
    let others: Vec<CertificateDer<'_>> = pool
        .iter()
        .filter(|other| other.cert_der != root.cert_der)
        .map(|other| CertificateDer::from(other.cert_der.as_slice()))
        .collect();
    let der = CertificateDer::from(ek_cert);
    let cert = EndEntityCert::try_from(&der).map_err(|_| None)?;
    let time = rustls_pki_types::UnixTime::since_unix_epoch(Duration::from_secs(now.0));
    let usage = KeyUsage::required(EK_CERTIFICATE);
    let path = cert.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &others, time, usage, None, None);
    match path {
        // The verifier takes an anchor for good at any time; a certificate is one for its validity.
        Ok(_) => outside(&root.cert_der, now).map_or(Ok(()), |rejection| Err(Some(rejection))),
        Err(webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. }) => {
            let mut path = std::iter::once(ek_cert).chain(others.iter().map(AsRef::as_ref));
            Err(path.find_map(|der| outside(der, now)))
        }
        Err(_) => Err(None),
    }
}

fn anchor(der: &[u8]) -> Option<TrustAnchor<'static>> {
    webpki::anchor_from_trusted_cert(&CertificateDer::from(der)).ok().map(|anchor| anchor.to_owned())
}

fn outside(der: &[u8], now: UnixTime) -> Option<Rejection> {
    let cert = read(der).ok()?;
    let at = |time: x509_parser::time::ASN1Time| UnixTime(u64::try_from(time.timestamp()).unwrap_or(0));
    let (not_before, not_after) = (at(cert.validity().not_before), at(cert.validity().not_after));
    if (not_before..=not_after).contains(&now) {
        return None;
    }
    let subject = printable(&cert.subject().to_string());
    Some(Rejection::EkCertExpired { subject, not_before, not_after, now })
}

fn issuer(der: &[u8]) -> String {
    read(der).map(|cert| printable(&cert.issuer().to_string())).unwrap_or_default()
}

/// Foreign text, fit for a terminal.
fn printable(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}
