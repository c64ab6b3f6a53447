//! Certificates of attestation keys, as clouds issue them for their vTPMs, and the chain above them.

use crate::UnixTime;
use crate::ek_cert::EK_CERTIFICATE;
use crate::public_key::{KeyError, PublicKey};
use crate::tpm::is_tpm12_cert;
use crate::x509::{self, CertError, ChainFault, printable};
use ccnode_evidence::Code;
use ccnode_protocol::limits;
use x509_parser::prelude::X509Certificate;

/// tcg-kp-AIKCertificate, 2.23.133.8.3, as DER has it.
const AIK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x03];

/// Why a certificate is none of an attestation key, or leads to no CA.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AkCertError {
    /// It can't be read as a certificate, or holds what can't be judged.
    #[error("{0}")]
    Cert(#[source] CertError),
    /// Of a TPM 1.2.
    #[error("this is the certificate of a TPM 1.2; TPM 2.0 is appraised")]
    Tpm12,
    /// A CA's.
    #[error("a CA's certificate is no attestation key's")]
    Ca,
    /// Its extended key usage names neither attestation keys nor, as some clouds have it, endorsement keys.
    #[error("extended key usage 2.23.133.8.3 (AIK certificate) or 2.23.133.8.1 is missing")]
    Usage,
    /// Its key usage does not allow digital signatures.
    #[error("the key usage does not allow digital signatures")]
    KeyUsage,
    /// A key that is not appraised.
    #[error("{0}")]
    Key(#[source] KeyError),
    /// No CA at hand issued it.
    #[error("no CA at hand issued the certificate by `{issuer}`")]
    Untrusted {
        /// Its issuer.
        issuer: String,
    },
    /// A CA of the issuer's name, or one above it, did not, or was not allowed to.
    #[error("{0}")]
    Chain(#[source] ChainFault),
    /// It, or a CA above it, is outside its validity.
    #[error("certificate of `{subject}` is valid from {} to {}, and it is judged as of {}", not_before.0, not_after.0, at.0)]
    Expired {
        /// Whose certificate.
        subject: String,
        /// First second of its validity.
        not_before: UnixTime,
        /// Last second of its validity.
        not_after: UnixTime,
        /// The time of judgement.
        at: UnixTime,
    },
}

impl AkCertError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Tpm12 => Code::Tpm12,
            Self::Key(error) if error.is_weak() => Code::AkWeak,
            Self::Cert(_) | Self::Ca | Self::Usage | Self::KeyUsage | Self::Key(_) => Code::AkCertMalformed,
            Self::Untrusted { .. } | Self::Chain(_) => Code::AkCertUntrusted,
            Self::Expired { .. } => Code::AkCertExpired,
        }
    }
}

/// The certificate's key; nothing is said of its issuer yet.
pub(super) fn parse(der: &[u8]) -> Result<PublicKey, AkCertError> {
    let cert = x509::read(der, limits::EK_CERT).map_err(AkCertError::Cert)?;
    if cert.is_ca() {
        return Err(AkCertError::Ca);
    }
    if is_tpm12_cert(&cert) {
        return Err(AkCertError::Tpm12);
    }
    let usage = cert.extended_key_usage().ok().flatten().ok_or(AkCertError::Usage)?;
    if !usage.value.other.iter().any(|oid| [EK_CERTIFICATE, AIK_CERTIFICATE].contains(&oid.as_bytes())) {
        return Err(AkCertError::Usage);
    }
    if cert.key_usage().is_ok_and(|usage| usage.is_some_and(|usage| !usage.value.digital_signature())) {
        return Err(AkCertError::KeyUsage);
    }
    PublicKey::of(cert.public_key()).map_err(AkCertError::Key)
}

/// CAs above an attestation key's certificate, and the time as of which they are judged.
#[derive(Clone, Copy, Debug)]
pub struct AkChain<'a> {
    /// Certificates that may stand in between, DER: what came with the evidence.
    pub intermediates: &'a [Vec<u8>],
    /// CAs that are trusted, DER.
    pub roots: &'a [Vec<u8>],
    /// The time of judgement.
    pub at: UnixTime,
}

impl AkChain<'_> {
    /// The subject of the root that leads to `certificate`.
    pub(super) fn check(&self, certificate: &[u8]) -> Result<String, AkCertError> {
        let leaf = x509::read(certificate, limits::EK_CERT).map_err(AkCertError::Cert)?;
        let all = self.roots.iter().chain(self.intermediates);
        let cas = all.map(|der| x509::read(der, limits::EK_CERT).map_err(AkCertError::Cert));
        let cas = cas.collect::<Result<Vec<_>, _>>()?;
        let reached = x509::climb(&leaf, &cas, self.at);
        let root = reached.cas.iter().filter(|index| **index < self.roots.len());
        if let Some(root) = root.filter_map(|index| cas.get(*index)).next() {
            return Ok(name(root));
        }
        Err(match (reached.expired, reached.fault) {
            (Some(expired), _) => AkCertError::Expired {
                subject: expired.subject,
                not_before: expired.not_before,
                not_after: expired.not_after,
                at: self.at,
            },
            (None, Some(fault)) => AkCertError::Chain(fault),
            (None, None) => AkCertError::Untrusted { issuer: printable(&leaf.issuer().to_string()) },
        })
    }
}

fn name(cert: &X509Certificate<'_>) -> String {
    printable(&cert.subject().to_string())
}
