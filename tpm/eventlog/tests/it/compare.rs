//! Two logs side by side: the difference in words, whatever bank and registers they have.

use crate::build::{Boot, CMDLINE, Log, utf16};
use crate::vectors::{read, vectors};
use ccnode_evidence::HashAlg;
use ccnode_tpm_eventlog::{
    Cmdlines, CompareError, Comparison, DifferenceKind, EventLog, ReplayError, compare_logs, event_type::*,
};

fn compare(expected: &EventLog<'_>, found: &EventLog<'_>) -> Comparison {
    compare_logs(expected, found, Cmdlines::default()).unwrap()
}

fn sentences(comparison: &Comparison) -> Vec<&str> {
    comparison.differences.iter().map(|d| d.sentence.as_str()).collect()
}

fn grub(text: &str) -> EventLog<'static> {
    let mut log = Log::new();
    log.plain(0, EV_SEPARATOR, &[0; 4]);
    log.add(8, EV_IPL, text.as_bytes(), format!("kernel_cmdline: {text}\0").as_bytes());
    log.parse()
}

#[test]
fn equal_logs_have_no_difference() {
    let log = Boot::default().log();
    assert_eq!(compare(&log, &log).differences, []);
}

#[test]
fn a_word_in_what_the_loader_measured() {
    let found = compare(&grub("/vmlinuz ro quiet"), &grub("/vmlinuz ro init=/bin/sh"));
    assert_eq!(sentences(&found), ["PCR 8: kernel command line: `init=/bin/sh` added; `quiet` removed"]);
    let stub = |text: &str| {
        let mut log = Log::new();
        log.plain(12, EV_IPL, &utf16(&format!("{text}\0")));
        log.parse()
    };
    let found = compare(&stub("ro"), &stub("ro init=/bin/sh"));
    assert_eq!(sentences(&found), ["PCR 12: kernel command line: `init=/bin/sh` added"]);
}

#[test]
fn a_text_that_no_digest_covers_is_not_shown_as_the_change() {
    let mut log = Log::new();
    log.plain(0, EV_SEPARATOR, &[0; 4]).add(8, EV_IPL, b"something", b"kernel_cmdline: harmless\0");
    let found = compare(&grub("/vmlinuz"), &log.parse());
    assert_eq!(sentences(&found), ["PCR 8: kernel command line `/vmlinuz` changed"]);
    assert!(found.differences[0].found.as_ref().unwrap().claimed);
}

#[test]
fn long_texts_are_compared_by_their_words() {
    let grub = |text: &str| {
        let mut log = Log::new();
        log.add(8, EV_IPL, text.as_bytes(), format!("grub_cmd: {text}\0").as_bytes());
        log.parse()
    };
    let found = compare(&grub("set a=1"), &grub("set a=2"));
    assert_eq!(sentences(&found), ["PCR 8: GRUB command `set a=1` became `set a=2`"]);
    let long = "word ".repeat(50);
    let found = compare(&grub(&long), &grub(&format!("{long}more")));
    assert_eq!(sentences(&found), ["PCR 8: GRUB command: `more` added"]);
    // Another label is another thing, whatever the text.
    let mut other = Log::new();
    other.add(8, EV_IPL, b"set a=2", b"kernel_cmdline: set a=2\0");
    let found = compare(&grub("set a=1"), &other.parse());
    assert_eq!(sentences(&found), ["PCR 8: GRUB command `set a=1` changed"]);
}

#[test]
fn what_became_of_it_is_said_where_it_is_measured() {
    let version = |text: &str| {
        let mut log = Log::new();
        log.plain(0, EV_S_CRTM_VERSION, &utf16(&format!("{text}\0")));
        log.parse()
    };
    let found = compare(&version("1"), &version("2"));
    assert_eq!(sentences(&found), ["PCR 0: firmware version `1` became `2`"]);
    let [one] = found.differences.as_slice() else { panic!("one difference") };
    assert_eq!((one.kind, one.proven, one.claimed), (DifferenceKind::Changed, false, false));
    assert_eq!(one.expected.as_ref().map(|s| s.event), Some(Some(1)));
    assert_eq!(one.found.as_ref().map(|s| s.component.as_str()), Some("firmware version `2`"));
}

#[test]
fn command_lines_are_believed_where_each_log_measures_them() {
    let other = Boot { cmdline: format!("{CMDLINE} quiet"), ..Boot::default() };
    let (expected, found) = (Boot::default().log(), other.log());
    let said = |old, new| {
        let cmdlines = Cmdlines { expected: Some(old), found: Some(new) };
        compare_logs(&expected, &found, cmdlines).unwrap().differences[0].sentence.clone()
    };
    assert_eq!(said(CMDLINE, &other.cmdline), "PCR 11: kernel command line: `quiet` added");
    assert_eq!(said(CMDLINE, "lie"), "PCR 11: section .cmdline of the UKI changed");
    let whole = format!("PCR 11: kernel command line is `{}`", other.cmdline);
    assert_eq!(said("lie", &other.cmdline), whole);
}

#[test]
fn logs_that_cannot_be_compared() {
    let tpm = Boot::default().log();
    let bytes = Log::with_banks(&[(0x0c, 48)]).0;
    let ccel = EventLog::parse_ccel(&bytes).unwrap();
    let compare = |a: &EventLog<'_>, b: &EventLog<'_>| compare_logs(a, b, Cmdlines::default()).unwrap_err();
    assert_eq!(compare(&tpm, &ccel), CompareError::Registers);
    let sha384 = EventLog::parse(&bytes).unwrap();
    let none = CompareError::NoCommonBank { expected: vec![HashAlg::Sha256], found: vec![HashAlg::Sha384] };
    assert_eq!(compare(&tpm, &sha384), none);
    assert_eq!(none.to_string(), "the logs have no bank in common: sha256 and sha384");
    let mut gap = Log::with_banks(&[(0x0b, 32), (0x04, 20)]);
    gap.raw(0, EV_SEPARATOR, &[(0x04, &[1; 20])], &[0; 4]);
    let missing = ReplayError::NoDigest { event: 1, alg: HashAlg::Sha256 };
    assert_eq!(compare(&tpm, &gap.parse()), CompareError::Replay(missing));
}

#[test]
fn registers_of_a_confidential_vm() {
    let Some((dir, _)) = vectors("tcg-eventlog") else { return };
    let log = |name: &str| EventLog::parse_ccel(read(&dir.join("ccel").join(name))).unwrap();
    let found = compare(&log("cos-113-intel-tdx.bin"), &log("cos-113-intel-tdx-dupe-separator-unpadded.bin"));
    assert_eq!(found.alg, HashAlg::Sha384);
    let first = &found.differences[0];
    assert_eq!((first.registers.key(first.register), first.pcr()), ("rtmr1".into(), None));
    assert!(first.sentence.starts_with("RTMR1: "), "{}", first.sentence);
    assert!(
        found.differences.iter().all(|d| d.expected.iter().chain(&d.found).all(|s| s.digest.len() == 48))
    );
}

#[test]
fn recorded_boots_of_two_kernels() {
    let Some((dir, _)) = vectors("tcg-eventlog") else { return };
    let log = |name: &str| EventLog::parse(read(&dir.join(name))).unwrap();
    let found = compare(&log("pc/arch-linux-workstation.bin"), &log("pc/event-arch-linux.bin"));
    let said = sentences(&found);
    assert!(said.iter().any(|s| s.contains("vmlinuz-linux")), "{said:?}");
    let old = compare(&log("gce/debian-10.bin"), &log("pc/ebs_event_missing_eventlog"));
    assert_eq!(old.alg, HashAlg::Sha1);
    assert!(old.differences.iter().all(|d| !d.proven));
}
