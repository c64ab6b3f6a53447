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
    /// Its key usage; `KeyEncipherment` for an RSA key.
    pub key_usage: KeyUsagePurpose,
}

impl Default for EkProfile {
    fn default() -> Self {
        Self {
            years: (2020, 2040),
            usage: true,
            strange: false,
            ca: false,
            key_usage: KeyUsagePurpose::KeyEncipherment,
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

    /// Certifies an EK: critical directoryName in the alternative names, empty subject, EKU 2.23.133.8.1.
    pub fn certify(&self, ek: &RsaPublicKey, profile: &EkProfile) -> Vec<u8> {
        let spki = ek.to_public_key_der().expect("a key");
        let spki = SubjectPublicKeyInfo::from_der(spki.as_bytes()).expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.not_before = date_time_ymd(profile.years.0, 1, 1);
        params.not_after = date_time_ymd(profile.years.1, 1, 1);
        params.key_usages = vec![profile.key_usage];
        if profile.usage {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        }
        if profile.ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let mut names = CustomExtension::from_oid_content(&[2, 5, 29, 17], self.directory_name());
        names.set_criticality(true);
        params.custom_extensions.push(names);
        if profile.strange {
            let mut strange = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1], vec![5, 0]);
            strange.set_criticality(true);
            params.custom_extensions.push(strange);
        }
        params.signed_by(&spki, &self.issuer).expect("a certificate").der().to_vec()
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

/// One DER element of at most 127 bytes of content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u8::try_from(content.len()).ok().filter(|len| *len < 128).expect("short content");
    [&[tag, len][..], content].concat()
}
