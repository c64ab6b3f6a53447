//! Intel's collateral for TD quotes as it is stored and sent; nothing of it is believed before [`Collateral::verify`].

use crate::{ChainError, Rejection};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// Longest item that is read. Intel's are a few KiB; lists of revoked certificates may grow.
pub(crate) const MAX_ITEM: usize = 4 * 1024 * 1024;

/// A part of the collateral.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CollateralItem {
    /// The whole.
    Whole,
    /// TCB info of the platform's model.
    TcbInfo,
    /// Certificates above the TCB info.
    TcbInfoChain,
    /// Identity of the TD quoting enclave.
    QeIdentity,
    /// Certificates above the QE identity.
    QeIdentityChain,
    /// Certificates that the root revoked.
    RootCrl,
    /// PCK certificates that their CA revoked.
    PckCrl,
    /// Certificates above the list of revoked PCK certificates.
    PckCrlChain,
}

impl fmt::Display for CollateralItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "collateral",
            Self::TcbInfo => "TCB info",
            Self::TcbInfoChain => "issuer chain of the TCB info",
            Self::QeIdentity => "QE identity",
            Self::QeIdentityChain => "issuer chain of the QE identity",
            Self::RootCrl => "root CA's CRL",
            Self::PckCrl => "PCK CRL",
            Self::PckCrlChain => "issuer chain of the PCK CRL",
        })
    }
}

/// Why an item of the collateral can't be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum CollateralError {
    /// Longer than any that is read.
    #[error("{0} bytes; at most {MAX_ITEM} are read")]
    TooLong(usize),
    /// Not the JSON that Intel's service speaks.
    #[error("{0}")]
    Json(String),
    /// A signature that is not 64 bytes in hexadecimal.
    #[error("its signature is not 64 bytes in hexadecimal")]
    Signature,
    /// A version that is not known here.
    #[error("version {seen}; judged here are {wanted:?}")]
    Version {
        /// The item's.
        seen: u32,
        /// Those known here.
        wanted: &'static [u32],
    },
    /// A type of TCB that is not known here.
    #[error("tcbType {0}; 0 is judged here")]
    TcbType(u32),
    /// Neither DER, PEM nor hexadecimal.
    #[error("not a CRL in DER, PEM or hexadecimal")]
    Crl,
    /// A list of a form that is not taken.
    #[error("{0}")]
    CrlForm(webpki::Error),
    /// A list that covers a part of its issuer's certificates only.
    #[error("the list covers a part of its issuer's certificates only")]
    CrlScope,
    /// A chain in neither PEM nor URL-encoded PEM.
    #[error("{0}")]
    Chain(ChainError),
}

/// All collateral for one platform model, as text and bytes.
///
/// Its JSON form is the `QuoteCollateralV3` of the crate dcap-qvl; [`Collateral::from_pcs`] takes the answers of Intel's service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Collateral {
    /// PEM, leaf first.
    pck_crl_issuer_chain: String,
    #[serde(with = "hex::serde")]
    root_ca_crl: Vec<u8>,
    #[serde(with = "hex::serde")]
    pck_crl: Vec<u8>,
    /// PEM, leaf first.
    tcb_info_issuer_chain: String,
    /// The JSON text that is signed.
    tcb_info: String,
    #[serde(with = "hex::serde")]
    tcb_info_signature: Vec<u8>,
    /// PEM, leaf first.
    qe_identity_issuer_chain: String,
    /// The JSON text that is signed.
    qe_identity: String,
    #[serde(with = "hex::serde")]
    qe_identity_signature: Vec<u8>,
}

/// The answers of Intel's provisioning certification service (API version 4), or of a cache of it, as they came.
///
/// Chains come in headers (`TCB-Info-Issuer-Chain`, `SGX-Enclave-Identity-Issuer-Chain`, `SGX-PCK-CRL-Issuer-Chain`):
/// PEM, URL-encoded or not. CRLs may be DER, PEM or hexadecimal.
#[derive(Clone, Copy, Debug)]
pub struct PcsResponses<'a> {
    /// Body of `/tdx/certification/v4/tcb`: `{"tcbInfo":{…},"signature":"…"}`.
    pub tcb_info: &'a [u8],
    /// Its issuer chain.
    pub tcb_info_issuer_chain: &'a [u8],
    /// Body of `/tdx/certification/v4/qe/identity`: `{"enclaveIdentity":{…},"signature":"…"}`.
    pub qe_identity: &'a [u8],
    /// Its issuer chain.
    pub qe_identity_issuer_chain: &'a [u8],
    /// Body of `/sgx/certification/v4/pckcrl` for the CA of the platform's PCK certificate.
    pub pck_crl: &'a [u8],
    /// Its issuer chain.
    pub pck_crl_issuer_chain: &'a [u8],
    /// The CRL of Intel's SGX root CA.
    pub root_ca_crl: &'a [u8],
}

#[derive(Deserialize)]
struct TcbInfoResponse<'a> {
    #[serde(rename = "tcbInfo", borrow)]
    info: &'a RawValue,
    signature: String,
}

#[derive(Deserialize)]
struct QeIdentityResponse<'a> {
    #[serde(rename = "enclaveIdentity", borrow)]
    identity: &'a RawValue,
    signature: String,
}

impl Collateral {
    /// Reads the JSON form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Rejection> {
        bounded(CollateralItem::Whole, bytes)?;
        serde_json::from_slice(bytes).map_err(|e| json(CollateralItem::Whole, &e))
    }

    /// Puts the answers of Intel's service together.
    pub fn from_pcs(answers: &PcsResponses<'_>) -> Result<Self, Rejection> {
        use CollateralItem as Item;
        let info: TcbInfoResponse<'_> = body(Item::TcbInfo, answers.tcb_info)?;
        let qe: QeIdentityResponse<'_> = body(Item::QeIdentity, answers.qe_identity)?;
        Ok(Self {
            pck_crl_issuer_chain: chain(Item::PckCrlChain, answers.pck_crl_issuer_chain)?,
            root_ca_crl: crl(Item::RootCrl, answers.root_ca_crl)?,
            pck_crl: crl(Item::PckCrl, answers.pck_crl)?,
            tcb_info_issuer_chain: chain(Item::TcbInfoChain, answers.tcb_info_issuer_chain)?,
            tcb_info: info.info.get().to_owned(),
            tcb_info_signature: signature(Item::TcbInfo, &info.signature)?,
            qe_identity_issuer_chain: chain(Item::QeIdentityChain, answers.qe_identity_issuer_chain)?,
            qe_identity: qe.identity.get().to_owned(),
            qe_identity_signature: signature(Item::QeIdentity, &qe.signature)?,
        })
    }

    pub(crate) fn pck_crl(&self) -> (&[u8], &str) {
        (&self.pck_crl, &self.pck_crl_issuer_chain)
    }

    pub(crate) fn root_crl(&self) -> &[u8] {
        &self.root_ca_crl
    }

    /// FMSPC of the platform model that the TCB info says it is for; nothing is proven.
    pub fn unproven_fmspc(&self) -> Option<[u8; 6]> {
        #[derive(Deserialize)]
        struct Model {
            #[serde(with = "hex::serde")]
            fmspc: [u8; 6],
        }
        serde_json::from_str(&self.tcb_info).ok().map(|Model { fmspc }| fmspc)
    }

    pub(crate) fn tcb_info(&self) -> Signed<'_> {
        Signed {
            text: &self.tcb_info,
            signature: &self.tcb_info_signature,
            chain: &self.tcb_info_issuer_chain,
        }
    }

    pub(crate) fn qe_identity(&self) -> Signed<'_> {
        Signed {
            text: &self.qe_identity,
            signature: &self.qe_identity_signature,
            chain: &self.qe_identity_issuer_chain,
        }
    }
}

/// A JSON text with its signature and the chain of its signer; nothing is checked.
#[derive(Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub(crate) text: &'a str,
    pub(crate) signature: &'a [u8],
    pub(crate) chain: &'a str,
}

pub(crate) fn json(item: CollateralItem, error: &serde_json::Error) -> Rejection {
    let text = error.to_string().chars().take(200).collect();
    Rejection::CollateralMalformed { item, error: CollateralError::Json(text) }
}

fn bounded(item: CollateralItem, bytes: &[u8]) -> Result<(), Rejection> {
    if bytes.len() > MAX_ITEM {
        return Err(Rejection::CollateralMalformed { item, error: CollateralError::TooLong(bytes.len()) });
    }
    Ok(())
}

fn body<'a, T: Deserialize<'a>>(item: CollateralItem, bytes: &'a [u8]) -> Result<T, Rejection> {
    bounded(item, bytes)?;
    serde_json::from_slice(bytes).map_err(|e| json(item, &e))
}

fn signature(item: CollateralItem, text: &str) -> Result<Vec<u8>, Rejection> {
    let bytes = hex::decode(text).ok().filter(|bytes| bytes.len() == 64);
    bytes.ok_or(Rejection::CollateralMalformed { item, error: CollateralError::Signature })
}

fn chain(item: CollateralItem, bytes: &[u8]) -> Result<String, Rejection> {
    bounded(item, bytes)?;
    let bad = Rejection::CollateralMalformed { item, error: CollateralError::Chain(ChainError::Pem) };
    let text = std::str::from_utf8(bytes).ok().and_then(url_decoded).ok_or(bad.clone())?;
    let certs = crate::chain::read_pem(text.as_bytes()).map_err(|_| bad.clone())?;
    if certs.is_empty() { Err(bad) } else { Ok(text) }
}

/// `%0A` as a line's end and so on. PEM itself has no percent sign, and its `+` stays what it is.
fn url_decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        let byte = u8::from_str_radix(code, 16).ok().filter(u8::is_ascii)?;
        out.push(char::from(byte));
        out.push_str(rest);
    }
    Some(out)
}

fn crl(item: CollateralItem, bytes: &[u8]) -> Result<Vec<u8>, Rejection> {
    bounded(item, bytes)?;
    let read = match bytes.trim_ascii() {
        // SEQUENCE: as its tag, and as hexadecimal of it.
        [0x30, ..] => Some(bytes.to_vec()),
        [b'3', b'0', ..] => hex::decode(bytes.trim_ascii()).ok(),
        text => CertificateRevocationListDer::from_pem_slice(text).ok().map(|der| der.to_vec()),
    };
    read.ok_or(Rejection::CollateralMalformed { item, error: CollateralError::Crl })
}
