//! Structures of TPM 1.2, recognised so that they can be refused by name.

use crate::x509::SUBJECT_DIRECTORY_ATTRIBUTES;
use x509_parser::prelude::X509Certificate;

/// TPM_STRUCT_VER of TPM 1.1 and 1.2 (TPM Main, part 2, section 5.1).
const STRUCT_VER: [u8; 4] = [1, 1, 0, 0];
/// TPM_TAG_QUOTE_INFO2 and `fixed` of TPM_QUOTE_INFO2 (section 11.4).
const QUOTE_INFO2: [u8; 6] = [0x00, 0x36, b'Q', b'U', b'T', b'2'];
/// TPM_TAG_KEY12 and its fill (section 10.3).
const KEY12: [u8; 4] = [0x00, 0x28, 0x00, 0x00];
/// TPM_ALG_RSA of TPM 1.2 as the 32 bits that TPM_KEY_PARMS begins with (section 10.1); TPMT_PUBLIC begins with 16.
const KEY_PARMS_RSA: [u8; 4] = [0, 0, 0, 1];
/// tPMSpecification, 2.23.133.2.16, as DER.
const TPM_SPECIFICATION: &[u8] = &[0x06, 0x05, 0x67, 0x81, 0x05, 0x02, 0x10];
/// `family` of that attribute: the UTF8String "1.2".
const FAMILY_12: &[u8] = &[0x0c, 0x03, b'1', b'.', b'2'];
/// TPM_QUOTE_INFO (section 11.3) or TPM_QUOTE_INFO2 in place of TPMS_ATTEST.
pub(super) fn is_tpm12_quote(bytes: &[u8]) -> bool {
    let info = bytes.strip_prefix(&STRUCT_VER).is_some_and(|rest| rest.starts_with(b"QUOT"));
    info || bytes.starts_with(&QUOTE_INFO2)
}

/// TPM_PUBKEY, TPM_KEY or TPM_KEY12 in place of TPMT_PUBLIC.
pub(crate) fn is_tpm12_key(bytes: &[u8]) -> bool {
    [STRUCT_VER, KEY12, KEY_PARMS_RSA].iter().any(|head| bytes.starts_with(head))
}

/// Whether a certificate says that its TPM is one of family 1.2.
pub(crate) fn is_tpm12_cert(cert: &X509Certificate<'_>) -> bool {
    cert.extensions()
        .iter()
        .filter(|extension| extension.oid.as_bytes() == SUBJECT_DIRECTORY_ATTRIBUTES)
        .any(|extension| holds(extension.value, TPM_SPECIFICATION) && holds(extension.value, FAMILY_12))
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
