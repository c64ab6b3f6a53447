//! Every variant of every error, each produced by bytes that earn it.

use crate::build::{Boot, Log, old_event, pcr, quoted, set};
use ccnode_evidence::{HashAlg, PcrSet, Sha256Digest};
use ccnode_tpm_eventlog::{EventLog, Format, LogError, MatchError, NO_REGISTER, ReplayError, event_type::*};

const SHA256: (u16, u16) = (0x0b, 32);

fn refused(log: &Log) -> LogError {
    EventLog::parse(&log.0).unwrap_err()
}

#[test]
fn empty_and_truncated() {
    assert_eq!(EventLog::parse(&[]), Err(LogError::Empty));
    assert_eq!(EventLog::parse(&[0; 7]), Err(LogError::Truncated { offset: 0, what: "an event's head" }));
    assert_eq!(EventLog::parse(&[0; 27]), Err(LogError::Truncated { offset: 8, what: "a digest" }));
    assert_eq!(EventLog::parse(&[0; 31]), Err(LogError::Truncated { offset: 28, what: "an event's data" }));
    let mut huge = old_event(0, EV_SEPARATOR, &[0; 20], &[0; 4]);
    huge[28..32].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(EventLog::parse(&huge), Err(LogError::Truncated { offset: 28, what: "an event's data" }));

    let mut log = Log::new();
    let header = log.0.len();
    log.plain(0, EV_SEPARATOR, &[0; 4]);
    for len in header + 1..log.0.len() {
        assert!(matches!(EventLog::parse(&log.0[..len]), Err(LogError::Truncated { .. })), "{len}");
    }
}

#[test]
fn headers() {
    assert_eq!(refused(&Log::with_header(b"Spec ID Event03\0")), LogError::HeaderShort);
    assert_eq!(
        refused(&Log::with_header(b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0b\0")),
        LogError::HeaderShort
    );
    let long = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0b\0\x20\0\0\0\0";
    assert_eq!(refused(&Log::with_header(long)), LogError::HeaderLong { extra: 2 });
    assert_eq!(refused(&Log::with_banks(&[])), LogError::BankCount { count: 0 });
    assert_eq!(refused(&Log::with_banks(&[SHA256; 17])), LogError::BankCount { count: 17 });
    assert_eq!(
        refused(&Log::with_banks(&[(0x0b, 20)])),
        LogError::DigestSize { alg: HashAlg::Sha256, size: 20 }
    );
    assert_eq!(refused(&Log::with_banks(&[SHA256, SHA256])), LogError::BankTwice { id: 0x0b });
    for size in [0, 65] {
        assert_eq!(refused(&Log::with_banks(&[(0x27, size)])), LogError::BankSize { id: 0x27, size });
    }
}

#[test]
fn tables_that_point_to_logs_are_none() {
    for signature in ["CCEL", "TPM2", "TCPA"] {
        let mut table = signature.as_bytes().to_vec();
        table.extend([56, 0, 0, 0]);
        table.extend([0; 48]);
        for read in [EventLog::parse, EventLog::parse_ccel, EventLog::parse_any] {
            assert_eq!(read(&table), Err(LogError::AcpiTable { signature }));
        }
        table.push(0);
        assert!(
            matches!(EventLog::parse_any(&table), Err(LogError::Register { event: 0, .. })),
            "another length"
        );
    }
}

#[test]
fn the_kind_of_a_log_is_found() {
    let mut own = Vec::new();
    ccnode_tpm_eventlog::own::append(&mut own, pcr(15), &Sha256Digest::ZERO, "x").unwrap();
    assert_eq!(EventLog::parse_any(&own).unwrap().format, Format::Own);
    own.push(0);
    assert!(matches!(EventLog::parse_any(&own), Err(LogError::Truncated { .. })));
    assert_eq!(EventLog::parse_any(&old_event(0, EV_IPL, &[0; 20], &[])).unwrap().format, Format::Sha1Only);
    assert_eq!(EventLog::parse_any(&[]), Err(LogError::Empty));
}

#[test]
fn header_of_a_ccel() {
    let mut bytes = Log::with_banks(&[(0x0c, 48)]).0;
    for register in [0, 1] {
        bytes[0] = register;
        assert!(EventLog::parse_ccel(&bytes).is_ok());
    }
    bytes[0] = 2;
    assert_eq!(EventLog::parse_ccel(&bytes), Err(LogError::HeaderRegister { register: 2 }));
    bytes[0] = 5;
    assert_eq!(EventLog::parse_ccel(&bytes), Err(LogError::Register { event: 0, register: 5 }));
}

#[test]
fn only_what_extends_nothing_may_belong_to_no_register() {
    let mut log = Log::new();
    log.raw(NO_REGISTER, EV_NO_ACTION, &[(0x0b, &[0; 32])], b"SP800-155 Event3");
    let parsed = log.parse();
    assert_eq!((parsed.events[1].register, parsed.events[1].extends()), (NO_REGISTER, false));
    assert_eq!(quoted(&parsed), quoted(&Log::new().parse()));
    let mut log = Log::new();
    log.raw(NO_REGISTER, EV_SEPARATOR, &[(0x0b, &[0; 32])], &[0; 4]);
    assert_eq!(refused(&log), LogError::Register { event: 1, register: NO_REGISTER });
}

#[test]
fn events() {
    let refused_event = |pcr, digests: &[(u16, &[u8])]| {
        let mut log = Log::with_banks(&[SHA256, (0x04, 20)]);
        log.raw(pcr, EV_SEPARATOR, digests, &[0; 4]);
        refused(&log)
    };
    let one: (u16, &[u8]) = (0x0b, &[1; 32]);
    let old: (u16, &[u8]) = (0x04, &[1; 20]);
    assert_eq!(refused_event(24, &[one]), LogError::Register { event: 1, register: 24 });
    assert_eq!(refused_event(0, &[]), LogError::DigestCount { event: 1, count: 0, banks: 2 });
    assert_eq!(refused_event(0, &[one, old, one]), LogError::DigestCount { event: 1, count: 3, banks: 2 });
    assert_eq!(refused_event(0, &[(0x0c, &[1; 48])]), LogError::UnnamedBank { event: 1, id: 0x0c });
    assert_eq!(refused_event(0, &[one, one]), LogError::DigestTwice { event: 1, id: 0x0b });
}

#[test]
fn trailing_bytes() {
    let good = Boot::default().log();
    assert!(!good.events.is_empty());
    let mut log = Log::new();
    log.plain(1, EV_SEPARATOR, &[0; 4]);
    for fill in [0u8, 0xff] {
        let padded = [log.0.as_slice(), &[fill; 64]].concat();
        assert!(EventLog::parse(&padded).is_err(), "a TPM's log has no padding");
        assert_eq!(EventLog::parse_ccel(&padded).unwrap().events.len(), 2);
        let mut followed = padded.clone();
        followed.push(7);
        assert!(EventLog::parse_ccel(&followed).is_err(), "{fill}");
    }
    let followed = [log.0.as_slice(), &[0xff; 64], &[7]].concat();
    assert_eq!(EventLog::parse_ccel(&followed), Err(LogError::Padding { offset: log.0.len() }));
}

#[test]
fn unknown_banks_are_skipped_by_their_size() {
    let mut log = Log::with_banks(&[(0x27, 32), SHA256]);
    log.raw(0, EV_SEPARATOR, &[(0x27, &[9; 32]), (0x0b, &[1; 32])], &[0; 4]);
    let log = log.parse();
    assert_eq!(log.algs, [HashAlg::Sha256]);
    assert_eq!(log.events[1].digests.iter().collect::<Vec<_>>(), [(HashAlg::Sha256, [1; 32].as_slice())]);
}

#[test]
fn replay_errors() {
    let mut sm3 = Log::with_banks(&[(0x12, 32)]);
    sm3.raw(0, EV_SEPARATOR, &[(0x12, &[1; 32])], &[0; 4]);
    let unsupported = Err(ReplayError::UnsupportedBank { alg: HashAlg::Sm3 });
    assert!(sm3.parse().replay(HashAlg::Sm3).is_ok(), "for people to look at");
    for alg in [HashAlg::Sha1, HashAlg::Sha256, HashAlg::Sha384, HashAlg::Sha512] {
        assert_eq!(sm3.parse().replay(alg), unsupported);
    }
    let unsupported = MatchError::Replay(ReplayError::UnsupportedBank { alg: HashAlg::Sm3 });
    assert_eq!(sm3.parse().matches(&Default::default(), set()).unwrap_err(), unsupported);

    assert_eq!(Log::new().parse().replay(HashAlg::Sha384), Err(ReplayError::NoBank { alg: HashAlg::Sha384 }));

    let mut gap = Log::with_banks(&[SHA256, (0x04, 20)]);
    gap.raw(0, EV_SEPARATOR, &[(0x04, &[1; 20])], &[0; 4]);
    let missing = ReplayError::NoDigest { event: 1, alg: HashAlg::Sha256 };
    assert_eq!(gap.parse().replay(HashAlg::Sha256), Err(missing));
}

#[test]
fn startup_locality() {
    let at = |register, data: &[u8]| {
        let mut log = Log::new();
        log.raw(register, EV_NO_ACTION, &[(0x0b, &[0; 32])], data);
        log
    };
    let mut three = at(0, b"StartupLocality\0\x03");
    let replay = three.parse().replay(HashAlg::Sha256).unwrap();
    let mut start = [0; 32];
    start[31] = 3;
    assert_eq!((replay.value(0), replay.startup_locality()), (Some(start.as_slice()), 3));
    three.plain(0, EV_SEPARATOR, &[0; 4]);
    let extended = Sha256Digest(start).extend(&Sha256Digest::of(&[0; 4]));
    assert_eq!(quoted(&three.parse()).get(pcr(0)), Some(&extended));

    let wrong = |log: &Log, event| {
        assert_eq!(log.parse().replay(HashAlg::Sha256), Err(ReplayError::StartupLocality { event }));
    };
    wrong(&at(0, b"StartupLocality\0"), 1);
    wrong(&at(0, b"StartupLocality\0\x02"), 1);
    wrong(&at(0, b"StartupLocality\0\x03\x03"), 1);
    wrong(&at(1, b"StartupLocality\0\x03"), 1);
    let mut late = Log::new();
    late.plain(0, EV_SEPARATOR, &[0; 4]).raw(0, EV_NO_ACTION, &[(0x0b, &[0; 32])], b"StartupLocality\0\x03");
    wrong(&late, 2);
    let mut twice = at(0, b"StartupLocality\0\x03");
    twice.raw(0, EV_NO_ACTION, &[(0x0b, &[0; 32])], b"StartupLocality\0\x03");
    wrong(&twice, 2);
}

/// What the hardware root of trust measures before TPM2_Startup leaves PCR 0 at 4 before its first event.
#[test]
fn hardware_root_of_trust() {
    let mut log = Log::new();
    log.add(0, EV_EFI_HCRTM_EVENT, b"block", b"HCRTM").plain(0, EV_SEPARATOR, &[0; 4]);
    let replay = log.parse().replay(HashAlg::Sha256).unwrap();
    assert_eq!(replay.startup_locality(), 4);
    let mut start = [0; 32];
    start[31] = 4;
    let want = Sha256Digest(start).extend(&Sha256Digest::of(b"block")).extend(&Sha256Digest::of(&[0; 4]));
    assert_eq!(replay.value(0), Some(want.0.as_slice()));

    // Said once more by the log: the same. In another register, or later: an event like any other.
    let mut said = Log::new();
    said.raw(0, EV_NO_ACTION, &[(0x0b, &[0; 32])], b"StartupLocality\0\x04")
        .add(0, EV_EFI_HCRTM_EVENT, b"block", b"HCRTM")
        .plain(0, EV_SEPARATOR, &[0; 4]);
    assert_eq!(said.parse().replay(HashAlg::Sha256).unwrap().value(0), Some(want.0.as_slice()));
    let mut later = Log::new();
    later.plain(0, EV_SEPARATOR, &[0; 4]).add(0, EV_EFI_HCRTM_EVENT, b"block", b"HCRTM");
    later.add(2, EV_EFI_HCRTM_EVENT, b"block", b"HCRTM");
    assert_eq!(later.parse().replay(HashAlg::Sha256).unwrap().startup_locality(), 0);
}

#[test]
fn match_errors() {
    let log = Boot::default().log();
    let values = quoted(&log);
    assert!(log.matches(&values, set()).is_ok());

    let bytes = Log::with_banks(&[(0x0c, 48)]).0;
    let ccel = EventLog::parse_ccel(&bytes).unwrap();
    assert_eq!(ccel.matches(&values, set()).unwrap_err(), MatchError::NotPcrs);
    let bytes = old_event(0, EV_SEPARATOR, &[0; 20], &[0; 4]);
    let old = EventLog::parse(&bytes).unwrap();
    let no_bank = MatchError::Replay(ReplayError::NoBank { alg: HashAlg::Sha256 });
    assert_eq!(old.matches(&values, set()).unwrap_err(), no_bank, "a SHA-1 log proves nothing");

    let mut less = values.clone();
    less.0.remove(&pcr(11));
    assert_eq!(log.matches(&less, set()).unwrap_err(), MatchError::NotQuoted { pcr: pcr(11) });
    assert!(log.matches(&less, PcrSet::from_iter([pcr(4)])).is_ok());

    let mut other = values.clone();
    other.0.insert(pcr(9), Sha256Digest([1; 32]));
    let Err(MatchError::Mismatch { pcr: at, quoted, replayed }) = log.matches(&other, set()) else {
        panic!("PCR 9 differs")
    };
    assert_eq!((at, quoted, Some(&replayed)), (pcr(9), Sha256Digest([1; 32]), values.get(pcr(9))));
}

#[test]
fn registers_without_events_keep_their_reset_value() {
    let values = quoted(&Log::new().parse());
    assert_eq!(values.0.len(), 24);
    for (index, value) in values.0 {
        let want = if (17..=22).contains(&index.get()) { [0xff; 32] } else { [0; 32] };
        assert_eq!(value.0, want, "{index:?}");
    }
}
