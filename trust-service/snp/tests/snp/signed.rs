//! Every field of an endorsement certificate, of the CA above it and of a revocation list: changed and signed anew, it is refused by a
//! variant of its own; with no more than a bit of it turned, it is refused as well. The rows leave no byte out.

use crate::chain::replace;
use crate::world::{NOW, roots, sent};
use ccnode_snp::{
    CaCertificate, CertError, Certificates, CertificatesError, Crl, CrlError, Endorsement, ReportParsed,
    SnpRejection,
};
use ccnode_testkit::snp::{CertSpec, CrlSpec, TestChip, any_extension, der_ia5, der_integer, der_octets};
use ccnode_testkit::{CERTIFICATE, CRL, signed_fields};
use ccnode_vectors::assert_tiled;
use std::ops::Range;

type Refused = fn(&SnpRejection) -> bool;

/// A field, a change to it that is signed anew, and what comes of it; without a change the signature alone covers the field.
type Row<S> = (&'static str, Option<(fn(&mut S), Option<Refused>)>);

macro_rules! is {
    ($pattern:pat) => {
        Some((|got| matches!(got, $pattern)) as Refused)
    };
}

macro_rules! certificate {
    ($pattern:pat) => {
        is!(SnpRejection::CertificatesMalformed(CertificatesError::Certificate { reason: $pattern, .. }))
    };
}

/// The endorsement certificate in place of the chip's own, over an honest report.
fn judged(chip: &TestChip, vek: &[u8], cas: &[Vec<u8>]) -> Result<Endorsement, SnpRejection> {
    let mut certs = Certificates::default();
    certs.add(vek)?;
    for ca in cas {
        certs.add(ca)?;
    }
    let parsed = ReportParsed::parse(&chip.report([7; 64], 0)).unwrap();
    let Some(vek) = certs.veks.first() else {
        return Err(SnpRejection::CertificateMissing { wanted: ccnode_snp::KeyKind::Vcek });
    };
    let endorsement = Endorsement::verify(vek, &certs, &roots(chip), NOW)?;
    parsed.prove(&endorsement, NOW)?;
    Ok(endorsement)
}

/// That the rows name the fields and no others, and that a turned bit anywhere in them is refused.
fn covers<S>(
    der: &[u8],
    fields: &[(String, Range<usize>)],
    rows: &[Row<S>],
    refused: impl Fn(&[u8]) -> bool,
) {
    assert_tiled(der.len(), fields.iter().map(|(name, range)| (name.as_str(), range.clone())));
    let mut named: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
    named.dedup();
    assert_eq!(fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), named);
    for (name, range) in fields {
        for at in range.clone() {
            let mut turned = der.to_vec();
            turned[at] ^= 1;
            assert!(refused(&turned), "{name}, byte {at:#x}");
        }
    }
}

/// SHA-256 in place of SHA-384.
fn other_algorithm(spec: &CertSpec) -> Vec<u8> {
    let mut other = spec.algorithm.clone();
    *other.last_mut().unwrap() = 32;
    other
}

macro_rules! number {
    ($name:literal, $arcs:expr) => {
        [
            (
                $name,
                Some((
                    (|s| replace(s, $arcs, Some(der_integer(0x77)))) as fn(&mut CertSpec),
                    is!(SnpRejection::TcbMismatch { .. }),
                )),
            ),
            (
                $name,
                Some((
                    |s| replace(s, $arcs, Some(der_octets(&[1]))),
                    Some((|got| {
                        matches!(got, SnpRejection::CertificatesMalformed(CertificatesError::Certificate {
                            reason: CertError::Extension(name), ..
                        }) if name.starts_with($name))
                    }) as Refused),
                )),
            ),
        ]
    };
}

fn vek_rows() -> Vec<Row<CertSpec>> {
    macro_rules! reserved {
        ($name:literal, $last:literal) => {
            (
                $name,
                Some((
                    (|s| replace(s, &[3, $last], Some(der_integer(1)))) as fn(&mut CertSpec),
                    certificate!(CertError::Extension("1.3.6.1.4.1.3704.1.3.4 to 7 (reserved SPL)")),
                )),
            )
        };
    }
    let mut rows: Vec<Row<CertSpec>> = vec![
        ("head", None),
        ("head of the signed part", None),
        ("version", Some((|s| s.version = 1, certificate!(CertError::Version(2))))),
        // AMD gives each the number 0: nothing is told by it.
        ("serialNumber", Some((|s| s.serial = 7, None))),
        (
            "signature",
            Some((|s| s.outer_algorithm = Some(other_algorithm(s)), certificate!(CertError::Algorithm))),
        ),
        ("issuer", Some((|s| s.issuer = "SEV-Genoa".into(), is!(SnpRejection::ChainIssuer { .. })))),
        ("validity", Some((|s| s.years = (2020, 2021), is!(SnpRejection::CertExpired { .. })))),
        ("validity", Some((|s| s.years = (2040, 2041), is!(SnpRejection::CertExpired { .. })))),
        ("subject", Some((|s| s.subject = "SEV-VXEK".into(), certificate!(CertError::NoCa(_))))),
        (
            "subject",
            Some((
                |s| s.subject = "SEV-VLEK".into(),
                certificate!(CertError::Missing("1.3.6.1.4.1.3704.1.5 (CSP ID)")),
            )),
        ),
        ("subjectPublicKeyInfo", Some((|s| s.spki[19] ^= 1, certificate!(CertError::Key(_))))),
        (
            "subjectPublicKeyInfo",
            Some((
                |s| s.spki = vek_key(&TestChip::new(ccnode_testkit::snp::ChipModel::Turin, 9)),
                is!(SnpRejection::Signature { .. }),
            )),
        ),
        ("extensions", Some((|s| s.extensions.clear(), certificate!(CertError::Missing(_))))),
        (
            "extensions",
            Some((
                |s| s.extensions.push(any_extension(&[0x55, 0x1d, 99], true, &[5, 0])),
                certificate!(CertError::Critical(_)),
            )),
        ),
        // Version of the extensions' structure.
        ("1.3.6.1.4.1.3704.1.1", Some((|s| replace_in_place(s, 0, &[1], der_integer(9)), None))),
        (
            "1.3.6.1.4.1.3704.1.2",
            Some((|s| replace(s, &[2], Some(der_ia5("Venice"))), certificate!(CertError::Product(_)))),
        ),
        (
            "1.3.6.1.4.1.3704.1.2",
            Some((|s| replace(s, &[2], Some(der_ia5("Milan"))), certificate!(CertError::Excess(_)))),
        ),
    ];
    rows.extend(number!("1.3.6.1.4.1.3704.1.3.9", &[3, 9]));
    rows.extend(number!("1.3.6.1.4.1.3704.1.3.1", &[3, 1]));
    rows.extend(number!("1.3.6.1.4.1.3704.1.3.2", &[3, 2]));
    rows.extend([
        reserved!("1.3.6.1.4.1.3704.1.3.4", 4),
        reserved!("1.3.6.1.4.1.3704.1.3.5", 5),
        reserved!("1.3.6.1.4.1.3704.1.3.6", 6),
        reserved!("1.3.6.1.4.1.3704.1.3.7", 7),
    ]);
    rows.extend(number!("1.3.6.1.4.1.3704.1.3.3", &[3, 3]));
    rows.extend(number!("1.3.6.1.4.1.3704.1.3.8", &[3, 8]));
    rows.extend([
        (
            "1.3.6.1.4.1.3704.1.4",
            Some((
                (|s| replace(s, &[4], Some(vec![9; 8]))) as fn(&mut CertSpec),
                is!(SnpRejection::ChipMismatch { .. }),
            )),
        ),
        (
            "1.3.6.1.4.1.3704.1.4",
            Some((
                |s| replace(s, &[4], Some(vec![9; 9])),
                certificate!(CertError::Extension("1.3.6.1.4.1.3704.1.4 (hardware ID)")),
            )),
        ),
        (
            "signatureAlgorithm",
            Some((
                |s| {
                    s.outer_algorithm = Some(s.algorithm.clone());
                    s.algorithm = other_algorithm(s);
                },
                certificate!(CertError::Algorithm),
            )),
        ),
        ("signatureValue", None),
    ]);
    rows
}

/// The SubjectPublicKeyInfo of a chip's endorsement key.
fn vek_key(chip: &TestChip) -> Vec<u8> {
    let mut spki = Vec::new();
    chip.vek_with(|spec| spki = spec.spki.clone());
    spki
}

fn replace_in_place(spec: &mut CertSpec, position: usize, arcs: &[u8], value: Vec<u8>) {
    spec.extensions[position] = ccnode_testkit::snp::amd_extension(arcs, &value);
}

/// Each row's change is refused as the row says, and the rows leave no byte of the chip's endorsement certificate out.
fn every_field(chip: &TestChip, rows: Vec<Row<CertSpec>>) {
    let good = chip.vek_der();
    let cas = [chip.ask_der()];
    let honest = judged(chip, &good, &cas).unwrap();
    covers(&good, &signed_fields(&good, CERTIFICATE), &rows, |der| judged(chip, der, &cas).is_err());
    for (field, row) in rows {
        let Some((change, due)) = row else { continue };
        match (judged(chip, &chip.vek_with(change), &cas), due) {
            (Err(got), Some(due)) => assert!(due(&got), "{field}: {got:?}"),
            (Ok(taken), None) => assert_ne!(taken, honest, "{field}"),
            (got, _) => panic!("{field}: {got:?}"),
        }
    }
}

#[test]
fn t19_every_field_of_an_endorsement_certificate_mutated_has_its_own_rejection() {
    let chip = TestChip::turin();
    every_field(&chip, vek_rows());
    // The signature: another's, and a bit of it.
    let got = judged(&chip, &chip.vek_by_ark(), &[chip.ask_der()]).unwrap_err();
    assert!(matches!(got, SnpRejection::ChainSignature { .. }), "{got:?}");
}

#[test]
fn t19_every_field_of_the_ca_mutated_has_its_own_rejection() {
    let rows: Vec<Row<CertSpec>> = vec![
        ("head", None),
        ("head of the signed part", None),
        ("version", Some((|s| s.version = 1, certificate!(CertError::Version(2))))),
        ("serialNumber", Some((|s| s.serial = 7, None))),
        (
            "signature",
            Some((|s| s.outer_algorithm = Some(other_algorithm(s)), certificate!(CertError::Algorithm))),
        ),
        ("issuer", Some((|s| s.issuer = "ARK-Genoa".into(), is!(SnpRejection::ChainUntrusted { .. })))),
        ("validity", Some((|s| s.years = (2020, 2021), is!(SnpRejection::CertExpired { .. })))),
        ("subject", Some((|s| s.subject = "SEV-Genoa".into(), is!(SnpRejection::ChainIssuer { .. })))),
        (
            "subjectPublicKeyInfo",
            Some((|s| s.spki = vek_key(&TestChip::milan()), certificate!(CertError::Key("an RSA key")))),
        ),
        (
            "subjectPublicKeyInfo",
            // The modulus.
            Some((|s| s.spki[100] ^= 1, is!(SnpRejection::ChainSignature { .. }))),
        ),
        (
            "extensions",
            Some((
                |s| s.extensions.push(any_extension(&[0x55, 0x1d, 99], true, &[5, 0])),
                certificate!(CertError::Critical(_)),
            )),
        ),
        (
            "2.5.29.19",
            Some((
                |s| s.extensions[0] = any_extension(&[0x55, 0x1d, 0x13], true, &[0x30, 0]),
                certificate!(CertError::NoCa(_)),
            )),
        ),
        (
            "2.5.29.15",
            Some((
                |s| s.extensions[1] = any_extension(&[0x55, 0x1d, 0x0f], true, &[3, 2, 7, 0x80]),
                certificate!(CertError::KeyUsage),
            )),
        ),
        (
            "signatureAlgorithm",
            Some((|s| s.outer_algorithm = Some(other_algorithm(s)), certificate!(CertError::Algorithm))),
        ),
        ("signatureValue", None),
    ];
    let chip = TestChip::milan();
    let good = chip.ask_der();
    let (vek, of) = (chip.vek_der(), |ca: &[u8]| vec![ca.to_vec()]);
    judged(&chip, &vek, &of(&good)).unwrap();
    covers(&good, &signed_fields(&good, CERTIFICATE), &rows, |der| judged(&chip, &vek, &of(der)).is_err());
    for (field, row) in rows {
        let Some((change, due)) = row else { continue };
        let changed = chip.ask_with(change);
        match (judged(&chip, &vek, &of(&changed)), due) {
            (Err(got), Some(due)) => assert!(due(&got), "{field}: {got:?}"),
            // The number is what a revocation list names.
            (Ok(_), None) => {
                let mut certs = sent(&chip);
                certs.cas = vec![CaCertificate::parse(&changed).unwrap()];
                certs.crls = vec![Crl::parse(&chip.crl(&[7])).unwrap()];
                let got = Endorsement::verify(&certs.veks[0], &certs, &roots(&chip), NOW).unwrap_err();
                assert!(matches!(got, SnpRejection::Revoked { .. }), "{field}: {got:?}");
            }
            (got, _) => panic!("{field}: {got:?}"),
        }
    }
}

#[test]
fn t19_every_field_of_a_revocation_list_mutated_has_its_own_rejection() {
    type Fault = fn(&SnpRejection) -> bool;
    type Change = fn(&mut CrlSpec);
    let malformed: [(&str, Change, CrlError); 6] = [
        ("version", |s| s.version = 0, CrlError::Version(1)),
        ("signature", |s| *s.algorithm.last_mut().unwrap() = 32, CrlError::Algorithm),
        ("nextUpdate", |s| s.next_update = false, CrlError::NextUpdate),
        ("revokedCertificates", |s| s.critical_entry = true, CrlError::CriticalEntry),
        (
            "crlExtensions",
            |s| s.extensions.push(any_extension(&[0x55, 0x1d, 27], true, &[2, 1, 1])),
            CrlError::Critical,
        ),
        (
            "2.5.29.20",
            |s| s.extensions.push(any_extension(&[0x55, 0x1d, 28], true, &[0x30, 3, 0x81, 1, 0xff])),
            CrlError::Critical,
        ),
    ];
    // A number that grows tells lists apart, and is not judged: every list counts.
    let judged: [(&str, Change, Option<Fault>); 4] = [
        // Of nobody in this chain: left alone, so that it counts for nothing.
        ("issuer", |s| s.issuer = "ARK-Genoa".into(), None),
        ("thisUpdate", |s| s.years = (2030, 2040), is!(SnpRejection::CrlExpired { .. })),
        ("nextUpdate", |s| s.years = (2024, 2025), is!(SnpRejection::CrlExpired { .. })),
        ("revokedCertificates", |s| s.revoked.push(0x10001), is!(SnpRejection::Revoked { .. })),
    ];
    let chip = TestChip::milan();
    let good = chip.crl(&[7]);
    let read = |der: &[u8]| -> Result<bool, SnpRejection> {
        let mut certs = sent(&chip);
        certs.add(der)?;
        assert!(certs.crls.len() < 2);
        Ok(Endorsement::verify(&certs.veks[0], &certs, &roots(&chip), NOW)?.crl_checked())
    };
    assert_eq!(read(&good), Ok(true));
    let mut rows: Vec<Row<CrlSpec>> = vec![("head", None), ("head of the signed part", None)];
    rows.extend(
        ["version", "signature", "issuer", "thisUpdate", "nextUpdate", "revokedCertificates"]
            .map(|name| (name, None)),
    );
    rows.extend(
        ["crlExtensions", "2.5.29.20", "signatureAlgorithm", "signatureValue"].map(|name| (name, None)),
    );
    // A bit of the issuer's name makes it another's, which is left alone, and what demands a list misses it.
    covers(&good, &signed_fields(&good, CRL), &rows, |der| read(der) != Ok(true));
    for (field, change, due) in malformed {
        let got = read(&chip.crl_with(&[7], change)).unwrap_err();
        let want = CertificatesError::Crl { index: 3, reason: due };
        assert_eq!(got, SnpRejection::CertificatesMalformed(want), "{field}");
    }
    for (field, change, due) in judged {
        match (read(&chip.crl_with(&[7], change)), due) {
            (Err(got), Some(due)) => assert!(due(&got), "{field}: {got:?}"),
            (Ok(counted), None) => assert!(!counted, "{field}"),
            (got, _) => panic!("{field}: {got:?}"),
        }
    }
    let got = read(&chip.crl_by_ask(&[7], |_| {})).unwrap_err();
    assert!(matches!(got, SnpRejection::CrlSignature { .. }), "signatureValue: {got:?}");
}

/// The rows of a provider's key: it names the provider, and neither a chip nor an FMC before Turin.
fn vlek_rows() -> Vec<Row<CertSpec>> {
    let mut rows = vek_rows();
    rows.retain(|(name, _)| {
        !["subject", "1.3.6.1.4.1.3704.1.2", "1.3.6.1.4.1.3704.1.3.9", "1.3.6.1.4.1.3704.1.4"].contains(name)
    });
    let mut put = |before: &str, new: Vec<Row<CertSpec>>| {
        let at = rows.iter().position(|(name, _)| *name == before).unwrap();
        rows.splice(at..at, new);
    };
    put(
        "subjectPublicKeyInfo",
        vec![
            ("subject", Some((|s| s.subject = "SEV-VXEK".into(), certificate!(CertError::NoCa(_))))),
            (
                "subject",
                Some((
                    |s| s.subject = "SEV-VCEK".into(),
                    certificate!(CertError::Missing("1.3.6.1.4.1.3704.1.4 (hardware ID)")),
                )),
            ),
        ],
    );
    put(
        "1.3.6.1.4.1.3704.1.3.1",
        vec![(
            "1.3.6.1.4.1.3704.1.2",
            Some((|s| replace(s, &[2], Some(der_ia5("Venice"))), certificate!(CertError::Product(_)))),
        )],
    );
    put(
        "signatureAlgorithm",
        vec![
            // Which provider is the pool's to judge.
            ("1.3.6.1.4.1.3704.1.5", Some((|s| replace(s, &[5], Some(der_ia5("another"))), None))),
            (
                "1.3.6.1.4.1.3704.1.5",
                Some((
                    |s| replace(s, &[5], None),
                    certificate!(CertError::Missing("1.3.6.1.4.1.3704.1.5 (CSP ID)")),
                )),
            ),
        ],
    );
    rows
}

#[test]
fn t19_every_field_of_a_providers_certificate_mutated_has_its_own_rejection() {
    let chip = TestChip::milan().with_vlek("provider");
    every_field(&chip, vlek_rows());
}
