//! The endorsement key certificate: what makers of TPMs issue, and nothing else (TCG EK Credential Profile, section 3.2).

use crate::ek_key::EkKey;
use crate::public_key::{KeyError, PublicKey};
use crate::tpm::is_tpm12_cert;
use crate::x509::{self, CertError};
use ccnode_protocol::limits;
use x509_parser::extensions::{GeneralName, KeyUsage};
use x509_parser::prelude::X509Certificate;

/// tcg-kp-EKCertificate, 2.23.133.8.1 (section 3.2.16), as DER has it.
pub(crate) const EK_CERTIFICATE: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];
/// tcg-at-tpmManufacturer, -Model and -Version, 2.23.133.2.1 to 3 (section 3.1.2): what a TPM is called by.
const TPM_NAMES: [&[u8]; 3] =
    [&[0x67, 0x81, 0x05, 0x02, 0x01], &[0x67, 0x81, 0x05, 0x02, 0x02], &[0x67, 0x81, 0x05, 0x02, 0x03]];
/// id-RSAES-OAEP, 1.2.840.113549.1.1.7: what some makers call an RSA key that decrypts.
const RSAES_OAEP: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07];

/// Why a certificate is none of an endorsement key, or of a CA above one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EkCertError {
    /// It can't be read as a certificate, or holds what can't be judged.
    #[error("{0}")]
    Cert(#[source] CertError),
    /// Of a TPM 1.2.
    #[error("this is the certificate of a TPM 1.2; TPM 2.0 is appraised")]
    Tpm12,
    /// The extended key usage lacks tcg-kp-EKCertificate.
    #[error("extended key usage 2.23.133.8.1 (EK certificate) is missing")]
    Usage,
    /// The extended key usage allows TLS, code signing or the like beside: no endorsement key's.
    #[error("its extended key usage is one of other certificates, too")]
    OtherUsage,
    /// It has no extended key usage, and its alternative names don't name a TPM either.
    #[error("neither its extended key usage nor its alternative names say that it is an EK certificate")]
    Nameless,
    /// A key usage other than the one that the key needs: key encipherment for RSA, key agreement for ECC.
    #[error("the key usage does not allow {0}")]
    KeyUsage(&'static str),
    /// The key usage allows to sign certificates or CRLs, which an endorsement key never does.
    #[error("the key usage allows to sign certificates or CRLs; an endorsement key decrypts")]
    Signs,
    /// A CA's certificate in place of an endorsement key's.
    #[error("a CA's certificate is no endorsement key's")]
    Ca,
    /// An endorsement key's, or another, in place of a CA's.
    #[error("not a CA's certificate")]
    NoCa,
    /// A CA's whose key usage does not allow to sign certificates.
    #[error("its key usage does not allow to sign certificates")]
    CaKeyUsage,
    /// A key that no EK template has.
    #[error("its key is none of an EK template: {0}")]
    Key(#[source] KeyError),
    /// A key of a size that no EK template has.
    #[error("its key is {0}; EK templates have RSA of 2048 or 3072 bits, P-256 and P-384")]
    Template(String),
}

impl From<CertError> for EkCertError {
    fn from(error: CertError) -> Self {
        Self::Cert(error)
    }
}

/// The certificate's key; nothing is said of its issuer yet.
pub(crate) fn parse(der: &[u8]) -> Result<EkKey, EkCertError> {
    let cert = x509::read(der, limits::EK_CERT)?;
    if cert.is_ca() {
        return Err(EkCertError::Ca);
    }
    if is_tpm12_cert(&cert) {
        return Err(EkCertError::Tpm12);
    }
    usage(&cert)?;
    let spki = cert.public_key();
    let key = match spki.algorithm.algorithm.as_bytes() {
        RSAES_OAEP => PublicKey::from_pkcs1(&spki.subject_public_key.data),
        _ => PublicKey::of(spki),
    };
    let key = key.map_err(EkCertError::Key)?;
    if let Ok(Some(usage)) = cert.key_usage() {
        key_usage(usage.value, &key)?;
    }
    EkKey::new(key).map_err(|key| EkCertError::Template(key.describe()))
}

/// The extended key usage says that it is an EK certificate, and nothing besides. The profile wants it there since version 2.1;
/// earlier makers left it out: of them the alternative names must name a TPM.
fn usage(cert: &X509Certificate<'_>) -> Result<(), EkCertError> {
    match cert.extended_key_usage().map(|usage| usage.map(|usage| usage.value)) {
        Ok(Some(usage)) => {
            if !usage.other.iter().any(|oid| oid.as_bytes() == EK_CERTIFICATE) {
                return Err(EkCertError::Usage);
            }
            let tls = usage.server_auth || usage.client_auth;
            let other = usage.code_signing || usage.email_protection || usage.time_stamping;
            if tls || other || usage.ocsp_signing || usage.any {
                Err(EkCertError::OtherUsage)
            } else {
                Ok(())
            }
        }
        Ok(None) if names_a_tpm(cert) => Ok(()),
        _ => Err(EkCertError::Nameless),
    }
}

/// Whether a directory name among the alternative names has manufacturer, model and version of a TPM, in any arrangement.
fn names_a_tpm(cert: &X509Certificate<'_>) -> bool {
    let Ok(Some(names)) = cert.subject_alternative_name() else { return false };
    names.value.general_names.iter().any(|name| match name {
        GeneralName::DirectoryName(name) => TPM_NAMES
            .iter()
            .all(|due| name.iter_attributes().any(|attribute| attribute.attr_type().as_bytes() == *due)),
        _ => false,
    })
}

fn key_usage(usage: &KeyUsage, key: &PublicKey) -> Result<(), EkCertError> {
    let (due, is) = match key {
        PublicKey::Rsa { .. } => ("key encipherment", usage.key_encipherment()),
        PublicKey::Ecc { .. } => ("key agreement", usage.key_agreement()),
    };
    if !is {
        return Err(EkCertError::KeyUsage(due));
    }
    if usage.key_cert_sign() || usage.crl_sign() {
        return Err(EkCertError::Signs);
    }
    Ok(())
}
