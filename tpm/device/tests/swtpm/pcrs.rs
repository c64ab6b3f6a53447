//! Extending: the registers, the node's own log, and the cap.

use crate::fixture::{Swtpm, wait};
use ccnode_evidence::{
    Code, EvidenceSource as _, ExtraData, HashAlg, PcrIndex, PcrSet, Sha256Digest, TpmSource as _,
};
use ccnode_tpm_device::{BootRecords, DeviceError};
use ccnode_tpm_eventlog::own;
use std::time::Duration;

fn pcr(index: u32) -> PcrIndex {
    PcrIndex::new(index).unwrap()
}

#[test]
fn own_log_replays_to_the_registers() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    let twin = handle.clone();
    wait(handle.extend(pcr(8), Sha256Digest::of(b"init-data"), "init-data")).unwrap();
    wait(handle.cap()).unwrap();
    wait(twin.extend(pcr(15), Sha256Digest([9; 32]), "cryptsetup:root:0b1c")).unwrap();

    let bytes = handle.own_log();
    let log = own::parse(&bytes).unwrap();
    let replayed = log.replay(HashAlg::Sha256).unwrap().pcrs();
    let read = wait(handle.read_pcrs(PcrSet::from_iter([pcr(8), pcr(15)]))).unwrap();
    for index in [8, 15] {
        assert_eq!(replayed.get(pcr(index)), read.get(pcr(index)), "PCR {index}");
        assert_ne!(read.get(pcr(index)), Some(&Sha256Digest::ZERO));
    }
    assert_eq!(
        log.events.iter().map(|e| e.data).collect::<Vec<_>>(),
        [b"init-data".as_slice(), b"ccnode:cap", b"cryptsetup:root:0b1c"]
    );
}

#[test]
fn t17_cap_is_the_digest_of_its_text() {
    let want = Sha256Digest::ZERO.extend(&Sha256Digest::of(b"ccnode:cap"));
    let tpm = Swtpm::new();
    let handle = tpm.open();
    let capped = || wait(handle.read_pcrs(PcrSet::from_iter([PcrIndex::CAP]))).unwrap().0[&pcr(15)];
    assert_eq!(capped(), Sha256Digest::ZERO);
    handle.cap_blocking(Duration::from_secs(10)).unwrap();
    assert_eq!(capped(), want);
    assert_eq!(wait(handle.quote(ExtraData::Short([0; 32]))).unwrap().pcrs.get(pcr(15)), Some(&want));
}

#[test]
fn blocking_cap_gives_up_in_time() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    // The work that is queued before takes longer than nothing.
    let _queued = handle.prepare();
    assert_eq!(handle.cap_blocking(Duration::ZERO), Err(DeviceError::TimedOut));
}

#[test]
fn other_banks_are_not_left_behind() {
    use sha1::Sha1;
    use sha2::{Digest as _, Sha384};
    let tpm = Swtpm::bare();
    let digest = Sha256Digest::of(b"x");
    wait(tpm.open().extend(pcr(14), digest, "x")).unwrap();
    let read = tpm.tool("tpm2_pcrread", &["sha1:14+sha256:14+sha384:14"]).to_lowercase();
    let sha1 = Sha1::digest([[0; 20].as_slice(), &Sha1::digest(digest.0)].concat());
    let sha384 = Sha384::digest([[0; 48].as_slice(), &Sha384::digest(digest.0)].concat());
    for want in [hex::encode(sha1), Sha256Digest::ZERO.extend(&digest).hex(), hex::encode(sha384)] {
        assert!(read.contains(&want), "{want} not in {read}");
    }
}

#[test]
fn event_that_cannot_be_logged_extends_nothing() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    let error = wait(handle.extend(pcr(8), Sha256Digest([1; 32]), "two\nlines")).unwrap_err();
    assert!(matches!(error, DeviceError::Event(_)), "{error:?}");
    assert_eq!(error.code(), Code::TpmFailed);
    assert!(handle.own_log().is_empty());
    assert_eq!(wait(handle.read_pcrs(PcrSet::from_iter([pcr(8)]))).unwrap().0[&pcr(8)], Sha256Digest::ZERO);
}

#[test]
fn failed_extension_is_not_logged() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    // PCR 17 belongs to locality 4 and up.
    let error = wait(handle.extend(pcr(17), Sha256Digest([1; 32]), "x")).unwrap_err();
    assert!(matches!(error, DeviceError::TpmFailed { command: "TPM2_PCR_Extend", .. }), "{error:?}");
    assert!(handle.own_log().is_empty());
}

#[test]
fn logs_are_the_records_and_what_was_extended() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    assert_eq!(wait(handle.logs()).unwrap_err(), DeviceError::RecordsMissing);
    let mut earlier = Vec::new();
    own::append(&mut earlier, pcr(8), &Sha256Digest([1; 32]), "earlier").unwrap();
    let records = BootRecords { event_log: vec![1, 2], cmdline: "quiet".into(), own_log: earlier.clone() };
    let handle = handle.with_records(records);
    // Not awaited: the log holds it all the same, since commands run in the order of the calls.
    let _queued = handle.cap();
    let logs = wait(handle.logs()).unwrap();
    assert_eq!((logs.event_log.0.as_slice(), logs.cmdline.as_str()), ([1, 2].as_slice(), "quiet"));
    own::append(&mut earlier, pcr(15), &own::cap_digest(), own::CAP).unwrap();
    assert_eq!(logs.own_log.0, earlier);
    assert_eq!(handle.own_log(), earlier);
}

#[test]
fn all_registers_are_read_eight_at_a_time() {
    let tpm = Swtpm::new();
    let handle = tpm.open();
    assert_eq!(wait(handle.read_pcrs(PcrSet::STOCK)).unwrap().0.len(), 24);
    assert_eq!(wait(handle.read_pcrs(PcrSet::default())).unwrap().0.len(), 0);
}

#[test]
fn missing_sha256_bank() {
    let tpm = Swtpm::bare();
    tpm.tool("tpm2_pcrallocate", &["sha1:all+sha256:none+sha384:none"]);
    let tpm = tpm.restart();
    let handle = tpm.open();
    assert_eq!(wait(handle.read_pcrs(PcrSet::CCNODE)).unwrap_err(), DeviceError::Sha256BankMissing);
    let error = wait(handle.cap()).unwrap_err();
    assert_eq!(error, DeviceError::Sha256BankMissing);
    assert_eq!(error.code(), Code::TpmFailed);
}
