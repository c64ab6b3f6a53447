//! The CA of a TPM maker: a root, an intermediate, and EK certificates of the TCG profile.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SubjectPublicKeyInfo, date_time_ymd,
};
use rsa::RsaPublicKey;
use rsa::pkcs8::EncodePublicKey as _;

/// A time within the validity of all that this crate makes, unless it was asked for otherwise: 2025-06-15.
pub const NOW: u64 = 1_750_000_000;

/// A maker of TPMs.
pub struct MakerCa {
    name: String,
    root: Vec<u8>,
    intermediate: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// What an EK certificate should be like; the default is a good one.
#[derive(Clone, Debug)]
pub struct EkProfile {
    /// First and last year of its validity.
    pub years: (i32, i32),
    /// Whether it has the extended key usage of EK certificates.
    pub usage: bool,
    /// Whether it has a critical extension that nobody knows.
    pub strange: bool,
    /// Whether it says that it is a CA.
    pub ca: bool,
    /// Its key usages; empty for the one that the key needs.
    pub key_usages: Vec<KeyUsagePurpose>,
    /// Extended key usages beside the one of EK certificates.
    pub more_usages: Vec<ExtendedKeyUsagePurpose>,
    /// Whether its alternative names are those of a TPM, in a critical extension.
    pub names: bool,
    /// Its serial number; `None` for a random one.
    pub serial: Option<u64>,
}

impl Default for EkProfile {
    fn default() -> Self {
        Self {
            years: (2020, 2040),
            usage: true,
            strange: false,
            ca: false,
            key_usages: vec![],
            more_usages: vec![],
            names: true,
            serial: None,
        }
    }
}

impl MakerCa {
    /// A maker with keys of its own, valid from 2020 to 2045.
    pub fn new(name: &str) -> Self {
        Self::valid(name, (2020, 2045))
    }

    /// A maker whose root is valid for these years only.
    pub fn valid(name: &str, years: (i32, i32)) -> Self {
        let root_key = KeyPair::generate().expect("a key");
        let root_params = ca(&format!("{name} root"), years);
        let root = root_params.self_signed(&root_key).expect("a root").der().to_vec();
        let root_issuer = Issuer::new(root_params, root_key);
        let key = KeyPair::generate().expect("a key");
        let params = ca(&format!("{name} intermediate"), (2020, 2045));
        let intermediate = params.signed_by(&key, &root_issuer).expect("an intermediate").der().to_vec();
        Self { name: name.to_owned(), root, intermediate, issuer: Issuer::new(params, key) }
    }

    /// The root, DER.
    pub fn root(&self) -> Vec<u8> {
        self.root.clone()
    }

    /// The intermediate, DER: it issues the EK certificates.
    pub fn intermediate(&self) -> Vec<u8> {
        self.intermediate.clone()
    }

    /// Certifies an RSA EK: see [`certify_spki`](Self::certify_spki).
    pub fn certify(&self, ek: &RsaPublicKey, profile: &EkProfile) -> Vec<u8> {
        self.certify_spki(ek.to_public_key_der().expect("a key").as_bytes(), profile)
    }

    /// Certifies an EK by its SubjectPublicKeyInfo: critical directoryName in the alternative names, empty subject, EKU 2.23.133.8.1.
    pub fn certify_spki(&self, spki: &[u8], profile: &EkProfile) -> Vec<u8> {
        let spki = SubjectPublicKeyInfo::from_der(spki).expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = date_time_ymd(profile.years.0, 1, 1);
        params.not_after = date_time_ymd(profile.years.1, 1, 1);
        params.serial_number = profile.serial.map(Into::into);
        params.key_usages = match profile.key_usages.as_slice() {
            [] if rsa(&spki) => vec![KeyUsagePurpose::KeyEncipherment],
            [] => vec![KeyUsagePurpose::KeyAgreement],
            usages => usages.to_vec(),
        };
        params.extended_key_usages = profile.more_usages.clone();
        if profile.usage {
            let ek = ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1]);
            params.extended_key_usages.push(ek);
        }
        if profile.ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if profile.names {
            let mut names = CustomExtension::from_oid_content(&[2, 5, 29, 17], self.directory_name());
            names.set_criticality(true);
            params.custom_extensions.push(names);
        }
        if profile.strange {
            let mut strange = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1], vec![5, 0]);
            strange.set_criticality(true);
            params.custom_extensions.push(strange);
        }
        params.signed_by(&spki, &self.issuer).expect("a certificate").der().to_vec()
    }

    /// A certificate of this maker's with its signed part changed by `patch`, and signed anew.
    pub fn resign(&self, cert: &[u8], patch: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        resign(cert, self.issuer.key(), patch)
    }

    /// GeneralNames with one directoryName: TPM manufacturer, model and version (2.23.133.2.1 to 3).
    fn directory_name(&self) -> Vec<u8> {
        let attribute = |last: u8, value: &str| {
            let oid = der(0x06, &[0x67, 0x81, 0x05, 0x02, last]);
            der(0x31, &der(0x30, &[oid, der(0x0c, value.as_bytes())].concat()))
        };
        let names =
            [attribute(1, "id:00001014"), attribute(2, &self.name), attribute(3, "id:20191023")].concat();
        der(0x30, &der(0xa4, &der(0x30, &names)))
    }
}

fn ca(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn rsa(spki: &SubjectPublicKeyInfo) -> bool {
    let der = rcgen::PublicKeyData::subject_public_key_info(spki);
    der.windows(9).any(|part| part == [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01])
}

/// A certificate with its signed part (TBSCertificate, DER) changed by `patch`, and signed anew by its issuer's `key` with the
/// algorithm that it names.
pub fn resign(cert: &[u8], key: &KeyPair, patch: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (content, _) = element(cert);
    let (tbs_content, after) = element(content);
    let algorithm = after.split_at(element_len(after)).0;
    let mut tbs = content[..content.len() - after.len()].to_vec();
    assert_eq!(element(&tbs).0, tbs_content);
    patch(&mut tbs);
    let signature = rcgen::SigningKey::sign(key, &tbs).expect("a signature");
    let bits = long_der(0x03, &[&[0], signature.as_slice()].concat());
    long_der(0x30, &[tbs.as_slice(), algorithm, &bits].concat())
}

/// Adds an extension (DER) behind the others of a signed part (TBSCertificate, DER).
pub fn add_extension(tbs: &mut Vec<u8>, extension: &[u8]) {
    let content = element(tbs).0.to_vec();
    let mut fields = content.as_slice();
    while fields[0] != 0xa3 {
        fields = element(fields).1;
    }
    let before = &content[..content.len() - fields.len()];
    let list = [element(element(fields).0).0, extension].concat();
    *tbs = long_der(0x30, &[before, &long_der(0xa3, &long_der(0x30, &list))].concat());
}

/// Content of the DER element at the front, and what follows it.
fn element(der: &[u8]) -> (&[u8], &[u8]) {
    let (head, len) = match der[1] {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(der[2])),
        _ => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
    };
    (&der[head..head + len], &der[head + len..])
}

fn element_len(der: &[u8]) -> usize {
    der.len() - element(der).1.len()
}

/// One DER element.
pub(crate) fn long_der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("short content").to_be_bytes();
    let head = match content.len() {
        short @ 0..=0x7f => vec![tag, short.to_be_bytes()[7]],
        0x80..=0xff => vec![tag, 0x81, len[1]],
        _ => vec![tag, 0x82, len[0], len[1]],
    };
    [&head[..], content].concat()
}

/// One DER element of at most 127 bytes of content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u8::try_from(content.len()).ok().filter(|len| *len < 128).expect("short content");
    [&[tag, len][..], content].concat()
}
