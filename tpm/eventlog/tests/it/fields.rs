//! Every field of a log in each of its forms: changed, it is refused by a variant of its own, or what it replays to is another, or it is a
//! claim that nothing proves any more. The rows leave no byte out.

use crate::build::{Log, old_event, pcr};
use ccnode_evidence::{HashAlg, Sha256Digest};
use ccnode_tpm_eventlog::{EventLog, Format, LogError, Proof, event_type::*, own};
use ccnode_vectors::assert_tiled;
use std::ops::Range;

/// What comes of a change.
enum Due {
    Refused(fn(&LogError) -> bool),
    /// The log replays to other values, so that it is none of the quote's.
    Replays,
    /// Data that their digest does not cover any more.
    Unproven,
    /// Nothing covers it: a hint, or of the log's writer.
    Claim,
    /// The log is of another form, whose SHA-1 proves nothing.
    OtherForm,
}

type Row = (&'static str, Range<usize>, &'static [usize], u8, Due);

macro_rules! refused {
    ($pattern:pat) => {
        Due::Refused(|got| matches!(got, $pattern))
    };
}

const WORD: &[usize] = &[0, 1, 2, 3];
const HALF: &[usize] = &[0, 1];

/// A header with two banks and four bytes of vendor information, and one event that measures its data.
fn agile(register: u32) -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x02\0\0\0\x0b\0\x20\0\x0c\0\x30\0".to_vec();
    spec.extend(b"\x04vend");
    let mut log = Log::with_header(&spec);
    log.0[..4].copy_from_slice(&u32::to_le_bytes(if register > 3 { 0 } else { 1 }));
    let data = b"data";
    let sha384 = hex::decode(
        "2039e0f0b92728499fb88e23ebc3cfd0554b28400b0ed7b753055c88b5865c3c2aa72c6a1a9ae0a755d87900a4a6ff41",
    )
    .unwrap();
    log.raw(register, EV_EFI_ACTION, &[(0x0b, &Sha256Digest::of(data).0), (0x0c, &sha384)], data);
    log.0
}

/// What a log replays to in both banks, and what its last event says and proves.
type Meaning = (Vec<Option<Vec<u8>>>, Vec<u8>, [Proof; 2]);

fn meaning(log: &EventLog<'_>) -> Meaning {
    let banks = [HashAlg::Sha256, HashAlg::Sha384];
    let values = banks
        .iter()
        .filter_map(|alg| log.replay(*alg).ok())
        .flat_map(|replay| {
            (0..24).map(move |register| replay.value(register).map(<[u8]>::to_vec)).collect::<Vec<_>>()
        })
        .collect();
    let last = log.events.last().unwrap();
    (values, last.data.to_vec(), banks.map(|alg| last.proof(alg)))
}

fn every_field(good: &[u8], parse: for<'a> fn(&'a [u8]) -> Result<EventLog<'a>, LogError>, rows: Vec<Row>) {
    assert_tiled(good.len(), rows.iter().map(|(name, range, ..)| (*name, range.clone())));
    let honest = meaning(&parse(good).unwrap());
    assert!(honest.2.contains(&Proof::Data));
    for (field, range, at, flip, due) in rows {
        let all: Vec<usize> = (0..range.len()).collect();
        for at in (if at.is_empty() { &all } else { at }).iter().map(|at| range.start + at) {
            let mut changed = good.to_vec();
            changed[at] ^= flip;
            let got = parse(&changed).map(|log| (meaning(&log), log.format));
            let is = match (&due, &got) {
                (Due::Refused(is), Err(got)) => is(got),
                (Due::Replays, Ok((meaning, _))) => meaning.0 != honest.0,
                (Due::Unproven, Ok((meaning, _))) => {
                    meaning.0 == honest.0 && meaning.1 != honest.1 && meaning.2 == [Proof::None; 2]
                }
                (Due::Claim, Ok((meaning, _))) => *meaning == honest,
                (Due::OtherForm, Ok((_, format))) => *format == Format::Sha1Only,
                (Due::OtherForm, Err(_)) => true,
                _ => false,
            };
            assert!(is, "{field}, byte {at}: {got:?}");
        }
    }
}

/// The rows of a crypto-agile log; those of the registers depend on what it counts.
#[rustfmt::skip]
fn rows(len: usize) -> Vec<Row> {
    let data = 32;
    let event = data + 41;
    let digests = event + 8;
    let mut rows: Vec<Row> = vec![
        ("header register", 0..4, &[0], 2, refused!(LogError::HeaderRegister { .. })),
        ("header register", 0..4, &[1, 2, 3], 1, refused!(LogError::Register { event: 0, .. })),
        ("header type", 4..8, WORD, 0x40, Due::OtherForm),
        ("header digest", 8..28, &[], 1, refused!(LogError::HeaderDigest)),
        ("header size", 28..32, &[1, 2, 3], 1, refused!(LogError::Truncated { what: "an event's data", .. })),
        ("header size", 28..32, &[0], 1, refused!(LogError::HeaderShort)),
        ("signature", data..data + 16, &[], 1, Due::OtherForm),
        ("platformClass", data + 16..data + 20, WORD, 2, refused!(LogError::HeaderClass { .. })),
        // Servers and clients are read alike.
        ("platformClass", data + 16..data + 20, &[0], 1, Due::Claim),
        ("specVersionMinor", data + 20..data + 21, &[], 1, refused!(LogError::HeaderVersion { major: 2, minor: 1 })),
        ("specVersionMajor", data + 21..data + 22, &[], 1, refused!(LogError::HeaderVersion { major: 3, minor: 0 })),
        ("specErrata", data + 22..data + 23, &[], 1, Due::Claim),
        ("uintnSize", data + 23..data + 24, &[], 1, refused!(LogError::HeaderUintn { size: 3 })),
        ("numberOfAlgorithms", data + 24..data + 28, &[1, 2, 3], 1, refused!(LogError::BankCount { .. })),
        ("numberOfAlgorithms", data + 24..data + 28, &[0], 2, refused!(LogError::BankCount { count: 0 })),
        ("numberOfAlgorithms", data + 24..data + 28, &[0], 1, refused!(LogError::BankSize { .. } | LogError::HeaderShort)),
        ("algorithmId[0]", data + 28..data + 30, &[1], 1, refused!(LogError::UnnamedBank { event: 1, id: 0x0b })),
        ("algorithmId[0]", data + 28..data + 30, &[0], 7, refused!(LogError::DigestSize { alg: HashAlg::Sha384, size: 32 })),
        ("digestSize[0]", data + 30..data + 32, HALF, 1, refused!(LogError::DigestSize { alg: HashAlg::Sha256, .. })),
        ("algorithmId[1]", data + 32..data + 34, &[1], 1, refused!(LogError::UnnamedBank { event: 1, id: 0x0c })),
        ("algorithmId[1]", data + 32..data + 34, &[0], 7, refused!(LogError::DigestSize { alg: HashAlg::Sha256, size: 48 })),
        ("digestSize[1]", data + 34..data + 36, HALF, 1, refused!(LogError::DigestSize { alg: HashAlg::Sha384, .. })),
        ("vendorInfoSize", data + 36..data + 37, &[], 1, refused!(LogError::HeaderShort)),
        ("vendorInfoSize", data + 36..data + 37, &[], 2, refused!(LogError::HeaderShort | LogError::HeaderLong { .. })),
        // Bytes of the firmware's maker.
        ("vendorInfo", data + 37..data + 41, &[], 1, Due::Claim),
    ];
    rows.extend([
        ("register", event..event + 4, &[0][..], 1, Due::Replays),
        ("register", event..event + 4, WORD, 0x40, refused!(LogError::Register { event: 1, .. })),
        // What kind of event it is: nothing covers it.
        ("type", event + 4..event + 8, &[0, 1, 2, 3], 0x10, Due::Claim),
        ("digest count", digests..digests + 4, &[1, 2, 3], 1, refused!(LogError::DigestCount { event: 1, .. })),
        ("digest count", digests..digests + 4, &[0], 2, refused!(LogError::DigestCount { count: 0, .. })),
        ("digest[0] algorithm", digests + 4..digests + 6, &[1], 1, refused!(LogError::UnnamedBank { event: 1, .. })),
        ("digest[0] algorithm", digests + 4..digests + 6, &[0], 1, refused!(LogError::UnnamedBank { event: 1, .. })),
        ("digest[0]", digests + 6..digests + 38, &[], 1, Due::Replays),
        ("digest[1] algorithm", digests + 38..digests + 40, &[1], 1, refused!(LogError::UnnamedBank { event: 1, .. })),
        ("digest[1] algorithm", digests + 38..digests + 40, &[0], 7, refused!(LogError::DigestTwice { event: 1, id: 0x0b })),
        ("digest[1]", digests + 40..digests + 88, &[], 1, Due::Replays),
        ("data size", digests + 88..digests + 92, &[1, 2, 3], 1, refused!(LogError::Truncated { what: "an event's data", .. })),
        ("data size", digests + 88..digests + 92, &[0], 1, refused!(LogError::Truncated { .. })),
        ("data", digests + 92..len, &[], 1, Due::Unproven),
    ]);
    rows
}

#[test]
fn t11_every_field_of_a_firmwares_log_mutated_has_its_own_rejection() {
    let mut good = agile(4);
    good[..4].fill(0);
    let mut rows = rows(good.len());
    // The header of a TPM's log belongs to PCR 0 alone.
    rows.insert(0, ("header register", 0..4, &[0], 1, refused!(LogError::HeaderRegister { register: 1 })));
    every_field(&good, |bytes| EventLog::parse(bytes), rows);
}

#[test]
fn t11_every_field_of_a_ccel_mutated_has_its_own_rejection() {
    let good = agile(2);
    every_field(&good, |bytes| EventLog::parse_ccel(bytes), rows(good.len()));
    // Behind it zeros or ones alone.
    let padded = [&good[..], &[0xff; 16]].concat();
    assert!(EventLog::parse_ccel(&padded).is_ok());
    for at in good.len()..padded.len() {
        let mut changed = padded.clone();
        changed[at] ^= 1;
        let got = EventLog::parse_ccel(&changed).unwrap_err();
        assert!(
            matches!(got, LogError::Padding { .. } | LogError::Register { .. } | LogError::Truncated { .. }),
            "{at}: {got:?}"
        );
    }
}

#[test]
#[rustfmt::skip]
fn t11_every_field_of_the_nodes_own_log_mutated_has_its_own_rejection() {
    let mut good = Vec::new();
    own::append(&mut good, pcr(15), &Sha256Digest::of(b"text"), "text").unwrap();
    every_field(&good, own::parse, vec![
        ("register", 0..4, &[0], 1, Due::Replays),
        ("register", 0..4, WORD, 0x40, refused!(LogError::Register { event: 0, .. })),
        ("type", 4..8, WORD, 0x40, refused!(LogError::OwnType { event: 0, .. })),
        ("digest count", 8..12, &[1, 2, 3], 1, refused!(LogError::DigestCount { event: 0, .. })),
        ("digest count", 8..12, &[0], 1, refused!(LogError::DigestCount { count: 0, .. })),
        ("digest algorithm", 12..14, HALF, 1, refused!(LogError::UnnamedBank { event: 0, .. })),
        ("digest", 14..46, &[], 1, Due::Replays),
        ("data size", 46..50, WORD, 8, refused!(LogError::Truncated { what: "an event's data", .. })),
        ("data", 50..54, &[], 1, Due::Unproven),
        ("data", 50..54, &[], 0x80, refused!(LogError::OwnData { event: 0 })),
    ]);
}

#[test]
fn t11_every_field_of_a_sha1_log_proves_nothing() {
    let fields =
        [("register", 0..4), ("type", 4..8), ("digest", 8..28), ("data size", 28..32), ("data", 32..36)];
    let good = old_event(4, EV_EFI_ACTION, &[7; 20], b"data");
    assert_tiled(good.len(), fields.iter().cloned());
    for (field, range) in fields {
        for at in range {
            let mut changed = good.clone();
            changed[at] ^= 0x41;
            match EventLog::parse(&changed) {
                Ok(log) => {
                    assert!(log.replay(HashAlg::Sha256).is_err() && log.format == Format::Sha1Only, "{field}")
                }
                Err(LogError::Register { event: 0, .. }) => assert_eq!(field, "register"),
                Err(LogError::Truncated { what: "an event's data", .. }) => assert_eq!(field, "data size"),
                Err(other) => panic!("{field}, byte {at}: {other:?}"),
            }
        }
    }
}
