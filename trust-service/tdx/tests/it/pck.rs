//! Every field of a PCK certificate, of its SGX extension, of the CA above it, and of the lists: a turned bit is refused wherever it is, and
//! each field of the PCK certificate, changed and signed anew, by a variant of its own. The rows leave no byte out.

use crate::world::{NOW, platform, prove_with, valid, valid_json};
use base64::Engine as _;
use ccnode_tdx::{
    CertRole, ChainError, PckError, Quote, Rejection, SignatureOf, TcbStatus, TdxPolicy, verify,
};
use ccnode_testkit::tdx::{Collateral, FMSPC, Faults, Platform, SGX_SVN, TdQuote};
use ccnode_testkit::{CERTIFICATE, CRL, signed_fields};
use ccnode_vectors::assert_tiled;
use serde_json::json;
use std::ops::Range;

/// The honest quote under this PCK certificate and CA, judged by the default policy.
fn judged(pck: &[u8], ca: &[u8], collateral: &Collateral) -> Result<(), Rejection> {
    let quote = TdQuote { pck_chain: Some(platform().chain_of(pck, ca)), ..TdQuote::v4() };
    let proven = prove_with(&quote, Some(&valid(collateral, platform())?))?;
    TdxPolicy::default().check(&proven).map(drop)
}

fn names(fields: &[(String, Range<usize>)]) -> Vec<&str> {
    fields.iter().map(|(name, _)| name.as_str()).collect()
}

fn every_bit(der: &[u8], fields: &[(String, Range<usize>)], refused: impl Fn(&[u8]) -> bool) {
    assert_tiled(der.len(), fields.iter().map(|(name, range)| (name.as_str(), range.clone())));
    for (name, range) in fields {
        for at in range.clone() {
            let mut turned = der.to_vec();
            turned[at] ^= 1;
            assert!(refused(&turned), "{name}, byte {at}");
        }
    }
}

type Patch = fn(&mut Vec<u8>, Range<usize>);
type Refused = fn(&Rejection) -> bool;

macro_rules! chain {
    ($pattern:pat) => {
        Some(|got| matches!(got, Rejection::Chain { error: $pattern, .. }))
    };
}

/// Field, change to its bytes within the signed part, and what comes of it: without that nothing judges the field.
#[rustfmt::skip]
const ROWS: [(&str, Patch, Option<Refused>); 11] = [
    ("version", |tbs, at| tbs[at.end - 1] = 0, chain!(ChainError::Certificate { position: 0 } | ChainError::Unacceptable(_))),
    ("serialNumber", |tbs, at| tbs[at.end - 1] = 9, Some(|got| matches!(got, Rejection::Revoked { serial, .. } if serial == "09"))),
    // ECDSA with SHA-384 inside, with SHA-256 outside.
    ("signature", |tbs, at| tbs[at.end - 1] = 3, chain!(ChainError::Unacceptable(_))),
    ("issuer", |tbs, at| tbs[at.end - 1] ^= 1, chain!(ChainError::NotIssued { .. })),
    // To 2020 in place of 2045.
    ("validity", |tbs, at| tbs[at.end - 13..at.end - 11].copy_from_slice(b"20"), chain!(ChainError::Validity { .. })),
    ("subject", |tbs, at| {
        let name = b"SGX PCK Certificate";
        let from = tbs[at.clone()].windows(name.len()).position(|part| part == name).unwrap();
        tbs[at.start + from] = b'T';
    }, chain!(ChainError::Role { wanted: CertRole::Pck, .. })),
    // A point of another form, and another point.
    ("subjectPublicKeyInfo", |tbs, at| tbs[at.end - 65] = 5, chain!(ChainError::Certificate { position: 0 })),
    ("subjectPublicKeyInfo", |tbs, at| tbs[at.end - 1] ^= 1, Some(|got| matches!(got, Rejection::Signature(SignatureOf::QeReport)))),
    // An octet in place of a bit string.
    ("2.5.29.15", |tbs, at| tbs[at.end - 4] = 0x04, chain!(ChainError::Certificate { position: 0 } | ChainError::Unacceptable(_))),
    // The subject's key identifier: chains are led by names and keys.
    ("2.5.29.14", |tbs, at| tbs[at.end - 1] ^= 1, None),
    ("2.5.29.19", |tbs, at| tbs[at.end - 1] = 1, chain!(ChainError::Certificate { .. } | ChainError::Unacceptable(_))),
];
/// Fields that have no value of their own, and the SGX extension, which has rows below.
const OTHERS: [&str; 6] = [
    "head",
    "head of the signed part",
    "extensions",
    "signatureAlgorithm",
    "signatureValue",
    "1.2.840.113741.1.13.1",
];

#[test]
fn t19_every_field_of_a_pck_certificate_mutated_has_its_own_rejection() {
    let (good, ca) = (platform().pck(), platform().ca());
    let collateral = Collateral { revoked_by_ca: vec![9], ..Collateral::default() };
    judged(&good, &ca, &collateral).unwrap();
    let fields = signed_fields(&good, CERTIFICATE);
    every_bit(&good, &fields, |der| judged(der, &ca, &collateral).is_err());
    for name in names(&fields) {
        let known = OTHERS.contains(&name) || ROWS.iter().any(|(field, ..)| *field == name);
        assert!(known, "no row for {name}");
    }
    let offset = fields[1].1.start;
    for (field, patch, due) in ROWS {
        let (_, range) = fields.iter().find(|(name, _)| name == field).unwrap();
        let within = range.start - offset..range.end - offset;
        let changed = platform().pck_with(|tbs| patch(tbs, within));
        match (judged(&changed, &ca, &collateral), due) {
            (Err(got), Some(is)) => assert!(is(&got), "{field}: {got:?}"),
            (Ok(()), None) => {}
            (got, _) => panic!("{field}: {got:?}"),
        }
    }
}

#[test]
fn t19_every_member_of_the_sgx_extension_mutated_has_its_own_rejection() {
    let octets = |bytes: &[u8]| [&[4, bytes.len() as u8][..], bytes].concat();
    let tcb = |members: &[Vec<u8>]| {
        let content = members.concat();
        [vec![0x30, 0x82], (content.len() as u16).to_be_bytes().to_vec(), content].concat()
    };
    let judged = |ppid: u8, svns: [u8; 17], pce_id: &[u8], fmspc: &[u8], kind: u8| {
        let svns: Vec<_> = (1..).zip(svns).map(|(n, svn)| Platform::tcb_member(n, svn)).collect();
        let extension = Platform::sgx_extension_of(&[
            (&[1], octets(&[ppid; 16])),
            (&[2], tcb(&svns)),
            (&[3], octets(pce_id)),
            (&[4], octets(fmspc)),
            (&[5], vec![10, 1, kind]),
        ]);
        let platform = Platform::with(&Faults { extension: Some(extension), ..Faults::default() });
        let collateral = valid(&Collateral::default(), &platform).unwrap();
        let bytes = TdQuote::v4().sign(&platform);
        let root = crate::world::root_of(&platform);
        let proven = verify(&Quote::parse(&bytes).unwrap(), &root, Some(&collateral), NOW)?;
        TdxPolicy::default().check(&proven).map(drop)
    };
    let mut svns = [SGX_SVN; 17];
    svns[16] = 11;
    let good = |svns| judged(7, svns, &[0, 0], &FMSPC, 1);
    good(svns).unwrap();
    for n in 0..17 {
        let mut lower = svns;
        lower[n] -= 1;
        let got = good(lower).unwrap_err();
        let due = if n == 16 { TcbStatus::NoMatchingLevel } else { TcbStatus::OutOfDate };
        assert!(matches!(got, Rejection::TcbStatus { seen, .. } if seen == due), "{n}: {got:?}");
    }
    for got in [judged(7, svns, &[0, 1], &FMSPC, 1), judged(7, svns, &[0, 0], &[1; 6], 1)] {
        assert!(matches!(got, Err(Rejection::CollateralPlatform { .. })), "{got:?}");
    }
    for (got, due) in [
        (judged(7, svns, &[0], &FMSPC, 1), PckError::Malformed("PCEID")),
        (judged(7, svns, &[0, 0], &[1; 5], 1), PckError::Malformed("FMSPC")),
    ] {
        assert_eq!(got, Err(Rejection::Pck(due)));
    }
    // Who the platform is, and whether it has several packages: neither is judged.
    judged(8, svns, &[0, 0], &FMSPC, 1).unwrap();
    judged(7, svns, &[0, 0], &FMSPC, 0).unwrap();
}

#[test]
fn t19_every_bit_of_the_ca_and_of_the_lists_counts() {
    let (pck, ca) = (platform().pck(), platform().ca());
    let collateral = Collateral { revoked_by_root: vec![9], revoked_by_ca: vec![9], ..Collateral::default() };
    every_bit(&ca, &signed_fields(&ca, CERTIFICATE), |der| judged(&pck, der, &collateral).is_err());
    let json = collateral.sign(platform());
    // Where it stands above the list, it is led to the root apart from PCK chains.
    every_bit(&ca, &signed_fields(&ca, CERTIFICATE), |der| {
        let mut json = json.clone();
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        json["pck_crl_issuer_chain"] =
            json!(format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"));
        valid_json(&json, platform()).is_err()
    });
    for list in ["root_ca_crl", "pck_crl"] {
        let der = data_of(json[list].as_str().unwrap());
        every_bit(&der, &signed_fields(&der, CRL), |der| {
            let mut json = json.clone();
            json[list] = json!(der.iter().map(|b| format!("{b:02x}")).collect::<String>());
            valid_json(&json, platform()).is_err()
        });
    }
}

fn data_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}
