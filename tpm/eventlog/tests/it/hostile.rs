//! Hostile bytes: nothing panics, nothing grows beyond the input.

use crate::build::{Boot, Log, quoted, set, tuple};
use ccnode_evidence::HashAlg;
use ccnode_tpm_eventlog::{
    Cmdlines, EventLog, Reference, event_type::*, explain, explain_unproven, own, render,
};
use proptest::prelude::*;

/// A log with every form of event data in it.
fn rich() -> Vec<u8> {
    let mut log = Log::new();
    log.raw(0, EV_NO_ACTION, &[(0x0b, &[0; 32])], b"StartupLocality\0\x03")
        .plain(0, EV_S_CRTM_VERSION, &[0, 0])
        .plain(0, EV_EFI_PLATFORM_FIRMWARE_BLOB2, b"\x04Fv()\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0")
        .plain(1, EV_EFI_HANDOFF_TABLES2, &[&b"\x03abc\x01\0\0\0\0\0\0\0"[..], &[7; 24]].concat())
        .plain(7, EV_EFI_VARIABLE_AUTHORITY, &crate::build::variable("db", b"x"))
        .plain(
            1,
            EV_EFI_VARIABLE_BOOT,
            &crate::build::variable("Boot0001", b"\x01\0\0\0\x04\0A\0\0\0\x7f\xff\x04\0"),
        )
        .plain(4, EV_EFI_BOOT_SERVICES_APPLICATION, &crate::build::image_load("\\a.efi"))
        .plain(5, EV_EFI_GPT_EVENT, &gpt(1))
        .plain(12, EV_IPL, &crate::build::utf16("init=/bin/sh\0"))
        .section(".cmdline", b"a b")
        .tagged(b"a\0 \0b\0\0\0", TAG_LOAD_OPTIONS, "LOADED_IMAGE::LoadOptions");
    log.0
}

fn gpt(count: u64) -> Vec<u8> {
    let mut out = b"EFI PART".to_vec();
    out.extend([0; 48]);
    out.extend([5; 16]);
    out.extend([0; 8]);
    out.extend([0, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0]);
    out.extend(count.to_le_bytes());
    out.extend([6; 56]);
    out.extend(crate::build::utf16("root"));
    out.extend([0; 64]);
    out
}

/// Runs everything that reads a log.
fn exercise(bytes: &[u8]) {
    for log in [EventLog::parse(bytes), EventLog::parse_ccel(bytes), own::parse(bytes)].into_iter().flatten()
    {
        let held: usize = log
            .events
            .iter()
            .map(|e| e.data.len() + e.digests.iter().map(|d| d.1.len()).sum::<usize>())
            .sum();
        assert!(held <= bytes.len() && log.events.len() <= bytes.len() / 16);
        let tree = render::tree(&log);
        assert!(tree.chars().all(|c| c == '\n' || !c.is_control()));
        for alg in HashAlg::ALL {
            let _ = log.replay(alg);
        }
        let good = Boot::default().log();
        let tuple = tuple(&good, "x");
        let cmdlines = Cmdlines { found: Some("a b"), expected: Some("a") };
        if let Ok(differences) = explain_unproven(&log, &Reference::image(&tuple), cmdlines) {
            assert!(differences.iter().all(|d| !d.proven && d.sentence.chars().all(|c| !c.is_control())));
        }
        if log.replay(HashAlg::Sha256).is_ok()
            && let Ok(proof) = log.matches(&quoted(&log), set())
        {
            let differences = explain(&proof, &Reference::image(&tuple), cmdlines);
            assert!(differences.iter().all(|d| d.proven));
        }
    }
}

#[test]
fn rich_log_is_read_in_full() {
    let bytes = rich();
    let log = EventLog::parse(&bytes).unwrap();
    let tree = render::tree(&log);
    for text in [
        "startup locality 3",
        "firmware volume `Fv()`",
        "firmware table `abc`",
        "Secure Boot authority from `db`",
        "boot entry Boot0001 (`A`)",
        "EFI application `\\a.efi` (Authenticode)",
        "partition table (GPT) of disk 05050505-0505-0505-0505-050505050505",
        "`root` sectors",
        "kernel command line handed to the stub `init=/bin/sh`",
        "name of section .cmdline of the UKI",
        "kernel command line (load options)",
    ] {
        assert!(tree.contains(text), "{text} in\n{tree}");
    }
}

#[test]
fn every_truncation() {
    let bytes = rich();
    for len in 0..bytes.len() {
        exercise(&bytes[..len]);
    }
}

#[test]
fn counts_that_lie() {
    let mut log = Log::new();
    log.plain(5, EV_EFI_GPT_EVENT, &gpt(u64::MAX))
        .plain(1, EV_EFI_HANDOFF_TABLES, &[0xff; 32])
        .plain(7, EV_EFI_VARIABLE_DRIVER_CONFIG, &[0xff; 64])
        .plain(4, EV_EFI_BOOT_SERVICES_APPLICATION, &[0xff; 64])
        .plain(9, EV_EVENT_TAG, &[0xff; 16]);
    exercise(&log.0);
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        exercise(&bytes);
    }

    #[test]
    fn flipped_bytes(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = rich();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        exercise(&bytes);
    }

    #[test]
    fn own_log_survives(events in proptest::collection::vec((0u32..24, any::<[u8; 32]>(), "[ -~]{0,40}"), 0..8)) {
        let mut bytes = Vec::new();
        for (pcr, digest, data) in &events {
            own::append(&mut bytes, crate::build::pcr(*pcr), &ccnode_evidence::Sha256Digest(*digest), data).unwrap();
        }
        let log = own::parse(&bytes).unwrap();
        let read: Vec<_> = log.events.iter().map(|e| (e.register, e.sha256().unwrap().0, String::from_utf8(e.data.to_vec()).unwrap())).collect();
        prop_assert_eq!(read, events);
    }
}
