//! The key that a quote is verified with, in all the forms that people hold it in.

use super::ak_cert::{self, AkCertError};
use crate::PublicError;
use crate::public_key::{KeyError, PublicKey};
use crate::tpm::SigningKey;
use ccnode_evidence::Code;
use ccnode_protocol::limits;

/// Longest text that is read as PEM.
const PEM_LIMIT: usize = 64 * 1024;

/// A key that quotes are verified with. Only one that came as TPMT_PUBLIC says what its TPM guards.
#[derive(Clone, Debug)]
pub struct QuoteKey(pub(super) Form);

#[derive(Clone, Debug)]
pub(super) enum Form {
    /// TPMT_PUBLIC.
    Tpm(SigningKey),
    /// The key alone.
    Bare(PublicKey),
    /// A certificate, DER, and its key.
    Certificate(Vec<u8>, PublicKey),
}

/// Why bytes are no key that quotes are verified with.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyFormError {
    /// Neither TPMT_PUBLIC, TPM2B_PUBLIC, SubjectPublicKeyInfo, certificate nor PEM of these.
    #[error("neither a TPMT_PUBLIC, a SubjectPublicKeyInfo nor a certificate, DER or PEM")]
    Unknown,
    /// TPMT_PUBLIC that is not appraised.
    #[error("{0}")]
    Public(#[source] PublicError),
    /// A key that is not appraised.
    #[error("{0}")]
    Key(#[source] KeyError),
    /// A certificate that is none of an attestation key.
    #[error("attestation key certificate: {0}")]
    Certificate(#[source] AkCertError),
}

impl KeyFormError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Public(error) => error.code(),
            Self::Key(error) if error.is_weak() => Code::AkWeak,
            Self::Unknown | Self::Key(_) => Code::AkMalformed,
            Self::Certificate(error) => error.code(),
        }
    }
}

impl QuoteKey {
    /// A TPMT_PUBLIC as a TPM marshals it.
    pub fn tpmt_public(bytes: &[u8]) -> Result<Self, KeyFormError> {
        SigningKey::parse(bytes).map(|key| Self(Form::Tpm(key))).map_err(KeyFormError::Public)
    }

    /// A TPM2B_PUBLIC: the same behind its size, as tpm2-tools write it.
    pub fn tpm2b_public(bytes: &[u8]) -> Result<Self, KeyFormError> {
        let sized = bytes.split_first_chunk::<2>().filter(|(size, rest)| is_size(**size, rest));
        let (_, public) = sized.ok_or(KeyFormError::Unknown)?;
        Self::tpmt_public(public)
    }

    /// A SubjectPublicKeyInfo, DER.
    pub fn spki(der: &[u8]) -> Result<Self, KeyFormError> {
        PublicKey::from_spki(der).map(|key| Self(Form::Bare(key))).map_err(KeyFormError::Key)
    }

    /// The numbers of an RSA key, big-endian, as a JSON Web Key has them in `n` and `e`.
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyFormError> {
        let key = PublicKey::from_rsa_numbers(modulus, exponent).map_err(KeyFormError::Key)?;
        Ok(Self(Form::Bare(key)))
    }

    /// An attestation key's certificate, DER; what stands above it is judged by [`AkChain`](super::AkChain).
    pub fn certificate(der: &[u8]) -> Result<Self, KeyFormError> {
        let key = ak_cert::parse(der).map_err(KeyFormError::Certificate)?;
        Ok(Self(Form::Certificate(der.to_vec(), key)))
    }

    /// Whichever of the forms it is, DER as PEM too (the first block of a known label).
    pub fn detect(bytes: &[u8]) -> Result<Self, KeyFormError> {
        if let Some((label, der)) = pem(bytes) {
            return match label.as_str() {
                "PUBLIC KEY" => Self::spki(&der),
                "CERTIFICATE" | "TRUSTED CERTIFICATE" => Self::certificate(&der),
                _ => Err(KeyFormError::Unknown),
            };
        }
        match bytes {
            // SEQUENCE { SEQUENCE { OBJECT IDENTIFIER: an algorithm; a certificate has a version there.
            [0x30, ..] if PublicKey::from_spki(bytes) != Err(KeyError::Der) => Self::spki(bytes),
            [0x30, ..] => Self::certificate(bytes),
            [a, b, rest @ ..] if is_size([*a, *b], rest) => Self::tpmt_public(rest),
            [_, ..] if bytes.len() <= limits::AK_PUBLIC => Self::tpmt_public(bytes),
            _ => Err(KeyFormError::Unknown),
        }
    }

    /// The key in words: "RSA of 2048 bits".
    pub fn describe(&self) -> String {
        self.public().describe()
    }

    /// Its SubjectPublicKeyInfo, DER.
    pub fn spki_der(&self) -> Vec<u8> {
        self.public().spki()
    }

    /// Its Name, where it came as TPMT_PUBLIC: the name algorithm and that hash of the public area.
    pub fn name(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Tpm(key) => Some(&key.name),
            Form::Bare(_) | Form::Certificate(..) => None,
        }
    }

    /// The certificate that it came in, DER.
    pub fn certificate_der(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Certificate(der, _) => Some(der),
            Form::Tpm(_) | Form::Bare(_) => None,
        }
    }

    pub(crate) fn public(&self) -> &PublicKey {
        match &self.0 {
            Form::Tpm(key) => &key.key,
            Form::Bare(key) | Form::Certificate(_, key) => key,
        }
    }
}

fn is_size(size: [u8; 2], rest: &[u8]) -> bool {
    rest.len() == usize::from(u16::from_be_bytes(size))
}

/// Label and content of the first PEM block; text may stand in front of it.
fn pem(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    if bytes.len() > PEM_LIMIT || !bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return None;
    }
    let block = x509_parser::pem::Pem::iter_from_buffer(bytes).next()?.ok()?;
    Some((block.label, block.contents))
}
