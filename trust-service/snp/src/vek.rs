//! The endorsement certificate, VCEK or VLEK: a P-384 key with the chip or provider and the TCB it was derived for
//! (KDS specification 57230, section 3.1).

use crate::bits::KeyKind;
use crate::product::Product;
use crate::report::Report;
use crate::tcb::TcbVersion;
use crate::x509::{self, CertError, Raw};
use ccnode_evidence::UnixTime;
use x509_parser::der_parser::oid;
use x509_parser::prelude::{SubjectPublicKeyInfo, X509Certificate};

/// 1.3.6.1.4.1.3704.1 as DER has it.
const ARC: [u8; 8] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01];
const PRODUCT_NAME: &str = "1.3.6.1.4.1.3704.1.2 (product name)";
const BOOTLOADER: &str = "1.3.6.1.4.1.3704.1.3.1 (boot loader SPL)";
const TEE: &str = "1.3.6.1.4.1.3704.1.3.2 (TEE SPL)";
const SNP: &str = "1.3.6.1.4.1.3704.1.3.3 (SNP SPL)";
const RESERVED: &str = "1.3.6.1.4.1.3704.1.3.4 to 7 (reserved SPL)";
const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8 (microcode SPL)";
const FMC: &str = "1.3.6.1.4.1.3704.1.3.9 (FMC SPL)";
const HWID: &str = "1.3.6.1.4.1.3704.1.4 (hardware ID)";
const CSP_ID: &str = "1.3.6.1.4.1.3704.1.5 (CSP ID)";

/// Whom an endorsement key belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Holder {
    /// A chip, by the CHIP_ID that its reports carry where it is not masked; Turin's eight bytes are followed by zeros.
    Chip([u8; 64]),
    /// A cloud provider, by AMD's name for it.
    Provider(String),
}

impl Holder {
    /// Which kind of key it holds.
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Chip(_) => KeyKind::Vcek,
            Self::Provider(_) => KeyKind::Vlek,
        }
    }
}

/// A VCEK or VLEK certificate as it was read; nothing about it is proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VekCertificate {
    der: Raw,
    product: Product,
    product_name: String,
    tcb: TcbVersion,
    holder: Holder,
    point: Box<[u8; 97]>,
    validity: (UnixTime, UnixTime),
}

impl VekCertificate {
    /// Reads exactly one certificate in DER.
    pub fn parse(der: &[u8]) -> Result<Self, CertError> {
        Self::from_x509(&x509::read(der)?)
    }

    pub(crate) fn from_x509(cert: &X509Certificate<'_>) -> Result<Self, CertError> {
        let kind = kind_of(&x509::common_name(cert.subject())?)?;
        if let Some(critical) = cert.extensions().iter().find(|e| e.critical) {
            return Err(CertError::Critical(critical.oid.to_id_string()));
        }
        let product_name = text(required(cert, &[2], PRODUCT_NAME)?, PRODUCT_NAME)?;
        let product = Product::from_certificate(&product_name)
            .ok_or_else(|| CertError::Product(product_name.clone()))?;
        for reserved in 4..=7 {
            if let Some(value) = amd(cert, &[3, reserved])
                && number(value, RESERVED)? != 0
            {
                return Err(CertError::Extension(RESERVED));
            }
        }
        let spl = |last: u8, name| number(required(cert, &[3, last], name)?, name);
        let tcb = TcbVersion {
            fmc: amd(cert, &[3, 9]).map(|value| number(value, FMC)).transpose()?,
            bootloader: spl(1, BOOTLOADER)?,
            tee: spl(2, TEE)?,
            snp: spl(3, SNP)?,
            microcode: spl(8, MICROCODE)?,
        };
        match (product, tcb.fmc) {
            (Product::Turin, None) => return Err(CertError::Missing(FMC)),
            (Product::Milan | Product::Genoa, Some(_)) => return Err(CertError::Excess(FMC)),
            _ => {}
        }
        Ok(Self {
            der: Raw(cert.as_raw().to_vec()),
            product,
            product_name,
            tcb,
            holder: holder(cert, kind, product)?,
            point: point(cert.public_key())?,
            validity: (x509::unix(cert.validity().not_before), x509::unix(cert.validity().not_after)),
        })
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der.0
    }

    /// VCEK or VLEK.
    pub fn kind(&self) -> KeyKind {
        self.holder.kind()
    }

    /// The line of processors.
    pub fn product(&self) -> Product {
        self.product
    }

    /// As the certificate names it: "Milan-B0".
    pub fn product_name(&self) -> &str {
        &self.product_name
    }

    /// The TCB that the key was derived for.
    pub fn tcb(&self) -> TcbVersion {
        self.tcb
    }

    /// Chip or provider.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// First and last second of its validity.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        self.validity
    }

    /// Whether it may be of the key that signed `report`: its TCB, and its chip where the report names one. Nothing is proven.
    pub fn may_sign(&self, report: &Report) -> bool {
        let tcb = report.reported_tcb.read(self.product.layout()) == Some(self.tcb);
        tcb && report.chip_id().is_none_or(|id| !matches!(&self.holder, Holder::Chip(own) if *own != id))
    }

    pub(crate) fn point(&self) -> &[u8; 97] {
        &self.point
    }
}

/// Which kind of endorsement key has this common name.
pub(crate) fn kind_of(common_name: &str) -> Result<KeyKind, CertError> {
    match common_name {
        "SEV-VCEK" => Ok(KeyKind::Vcek),
        "SEV-VLEK" => Ok(KeyKind::Vlek),
        other => Err(CertError::Name(other.to_owned())),
    }
}

fn amd<'a, 'b>(cert: &'b X509Certificate<'a>, arcs: &[u8]) -> Option<&'b [u8]> {
    let id = [ARC.as_slice(), arcs].concat();
    x509::extension(cert, &id).map(|e| e.value)
}

fn required<'b>(
    cert: &'b X509Certificate<'_>,
    arcs: &[u8],
    name: &'static str,
) -> Result<&'b [u8], CertError> {
    amd(cert, arcs).ok_or(CertError::Missing(name))
}

/// An INTEGER of 0 to 255.
fn number(value: &[u8], name: &'static str) -> Result<u8, CertError> {
    match value {
        [0x02, 0x01, small @ 0..=0x7f] => Ok(*small),
        [0x02, 0x02, 0x00, large @ 0x80..=0xff] => Ok(*large),
        _ => Err(CertError::Extension(name)),
    }
}

/// An IA5String of at most 127 printable characters.
fn text(value: &[u8], name: &'static str) -> Result<String, CertError> {
    let content = match value {
        [0x16, len @ ..=0x7f, content @ ..] if content.len() == usize::from(*len) => content,
        _ => return Err(CertError::Extension(name)),
    };
    match std::str::from_utf8(content) {
        Ok(text) if !text.is_empty() && text.bytes().all(|b| (0x20..0x7f).contains(&b)) => {
            Ok(text.to_owned())
        }
        _ => Err(CertError::Extension(name)),
    }
}

fn holder(cert: &X509Certificate<'_>, kind: KeyKind, product: Product) -> Result<Holder, CertError> {
    match (kind, amd(cert, &[4]), amd(cert, &[5])) {
        (KeyKind::Vcek, Some(hwid), None) => Ok(Holder::Chip(chip_id(hwid, product)?)),
        (KeyKind::Vlek, None, Some(csp)) => Ok(Holder::Provider(text(csp, CSP_ID)?)),
        (KeyKind::Vcek, None, _) => Err(CertError::Missing(HWID)),
        (KeyKind::Vlek, _, None) => Err(CertError::Missing(CSP_ID)),
        (KeyKind::Vcek, _, Some(_)) => Err(CertError::Excess(CSP_ID)),
        (KeyKind::Vlek, Some(_), _) => Err(CertError::Excess(HWID)),
    }
}

/// The hardware ID: 64 bytes, from Turin on 8; bare in most certificates, in some an OCTET STRING.
fn chip_id(value: &[u8], product: Product) -> Result<[u8; 64], CertError> {
    let len: u8 = if product == Product::Turin { 8 } else { 64 };
    let bare = match value {
        [0x04, wrapped, content @ ..] if *wrapped == len && content.len() == usize::from(len) => content,
        content if content.len() == usize::from(len) => content,
        _ => return Err(CertError::Extension(HWID)),
    };
    let mut id = [0; 64];
    id.iter_mut().zip(bare).for_each(|(to, from)| *to = *from);
    Ok(id)
}

/// The uncompressed point of a P-384 key.
fn point(key: &SubjectPublicKeyInfo<'_>) -> Result<Box<[u8; 97]>, CertError> {
    let wrong = CertError::Key("an uncompressed P-384 point");
    let curve = key.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
    let named = key.algorithm.algorithm == oid!(1.2.840.10045.2.1) && curve == Some(oid!(1.3.132.0.34));
    let bits = &key.subject_public_key;
    match <&[u8; 97]>::try_from(bits.data.as_ref()) {
        Ok(point) if named && bits.unused_bits == 0 && point.first() == Some(&0x04) => Ok(Box::new(*point)),
        _ => Err(wrong),
    }
}
