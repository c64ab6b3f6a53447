//! Whether one certificate's key signed another: RSASSA-PKCS1-v1_5 and RSASSA-PSS of 2048 bits or more, ECDSA on P-256 and P-384.

use ring::signature::{self as ring_sig, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::prelude::X509Certificate;
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::AlgorithmIdentifier;

/// Why a certificate's signature does not hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignatureFault {
    /// MD5 or SHA-1: weak.
    #[error("it is signed with a weak hash ({0})")]
    Weak(&'static str),
    /// An algorithm that is not judged, or not with such a key.
    #[error("its signature algorithm {0} is not judged with its issuer's key")]
    Algorithm(String),
    /// Not the issuer's.
    #[error("its signature is not its issuer's")]
    Invalid,
}

type Algorithm = &'static dyn VerificationAlgorithm;

/// rsaEncryption, 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// id-ecPublicKey, 1.2.840.10045.2.1.
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.113549.1.1, without its last number.
const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4.3, without its last number.
const ECDSA_SHA2: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
/// ecdsa-with-SHA1, 1.2.840.10045.4.1.
const ECDSA_SHA1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01];
/// 2.16.840.1.101.3.4.2, without its last number.
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// Whether `issuer`'s key signed `cert`.
pub(super) fn check(cert: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> Result<(), SignatureFault> {
    let algorithm = algorithm(&cert.signature_algorithm, &issuer.public_key().algorithm)?;
    let key = &issuer.public_key().subject_public_key;
    if key.unused_bits != 0 {
        return Err(SignatureFault::Invalid);
    }
    UnparsedPublicKey::new(algorithm, &key.data)
        .verify(cert.tbs_certificate.as_ref(), &cert.signature_value.data)
        .map_err(|_| SignatureFault::Invalid)
}

fn algorithm(
    signed: &AlgorithmIdentifier<'_>,
    key: &AlgorithmIdentifier<'_>,
) -> Result<Algorithm, SignatureFault> {
    let unknown = || SignatureFault::Algorithm(signed.algorithm.to_id_string());
    let oid = signed.algorithm.as_bytes();
    if oid == ECDSA_SHA1 {
        return Err(SignatureFault::Weak("SHA-1"));
    }
    match key.algorithm.as_bytes() {
        RSA => match oid.strip_prefix(PKCS1) {
            Some([4]) => Err(SignatureFault::Weak("MD5")),
            Some([5]) => Err(SignatureFault::Weak("SHA-1")),
            Some([10]) => pss(signed).ok_or_else(unknown),
            Some([11]) => Ok(&ring_sig::RSA_PKCS1_2048_8192_SHA256),
            Some([12]) => Ok(&ring_sig::RSA_PKCS1_2048_8192_SHA384),
            Some([13]) => Ok(&ring_sig::RSA_PKCS1_2048_8192_SHA512),
            _ => Err(unknown()),
        },
        EC => {
            let curve = key.parameters.as_ref().and_then(|p| p.as_oid().ok()).ok_or_else(unknown)?;
            match (oid.strip_prefix(ECDSA_SHA2), curve.as_bytes()) {
                (Some([2]), P256) => Ok(&ring_sig::ECDSA_P256_SHA256_ASN1),
                (Some([3]), P256) => Ok(&ring_sig::ECDSA_P256_SHA384_ASN1),
                (Some([2]), P384) => Ok(&ring_sig::ECDSA_P384_SHA256_ASN1),
                (Some([3]), P384) => Ok(&ring_sig::ECDSA_P384_SHA384_ASN1),
                _ => Err(unknown()),
            }
        }
        _ => Err(unknown()),
    }
}

/// RSASSA-PSS with one hash throughout and a salt of its length (RFC 4055, section 3.1).
fn pss(signed: &AlgorithmIdentifier<'_>) -> Option<Algorithm> {
    let Ok(SignatureAlgorithm::RSASSA_PSS(params)) = SignatureAlgorithm::try_from(signed) else {
        return None;
    };
    let hash = params.hash_algorithm_oid().as_bytes();
    let mask = params.mask_gen_algorithm().ok()?;
    if mask.hash.as_bytes() != hash || params.trailer_field() != 1 {
        return None;
    }
    match (hash.strip_prefix(SHA2)?, params.salt_length()) {
        ([1], 32) => Some(&ring_sig::RSA_PSS_2048_8192_SHA256),
        ([2], 48) => Some(&ring_sig::RSA_PSS_2048_8192_SHA384),
        ([3], 64) => Some(&ring_sig::RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509;

    #[test]
    fn pss_of_a_real_chain() {
        // A processor maker's intermediate and root: RSA-4096, RSASSA-PSS with SHA-384.
        let Some(pem) = ccnode_vectors::read("snp/ca/ask_ark_milan.pem") else { return };
        let ders: Vec<Vec<u8>> =
            x509_parser::pem::Pem::iter_from_buffer(&pem).map(|block| block.unwrap().contents).collect();
        let [below, above] = ders.as_slice() else { panic!("{} certificates", ders.len()) };
        let (below, above) = (x509::read(below, 4096).unwrap(), x509::read(above, 4096).unwrap());
        assert_eq!(check(&below, &above), Ok(()));
        assert_eq!(check(&above, &above), Ok(()));
        assert_eq!(check(&above, &below), Err(SignatureFault::Invalid));
    }
}
