//! REPORT_DATA: a session's transcript, and an SVSM's manifest.

use crate::world::{proven, verify};
use ccnode_evidence::{Code, ReportData};
use ccnode_snp::{SnpRejection, SvsmManifest, VTPM_SERVICE, report_data};
use ccnode_testkit::snp::{ReportSpec, TestChip};

const DATA: ReportData = ReportData([0x5a; 48]);
/// An RSA endorsement key's public area, as far as is read here.
const MANIFEST: &[u8] = &[0x00, 0x01, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2];

fn svsm(manifest: &[u8]) -> SvsmManifest<'_> {
    SvsmManifest { service: VTPM_SERVICE, version: 0, manifest }
}

#[test]
fn t08_report_data_is_this_sessions() {
    let chip = TestChip::milan();
    let bound = report_data(&DATA);
    assert_eq!(bound[..48], [0x5a; 48]);
    assert_eq!(bound[48..], [0; 16]);
    let report = verify(&chip, &chip.report(bound, 0)).unwrap();
    assert!(report.binds(&DATA).is_ok());
    let mut other = DATA;
    other.0[47] ^= 1;
    let got = report.binds(&other).unwrap_err();
    assert!(matches!(got, SnpRejection::ReportData { .. }) && got.code() == Code::SnpReportData);
    for at in 48..64 {
        let mut tail = bound;
        tail[at] = 1;
        let report = verify(&chip, &chip.report(tail, 0)).unwrap();
        assert!(matches!(report.binds(&DATA), Err(SnpRejection::ReportData { .. })), "byte {at}");
    }
    assert!(matches!(proven(&chip).binds(&DATA), Err(SnpRejection::ReportData { .. })));
}

#[test]
fn an_svsm_vouches_for_its_vtpm() {
    let chip = TestChip::turin();
    let report = verify(&chip, &chip.svsm_report(&report_data(&DATA), MANIFEST)).unwrap();
    assert_eq!(report.binds_svsm(&DATA, svsm(MANIFEST)).unwrap().tpmt_public(), MANIFEST);
    // It is no report over the session alone.
    assert!(matches!(report.binds(&DATA), Err(SnpRejection::ReportData { .. })));
}

#[test]
fn t08_every_part_of_an_svsms_word_counts() {
    let chip = TestChip::milan();
    let report = verify(&chip, &chip.svsm_report(&report_data(&DATA), MANIFEST)).unwrap();
    let mut other = DATA;
    other.0[0] ^= 1;
    let got = report.binds_svsm(&other, svsm(MANIFEST));
    assert!(matches!(got, Err(SnpRejection::SvsmBinding { .. })), "{got:?}");
    let mut key = MANIFEST.to_vec();
    key[7] ^= 1;
    let got = report.binds_svsm(&DATA, svsm(&key));
    assert!(matches!(got, Err(SnpRejection::SvsmBinding { .. })), "{got:?}");
    let got = report.binds_svsm(&DATA, SvsmManifest { version: 1, ..svsm(MANIFEST) });
    assert_eq!(got, Err(SnpRejection::SvsmVersion(1)));
    assert_eq!(got.unwrap_err().code(), Code::SnpSvsm);
    let service = "63849ebb-3d92-4670-a1ff-58f9c94b87bb";
    let got = report.binds_svsm(&DATA, SvsmManifest { service, ..svsm(MANIFEST) });
    assert_eq!(got, Err(SnpRejection::SvsmService(service.into())));
    for manifest in [vec![], vec![0, 1], vec![0, 8, 0, 11], [MANIFEST, &[0; 1024]].concat()] {
        let got = report.binds_svsm(&DATA, svsm(&manifest));
        assert_eq!(got, Err(SnpRejection::SvsmManifest(manifest.len())));
    }
}

#[test]
fn t06_a_guest_can_not_speak_as_its_svsm() {
    // The guest asks for the same REPORT_DATA at its own level, with a key of its own.
    let chip = TestChip::milan();
    let honest = verify(&chip, &chip.svsm_report(&report_data(&DATA), MANIFEST)).unwrap();
    for vmpl in [1, 2, 3, u32::MAX] {
        let spec = ReportSpec { vmpl, ..chip.spec(honest.report().report_data, 0) };
        let report = verify(&chip, &chip.sign(&spec)).unwrap();
        let got = report.binds_svsm(&DATA, svsm(MANIFEST));
        assert_eq!(got, Err(SnpRejection::SvsmVmpl(vmpl)));
    }
}
