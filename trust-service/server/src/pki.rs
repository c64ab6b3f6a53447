//! X.509 of the service itself: its CA, its certificates, and what is read from certificates of others.

use ccnode_evidence::{SecretBytes, Sha256Digest};
use ccnode_protocol::admin::{EkRoot, TrustLevel};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The administrators' role; it stands in the certificate's OU.
pub const CLUSTER_ADMIN: &str = "cluster-admin";
/// The role of who reads the metrics, and nothing else.
pub const METRICS: &str = "metrics";

const CA_DAYS: i64 = 3650;
const SERVER_DAYS: i64 = 730;
const ADMIN_DAYS: i64 = 365;
/// Certificates of the service start in the past, for nodes whose clock stands at their image's build date.
const BACKDATED_DAYS: i64 = 365;

/// Why a certificate can't be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The certificate is another key's.
    #[error(
        "the certificate is not one of the key beside it; `ccnode-trust rotate` that was cut off is to be run again"
    )]
    OtherKey,
    /// rcgen refused.
    #[error("certificate: {0}")]
    Make(#[source] rcgen::Error),
    /// Not one certificate in PEM.
    #[error("not one certificate in PEM form")]
    Pem,
    /// Not a certificate.
    #[error("not an X.509 certificate")]
    Malformed,
    /// A certificate that can't sign others.
    #[error("the certificate of `{0}` is not one of a CA")]
    NotCa(String),
    /// No text of this kind can be a host name or an address.
    #[error("`{0}` is neither a host name nor an IP address")]
    Name(String),
}

/// A certificate and its private key, both PEM.
#[derive(Debug)]
pub struct Identity {
    /// The certificate.
    pub cert: String,
    /// The key, PKCS #8.
    pub key: SecretBytes,
}

fn identity(cert: &rcgen::Certificate, key: &KeyPair) -> Identity {
    Identity { cert: cert.pem(), key: SecretBytes::new(key.serialize_pem().into_bytes()) }
}

/// A P-256 key pair; ring draws it from the operating system.
pub fn new_key() -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(PkiError::Make)
}

/// A random serial of 128 bits, positive.
pub fn serial() -> SerialNumber {
    let mut bytes = uuid::Uuid::new_v4().into_bytes();
    if let Some(first) = bytes.first_mut() {
        *first &= 0x7f;
    }
    SerialNumber::from_slice(&bytes)
}

/// Parameters that every certificate starts from; `back` and `days` count from `now`.
pub fn params(now: OffsetDateTime, back: Duration, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(serial());
    params.not_before = now - back;
    params.not_after = now + life;
    params.use_authority_key_identifier_extension = true;
    params
}

/// A self-signed CA.
pub fn ca(common_name: &str, now: OffsetDateTime) -> Result<(Identity, Issuer<'static, KeyPair>), PkiError> {
    let mut params = params(now, Duration::days(BACKDATED_DAYS), Duration::days(CA_DAYS));
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = new_key()?;
    let cert = params.self_signed(&key).map_err(PkiError::Make)?;
    let made = identity(&cert, &key);
    Ok((made, Issuer::new(params, key)))
}

/// The service's own certificate, for host names and addresses.
pub fn server(names: &[String], ca: &Issuer<'_, KeyPair>, now: OffsetDateTime) -> Result<Identity, PkiError> {
    let mut params = params(now, Duration::days(BACKDATED_DAYS), Duration::days(SERVER_DAYS));
    params.distinguished_name.push(DnType::CommonName, "ccnode-trust");
    params.subject_alt_names = names.iter().map(|name| san(name)).collect::<Result<_, _>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = new_key()?;
    let cert = params.signed_by(&key, ca).map_err(PkiError::Make)?;
    Ok(identity(&cert, &key))
}

/// An administrator's certificate with a role.
pub fn admin(
    name: &str,
    role: &str,
    ca: &Issuer<'_, KeyPair>,
    now: OffsetDateTime,
) -> Result<Identity, PkiError> {
    let mut params = params(now, Duration::days(1), Duration::days(ADMIN_DAYS));
    params.distinguished_name.push(DnType::OrganizationalUnitName, role);
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = new_key()?;
    let cert = params.signed_by(&key, ca).map_err(PkiError::Make)?;
    Ok(identity(&cert, &key))
}

/// A certificate for the key that signs tokens, so that verifiers who trust the CA alone can follow it there.
pub fn token(key: &KeyPair, ca: &Issuer<'_, KeyPair>, now: OffsetDateTime) -> Result<String, PkiError> {
    let mut params = params(now, Duration::days(1), Duration::days(CA_DAYS));
    params.distinguished_name.push(DnType::CommonName, "ccnode-trust tokens");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.signed_by(key, ca).map(|cert| cert.pem()).map_err(PkiError::Make)
}

fn san(name: &str) -> Result<rcgen::SanType, PkiError> {
    if let Ok(address) = name.parse() {
        return Ok(rcgen::SanType::IpAddress(address));
    }
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let bad = || PkiError::Name(name.chars().take(80).collect());
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(bad());
    }
    name.try_into().map(rcgen::SanType::DnsName).map_err(|_| bad())
}

/// The DER of exactly one certificate in PEM.
pub fn der_of_pem(pem: &str) -> Result<Vec<u8>, PkiError> {
    let mut found = CertificateDer::pem_slice_iter(pem.as_bytes());
    match (found.next(), found.next()) {
        (Some(Ok(der)), None) => Ok(der.to_vec()),
        _ => Err(PkiError::Pem),
    }
}

/// Reads one certificate; what trails is an error.
pub fn parse(der: &[u8]) -> Result<X509Certificate<'_>, PkiError> {
    match X509Certificate::from_der(der) {
        Ok(([], cert)) => Ok(cert),
        _ => Err(PkiError::Malformed),
    }
}

/// A CA certificate above endorsement keys, as administrators see it.
pub fn ek_root(der: &[u8], level: TrustLevel) -> Result<EkRoot, PkiError> {
    let cert = parse(der)?;
    let subject = cert.subject().to_string();
    if !cert.is_ca() {
        return Err(PkiError::NotCa(subject));
    }
    let not_after = u64::try_from(cert.validity().not_after.timestamp()).unwrap_or(0);
    let certificate = pem("CERTIFICATE", der);
    Ok(EkRoot { id: Sha256Digest::of(der), subject, not_after, level, certificate })
}

/// PEM with lines of 64 characters.
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hosts_or_addresses() {
        let now = OffsetDateTime::now_utc();
        let (_, issuer) = ca("test", now).unwrap();
        let names = ["127.0.0.1".into(), "::1".into(), "trust.example.org".into()];
        let made = server(&names, &issuer, now).unwrap();
        let der = der_of_pem(&made.cert).unwrap();
        assert_eq!(
            parse(&der).unwrap().subject_alternative_name().unwrap().unwrap().value.general_names.len(),
            3
        );
        for bad in ["", "a b", "-a", "https://x", "a..b"] {
            assert!(matches!(server(&[bad.into()], &issuer, now), Err(PkiError::Name(_))), "{bad}");
        }
    }

    #[test]
    fn ek_roots_are_cas() {
        let now = OffsetDateTime::now_utc();
        let (root, issuer) = ca("TPM maker", now).unwrap();
        let der = der_of_pem(&root.cert).unwrap();
        let read = ek_root(&der, TrustLevel::HypervisorVtpm).unwrap();
        assert_eq!(der_of_pem(&read.certificate).unwrap(), der);
        let leaf = der_of_pem(&admin("a", "b", &issuer, now).unwrap().cert).unwrap();
        assert!(matches!(ek_root(&leaf, TrustLevel::HypervisorVtpm), Err(PkiError::NotCa(_))));
        assert!(matches!(ek_root(b"x", TrustLevel::HypervisorVtpm), Err(PkiError::Malformed)));
        assert!(matches!(der_of_pem(&format!("{}{}", root.cert, root.cert)), Err(PkiError::Pem)));
    }
}
