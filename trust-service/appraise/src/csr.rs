//! The kubelet's certificate request (PKCS #10), read strictly: what it doesn't need it may not ask for.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::{NodeName, limits};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_EC_P256, OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";

/// AlgorithmIdentifier of ecdsa-with-SHA256.
const ECDSA_SHA256: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// AlgorithmIdentifier of sha256WithRSAEncryption.
const RSA_SHA256: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];

/// Why a certificate request is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CsrError {
    /// Longer than any that is read.
    #[error("{0} bytes are too many")]
    Size(usize),
    /// Not a PKCS #10 request in DER.
    #[error("not a PKCS #10 request in DER")]
    Der,
    /// Bytes follow the request.
    #[error("{0} bytes follow the request")]
    Trailing(usize),
    /// Not signed by the key that it holds, with SHA-256.
    #[error("the signature is not that of the request's key with SHA-256")]
    Signature,
    /// Neither P-256 nor RSA of 2048 to 4096 bits.
    #[error("its key is neither P-256 nor RSA of 2048 to 4096 bits")]
    Key,
    /// Anything else than one CN and one O.
    #[error("the subject is not exactly O={GROUP}, CN={USER_PREFIX}<name>")]
    Subject,
    /// It asks for extensions, alternative names among them.
    #[error("it has attributes; a kubelet's client certificate has no alternative names")]
    Attributes,
    /// The name is not the one that the service chose.
    #[error("it asks for `{asked}`, the service's name for the node is `{due}`")]
    Name {
        /// In the request.
        asked: NodeName,
        /// The service's.
        due: NodeName,
    },
}

/// A certificate request whose form and signature were checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Csr {
    der: Vec<u8>,
    spki_der: Vec<u8>,
    name: NodeName,
}

impl Csr {
    /// Reads and checks a request: P-256 or RSA, signed by its own key, subject exactly `O=system:nodes,
    /// CN=system:node:<name>` in either order, no attributes.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        Self::read(der, signed)
    }

    fn read(
        der: &[u8],
        signed: impl FnOnce(&X509CertificationRequest<'_>) -> bool,
    ) -> Result<Self, CsrError> {
        if der.len() > limits::CSR {
            return Err(CsrError::Size(der.len()));
        }
        let (rest, csr) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Der)?;
        if !rest.is_empty() {
            return Err(CsrError::Trailing(rest.len()));
        }
        let info = &csr.certification_request_info;
        let algorithm = match info.subject_pki.parsed() {
            Ok(PublicKey::EC(_)) if is_p256(&info.subject_pki) => ECDSA_SHA256,
            Ok(PublicKey::RSA(key)) if (2048..=4096).contains(&key.key_size()) => RSA_SHA256,
            _ => return Err(CsrError::Key),
        };
        // These stand outside of what is signed, and the parser would take weaker or sloppier ones.
        let tail = (2..=4).find_map(|head| der.get(head..)?.strip_prefix(info.raw));
        if !tail.is_some_and(|tail| tail.starts_with(algorithm)) || csr.signature_value.unused_bits != 0 {
            return Err(CsrError::Signature);
        }
        if !signed(&csr) {
            return Err(CsrError::Signature);
        }
        if !info.attributes().is_empty() {
            return Err(CsrError::Attributes);
        }
        let name = node_name(info).ok_or(CsrError::Subject)?;
        Ok(Self { der: der.to_vec(), spki_der: info.subject_pki.raw.to_vec(), name })
    }

    /// Reads a request that was checked before, when it was the one of this digest: the signature is not verified again.
    pub fn checked_before(der: &[u8], digest: &Sha256Digest) -> Result<Self, CsrError> {
        if Sha256Digest::of(der) != *digest {
            return Err(CsrError::Signature);
        }
        Self::read(der, |_| true)
    }

    /// The name it asks for.
    pub fn node_name(&self) -> &NodeName {
        &self.name
    }

    /// [`CsrError::Name`] unless it asks for `due`.
    pub fn check_name(&self, due: &NodeName) -> Result<(), CsrError> {
        if self.name == *due {
            return Ok(());
        }
        Err(CsrError::Name { asked: self.name.clone(), due: due.clone() })
    }

    /// The request as it came, DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its key as DER SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }
}

fn node_name(
    info: &x509_parser::certification_request::X509CertificationRequestInfo<'_>,
) -> Option<NodeName> {
    let (mut user, mut group) = (None, None);
    for rdn in info.subject.iter_rdn() {
        let mut attributes = rdn.iter();
        let (Some(attribute), None) = (attributes.next(), attributes.next()) else { return None };
        let slot = match attribute.attr_type() {
            oid if *oid == OID_X509_COMMON_NAME => &mut user,
            oid if *oid == OID_X509_ORGANIZATION_NAME => &mut group,
            _ => return None,
        };
        if slot.replace(attribute.as_str().ok()?).is_some() {
            return None;
        }
    }
    if group != Some(GROUP) {
        return None;
    }
    user?.strip_prefix(USER_PREFIX)?.parse().ok()
}

/// Whether a request was signed by the key that it holds; form and algorithm were checked.
fn signed(csr: &X509CertificationRequest<'_>) -> bool {
    let info = &csr.certification_request_info;
    let (key, signature) = (&info.subject_pki.subject_public_key.data, &csr.signature_value.data);
    match info.subject_pki.parsed() {
        Ok(PublicKey::EC(_)) => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(info.raw, signature).is_ok()
        }
        Ok(PublicKey::RSA(_)) => {
            UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(info.raw, signature).is_ok()
        }
        _ => false,
    }
}

/// Whether a key is on P-256, in the one form of a point that all read: uncompressed.
fn is_p256(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
    let point = &key.subject_public_key.data;
    curve.is_some_and(|oid| oid == OID_EC_P256) && point.len() == 65 && point.first() == Some(&4)
}
