//! The CAs of AMD's chain: a root (ARK) for each line of processors, under it an ASK for VCEKs and an ASVK for VLEKs.

use crate::bits::KeyKind;
use crate::crypto::{self, SignatureValid};
use crate::product::Product;
use crate::x509::{self, CertError, Raw};
use ccnode_evidence::UnixTime;
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;
use x509_parser::der_parser::oid;
use x509_parser::prelude::{ParsedExtension, X509Certificate};

/// A CA certificate as it was read; nothing about it is proven.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaCertificate {
    der: Raw,
    common_name: String,
    pub(crate) subject: Raw,
    pub(crate) issuer: Raw,
    pub(crate) serial: Vec<u8>,
    /// PKCS #1 RSAPublicKey.
    key: Raw,
    signs_crls: bool,
    validity: (UnixTime, UnixTime),
}

impl CaCertificate {
    /// Reads exactly one certificate in DER.
    pub fn parse(der: &[u8]) -> Result<Self, CertError> {
        Self::from_x509(&x509::read(der)?)
    }

    pub(crate) fn from_x509(cert: &X509Certificate<'_>) -> Result<Self, CertError> {
        let common_name = x509::common_name(cert.subject())?;
        let (mut ca, mut signs, mut signs_crls) = (false, false, false);
        for extension in cert.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::BasicConstraints(constraints) => ca = constraints.ca,
                ParsedExtension::KeyUsage(usage) => {
                    signs = usage.key_cert_sign();
                    signs_crls = usage.crl_sign();
                }
                _ if extension.critical => return Err(CertError::Critical(extension.oid.to_id_string())),
                _ => {}
            }
        }
        if !ca {
            return Err(CertError::NoCa(common_name));
        }
        if !signs {
            return Err(CertError::KeyUsage);
        }
        let key = &cert.public_key().subject_public_key;
        if cert.public_key().algorithm.algorithm != oid!(1.2.840.113549.1.1.1) || key.unused_bits != 0 {
            return Err(CertError::Key("an RSA key"));
        }
        Ok(Self {
            der: Raw(cert.as_raw().to_vec()),
            common_name,
            subject: Raw(cert.subject().as_raw().to_vec()),
            issuer: Raw(cert.issuer().as_raw().to_vec()),
            serial: cert.raw_serial().to_vec(),
            key: Raw(key.data.to_vec()),
            signs_crls,
            validity: (x509::unix(cert.validity().not_before), x509::unix(cert.validity().not_after)),
        })
    }

    /// The certificate, DER.
    pub fn der(&self) -> &[u8] {
        &self.der.0
    }

    /// The subject's common name: "SEV-Milan".
    pub fn common_name(&self) -> &str {
        &self.common_name
    }

    /// SHA-256 of the certificate, by which people compare roots.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.der.0).into()
    }

    /// First and last second of its validity.
    pub fn validity(&self) -> (UnixTime, UnixTime) {
        self.validity
    }

    /// Whether it may sign revocation lists.
    pub(crate) fn signs_crls(&self) -> bool {
        self.signs_crls
    }

    /// Which kind of endorsement key it certifies, by its name.
    pub(crate) fn certifies(&self) -> Option<KeyKind> {
        match self.common_name.strip_prefix("SEV-") {
            Some(line) if line.starts_with("VLEK-") => Some(KeyKind::Vlek),
            Some(_) => Some(KeyKind::Vcek),
            None => None,
        }
    }

    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> Option<SignatureValid> {
        crypto::rsa_pss(&self.key.0, message, signature)
    }
}

/// A root that is trusted for one line of processors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Root {
    pub(crate) product: Product,
    pub(crate) cert: CaCertificate,
    pub(crate) amd: bool,
}

/// The roots that chains may lead to, and the intermediates of AMD's that evidence need not bring along.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roots {
    pub(crate) roots: Vec<Root>,
    pub(crate) intermediates: Vec<CaCertificate>,
}

type Embedded = (Product, [&'static [u8]; 3]);

/// ARK, ASK and ASVK of each line, as AMD's key distribution service hands them out.
const AMD: [Embedded; 3] = [
    (
        Product::Milan,
        [
            include_bytes!("../roots/milan-ark.der"),
            include_bytes!("../roots/milan-ask.der"),
            include_bytes!("../roots/milan-asvk.der"),
        ],
    ),
    (
        Product::Genoa,
        [
            include_bytes!("../roots/genoa-ark.der"),
            include_bytes!("../roots/genoa-ask.der"),
            include_bytes!("../roots/genoa-asvk.der"),
        ],
    ),
    (
        Product::Turin,
        [
            include_bytes!("../roots/turin-ark.der"),
            include_bytes!("../roots/turin-ask.der"),
            include_bytes!("../roots/turin-asvk.der"),
        ],
    ),
];

static BUILT_IN: LazyLock<Roots> = LazyLock::new(|| {
    let mut all = Roots { roots: Vec::new(), intermediates: Vec::new() };
    for (product, [ark, ask, asvk]) in AMD {
        if let Ok(cert) = CaCertificate::parse(ark) {
            all.roots.push(Root { product, cert, amd: true });
        }
        all.intermediates.extend([ask, asvk].into_iter().filter_map(|der| CaCertificate::parse(der).ok()));
    }
    all
});

impl Roots {
    /// AMD's own roots: Milan, Genoa, Turin.
    pub fn amd() -> &'static Self {
        &BUILT_IN
    }

    /// These roots and one that is not AMD's, good for one line of processors: whoever holds its key can forge reports.
    pub fn danger_with(mut self, product: Product, ark: &[u8]) -> Result<Self, CertError> {
        self.danger_add(product, CaCertificate::parse(ark)?, Vec::new());
        Ok(self)
    }

    pub(crate) fn danger_add(&mut self, product: Product, cert: CaCertificate, below: Vec<CaCertificate>) {
        self.roots.push(Root { product, cert, amd: false });
        self.intermediates.extend(below);
    }

    /// Line and SHA-256 of each root, and whether it is AMD's.
    pub fn fingerprints(&self) -> impl Iterator<Item = (Product, [u8; 32], bool)> {
        self.roots.iter().map(|root| (root.product, root.cert.fingerprint(), root.amd))
    }
}
