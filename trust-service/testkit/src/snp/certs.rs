//! The test chain: certificates and revocation lists shaped like AMD's, RSASSA-PSS over SHA-384, under keys that anybody can read.

use super::der::{bits, extension, new_year, octets, oid, seq, tlv, uint};
use rand_core::OsRng;
use rsa::RsaPrivateKey;
use rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
use rsa::pss::SigningKey;
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use sha2::Sha384;
use std::sync::OnceLock;

/// 1.3.6.1.4.1.3704.1, AMD's arc of SEV-SNP extensions (KDS specification 57230, section 3.1).
const AMD: [u8; 8] = [0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01];

/// Which of the three CA keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CaKey {
    Ark,
    Ask,
    Asvk,
}

fn key(which: CaKey) -> &'static RsaPrivateKey {
    static KEYS: [OnceLock<RsaPrivateKey>; 3] = [const { OnceLock::new() }; 3];
    let (index, der): (usize, &[u8]) = match which {
        CaKey::Ark => (0, include_bytes!("../../keys/snp-ark.der")),
        CaKey::Ask => (1, include_bytes!("../../keys/snp-ask.der")),
        CaKey::Asvk => (2, include_bytes!("../../keys/snp-asvk.der")),
    };
    let slot = KEYS.get(index).expect("three keys");
    slot.get_or_init(|| RsaPrivateKey::from_pkcs1_der(der).expect("a key"))
}

/// What a certificate of the chain says; every member may lie.
#[derive(Clone, Debug)]
pub struct CertSpec {
    /// Version as it is encoded: 2 for version 3.
    pub version: u64,
    /// Serial number; VCEKs have 0.
    pub serial: u64,
    /// Common name of the issuer.
    pub issuer: String,
    /// Common name of the subject.
    pub subject: String,
    /// Certificate is valid from January 1st of the first year to January 1st of the second.
    pub years: (u16, u16),
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// Extensions, each DER, in their order.
    pub extensions: Vec<Vec<u8>>,
    /// DER of the AlgorithmIdentifier, inside and outside.
    pub algorithm: Vec<u8>,
    /// DER of another one outside.
    pub outer_algorithm: Option<Vec<u8>>,
}

impl CertSpec {
    pub(super) fn ca(which: CaKey, issuer: &str, subject: &str, serial: u64) -> Self {
        let constraints = match which {
            CaKey::Ark => seq(&[tlv(0x01, &[0xff])]),
            CaKey::Ask | CaKey::Asvk => seq(&[tlv(0x01, &[0xff]), uint(0)]),
        };
        let usage = match which {
            CaKey::Ark => [0x03, 0x02, 0x01, 0x06],
            CaKey::Ask | CaKey::Asvk => [0x03, 0x02, 0x02, 0x04],
        };
        Self {
            version: 2,
            serial,
            issuer: issuer.into(),
            subject: subject.into(),
            years: (2020, 2046),
            spki: rsa_spki(which),
            extensions: vec![
                extension(&[0x55, 0x1d, 0x13], true, &constraints),
                extension(&[0x55, 0x1d, 0x0f], true, &usage),
            ],
            algorithm: pss(),
            outer_algorithm: None,
        }
    }

    /// The certificate, signed by that key whatever the issuer says.
    pub(super) fn sign(&self, by: CaKey) -> Vec<u8> {
        let tbs = seq(&[
            tlv(0xa0, &uint(self.version)),
            uint(self.serial),
            self.algorithm.clone(),
            name(&self.issuer),
            seq(&[new_year(self.years.0), new_year(self.years.1)]),
            name(&self.subject),
            self.spki.clone(),
            tlv(0xa3, &seq(&self.extensions)),
        ]);
        signed(tbs, self.outer_algorithm.as_ref().unwrap_or(&self.algorithm), by)
    }
}

/// A revocation list.
#[derive(Clone, Debug)]
pub struct CrlSpec {
    /// Version as it is encoded: 1 for version 2.
    pub version: u64,
    /// DER of the AlgorithmIdentifier inside.
    pub algorithm: Vec<u8>,
    /// Common name of the issuer.
    pub issuer: String,
    /// It was made on January 1st of the first year; the next is due on January 1st of the second.
    pub years: (u16, u16),
    /// Serial numbers that are revoked.
    pub revoked: Vec<u64>,
    /// Extensions of the list, each DER.
    pub extensions: Vec<Vec<u8>>,
    /// Whether it says when the next one is due.
    pub next_update: bool,
    /// Whether the first entry has a critical extension.
    pub critical_entry: bool,
}

impl CrlSpec {
    pub(super) fn sign(&self, by: CaKey) -> Vec<u8> {
        let mut parts = vec![uint(self.version), self.algorithm.clone(), name(&self.issuer)];
        parts.push(new_year(self.years.0));
        parts.extend(self.next_update.then(|| new_year(self.years.1)));
        if !self.revoked.is_empty() {
            // cRLReason, which is critical in no list but a lying one.
            let reason =
                self.critical_entry.then(|| seq(&[extension(&[0x55, 0x1d, 0x15], true, &[10, 1, 1])]));
            let entry = |serial: &u64| {
                let parts = [uint(*serial), new_year(self.years.0)].into_iter().chain(reason.clone());
                seq(&parts.collect::<Vec<_>>())
            };
            let revoked: Vec<_> = self.revoked.iter().map(entry).collect();
            parts.push(seq(&revoked));
        }
        let mut extensions = vec![extension(&[0x55, 0x1d, 0x14], false, &uint(1))];
        extensions.extend(self.extensions.iter().cloned());
        parts.push(tlv(0xa0, &seq(&extensions)));
        signed(seq(&parts), &pss(), by)
    }
}

/// One of AMD's extensions: the last arcs of its object identifier, and its value.
pub fn amd_extension(arcs: &[u8], value: &[u8]) -> Vec<u8> {
    let id = [AMD.as_slice(), arcs].concat();
    extension(&id, false, value)
}

/// An extension by its encoded object identifier, critical or not.
pub fn any_extension(id: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
    extension(id, critical, value)
}

/// DER INTEGER, as AMD's extensions hold their numbers.
pub fn der_integer(value: u64) -> Vec<u8> {
    uint(value)
}

/// DER IA5String.
pub fn der_ia5(text: &str) -> Vec<u8> {
    tlv(0x16, text.as_bytes())
}

/// DER OCTET STRING.
pub fn der_octets(content: &[u8]) -> Vec<u8> {
    octets(content)
}

fn signed(tbs: Vec<u8>, algorithm: &[u8], by: CaKey) -> Vec<u8> {
    let signer = SigningKey::<Sha384>::new(key(by).clone());
    let signature = signer.sign_with_rng(&mut OsRng, &tbs).to_vec();
    seq(&[tbs, algorithm.to_vec(), bits(&signature)])
}

/// RSASSA-PSS, SHA-384, MGF1 with SHA-384, 48 bytes of salt: as VCEK certificates write it.
pub(super) fn pss() -> Vec<u8> {
    let sha384 = seq(&[oid(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02]), tlv(0x05, &[])]);
    let mgf = seq(&[oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08]), sha384.clone()]);
    let params = seq(&[tlv(0xa0, &sha384), tlv(0xa1, &mgf), tlv(0xa2, &uint(48))]);
    seq(&[oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a]), params])
}

fn rsa_spki(which: CaKey) -> Vec<u8> {
    let public = key(which).to_public_key().to_pkcs1_der().expect("a key");
    let algorithm = seq(&[oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]), tlv(0x05, &[])]);
    seq(&[algorithm, bits(public.as_bytes())])
}

/// SubjectPublicKeyInfo of a P-384 key, from its uncompressed point.
pub(super) fn p384_spki(point: &[u8]) -> Vec<u8> {
    let curve = oid(&[0x2b, 0x81, 0x04, 0x00, 0x22]);
    let algorithm = seq(&[oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01]), curve]);
    seq(&[algorithm, bits(point)])
}

/// AMD's names but for the organization, so that nobody takes these certificates for AMD's.
fn name(common: &str) -> Vec<u8> {
    let part = |last: u8, tag: u8, text: &str| {
        tlv(0x31, &seq(&[oid(&[0x55, 0x04, last]), tlv(tag, text.as_bytes())]))
    };
    seq(&[
        part(0x0b, 0x0c, "Engineering"),
        part(0x06, 0x13, "US"),
        part(0x07, 0x0c, "Santa Clara"),
        part(0x08, 0x0c, "CA"),
        part(0x0a, 0x0c, "ccnode test roots"),
        part(0x03, 0x0c, common),
    ])
}
