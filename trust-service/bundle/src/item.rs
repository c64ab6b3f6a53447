//! The collateral that a bundle carries, and how it is told apart when a bundle is made of files.

use ccnode_evidence::{Base64Std, Sha256Digest};
use serde::{Deserialize, Serialize};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

/// Certificates and lists in one file.
const MAX_ITEMS: usize = 4096;

/// A piece of collateral, as its issuer made it; nothing in it is judged here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Item {
    /// A certificate, DER: a VCEK, a VLEK, or a CA above them.
    Certificate {
        /// The certificate.
        der: Base64Std,
    },
    /// A certificate revocation list, DER.
    Crl {
        /// The list.
        der: Base64Std,
    },
    /// TDX collateral of one platform: TCB information, QE identity, revocation lists and their issuers, as Intel's provisioning
    /// certification service answers, in the JSON form of `dcap-qvl`.
    TdxCollateral {
        /// The JSON text.
        json: String,
    },
}

/// Why a file gives no item.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// None of the forms that are read.
    #[error("neither a certificate, nor a revocation list (PEM or DER), nor TDX collateral (JSON)")]
    Unknown,
    /// A PEM block of another kind: a private key, say.
    #[error("PEM block `{0}` is neither a certificate nor a revocation list")]
    Block(String),
    /// A PEM block that holds no such thing.
    #[error("PEM block {0} can't be read")]
    Pem(usize),
    /// More than anybody needs.
    #[error("{0} items in one file are too many")]
    Many(usize),
}

impl Item {
    /// SHA-256 of the content: the same item twice is one.
    pub fn id(&self) -> Sha256Digest {
        match self {
            Self::Certificate { der } | Self::Crl { der } => Sha256Digest::of(&der.0),
            Self::TdxCollateral { json } => Sha256Digest::of(json.as_bytes()),
        }
    }
}

/// Tells apart what a file holds: PEM blocks in any number, one DER certificate or list, or TDX collateral.
pub fn read_items(bytes: &[u8]) -> Result<Vec<Item>, ItemError> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        return tdx(bytes).map(|item| vec![item]);
    }
    if contains(bytes, b"-----BEGIN ") {
        return blocks(bytes);
    }
    der(bytes).map(|item| vec![item]).ok_or(ItemError::Unknown)
}

fn blocks(bytes: &[u8]) -> Result<Vec<Item>, ItemError> {
    let mut items = Vec::new();
    for (number, block) in Pem::iter_from_buffer(bytes).enumerate() {
        let block = block.map_err(|_| ItemError::Pem(number))?;
        if number >= MAX_ITEMS {
            return Err(ItemError::Many(number));
        }
        items.push(match (block.label.as_str(), der(&block.contents)) {
            ("CERTIFICATE", Some(item @ Item::Certificate { .. }))
            | ("X509 CRL", Some(item @ Item::Crl { .. })) => item,
            ("CERTIFICATE" | "X509 CRL", _) => return Err(ItemError::Pem(number)),
            (label, _) => {
                return Err(ItemError::Block(
                    label.chars().filter(|c| !ccnode_evidence::is_obeyed(*c)).take(40).collect(),
                ));
            }
        });
    }
    if items.is_empty() { Err(ItemError::Unknown) } else { Ok(items) }
}

fn der(bytes: &[u8]) -> Option<Item> {
    let whole = |rest: &[u8]| rest.is_empty();
    if X509Certificate::from_der(bytes).is_ok_and(|(rest, _)| whole(rest)) {
        return Some(Item::Certificate { der: bytes.to_vec().into() });
    }
    // A request has the outer shape of a list.
    let request = X509CertificationRequest::from_der(bytes).is_ok();
    let list = CertificateRevocationList::from_der(bytes).is_ok_and(|(rest, _)| whole(rest));
    (list && !request).then(|| Item::Crl { der: bytes.to_vec().into() })
}

/// Members that make JSON collateral; their content is judged where it is used.
const TDX_MEMBERS: [&str; 2] = ["tcb_info", "qe_identity"];

fn tdx(bytes: &[u8]) -> Result<Item, ItemError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ItemError::Unknown)?;
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| ItemError::Unknown)?;
    if TDX_MEMBERS.iter().any(|member| value.get(member).is_none()) {
        return Err(ItemError::Unknown);
    }
    Ok(Item::TdxCollateral { json: text.to_owned() })
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

    fn ca() -> (String, Vec<u8>, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::CrlSign];
        let cert = params.self_signed(&key).unwrap();
        let list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2027, 1, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let crl = list.signed_by(&Issuer::from_params(&params, &key)).unwrap();
        (cert.pem(), crl.der().to_vec(), key.serialize_pem())
    }

    #[test]
    fn files_are_told_apart() {
        let (cert, crl, key) = ca();
        let both = read_items(format!("{cert}\nwords between\n{cert}").as_bytes()).unwrap();
        let [Item::Certificate { der }, Item::Certificate { .. }] = both.as_slice() else {
            panic!("{both:?}")
        };
        assert!(matches!(read_items(&der.0).unwrap().as_slice(), [Item::Certificate { .. }]));
        assert!(matches!(read_items(&crl).unwrap().as_slice(), [Item::Crl { .. }]));
        let text = br#" {"tcb_info":"","qe_identity":"","more":1}"#;
        assert!(matches!(read_items(text).unwrap().as_slice(), [Item::TdxCollateral { .. }]));
        assert_eq!(read_items(key.as_bytes()), Err(ItemError::Block("PRIVATE KEY".into())));
        assert_eq!(read_items(br#"{"tcb_info":""}"#), Err(ItemError::Unknown));
        assert_eq!(read_items(b"{"), Err(ItemError::Unknown));
        assert_eq!(read_items(b""), Err(ItemError::Unknown));
        let mut longer = der.0.clone();
        longer.push(0);
        assert_eq!(read_items(&longer), Err(ItemError::Unknown));
        let broken = cert.replace("MI", "!!");
        assert_eq!(read_items(broken.as_bytes()), Err(ItemError::Pem(0)));
    }

    #[test]
    fn requests_are_no_lists() {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::new(vec!["a".into()]).unwrap().serialize_request(&key).unwrap();
        assert_eq!(read_items(request.der()), Err(ItemError::Unknown));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..256)) {
            let _ = read_items(&bytes);
        }
    }
}
