//! What a good guest gives.

use crate::guest::{CERTIFICATES, MANIFEST, each, level, snp, svsm, tdx};
use ccnode_cvm::{Cvm, Provider, SVSM_VTPM_GUID};
use ccnode_tsm_emulator::{Emulator, Snp};
use std::fs;

const DATA: [u8; 64] = [7; 64];

#[test]
fn snp_gives_report_and_certificates() {
    each(
        || Some(Box::new(snp())),
        |_, open| {
            let tsm = open().unwrap();
            assert_eq!(tsm.provider(), Provider::Snp);
            assert!(tsm.svsm().is_none());
            let report = tsm.report(&DATA).unwrap();
            assert_eq!((report.report.len(), report.certificates.as_slice()), (1184, CERTIFICATES));
            assert_eq!(level(&report.report), 0);
        },
    );
}

#[test]
fn tdx_gives_a_quote_alone() {
    each(
        || Some(Box::new(tdx())),
        |_, open| {
            let tsm = open().unwrap();
            assert_eq!(tsm.provider(), Provider::Tdx);
            assert!(tsm.svsm().is_none());
            let report = tsm.report(&DATA).unwrap();
            assert_eq!((report.report.len(), report.certificates.len()), (8000, 0));
        },
    );
}

#[test]
fn an_svsm_gives_its_manifest_and_the_hosts_certificates() {
    for passes_on in [false, true] {
        each(
            || Some(Box::new(Snp { svsm_has_certificates: passes_on, ..svsm() })),
            |emulator, open| {
                let tsm = open().unwrap();
                let before = emulator.made();
                let got = tsm.svsm().unwrap().vtpm_report(&DATA).unwrap();
                assert_eq!(
                    (got.manifest.as_slice(), got.service, got.version),
                    (MANIFEST, SVSM_VTPM_GUID, 0)
                );
                assert_eq!(level(&got.report.report), 0, "an SVSM's report is of VMPL 0");
                assert_eq!(got.report.certificates, CERTIFICATES);
                // Without certificates from the SVSM a second report was made for them.
                assert_eq!(emulator.made() - before, if passes_on { 1 } else { 2 });
                got.require_ek(MANIFEST).unwrap();
            },
        );
    }
}

#[test]
fn below_an_svsm_a_report_is_asked_of_the_guests_own_level() {
    each(
        || Some(Box::new(svsm())),
        |_, open| {
            let report = open().unwrap().report(&DATA).unwrap();
            assert_eq!(level(&report.report), 2);
        },
    );
}

#[test]
fn each_report_has_an_entry_of_its_own() {
    each(
        || Some(Box::new(snp())),
        |emulator, open| {
            let tsm = open().unwrap();
            let before = emulator.made();
            for _ in 0..3 {
                tsm.report(&DATA).unwrap();
            }
            assert_eq!(emulator.made() - before, 3);
        },
    );
}

#[test]
fn a_guest_shows_what_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (acpi, measurements) = (dir.path().join("acpi"), dir.path().join("measurements"));
    fs::create_dir_all(acpi.join("data")).unwrap();
    fs::create_dir(&measurements).unwrap();
    let on = |platform| Cvm::on(Emulator::on(platform), &acpi, &measurements).unwrap();
    assert!(on(None).is_none(), "no provider is no confidential VM");

    let bare = on(Some(Box::new(tdx()))).unwrap();
    assert!(bare.supports_event_log().is_none() && bare.supports_runtime_register().is_none());

    let table = [b"CCEL".as_slice(), &56_u32.to_le_bytes(), &[0; 28], &[2], &[0; 19]].concat();
    let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let table = [&table[..9], &[0_u8.wrapping_sub(sum)], &table[10..]].concat();
    fs::write(acpi.join("CCEL"), table).unwrap();
    fs::write(acpi.join("data/CCEL"), "log").unwrap();
    fs::write(measurements.join("rtmr3:sha384"), [0; 48]).unwrap();
    let whole = on(Some(Box::new(tdx()))).unwrap();
    assert_eq!(whole.supports_event_log().unwrap().event_log().unwrap(), b"log");
    assert_eq!(whole.supports_runtime_register().unwrap().value().unwrap(), [0; 48]);

    // Another platform has neither, whatever lies there.
    let snp = on(Some(Box::new(snp()))).unwrap();
    assert!(snp.supports_event_log().is_none() && snp.supports_runtime_register().is_none());
    assert!(snp.supports_svsm().is_none());
    assert!(on(Some(Box::new(svsm()))).unwrap().supports_svsm().is_some());
}
