//! Intel's SGX PKI in small: root, PCK CA, TCB signer, and the PCK certificate of one platform.

use super::{FMSPC, SGX_SVN};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, CrlScope, CustomExtension, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use time::OffsetDateTime;

/// 1.2.840.113741.1.13.1.
const SGX: [u64; 8] = [1, 2, 840, 113741, 1, 13, 1, 0];

/// What is wrong about a platform's certificates; the default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Common name of the PCK certificate.
    pub pck_name: Option<&'static str>,
    /// Common name of the PCK CA.
    pub ca_name: Option<&'static str>,
    /// Common name of the TCB signer.
    pub signer_name: Option<&'static str>,
    /// First and last year of the PCK certificate.
    pub pck_years: Option<(i32, i32)>,
    /// First and last year of the TCB signer.
    pub signer_years: Option<(i32, i32)>,
    /// First and last year of the PCK CA.
    pub ca_years: Option<(i32, i32)>,
    /// First and last year of the root.
    pub root_years: Option<(i32, i32)>,
    /// Value of the SGX extension; an empty one leaves the extension out.
    pub extension: Option<Vec<u8>>,
    /// Whether the PCK certificate has a critical extension that nobody knows.
    pub strange: bool,
    /// Whether the PCK CA has one too.
    pub strange_ca: bool,
    /// Whether the PCK CA says that it is none.
    pub no_ca: bool,
}

/// A platform, the PKI above it, and the attestation key of its quoting enclave.
pub struct Platform {
    root: Vec<u8>,
    root_issuer: Issuer<'static, KeyPair>,
    ca: Vec<u8>,
    ca_issuer: Issuer<'static, KeyPair>,
    signer: Vec<u8>,
    signer_key: EcdsaKeyPair,
    pck: Vec<u8>,
    pck_key: EcdsaKeyPair,
    attestation_key: EcdsaKeyPair,
}

impl Default for Platform {
    fn default() -> Self {
        Self::new()
    }
}

impl Platform {
    /// A platform with a PKI of its own, valid from 2020 to 2045.
    pub fn new() -> Self {
        Self::with(&Faults::default())
    }

    /// A platform with something wrong about its certificates.
    pub fn with(faults: &Faults) -> Self {
        let years = |years: Option<(i32, i32)>| years.unwrap_or((2020, 2045));
        let root_params = authority("Intel SGX Root CA", years(faults.root_years), 1);
        let root_key = key();
        let root = root_params.self_signed(&root_key).expect("a root").der().to_vec();
        let root_issuer = Issuer::new(root_params, root_key);

        let mut ca_params =
            authority(faults.ca_name.unwrap_or("Intel SGX PCK Platform CA"), years(faults.ca_years), 2);
        if faults.no_ca {
            ca_params.is_ca = IsCa::ExplicitNoCa;
        }
        if faults.strange_ca {
            ca_params.custom_extensions.push(strange());
        }
        let ca_key = key();
        let ca = ca_params.signed_by(&ca_key, &root_issuer).expect("a CA").der().to_vec();
        let ca_issuer = Issuer::new(ca_params, ca_key);

        let signer_key = key();
        let name = faults.signer_name.unwrap_or("Intel SGX TCB Signing");
        let signer = leaf(name, years(faults.signer_years), 3);
        let signer = signer.signed_by(&signer_key, &root_issuer).expect("a signer").der().to_vec();

        let pck_key = key();
        let name = faults.pck_name.unwrap_or("Intel SGX PCK Certificate");
        let mut pck = leaf(name, years(faults.pck_years), 4);
        let extension =
            faults.extension.clone().unwrap_or_else(|| Self::sgx_extension(FMSPC, [SGX_SVN; 16], 11));
        if !extension.is_empty() {
            pck.custom_extensions.push(CustomExtension::from_oid_content(&SGX[..7], extension));
        }
        if faults.strange {
            pck.custom_extensions.push(strange());
        }
        let pck = pck.signed_by(&pck_key, &ca_issuer).expect("a PCK certificate").der().to_vec();
        Self {
            root,
            root_issuer,
            ca,
            ca_issuer,
            signer,
            signer_key: signing(&signer_key),
            pck,
            pck_key: signing(&pck_key),
            attestation_key: signing(&key()),
        }
    }

    /// The root, DER.
    pub fn root(&self) -> Vec<u8> {
        self.root.clone()
    }

    /// The PCK certificate, DER.
    pub fn pck(&self) -> Vec<u8> {
        self.pck.clone()
    }

    /// The PCK certificate with its signed part changed, and signed anew by the PCK CA, DER.
    pub fn pck_with(&self, patch: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        crate::resign(&self.pck, self.ca_issuer.key(), patch)
    }

    /// The PCK CA's certificate, DER.
    pub fn ca(&self) -> Vec<u8> {
        self.ca.clone()
    }

    /// This PCK certificate and PCK CA, and the root, as PEM.
    pub fn chain_of(&self, pck: &[u8], ca: &[u8]) -> String {
        pem(&[&pck.to_vec(), &ca.to_vec(), &self.root])
    }

    /// PCK certificate, PCK CA, root, as PEM.
    pub fn pck_chain(&self) -> String {
        pem(&[&self.pck, &self.ca, &self.root])
    }

    /// PCK CA, root, as PEM.
    pub fn ca_chain(&self) -> String {
        pem(&[&self.ca, &self.root])
    }

    /// TCB signer, root, as PEM.
    pub fn signer_chain(&self) -> String {
        pem(&[&self.signer, &self.root])
    }

    /// X and Y of the attestation key.
    pub fn attestation_point(&self) -> [u8; 64] {
        let point = self.attestation_key.public_key().as_ref();
        point.get(1..).and_then(|xy| xy.try_into().ok()).expect("an uncompressed point")
    }

    /// r and s, by the TCB signer.
    pub fn sign_collateral(&self, text: &str) -> [u8; 64] {
        sign(&self.signer_key, text.as_bytes())
    }

    /// r and s, by the PCK.
    pub fn sign_with_pck(&self, bytes: &[u8]) -> [u8; 64] {
        sign(&self.pck_key, bytes)
    }

    /// r and s, by the attestation key.
    pub fn sign_with_attestation_key(&self, bytes: &[u8]) -> [u8; 64] {
        sign(&self.attestation_key, bytes)
    }

    /// The root's list; serial numbers are 2 for the PCK CA and 3 for the TCB signer.
    pub fn root_crl(&self, revoked: &[u64], dates: (u64, u64)) -> Vec<u8> {
        crl(&self.root_issuer, revoked, dates)
    }

    /// The PCK CA's list; the PCK certificate has serial number 4.
    pub fn pck_crl(&self, revoked: &[u64], dates: (u64, u64)) -> Vec<u8> {
        crl(&self.ca_issuer, revoked, dates)
    }

    /// Another PCK CA below the same root: its chain as PEM, and its empty list in hexadecimal.
    pub fn second_ca(&self, name: &str, dates: (u64, u64)) -> (String, String) {
        let (params, key) = (authority(name, (2020, 2045), 5), key());
        let ca = params.signed_by(&key, &self.root_issuer).expect("a CA").der().to_vec();
        let list = crl(&Issuer::new(params, key), &[], dates);
        (pem(&[&ca, &self.root]), data_encoding::HEXLOWER.encode(&list))
    }

    /// A PCK CA that the root's key signed in another name, and its list, as of [`second_ca`](Self::second_ca).
    pub fn misnamed_ca(&self, dates: (u64, u64)) -> (String, String) {
        let key_of_root = self.root_issuer.key().serialized_der();
        let key_of_root = KeyPair::try_from(key_of_root).expect("a key");
        let root = Issuer::new(authority("Intel SGX Other CA", (2020, 2045), 1), key_of_root);
        let (params, key) = (authority("Intel SGX PCK Platform CA", (2020, 2045), 5), key());
        let ca = params.signed_by(&key, &root).expect("a CA").der().to_vec();
        (pem(&[&ca, &self.root]), data_encoding::HEXLOWER.encode(&crl(&Issuer::new(params, key), &[], dates)))
    }

    /// The PCK CA's list, signed, that says to hold certificates of users alone.
    pub fn scoped_pck_crl(&self, dates: (u64, u64)) -> Vec<u8> {
        let mut params = crl_params(&[], dates);
        params.issuing_distribution_point = Some(CrlIssuingDistributionPoint {
            distribution_point: CrlDistributionPoint { uris: vec!["https://example.org/crl".to_owned()] },
            scope: Some(CrlScope::UserCertsOnly),
        });
        params.signed_by(&self.ca_issuer).expect("a CRL").der().to_vec()
    }

    /// A root, DER, with a key that is not on P-256.
    pub fn root_of_another_curve() -> Vec<u8> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
        let params = authority("Intel SGX Root CA", (2020, 2045), 1);
        params.self_signed(&key).expect("a root").der().to_vec()
    }

    /// An SGX extension's value: PPID, TCB, PCEID 0, FMSPC, SGX type.
    pub fn sgx_extension(fmspc: [u8; 6], components: [u8; 16], pce_svn: u8) -> Vec<u8> {
        let tcb: Vec<u8> =
            (1..).zip(components).flat_map(|(n, svn)| pair(&[2, n], &der(2, &positive(svn)))).collect();
        let tcb =
            [tcb, pair(&[2, 17], &der(2, &positive(pce_svn))), pair(&[2, 18], &der(4, &components))].concat();
        Self::sgx_extension_of(&[
            (&[1], der(4, &[7; 16])),
            (&[2], der(0x30, &tcb)),
            (&[3], der(4, &[0; 2])),
            (&[4], der(4, &fmspc)),
            (&[5], der(10, &[1])),
        ])
    }

    /// An SGX extension's value of any members: arcs below 1.2.840.113741.1.13.1, and DER.
    pub fn sgx_extension_of(members: &[(&[u8], Vec<u8>)]) -> Vec<u8> {
        let members: Vec<u8> = members.iter().flat_map(|(arcs, value)| pair(arcs, value)).collect();
        der(0x30, &members)
    }

    /// A member of the TCB: SVN of component `n`, or of the PCE for 17.
    pub fn tcb_member(n: u8, svn: u8) -> Vec<u8> {
        pair(&[2, n], &der(2, &positive(svn)))
    }
}

/// One DER element of less than 64 KiB.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len()).expect("short content").to_be_bytes();
    let head = match len {
        [0, len @ 0..=127] => vec![tag, len],
        [0, len] => vec![tag, 0x81, len],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [&head, content].concat()
}

fn pair(arcs: &[u8], value: &[u8]) -> Vec<u8> {
    /// 1.2.840.113741.1.13.1.
    const BASE: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01];
    der(0x30, &[der(6, &[&BASE[..], arcs].concat()), value.to_vec()].concat())
}

fn positive(n: u8) -> Vec<u8> {
    if n < 128 { vec![n] } else { vec![0, n] }
}

fn strange() -> CustomExtension {
    let mut strange = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 57264, 1], vec![5, 0]);
    strange.set_criticality(true);
    strange
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key")
}

fn signing(key: &KeyPair) -> EcdsaKeyPair {
    let random = SystemRandom::new();
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &random).expect("a key")
}

fn sign(key: &EcdsaKeyPair, bytes: &[u8]) -> [u8; 64] {
    let signature = key.sign(&SystemRandom::new(), bytes).expect("a signature");
    signature.as_ref().try_into().expect("64 bytes")
}

fn params(name: &str, years: (i32, i32), serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Intel Corporation");
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    params
}

fn authority(name: &str, years: (i32, i32), serial: u64) -> CertificateParams {
    let mut params = params(name, years, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(name: &str, years: (i32, i32), serial: u64) -> CertificateParams {
    let mut params = params(name, years, serial);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn crl(issuer: &Issuer<'static, KeyPair>, revoked: &[u64], dates: (u64, u64)) -> Vec<u8> {
    crl_params(revoked, dates).signed_by(issuer).expect("a CRL").der().to_vec()
}

fn crl_params(revoked: &[u64], dates: (u64, u64)) -> CertificateRevocationListParams {
    let time = |unix: u64| {
        let unix = i64::try_from(unix).expect("a time");
        OffsetDateTime::from_unix_timestamp(unix).expect("a time")
    };
    let revoked = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: time(dates.0),
        reason_code: None,
        invalidity_date: None,
    });
    CertificateRevocationListParams {
        this_update: time(dates.0),
        next_update: time(dates.1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

fn pem(certs: &[&Vec<u8>]) -> String {
    let lines = |der: &Vec<u8>| {
        let text = data_encoding::BASE64.encode(der);
        let lines: Vec<&str> =
            (0..text.len()).step_by(64).filter_map(|i| text.get(i..text.len().min(i + 64))).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    certs.iter().map(|der| lines(der)).collect()
}
