//! The parser of reports: versions, lengths, reserved fields, and a flip of every byte.

use crate::world::{NOW, roots, sent, verify};
use ccnode_evidence::Code;
use ccnode_snp::{
    Endorsement, FirmwareVersion, KeyKind, REPORT_SIZE, RawTcb, ReportError, ReportParsed, SIGNED_SIZE,
    TcbKind,
};
use ccnode_testkit::snp::{ChipModel, ReportSpec, TestChip};

fn parse(raw: &[u8]) -> Result<ReportParsed, ReportError> {
    ReportParsed::parse(raw)
}

#[test]
fn each_version_of_each_line_is_proven() {
    for model in ChipModel::ALL {
        let chip = TestChip::new(model, 3);
        for version in 2..=5 {
            let proven = verify(&chip, &chip.report_of(version, [7; 64], 0)).unwrap();
            let report = proven.report();
            assert_eq!(report.version, version);
            assert_eq!(report.cpuid.is_some(), version >= 3);
            assert_eq!(report.launch_mitigations.is_some(), version >= 5);
            assert_eq!(proven.tcbs().reported.fmc.is_some(), model == ChipModel::Turin);
        }
    }
}

#[test]
fn every_field_is_read_from_its_place() {
    let chip = TestChip::turin();
    let spec = ReportSpec {
        guest_svn: 0x0102_0304,
        policy: 0x0103_0000 | 58,
        family_id: [1; 16],
        image_id: [2; 16],
        platform_info: 0x65,
        key_info: 1,
        measurement: [3; 48],
        host_data: [4; 32],
        id_key_digest: [5; 48],
        author_key_digest: [6; 48],
        report_id: [8; 32],
        report_id_ma: [9; 32],
        current: [10, 58, 1],
        committed: [9, 57, 1],
        launch_mitigations: 0x11,
        current_mitigations: 0x13,
        ..chip.spec([7; 64], 2)
    };
    let proven = verify(&chip, &chip.sign(&spec)).unwrap();
    let report = proven.report();
    assert_eq!((report.guest_svn, report.policy.0, report.vmpl), (spec.guest_svn, spec.policy, 2));
    assert_eq!((report.family_id, report.image_id), (spec.family_id, spec.image_id));
    assert_eq!(report.platform_info.0, 0x65);
    assert!(report.key_info.author_key && !report.key_info.mask_chip_key);
    assert_eq!(report.key_info.signing_key, Some(KeyKind::Vcek));
    assert_eq!((report.report_data, report.measurement), ([7; 64], [3; 48]));
    assert_eq!((report.host_data, report.id_key_digest), ([4; 32], [5; 48]));
    assert_eq!((report.author_key_digest, proven.author_key()), ([6; 48], Some([6; 48])));
    assert_eq!((report.report_id, report.report_id_ma), ([8; 32], [9; 32]));
    assert_eq!(report.current, FirmwareVersion { major: 1, minor: 58, build: 10 });
    assert_eq!(report.committed, FirmwareVersion { major: 1, minor: 57, build: 9 });
    assert_eq!((report.launch_mitigations, report.current_mitigations), (Some(0x11), Some(0x13)));
    let tcb = RawTcb(chip.tcb().bytes(true));
    assert!(report.tcbs().into_iter().all(|(_, raw)| raw == tcb));
    assert_eq!(report.chip_id, chip.chip_id());
}

#[test]
fn other_lengths_and_versions_are_refused() {
    let raw = TestChip::milan().report([7; 64], 0);
    for len in [0, 1, SIGNED_SIZE, REPORT_SIZE - 1] {
        assert_eq!(parse(&raw[..len]), Err(ReportError::Size(len)));
    }
    let longer = [raw.as_slice(), &[0]].concat();
    assert_eq!(parse(&longer), Err(ReportError::Size(REPORT_SIZE + 1)));
    for version in [0, 1, 6, u32::MAX] {
        let mut raw = raw.clone();
        raw[..4].copy_from_slice(&version.to_le_bytes());
        assert_eq!(parse(&raw), Err(ReportError::Version(version)));
    }
}

#[test]
fn reserved_bytes_of_a_tcb_must_be_zero() {
    let places = [
        (TcbKind::Current, 0x38),
        (TcbKind::Reported, 0x180),
        (TcbKind::Committed, 0x1e0),
        (TcbKind::Launch, 0x1f0),
    ];
    for (chip, within) in [(TestChip::genoa(), 2..6), (TestChip::turin(), 4..7)] {
        for (kind, offset) in places {
            for at in within.clone() {
                let mut raw = chip.report_of(5, [7; 64], 0);
                raw[offset + at] = 1;
                assert_eq!(parse(&raw), Err(ReportError::TcbReserved { kind }));
                // Version 2 names no processor: the certificate's line decides, later.
                let mut raw = chip.report_of(2, [7; 64], 0);
                raw[offset + at] = 1;
                let parsed = parse(&raw).unwrap();
                let endorsement =
                    Endorsement::of_report(parsed.report(), &sent(&chip), &roots(&chip), NOW).unwrap();
                let got = parsed.prove(&endorsement, NOW).unwrap_err();
                assert_eq!(got, ReportError::TcbReserved { kind }.into());
                assert_eq!(got.code(), Code::SnpReportMalformed);
            }
        }
    }
}

#[test]
fn reserved_values_are_refused() {
    let chip = TestChip::milan();
    let with = |change: fn(&mut ReportSpec)| {
        let mut spec = chip.spec([7; 64], 0);
        change(&mut spec);
        parse(&chip.sign(&spec)).map(|_| ())
    };
    assert_eq!(with(|s| s.signature_algo = 0), Err(ReportError::SignatureAlgorithm(0)));
    assert_eq!(with(|s| s.signature_algo = 2), Err(ReportError::SignatureAlgorithm(2)));
    assert_eq!(with(|s| s.key_info = 2 << 2), Err(ReportError::KeyInfo(8)));
    assert_eq!(with(|s| s.key_info = 1 << 5), Err(ReportError::KeyInfo(32)));
    assert!(
        matches!(with(|s| s.policy = 1 << 16), Err(ReportError::Policy { policy }) if policy.0 == 1 << 16)
    );
    // What firmware may write is read, whatever a policy says of it later.
    assert_eq!(with(|s| s.vmpl = u32::MAX), Ok(()));
    assert_eq!(with(|s| s.platform_info = u64::MAX), Ok(()));
    assert_eq!(with(|s| s.policy = u64::MAX), Ok(()));
    assert_eq!(with(|s| s.cpuid = [0x1b, 0, 0]), Ok(()));
}
