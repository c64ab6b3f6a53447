//! What a guest may answer instead, each with its code; nothing is left behind by any of them.

use crate::guest::{AnyTsm, Reports, each, snp, svsm, tdx};
use ccnode_cvm::{ATTEMPTS, CvmError, MAX_BLOB, MAX_MANIFEST, ReportFault};
use ccnode_evidence::Code;
use ccnode_tsm_emulator::{Blobs, Platform, Request, Snp};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const DATA: [u8; 64] = [7; 64];

/// A platform whose answers are changed.
struct Changed<P>(P, Change);

type Change = fn(&mut Blobs);

impl<P: Platform> Platform for Changed<P> {
    fn provider(&self) -> &str {
        self.0.provider()
    }

    fn privlevel_floor(&self) -> Option<u32> {
        self.0.privlevel_floor()
    }

    fn has_auxblob(&self) -> bool {
        self.0.has_auxblob()
    }

    fn has_svsm(&self) -> bool {
        self.0.has_svsm()
    }

    fn report(&self, request: &Request) -> io::Result<Blobs> {
        let mut blobs = self.0.report(request)?;
        (self.1)(&mut blobs);
        Ok(blobs)
    }
}

/// A provider of another architecture.
struct Arm;

impl Platform for Arm {
    fn provider(&self) -> &str {
        "arm_cca_guest"
    }

    fn privlevel_floor(&self) -> Option<u32> {
        None
    }

    fn has_auxblob(&self) -> bool {
        false
    }

    fn has_svsm(&self) -> bool {
        false
    }

    fn report(&self, _: &Request) -> io::Result<Blobs> {
        Ok(Blobs::default())
    }
}

fn open_error(open: Reports<'_>) -> CvmError {
    match open() {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

fn refused(tsm: &dyn AnyTsm, svsm: bool) -> CvmError {
    match svsm {
        true => tsm.svsm().unwrap().vtpm_report(&DATA).unwrap_err(),
        false => tsm.report(&DATA).unwrap_err(),
    }
}

#[test]
fn no_provider() {
    each(
        || None,
        |_, open| {
            let error = open_error(open);
            assert!(matches!(error, CvmError::ProviderMissing), "{error}");
            assert_eq!(error.code(), Code::CvmProviderMissing);
        },
    );
}

#[test]
fn no_configfs() {
    let dir = tempfile::tempdir().unwrap();
    let error = ccnode_cvm::Tsm::open(ccnode_cvm::ConfigFs::at(dir.path().join("none"))).unwrap_err();
    assert!(matches!(error, CvmError::ProviderMissing), "{error}");
}

#[test]
fn a_provider_of_another_architecture() {
    each(
        || Some(Box::new(Arm)),
        |_, open| {
            let error = open_error(open);
            assert!(matches!(&error, CvmError::ProviderUnknown(name) if name == "arm_cca_guest"), "{error}");
            assert_eq!(error.code(), Code::CvmProviderUnknown);
        },
    );
}

#[test]
fn t24_a_writer_that_comes_between_is_outlived() {
    // Wherever it comes between: after the writes, between the parts of the answer, or before the last look.
    for place in ["outblob", "auxblob", "generation"] {
        each(
            || Some(Box::new(snp())),
            |emulator, open| {
                let tsm = open().unwrap();
                let seen = Arc::new(AtomicUsize::new(0));
                let last = if place == "generation" { 1 } else { 0 };
                // Twice, and then no more.
                emulator.let_in(Box::new(move |attribute| {
                    attribute == place && {
                        let n = seen.fetch_add(1, Ordering::SeqCst);
                        n >= last && n < last + 2
                    }
                }));
                let before = emulator.made();
                let report = tsm.report(&DATA).unwrap();
                assert_eq!(report.report[0x50..0x90], DATA);
                assert!(emulator.made() - before > 1, "{place}: nobody noticed");
            },
        );
    }
}

#[test]
fn t24_a_writer_that_never_ends_is_told() {
    each(
        || Some(Box::new(snp())),
        |emulator, open| {
            let tsm = open().unwrap();
            emulator.let_in(Box::new(|attribute| attribute == "auxblob"));
            let before = emulator.made();
            let error = refused(&*tsm, false);
            assert!(matches!(error, CvmError::Race { attempts: ATTEMPTS }), "{error}");
            assert_eq!(error.code(), Code::CvmReportRace);
            assert_eq!(emulator.made() - before, ATTEMPTS as u64, "bounded");
        },
    );
}

#[test]
fn a_platform_that_is_busy_is_asked_again() {
    each(
        || Some(Box::new(snp())),
        |emulator, open| {
            let tsm = open().unwrap();
            emulator.fail("outblob", nix::libc::EBUSY);
            assert!(matches!(refused(&*tsm, false), CvmError::Race { .. }));
        },
    );
}

#[test]
fn blobs_without_end() {
    let cases: [(&str, usize, Change); 3] = [
        ("outblob", MAX_BLOB, |blobs| blobs.report = vec![0; MAX_BLOB + 1]),
        ("auxblob", MAX_BLOB, |blobs| blobs.auxiliary = vec![0; MAX_BLOB + 1]),
        ("manifestblob", MAX_MANIFEST, |blobs| blobs.manifest = vec![0; MAX_MANIFEST + 1]),
    ];
    for (attribute, limit, change) in cases {
        each(
            || Some(Box::new(Changed(svsm(), change))),
            |_, open| match refused(&*open().unwrap(), true) {
                CvmError::Oversized { attribute: got, limit: most } => {
                    assert_eq!((got, most), (attribute, limit));
                }
                other => panic!("{attribute}: {other}"),
            },
        );
    }
}

#[test]
fn what_can_not_be_read_or_written_is_named() {
    let cases = [
        ("outblob", "reading", false),
        ("auxblob", "reading", false),
        ("generation", "reading", false),
        ("inblob", "writing", false),
        ("privlevel", "writing", false),
        ("manifestblob", "reading", true),
        ("service_provider", "writing", true),
        ("service_guid", "writing", true),
        ("service_manifest_version", "writing", true),
    ];
    for (name, doing, of_svsm) in cases {
        each(
            || Some(Box::new(svsm())),
            |emulator, open| {
                let tsm = open().unwrap();
                emulator.fail(name, nix::libc::EIO);
                let error = refused(&*tsm, of_svsm);
                assert_eq!(error.code(), Code::CvmReportFailed);
                match error {
                    // The kernel takes `inblob` when the file is closed, and tells nobody: then there is nothing to report on.
                    CvmError::Report { operation: "reading", attribute: "outblob", source }
                        if name == "inblob" =>
                    {
                        assert_eq!(source.raw_os_error(), Some(nix::libc::EINVAL));
                    }
                    CvmError::Report { operation, attribute, source } => {
                        assert_eq!((operation, attribute), (doing, name));
                        assert_eq!(source.raw_os_error(), Some(nix::libc::EIO), "{name}");
                    }
                    other => panic!("{name}: {other}"),
                }
            },
        );
    }
}

#[test]
fn numbers_that_are_none() {
    // The floor is looked at when the reports are opened.
    each(
        || Some(Box::new(snp())),
        |emulator, open| {
            emulator.fail("privlevel_floor", nix::libc::EIO);
            assert_eq!(open_error(open).code(), Code::CvmReportFailed);
        },
    );
}

#[test]
fn t08_a_report_over_other_data() {
    let fault = |platform: fn() -> Box<dyn Platform>, of_svsm| {
        each(
            || Some(platform()),
            move |_, open| {
                let error = refused(&*open().unwrap(), of_svsm);
                assert!(matches!(error, CvmError::Foreign { fault: ReportFault::Data, .. }), "{error}");
                assert_eq!(error.code(), Code::CvmReportForeign);
            },
        );
    };
    fault(|| Box::new(Changed(snp(), |blobs| blobs.report[0x50] ^= 1)), false);
    fault(|| Box::new(Changed(tdx(), |blobs| blobs.report[568] ^= 1)), false);
    // Another manifest than the one that the report covers.
    fault(|| Box::new(Changed(svsm(), |blobs| blobs.manifest[0] ^= 1)), true);
    fault(|| Box::new(Changed(svsm(), |blobs| blobs.manifest.clear())), true);
}

#[test]
fn a_report_that_is_none() {
    let cases: [fn() -> Box<dyn Platform>; 3] = [
        || Box::new(Changed(snp(), |blobs| blobs.report.truncate(0x8f))),
        || Box::new(Changed(tdx(), |blobs| blobs.report[0] = 3)),
        || Box::new(Changed(tdx(), |blobs| blobs.report.clear())),
    ];
    for platform in cases {
        each(
            || Some(platform()),
            |_, open| {
                let error = refused(&*open().unwrap(), false);
                assert!(
                    matches!(error, CvmError::Foreign { fault: ReportFault::Form { .. }, .. }),
                    "{error}"
                );
            },
        );
    }
}

#[test]
fn t06_the_manifest_of_another_endorsement_key() {
    each(
        || Some(Box::new(Snp { manifest: Some(b"another key".to_vec()), ..svsm() })),
        |_, open| {
            let report = open().unwrap().vtpm_report(&DATA).unwrap();
            let error = report.require_ek(crate::guest::MANIFEST).unwrap_err();
            assert_eq!(error.code(), Code::SvsmManifestForeign);
        },
    );
}

#[test]
fn names_that_are_taken_are_passed_over() {
    each(
        || Some(Box::new(snp())),
        |emulator, open| {
            use ccnode_cvm::ReportTree as _;
            for name in ["ccnode-0", "ccnode-1"] {
                emulator.make(name).unwrap();
            }
            open().unwrap();
            let all: Vec<String> = (0..9).map(|n| format!("ccnode-{n}")).collect();
            for name in all.iter().filter(|name| !emulator.entries().contains(name)) {
                emulator.make(name).unwrap();
            }
            let error = open_error(open);
            assert!(matches!(error, CvmError::Report { operation: "making", .. }), "{error}");
            all.iter().for_each(|name| emulator.remove(name).unwrap());
        },
    );
}
