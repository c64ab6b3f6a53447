//! Explanations: which event is at fault, parts before wholes, and nothing unproven shown as fact.

use crate::build::{Boot, CMDLINE, old_event, pcr, quoted, set, tuple, utf16, variable};
use ccnode_evidence::{HashAlg, PcrSet, PlatformTuple, Sha256Digest};
use ccnode_tpm_eventlog::{
    Cmdlines, Difference, DifferenceKind, EventLog, MatchError, Proof, Reference, event_type::*, explain,
    explain_unproven, own, render,
};

/// The differences of a boot from the default image, with the boot's own /proc/cmdline.
fn differences(boot: &Boot) -> Vec<Difference> {
    let log = boot.log();
    let said = format!("{}\n", boot.cmdline);
    of(&log, Cmdlines { found: Some(&said), expected: Some(CMDLINE) })
}

fn of(log: &EventLog<'_>, cmdlines: Cmdlines<'_>) -> Vec<Difference> {
    let tuple = tuple(&Boot::default().log(), CMDLINE);
    let values = quoted(log);
    let proof = log.matches(&values, set()).unwrap();
    explain(&proof, &Reference::image(&tuple), cmdlines)
}

fn sentences(differences: &[Difference]) -> Vec<&str> {
    differences.iter().map(|d| d.sentence.as_str()).collect()
}

#[test]
fn the_same_boot_has_no_difference() {
    assert_eq!(differences(&Boot::default()), []);
    assert_eq!(render::sentence(&[]), None);
}

#[test]
fn an_added_word_is_named_in_words() {
    let boot = Boot { cmdline: format!("{CMDLINE} init=/bin/sh"), ..Boot::default() };
    let found = differences(&boot);
    assert_eq!(
        sentences(&found),
        [
            "PCR 11: kernel command line: `init=/bin/sh` added",
            "PCR 9: kernel command line: `init=/bin/sh` added",
            "PCR 4: EFI application `\\EFI\\BOOT\\BOOTX64.EFI` (Authenticode) changed",
        ]
    );
    let first = &found[0];
    assert_eq!((first.pcr(), first.kind), (Some(pcr(11)), DifferenceKind::Changed));
    assert_eq!(first.component, "section .cmdline of the UKI");
    let (expected, got) = (first.expected.as_ref().unwrap(), first.found.as_ref().unwrap());
    assert_eq!((expected.event, expected.event_type, got.event_type), (None, EV_IPL, EV_IPL));
    assert_eq!(expected.digest, Sha256Digest::of(CMDLINE.as_bytes()).0);
    assert_eq!(got.digest, Sha256Digest::of(boot.cmdline.as_bytes()).0);
    assert_eq!(boot.log().events[got.event.unwrap()].sha256().unwrap().0, got.digest.as_slice());
    assert!(first.proven && !first.claimed);
    assert_eq!(
        render::sentence(&found).unwrap(),
        "PCR 11: kernel command line: `init=/bin/sh` added (2 more in PCR 9, 4)"
    );
}

#[test]
fn what_ends_the_section_does_not_hide_the_words() {
    for section_end in ["\n", "\0", "\n\0"] {
        let boot = Boot { cmdline: format!("{CMDLINE} quiet"), section_end, ..Boot::default() };
        assert_eq!(differences(&boot)[0].sentence, "PCR 11: kernel command line: `quiet` added");
    }
    let boot = Boot { cmdline: format!("{CMDLINE} quiet"), section_end: " # more", ..Boot::default() };
    assert_eq!(
        differences(&boot)[0].sentence,
        "PCR 11: section .cmdline of the UKI changed; kernel command line: `quiet` added"
    );
}

#[test]
fn a_changed_initramfs_is_named_before_the_uki() {
    let found = differences(&Boot { initrd: b"initrd with one byte changed", ..Boot::default() });
    assert_eq!(
        sentences(&found),
        [
            "PCR 11: section .initrd of the UKI changed",
            "PCR 9: initrd changed",
            "PCR 4: EFI application `\\EFI\\BOOT\\BOOTX64.EFI` (Authenticode) changed",
        ]
    );
}

#[test]
fn what_is_handed_to_the_stub_comes_first() {
    let boot = Boot {
        cmdline: format!("{CMDLINE} x"),
        before_sections: |log| {
            log.plain(12, EV_IPL, &utf16("init=/bin/sh\0"));
            log.add(12, EV_IPL, b"cpio", &utf16("Credentials initrd\0"));
        },
        ..Boot::default()
    };
    let found = differences(&boot);
    assert_eq!(
        sentences(&found[..3]),
        [
            "PCR 12: kernel command line handed to the stub `init=/bin/sh` added",
            "PCR 12: an event was added, which the log calls: Credentials initrd (made by the stub)",
            "PCR 11: kernel command line: `x` added",
        ]
    );
    assert_eq!(found.iter().map(|d| d.claimed).collect::<Vec<_>>(), [false, true, false, false, false]);
    assert_eq!((found[0].kind, &found[0].expected), (DifferenceKind::Added, &None));
}

#[test]
fn an_added_section_is_one_difference() {
    let boot = Boot { between_sections: |log| _ = log.section(".ucode", b"microcode"), ..Boot::default() };
    assert_eq!(sentences(&differences(&boot)), ["PCR 11: section .ucode of the UKI added"]);
}

#[test]
fn a_missing_section_is_one_difference() {
    let with = Boot { between_sections: |log| _ = log.section(".uname", b"6.1"), ..Boot::default() };
    let tuple = tuple(&with.log(), CMDLINE);
    let log = Boot::default().log();
    let values = quoted(&log);
    let found =
        explain(&log.matches(&values, set()).unwrap(), &Reference::image(&tuple), Cmdlines::default());
    assert_eq!(sentences(&found), ["PCR 11: section .uname of the UKI is missing"]);
    assert_eq!((found[0].kind, &found[0].found), (DifferenceKind::Missing, &None));
}

#[test]
fn t11_a_text_that_no_digest_covers_is_not_believed() {
    let boot = Boot { cmdline: format!("{CMDLINE} init=/bin/sh"), ..Boot::default() };
    let log = boot.log();
    for lie in [CMDLINE, "", "init=/bin/sh", &format!("{CMDLINE}  init=/bin/sh")] {
        let found = of(&log, Cmdlines { found: Some(lie), expected: Some(CMDLINE) });
        assert_eq!(found[0].sentence, "PCR 11: section .cmdline of the UKI changed", "{lie}");
        assert_eq!(found[1].sentence, "PCR 9: kernel command line (load options) changed", "{lie}");
    }
}

#[test]
fn t11_a_text_is_not_believed_by_a_pcr_that_was_not_compared() {
    let boot = Boot { cmdline: format!("{CMDLINE} quiet"), ..Boot::default() };
    let log = boot.log();
    let values = quoted(&log);
    let tuple = tuple(&Boot::default().log(), CMDLINE);
    let cmdlines = Cmdlines { found: Some(&boot.cmdline), expected: Some(CMDLINE) };
    let proof = log.matches(&values, PcrSet::from_iter([pcr(4)])).unwrap();
    let found = explain(&proof, &Reference::image(&tuple), cmdlines);
    assert_eq!(found[0].sentence, "PCR 11: section .cmdline of the UKI changed");
    assert_eq!(found[1].sentence, "PCR 9: kernel command line (load options) changed");
    assert_eq!(found.iter().map(|d| d.proven).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn t11_a_log_that_does_not_replay_proves_nothing() {
    let log = Boot { cmdline: format!("{CMDLINE} init=/bin/sh"), ..Boot::default() }.log();
    let values = quoted(&log);
    // The attacker shows the good image's log beside the true quote.
    let good = Boot::default().log();
    assert!(
        matches!(good.matches(&values, set()), Err(MatchError::Mismatch { pcr: at, .. }) if at == pcr(4))
    );
    // An event hidden behind EV_NO_ACTION, dropped, repeated, moved, or of another register.
    for n in 1..log.events.len() {
        let mut hidden = log.clone();
        hidden.events[n].event_type = EV_NO_ACTION;
        assert!(hidden.matches(&values, set()).is_err(), "hidden {n}");
        let mut dropped = log.clone();
        dropped.events.remove(n);
        assert!(dropped.matches(&values, set()).is_err(), "dropped {n}");
        let mut doubled = log.clone();
        doubled.events.insert(n, doubled.events[n]);
        assert!(doubled.matches(&values, set()).is_err(), "doubled {n}");
        let mut moved = log.clone();
        moved.events[n].register = 13;
        assert!(moved.matches(&values, set()).is_err(), "moved {n}");
    }
}

#[test]
fn t11_types_are_hints() {
    let mut log = Boot { cmdline: format!("{CMDLINE} init=/bin/sh"), ..Boot::default() }.log();
    let values = quoted(&log);
    // Types and data can be rewritten at will: the digests still tell.
    for event in log.events.iter_mut().skip(1) {
        event.event_type = EV_SEPARATOR;
        event.data = &[0; 4];
    }
    let proof = log.matches(&values, set()).unwrap();
    let tuple = tuple(&Boot::default().log(), CMDLINE);
    let found = explain(&proof, &Reference::image(&tuple), Cmdlines::default());
    assert_eq!(
        sentences(&found)[..2],
        ["PCR 11: section .cmdline of the UKI changed", "PCR 9: kernel command line (load options) changed"]
    );
    // Only real separators are proven ones.
    let proven = log.events.iter().filter(|e| e.describe().proof == Proof::Data).count();
    assert_eq!(proven, 8);
}

#[test]
fn t11_an_added_event_cannot_name_itself() {
    let boot = Boot {
        before_sections: |log| _ = log.add(12, EV_IPL, b"evil", &utf16("nothing \u{1b}[2J to see\0")),
        ..Boot::default()
    };
    let found = differences(&boot);
    assert!(found[0].claimed, "{found:?}");
    assert_eq!(
        found[0].sentence,
        "PCR 12: an event was added, which the log calls: kernel command line handed to the stub \
         `nothing \\u{1b}[2J to see`"
    );
}

#[test]
fn t11_a_name_is_not_proven_by_the_contents() {
    let mut log = Boot::default().log();
    let boot_order = log.events.iter().position(|e| e.event_type == EV_EFI_VARIABLE_BOOT).unwrap();
    assert_eq!(log.events[boot_order].proof(HashAlg::Sha256), Proof::VariableContents);
    let renamed = variable("SecureBoot", &[1, 0]);
    log.events[boot_order].data = &renamed;
    assert!(!log.events[boot_order].data_is_proven(HashAlg::Sha256));
    assert_eq!(log.events[boot_order].describe().proof, Proof::VariableContents);
}

#[test]
fn t11_sha1_proves_nothing() {
    let sha1: [u8; 20] = hex::decode("1489f923c4dca729178b3e3233458550d8dddf29").unwrap().try_into().unwrap();
    let bytes = old_event(0, EV_S_CRTM_VERSION, &sha1, &[0, 0]);
    let event = EventLog::parse(&bytes).unwrap().events[0];
    assert_eq!(event.proof(HashAlg::Sha1), Proof::None);
    assert_eq!(event.describe().proof, Proof::None);
}

#[test]
fn t11_unproven_explanations_say_so() {
    let log = Boot { initrd: b"other", ..Boot::default() }.log();
    let tuple = tuple(&Boot::default().log(), CMDLINE);
    let found = explain_unproven(&log, &Reference::image(&tuple), Cmdlines::default()).unwrap();
    assert!(found.len() == 3 && found.iter().all(|d| !d.proven));
    assert_eq!(render::differences(&found).lines().filter(|l| l.ends_with("[log not proven]")).count(), 3);
}

#[test]
fn firmware_comes_by_its_order_and_after_the_image() {
    let log = Boot::default().log();
    let values = quoted(&log);
    let proof = log.matches(&values, set()).unwrap();
    let zero = |index| Reference { pcr: pcr(index), value: Sha256Digest([9; 32]), events: &[] };
    let references: Vec<_> = [7, 5, 6, 3, 2, 1, 0, 4, 9, 11].map(zero).into();
    let mut order: Vec<u32> =
        explain(&proof, &references, Cmdlines::default()).iter().map(|d| d.register).collect();
    order.dedup();
    assert_eq!(order, [11, 9, 4, 0, 1, 2, 3, 6, 7, 5]);
}

#[test]
fn a_platform_of_another_locality_is_told() {
    let mut log = crate::build::Log::new();
    log.raw(0, EV_NO_ACTION, &[(0x0b, &[0; 32])], b"StartupLocality\0\x03").plain(0, EV_SEPARATOR, &[0; 4]);
    let log = log.parse();
    let values = quoted(&log);
    let proof = log.matches(&values, set()).unwrap();
    let events = [ccnode_evidence::TupleEvent {
        event_type: EV_SEPARATOR,
        digest: Sha256Digest::of(&[0; 4]),
        component: "separator".into(),
    }];
    let value = Sha256Digest::ZERO.extend(&events[0].digest);
    let found = explain(&proof, &[Reference { pcr: pcr(0), value, events: &events }], Cmdlines::default());
    assert_eq!(sentences(&found), ["PCR 0: the TPM was started from locality 3, unlike expected"]);
    assert_eq!(found[0].kind, DifferenceKind::Start);
}

#[test]
fn both_logs_replay_together() {
    let firmware = Boot::default().log();
    let mut bytes = Vec::new();
    own::append(&mut bytes, pcr(15), &own::cap_digest(), own::CAP).unwrap();
    let whole = firmware.followed_by(&own::parse(&bytes).unwrap());
    assert_eq!(whole.events.last().unwrap().index, firmware.events.len());
    let values = quoted(&whole);
    assert_eq!(values.get(pcr(15)), Some(&Sha256Digest::ZERO.extend(&own::cap_digest())));
    assert!(whole.matches(&values, set()).is_ok());
    assert!(firmware.matches(&values, set()).is_err());
    assert!(render::tree(&whole).contains("cap (`ccnode:cap`)"));
}

#[test]
fn a_platform_tuple_has_references_too() {
    let log = Boot::default().log();
    let values = quoted(&log);
    let mut tuple = PlatformTuple {
        format: 1,
        name: "q35".into(),
        pcrs: Default::default(),
        events: Default::default(),
        startup_locality: 0,
    };
    tuple.pcrs.0.insert(pcr(7), *values.get(pcr(7)).unwrap());
    tuple.pcrs.0.insert(pcr(0), Sha256Digest::ZERO);
    let found =
        explain(&log.matches(&values, set()).unwrap(), &Reference::platform(&tuple), Cmdlines::default());
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|d| d.pcr() == Some(pcr(0)) && d.kind == DifferenceKind::Added));
    assert_eq!(found[0].sentence, "PCR 0: firmware version (empty) added");
}
