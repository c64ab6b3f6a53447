//! TLS to the service: version 1.3, the pinned CAs alone, a clock that is never before the image was built.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use std::sync::Arc;
use std::time::Duration;

/// Why the pinned CAs can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PinError {
    /// A file is not PEM, or its certificate can't be read.
    #[error("pinned CA {0} is not a certificate in PEM")]
    Malformed(usize),
    /// There is not one certificate.
    #[error("no CA is pinned")]
    Empty,
    /// The cryptography provider does not do TLS 1.3.
    #[error("no TLS 1.3: {0}")]
    Provider(String),
}

/// The system's clock, but never before `floor` (seconds since 1970): a host that sets the clock back gains nothing.
#[derive(Clone, Copy, Debug)]
pub struct ClockAtLeast {
    /// When the image was built.
    pub floor: u64,
}

impl TimeProvider for ClockAtLeast {
    fn current_time(&self) -> Option<UnixTime> {
        let floor = UnixTime::since_unix_epoch(Duration::from_secs(self.floor));
        Some(UnixTime::now().max(floor))
    }
}

/// The verifier of webpki, but for `notBefore`: a clock that is behind (and whoever sets it back could as well set it
/// right) must not keep a node from a service whose certificate was renewed after the image was built. The chain is
/// then judged as of the latest `notBefore` in it, so that `notAfter` still holds.
#[derive(Debug)]
struct ClockMayLag(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for ClockMayLag {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut at = now;
        loop {
            let verdict = self.0.verify_server_cert(end_entity, intermediates, name, ocsp, at);
            match verdict {
                Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before,
                    ..
                })) if not_before > at => at = not_before,
                verdict => return verdict,
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// The configuration for `pins`, PEM files of one certificate or more.
pub(crate) fn config(pins: &[Vec<u8>], clock: ClockAtLeast) -> Result<ClientConfig, PinError> {
    let mut roots = RootCertStore::empty();
    for (i, pem) in pins.iter().enumerate() {
        let before = roots.len();
        for cert in CertificateDer::pem_slice_iter(pem) {
            let cert = cert.map_err(|_| PinError::Malformed(i))?;
            roots.add(cert).map_err(|_| PinError::Malformed(i))?;
        }
        if roots.len() == before {
            return Err(PinError::Malformed(i));
        }
    }
    if roots.is_empty() {
        return Err(PinError::Empty);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| PinError::Provider(e.to_string()))?;
    let config = ClientConfig::builder_with_details(provider, Arc::new(clock))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| PinError::Provider(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ClockMayLag(verifier)))
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t28_the_clock_is_never_before_the_floor() {
        let later = UnixTime::now().as_secs() + 1_000_000;
        assert_eq!(ClockAtLeast { floor: later }.current_time().unwrap().as_secs(), later);
        assert!(ClockAtLeast { floor: 0 }.current_time().unwrap().as_secs() > 1_000_000_000);
    }

    #[test]
    fn pins_must_be_certificates() {
        let clock = ClockAtLeast { floor: 0 };
        assert_eq!(config(&[], clock).unwrap_err(), PinError::Empty);
        assert_eq!(config(&[b"nonsense".to_vec()], clock).unwrap_err(), PinError::Malformed(0));
        let bad = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        assert_eq!(config(&[bad], clock).unwrap_err(), PinError::Malformed(0));
    }
}
