//! TLS 1.3 for both listeners; on the administrators' one, certificates of the service's CA say who a client is.

use ccnode_evidence::Sha256Digest;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that is no PEM of its kind.
    #[error("{0}: {1}")]
    Pem(&'static str, #[source] rustls_pki_types::pem::Error),
    /// rustls refuses certificate or key.
    #[error("TLS: {0}")]
    Rustls(#[source] rustls::Error),
    /// rustls refuses the CA.
    #[error("TLS client verifier: {0}")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// Certificate chain and key of the service, PEM, and the CA above administrators.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    /// `tls/cert.pem`.
    pub cert: &'a str,
    /// `tls/key.pem`.
    pub key: &'a str,
    /// `tls/ca.pem`, and the CAs before and after it while there are some.
    pub cas: &'a [Zeroizing<String>],
}

fn parts(
    material: &Material<'_>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = CertificateDer::pem_slice_iter(material.cert.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| TlsError::Pem("tls/cert.pem", e))?;
    let key = PrivateKeyDer::from_pem_slice(material.key.as_bytes())
        .map_err(|e| TlsError::Pem("tls/key.pem", e))?;
    Ok((chain, key))
}

/// For nodes: they prove themselves by evidence, not by certificates.
pub fn node(material: &Material<'_>) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = parts(material)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Rustls)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Rustls)?;
    Ok(finished(config))
}

/// For administrators. A connection without a certificate is completed, so that it gets an answer that says what is missing;
/// the guard before all routes gives it no other one. A certificate of another CA ends the handshake.
pub fn admin(material: &Material<'_>) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain, key) = parts(material)?;
    let mut roots = RootCertStore::empty();
    for ca in material.cas {
        let ca = CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|e| TlsError::Pem("tls/ca.pem", e))?;
        roots.add(ca).map_err(TlsError::Rustls)?;
    }
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(TlsError::Verifier)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Rustls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TlsError::Rustls)?;
    Ok(finished(config))
}

/// Suites in our order.
fn provider() -> Arc<CryptoProvider> {
    let cipher_suites =
        vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites, ..default_provider() })
}

fn finished(mut config: ServerConfig) -> Arc<ServerConfig> {
    // Key schedules of SHA-256 are hashed by the processor; every client has this suite, and its key is as strong as the exchange.
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A node boots and remembers nothing; an administrator's resumed session would outlive the rotation of what it was made by.
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// Who is at the other end of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The client that its certificate names; rustls has verified it.
    pub client: Option<Client>,
}

/// What a client certificate says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Client {
    /// Common name.
    pub name: String,
    /// Organizational units.
    pub roles: Vec<String>,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key: Sha256Digest,
}

impl Client {
    /// Reads a verified certificate; `None` where it names nobody.
    pub fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let cert = crate::pki::parse(der).ok()?;
        let subject = cert.subject();
        let name = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
        let roles = subject.iter_organizational_unit().filter_map(|ou| ou.as_str().ok());
        let key = Sha256Digest::of(cert.public_key().raw);
        Some(Self { name, roles: roles.map(str::to_owned).collect(), key })
    }
}
