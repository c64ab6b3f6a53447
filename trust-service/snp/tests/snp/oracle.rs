//! The `sev` crate agrees on honest reports and on every single change; where it is laxer, the case is named.

use crate::world::{proven, verify};
use ccnode_snp::{Product, Roots, SnpRejection};
use ccnode_testkit::snp::{ChipModel, ReportSpec, TestChip};
use sev::certs::snp::{Certificate, Chain, Verifiable as _, builtin, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;

fn chain(chip: &TestChip) -> Chain {
    let cert = |der: &[u8]| Certificate::from_der(der).unwrap();
    Chain {
        ca: ca::Chain { ark: cert(&chip.ark_der()), ask: cert(&chip.ask_der()) },
        vek: cert(&chip.vek_der()),
    }
}

fn sev_takes(chip: &TestChip, raw: &[u8]) -> bool {
    AttestationReport::from_bytes(raw).is_ok_and(|report| (&chain(chip), &report).verify().is_ok())
}

#[test]
fn the_built_in_roots_are_the_same() {
    let theirs = [
        (Product::Milan, builtin::milan::ark()),
        (Product::Genoa, builtin::genoa::ark()),
        (Product::Turin, builtin::turin::ark()),
    ];
    for (product, ark) in theirs {
        use sha2::Digest as _;
        let sha: [u8; 32] = sha2::Sha256::digest(ark.unwrap().to_der().unwrap()).into();
        assert!(Roots::amd().fingerprints().any(|own| own == (product, sha, true)), "{product}");
    }
    assert_eq!(Roots::amd().fingerprints().count(), 3);
}

#[test]
fn both_take_honest_reports_and_read_them_alike() {
    for model in ChipModel::ALL {
        for chip in [TestChip::new(model, 1), TestChip::new(model, 2).with_vlek("CN=x")] {
            for version in [3, 4, 5] {
                let raw = chip.report_of(version, [7; 64], 1);
                assert!(sev_takes(&chip, &raw), "{model:?} {version}");
                let theirs = AttestationReport::from_bytes(&raw).unwrap();
                let proven = verify(&chip, &raw).unwrap();
                let (ours, tcbs) = (proven.report(), proven.tcbs());
                assert_eq!((ours.guest_svn, ours.vmpl), (theirs.guest_svn, theirs.vmpl));
                assert_eq!(ours.policy.0, u64::from(theirs.policy));
                assert_eq!(ours.platform_info.0, u64::from(theirs.plat_info));
                assert_eq!(ours.chip_id, theirs.chip_id);
                for (own, their) in [
                    (tcbs.current, theirs.current_tcb),
                    (tcbs.reported, theirs.reported_tcb),
                    (tcbs.committed, theirs.committed_tcb),
                    (tcbs.launch, theirs.launch_tcb),
                ] {
                    let own = (own.fmc, own.bootloader, own.tee, own.snp, own.microcode);
                    let their = (their.fmc, their.bootloader, their.tee, their.snp, their.microcode);
                    assert_eq!(own, their);
                }
                assert_eq!(ours.launch_mitigations, theirs.launch_mit_vector);
            }
        }
    }
}

#[test]
fn neither_takes_a_changed_report() {
    let chip = TestChip::milan();
    let raw = chip.report([7; 64], 0);
    // A byte of each field, and of R and S.
    for at in
        [0x04, 0x08, 0x10, 0x20, 0x30, 0x40, 0x50, 0x90, 0xc0, 0xe0, 0x110, 0x140, 0x160, 0x1a0, 0x2a0, 0x2e8]
    {
        let mut raw = raw.clone();
        raw[at] ^= 1;
        assert!(verify(&chip, &raw).is_err(), "{at:#x}");
        assert!(!sev_takes(&chip, &raw), "{at:#x}");
    }
}

/// A field, how it lies, and our rejection.
type Case = (&'static str, fn(&mut ReportSpec), fn(&SnpRejection) -> bool);

/// What that crate takes and this one does not: these checks are ours.
#[test]
fn what_the_other_leaves_out() {
    let chip = TestChip::milan();
    let cases: [Case; 5] = [
        ("signature algorithm", |s| s.signature_algo = 2, |r| matches!(r, SnpRejection::ReportMalformed(_))),
        ("key information", |s| s.key_info = 3 << 2, |r| matches!(r, SnpRejection::ReportMalformed(_))),
        ("kind of key", |s| s.key_info = 1 << 2, |r| matches!(r, SnpRejection::KeyKind { .. })),
        ("chip", |s| s.chip_id = [9; 64], |r| matches!(r, SnpRejection::ChipMismatch { .. })),
        ("TCB", |s| s.reported_tcb.snp = 99, |r| matches!(r, SnpRejection::TcbMismatch { .. })),
    ];
    for (what, change, ours) in cases {
        let mut spec = chip.spec([7; 64], 0);
        change(&mut spec);
        let raw = chip.sign(&spec);
        assert!(sev_takes(&chip, &raw), "{what}");
        let got = verify(&chip, &raw).unwrap_err();
        assert!(ours(&got), "{what}: {got:?}");
    }
    // It reads a signature's low 48 bytes and never the others.
    let mut raw = chip.report([7; 64], 0);
    raw[0x2a0 + 60] = 1;
    assert!(sev_takes(&chip, &raw) && verify(&chip, &raw).is_err());
    // Nor does it ask which root it is, or what time.
    assert!(proven(&chip).endorsement().danger_root());
}
