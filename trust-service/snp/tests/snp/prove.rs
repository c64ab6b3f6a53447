//! Report and endorsement key belong together: kind, line, TCB, chip, signature, and their time.

use crate::world::{NOW, product, proven, roots, sent, verify};
use ccnode_evidence::{Code, UnixTime};
use ccnode_snp::{Certificates, Endorsement, KeyKind, Product, ReportParsed, SnpRejection};
use ccnode_testkit::snp::{ChipModel, ReportSpec, Tcb, TestChip};

/// This report under another chip's certificates.
fn crossed(raw: &[u8], other: &TestChip) -> SnpRejection {
    let parsed = ReportParsed::parse(raw).unwrap();
    let endorsement = Endorsement::verify(&sent(other).veks[0], &sent(other), &roots(other), NOW).unwrap();
    parsed.prove(&endorsement, NOW).unwrap_err()
}

#[test]
fn a_vlek_signs_for_its_provider() {
    for model in ChipModel::ALL {
        let chip = TestChip::new(model, 1).with_vlek("CN=cc-test.example");
        let proven = proven(&chip);
        assert_eq!(proven.signing_key(), KeyKind::Vlek);
        assert_eq!((proven.provider(), proven.chip_id()), (Some("CN=cc-test.example"), None));
        assert_eq!(proven.product(), product(model));
        // A provider may leave the chip id unmasked.
        let spec = ReportSpec { chip_id: [5; 64], ..chip.spec([7; 64], 0) };
        assert_eq!(verify(&chip, &chip.sign(&spec)).unwrap().chip_id(), Some([5; 64]));
    }
}

#[test]
fn the_certificate_must_be_of_the_key_that_signed() {
    let (vcek, vlek) = (TestChip::milan(), TestChip::milan().with_vlek("CN=x"));
    let raw = vcek.report([7; 64], 0);
    let got = verify(&vlek, &raw).unwrap_err();
    assert_eq!(got, SnpRejection::KeyKind { report: KeyKind::Vcek, certificate: KeyKind::Vlek });
    assert_eq!(crossed(&raw, &vlek), got);
    let raw = vlek.report([7; 64], 0);
    let got = crossed(&raw, &vcek);
    assert_eq!(got, SnpRejection::KeyKind { report: KeyKind::Vlek, certificate: KeyKind::Vcek });
    let parsed = ReportParsed::parse(&raw).unwrap();
    let got = parsed.verify(&Certificates::default(), &roots(&vlek), NOW).unwrap_err();
    assert_eq!(got, SnpRejection::CertificateMissing { wanted: KeyKind::Vlek });
    assert_eq!(got.code(), Code::SnpCertMissing);
}

#[test]
fn an_unsigned_report_proves_nothing() {
    let chip = TestChip::milan();
    for (key_info, masked) in [(0b10, true), (0b11110, true), (7 << 2, false)] {
        let mut raw = chip.sign(&ReportSpec { key_info, ..chip.spec([7; 64], 0) });
        assert_eq!(verify(&chip, &raw).unwrap_err(), SnpRejection::Unsigned { masked });
        assert_eq!(crossed(&raw, &chip), SnpRejection::Unsigned { masked });
        assert_eq!(crossed(&raw, &chip).code(), Code::SnpUnsigned);
        raw[0x2a0..].fill(0);
        assert_eq!(verify(&chip, &raw).unwrap_err(), SnpRejection::Unsigned { masked });
    }
}

#[test]
fn a_zero_signature_is_none() {
    let chip = TestChip::milan();
    let mut raw = chip.report([7; 64], 0);
    raw[0x2a0..].fill(0);
    assert_eq!(verify(&chip, &raw).unwrap_err(), SnpRejection::Signature { kind: KeyKind::Vcek });
}

#[test]
fn line_of_report_and_certificate_agree() {
    let (milan, genoa) = (TestChip::milan(), TestChip::genoa());
    let spec = ReportSpec { cpuid: [0x19, 0x11, 0], ..milan.spec([7; 64], 0) };
    let got = verify(&milan, &milan.sign(&spec)).unwrap_err();
    let (certificate, other) = (Product::Milan, Product::Genoa);
    assert_eq!(got, SnpRejection::ProductMismatch { certificate, other, root: false });
    let got = crossed(&milan.report([7; 64], 0), &genoa);
    assert!(matches!(got, SnpRejection::ProductMismatch { root: false, .. }), "{got:?}");
    let turin = TestChip::turin();
    for (chip, cpuid) in [(&turin, [0x1a, 0x50, 0]), (&milan, [0x19, 0x20, 0]), (&milan, [0x1b, 0x02, 0])] {
        let got = verify(chip, &chip.sign(&ReportSpec { cpuid, ..chip.spec([7; 64], 0) }));
        let family = cpuid[0];
        assert!(
            matches!(got, Err(SnpRejection::ProductUnknown { cpuid }) if cpuid.family == family),
            "{got:?}"
        );
    }
}

#[test]
fn the_certificate_is_for_the_reported_tcb_and_no_other() {
    for chip in [TestChip::milan(), TestChip::turin()] {
        let honest = chip.tcb();
        let newer = |change: fn(&mut Tcb)| {
            let mut tcb = honest;
            change(&mut tcb);
            tcb
        };
        let mut others = vec![
            newer(|t| t.bootloader += 1),
            newer(|t| t.tee += 1),
            newer(|t| t.snp += 1),
            newer(|t| t.microcode += 1),
        ];
        if chip.model() == ChipModel::Turin {
            others.push(newer(|t| t.fmc += 1));
        }
        for tcb in others {
            let raw = chip.sign(&ReportSpec { reported_tcb: tcb, ..chip.spec([7; 64], 0) });
            let got = verify(&chip, &raw).unwrap_err();
            assert!(matches!(got, SnpRejection::TcbMismatch { .. }), "{got:?}");
            assert_eq!(got.code(), Code::SnpTcbMismatch);
            // The other TCBs may well be newer: they don't select the certificate.
            let spec = chip.spec([7; 64], 0);
            let spec = ReportSpec { current_tcb: tcb, committed_tcb: tcb, launch_tcb: tcb, ..spec };
            assert!(verify(&chip, &chip.sign(&spec)).is_ok());
        }
    }
}

#[test]
fn the_certificate_is_of_the_reports_chip() {
    for model in ChipModel::ALL {
        let (one, other) = (TestChip::new(model, 1), TestChip::new(model, 2));
        let raw = one.report([7; 64], 0);
        let got = crossed(&raw, &other);
        assert!(matches!(got, SnpRejection::ChipMismatch { .. }), "{got:?}");
        assert_eq!(got.code(), Code::SnpChipMismatch);
        // A masked id says nothing; the signature still tells chips apart.
        let masked = ReportSpec { chip_id: [0; 64], ..one.spec([7; 64], 0) };
        assert_eq!(verify(&one, &one.sign(&masked)).unwrap().chip_id(), Some(one.chip_id()));
        let got = crossed(&one.sign(&masked), &other);
        assert_eq!(got, SnpRejection::Signature { kind: KeyKind::Vcek });
    }
    // A Turin has eight bytes of id, and zeros behind them.
    let turin = TestChip::turin();
    let mut spec = turin.spec([7; 64], 0);
    spec.chip_id[8] = 1;
    let got = verify(&turin, &turin.sign(&spec)).unwrap_err();
    assert!(matches!(got, SnpRejection::ChipMismatch { .. }), "{got:?}");
}

#[test]
fn another_chips_signature_is_refused() {
    let (one, other) = (TestChip::new(ChipModel::Genoa, 1), TestChip::new(ChipModel::Genoa, 2));
    let forged = other.sign(&ReportSpec { chip_id: one.chip_id(), ..other.spec([7; 64], 0) });
    let got = verify(&one, &forged).unwrap_err();
    assert_eq!(got, SnpRejection::Signature { kind: KeyKind::Vcek });
    assert_eq!(got.code(), Code::SnpSignature);
}

#[test]
fn among_several_certificates_the_fitting_one_counts() {
    let chips: Vec<_> = (1..5).map(|seed| TestChip::new(ChipModel::Milan, seed)).collect();
    let older = TestChip::milan().with_tcb(Tcb { microcode: 200, ..TestChip::milan().tcb() });
    let mut all = Certificates::default();
    all.add(&older.vek_der()).unwrap();
    all.add(&TestChip::milan().with_vlek("CN=x").vek_der()).unwrap();
    for chip in &chips {
        all.add(&chip.vek_der()).unwrap();
    }
    all.add(&older.ask_der()).unwrap();
    for chip in chips.iter().chain([&older]) {
        let parsed = ReportParsed::parse(&chip.report([7; 64], 0)).unwrap();
        assert!(parsed.verify(&all, &roots(chip), NOW).is_ok());
    }
}

#[test]
fn a_kept_endorsement_ends_with_its_certificates() {
    let chip = TestChip::milan();
    let endorsement = Endorsement::verify(&sent(&chip).veks[0], &sent(&chip), &roots(&chip), NOW).unwrap();
    let parsed = ReportParsed::parse(&chip.report([7; 64], 0)).unwrap();
    let (first, last) = endorsement.vek().validity();
    for now in [first, last] {
        assert!(parsed.clone().prove(&endorsement, now).is_ok());
    }
    for now in [UnixTime(first.0 - 1), UnixTime(last.0 + 1)] {
        let got = parsed.clone().prove(&endorsement, now).unwrap_err();
        assert!(matches!(&got, SnpRejection::CertExpired { subject, .. } if subject == "SEV-VCEK"));
        assert_eq!(got.code(), Code::SnpCertExpired);
    }
}
