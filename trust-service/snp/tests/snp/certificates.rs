//! The forms in which certificates come: PEM, DER, several in a row, and the table of an extended report.

use ccnode_evidence::{Code, SnpCertificate, SnpCertificateType, SnpTableError};
use ccnode_snp::{CertError, Certificates, CertificatesError, CrlError, MAX_BYTES, MAX_ITEMS, SnpRejection};
use ccnode_testkit::snp::{ARK, ASK, CRL, TestChip, VCEK, certs_table, guid_bytes};

fn pem(label: &str, der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let text: String = der
        .chunks(3)
        .map(|chunk| {
            let value =
                chunk.iter().fold(0u32, |value, b| value << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
            (0..4)
                .map(|i| match i <= chunk.len() {
                    true => char::from(DIGITS[(value >> (18 - 6 * i) & 63) as usize]),
                    false => '=',
                })
                .collect::<String>()
        })
        .collect();
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

#[test]
fn every_form_gives_the_same() {
    let chip = TestChip::milan();
    let (vek, ask, ark, crl) = (chip.vek_der(), chip.ask_der(), chip.ark_der(), chip.crl(&[]));
    let want = {
        let mut all = Certificates::default();
        for der in [&vek, &ask, &ark, &crl] {
            all.add(der).unwrap();
        }
        all
    };
    assert_eq!((want.veks.len(), want.cas.len(), want.crls.len()), (1, 2, 1));
    let row = [vek.as_slice(), &ask, &ark, &crl].concat();
    assert_eq!(Certificates::parse(&row).unwrap(), want);
    let text = ["CERTIFICATE", "CERTIFICATE", "CERTIFICATE", "X509 CRL"]
        .iter()
        .zip([&vek, &ask, &ark, &crl])
        .map(|(label, der)| pem(label, der))
        .collect::<String>();
    assert_eq!(Certificates::parse(text.as_bytes()).unwrap(), want);
    assert_eq!(Certificates::parse(format!("\n\n{text}").as_bytes()).unwrap(), want);
    let table = certs_table(&[(VCEK, vek.clone()), (ASK, ask), (ARK, ark), (CRL, crl)]);
    assert_eq!(Certificates::parse(&table).unwrap(), want);
    assert_eq!(Certificates::from_table(&table).unwrap(), want);
    // Hosts fill the table with what administrators gave them, PEM too.
    let table = certs_table(&[(VCEK, pem("CERTIFICATE", &vek).into_bytes())]);
    assert_eq!(Certificates::parse(&table).unwrap().veks, want.veks);
}

#[test]
fn a_table_may_be_empty_or_hold_more() {
    assert_eq!(Certificates::parse(&[0; 4096]), Ok(Certificates::default()));
    assert_eq!(Certificates::parse(&[0; 24]), Ok(Certificates::default()));
    let chip = TestChip::milan();
    let other = "ecae0c0f-9502-43b1-afa2-0ae2e0d565b6";
    let table = certs_table(&[(other, vec![0; 8]), (VCEK, chip.vek_der())]);
    assert_eq!(Certificates::parse(&table).unwrap().veks.len(), 1);
}

#[test]
fn a_table_lies_inside_its_bytes() {
    let chip = TestChip::milan();
    let good = certs_table(&[(VCEK, chip.vek_der()), (ASK, chip.ask_der())]);
    let set = |at: usize, value: u32| {
        let mut table = good.clone();
        table[at..at + 4].copy_from_slice(&value.to_le_bytes());
        Certificates::from_table(&table)
    };
    let len = u32::try_from(good.len()).unwrap();
    for offset in [0, 71, len, len - 1, u32::MAX] {
        assert_eq!(
            set(24 + 16, offset),
            Err(CertificatesError::Table(SnpTableError::Outside(1))),
            "offset {offset}"
        );
    }
    for length in [len, u32::MAX] {
        assert_eq!(
            set(24 + 20, length),
            Err(CertificatesError::Table(SnpTableError::Outside(1))),
            "length {length}"
        );
    }
    // No last entry.
    for short in [0, 1, 23, 24, 47, 48, 71] {
        assert!(matches!(
            Certificates::from_table(&good[..short]),
            Err(CertificatesError::Table(SnpTableError::Outside(_)))
        ));
    }
    let mut unfinished = good.clone();
    unfinished[48 + 16] = 1;
    assert_eq!(
        Certificates::from_table(&unfinished),
        Err(CertificatesError::Table(SnpTableError::Outside(2)))
    );
    // Entries that share their data.
    let mut shared = Vec::new();
    for _ in 0..8 {
        shared.extend(guid_bytes(VCEK));
        shared.extend(240u32.to_le_bytes());
        shared.extend(u32::try_from(chip.vek_der().len()).unwrap().to_le_bytes());
    }
    shared.extend([0; 24]);
    shared.resize(240, 0);
    shared.extend(chip.vek_der());
    assert_eq!(Certificates::from_table(&shared), Err(CertificatesError::Table(SnpTableError::Outside(1))));
}

#[test]
fn what_can_not_be_read_is_named() {
    let chip = TestChip::milan();
    let vek = chip.vek_der();
    let got = Certificates::parse(&[vek.as_slice(), &[0x30, 0x82, 0, 0]].concat());
    assert!(
        matches!(got, Err(CertificatesError::Certificate { index: 1, reason: CertError::Der })),
        "{got:?}"
    );
    let got = Certificates::parse(&[vek.as_slice(), &[0]].concat());
    assert_eq!(got, Err(CertificatesError::Der(vek.len())));
    assert_eq!(Certificates::parse(&vek[..100]), Err(CertificatesError::Der(0)));
    let odd = chip.vek_with(|spec| spec.extensions.clear());
    let got = Certificates::parse(&odd);
    let refused = SnpRejection::from(got.clone().unwrap_err());
    assert_eq!(refused.code(), Code::SnpCertMalformed);
    let missing =
        matches!(got, Err(CertificatesError::Certificate { index: 0, reason: CertError::Missing(_) }));
    assert!(missing, "{got:?}");
    let critical = [0x55, 0x1d, 27];
    let limited = chip.crl_with(&[], |spec| {
        spec.extensions = vec![ccnode_testkit::snp::any_extension(&critical, true, &[2, 1, 1])];
    });
    let got = Certificates::parse(&limited);
    assert_eq!(got, Err(CertificatesError::Crl { index: 0, reason: CrlError::Critical }));
    assert_eq!(Certificates::parse(b"-----BEGIN CERTIFICATE-----\n"), Err(CertificatesError::Pem));
    let key = pem("PRIVATE KEY", &[0x30, 0]);
    assert_eq!(Certificates::parse(key.as_bytes()), Err(CertificatesError::Section));
    assert_eq!(
        Certificates::parse(b"-----BEGIN NOTHING-----\n-----END NOTHING-----\n"),
        Err(CertificatesError::Pem)
    );
}

#[test]
fn input_is_bounded() {
    let vek = TestChip::milan().vek_der();
    let many = vek.repeat(MAX_ITEMS + 1);
    assert_eq!(Certificates::parse(&many), Err(CertificatesError::Items));
    assert_eq!(Certificates::parse(&vek.repeat(MAX_ITEMS)).unwrap().veks.len(), MAX_ITEMS);
    let huge = vec![0; MAX_BYTES + 1];
    assert_eq!(Certificates::parse(&huge), Err(CertificatesError::Size(MAX_BYTES + 1)));
    assert_eq!(Certificates::from_table(&huge), Err(CertificatesError::Size(MAX_BYTES + 1)));
    assert_eq!(Certificates::default().add(&huge), Err(CertificatesError::Size(MAX_BYTES + 1)));
    let entries: Vec<_> = (0..=MAX_ITEMS).map(|_| (VCEK, Vec::new())).collect();
    let got = Certificates::from_table(&certs_table(&entries));
    assert_eq!(got, Err(CertificatesError::Table(SnpTableError::Entries)));
}

#[test]
fn a_chain_in_json_gives_the_same_as_its_table() {
    let chip = TestChip::turin();
    let one = |cert_type, data| SnpCertificate { cert_type, data };
    let chain = [
        one(SnpCertificateType::VCEK, chip.vek_der()),
        one(SnpCertificateType::Empty, vec![1]),
        one(SnpCertificateType::ASK, chip.ask_der()),
        one(SnpCertificateType::OTHER("ecae0c0f-9502-43b1-afa2-0ae2e0d565b6".into()), vec![2]),
        one(SnpCertificateType::ARK, chip.ark_der()),
    ];
    assert_eq!(Certificates::from_chain(&chain), Certificates::from_table(&chip.certs_table()));
    let bad = [one(SnpCertificateType::VCEK, vec![1])];
    assert_eq!(Certificates::from_chain(&bad), Err(CertificatesError::Der(0)));
}
