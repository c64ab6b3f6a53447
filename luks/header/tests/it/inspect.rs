//! The tree of an inspected header: complete, safe for a terminal, each reason at its member, and of one mind with the judge.

use crate::common::{Parts, metadata, reseal};
use ccnode_luks_header::Integrity;
use ccnode_luks_header::inspect::{Branch, By, Health, Inspection, inspect};
use ccnode_luks_header::passphrase::{self, OpenedBy};
use ccnode_luks_header::{Allowlist, HEADER_LEN, METADATA_SIZE, judge, read};
use serde_json::{Value, json};

fn own(bytes: &[u8]) -> Inspection {
    inspect(bytes, bytes.len() as u64, By::Own(Integrity::None))
}

fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json = metadata();
    change(&mut json);
    Parts::new(json).header()
}

/// All lines with the codes of the reasons there.
fn lines(branch: &Branch) -> Vec<(String, Vec<&'static str>)> {
    let here = (branch.text.clone(), branch.reasons.iter().map(|reason| reason.code()).collect());
    std::iter::once(here).chain(branch.branches.iter().flat_map(lines)).collect()
}

/// The lines that a reason stands at.
fn marked(found: &Inspection) -> Vec<(String, Vec<&'static str>)> {
    lines(&found.tree).into_iter().filter(|(_, codes)| !codes.is_empty()).collect()
}

#[test]
fn every_member_has_a_line() {
    let found = own(&changed(|_| {}));
    assert_eq!((found.health, found.reasons.len()), (Health::Valid, 0));
    let lines: Vec<String> = lines(&found.tree).into_iter().map(|(text, _)| text).collect();
    for line in [
        "primary copy: 16384 bytes at 0",
        "secondary copy: 16384 bytes at 16384",
        "sequence number: 3",
        "keyslots: {}",
        "volume: \"n-abc/root\"",
        "encryption: \"aes-xts-plain64\"",
        "iterations: 1000",
        "keyslots_size: \"4096\"",
        "keyslots area: 4096 bytes at 32768",
    ] {
        assert!(lines.iter().any(|l| l == line), "{line}: {lines:#?}");
    }
    assert!(lines.contains(&format!("uuid: {}", crate::common::UUID)));
}

#[test]
fn a_reason_stands_at_its_member() {
    let one = |bytes: Vec<u8>, text: &str, code: &'static str| {
        let found = own(&bytes);
        assert!(marked(&found).contains(&(text.to_owned(), vec![code])), "{text}: {:#?}", marked(&found));
    };
    let cipher = |json: &mut Value| json["segments"]["0"]["encryption"] = json!("null");
    one(changed(cipher), "encryption: \"null\"", "luks-cipher");
    one(changed(|json| json["config"]["flags"] = json!(["x"])), "flags: [\"x\"]", "luks-flags");
    // What is missing is said where it should be.
    let without = |json: &mut Value| drop(json["digests"]["0"].as_object_mut().unwrap().remove("hash"));
    one(changed(without), "0", "luks-missing-field");
    one(Parts { label: "x", ..Parts::new(metadata()) }.header(), "label: x", "luks-label");
    let mut bytes = changed(|_| {});
    bytes[HEADER_LEN - 1] = 1;
    one(bytes, "keyslots area: 4096 bytes at 32768", "luks-keyslot-area");
    for (at, text) in
        [(5000, "primary copy: checksum mismatch"), (21384, "secondary copy: checksum mismatch")]
    {
        let mut bytes = changed(|_| {});
        bytes[at] ^= 1;
        one(bytes, text, "luks-copy-damaged");
    }
    let mut bytes = changed(|_| {});
    bytes[METADATA_SIZE as usize + 23] = 9;
    reseal(&mut bytes[METADATA_SIZE as usize..2 * METADATA_SIZE as usize]);
    one(bytes, "secondary copy: 16384 bytes at 16384", "luks-copies-differ");
}

#[test]
fn no_reason_is_lost_and_no_text_steers_a_terminal() {
    let many = |json: &mut Value| {
        for n in 0..100 {
            json["config"][format!("\u{1b}[2J{n}")] = json!("\u{202e}\u{9b}2J");
        }
    };
    let found = own(&changed(many));
    assert_eq!(found.reasons.len(), 100);
    assert_eq!(marked(&found).iter().map(|(_, codes)| codes.len()).sum::<usize>(), 100);
    let all = lines(&found.tree);
    assert!(all.iter().any(|(text, _)| text == "… and 38 more"), "{all:#?}");
    let said = all.into_iter().map(|(text, _)| text).chain(found.reasons.iter().map(ToString::to_string));
    let safe = |c: char| c == '…' || (' '..='~').contains(&c);
    for text in said {
        assert!(text.chars().all(safe), "{text:?}");
    }
}

#[test]
fn health_is_what_cryptsetup_would_say() {
    let good = changed(|_| {});
    let mut both = good.clone();
    both[5000] = 1;
    assert_eq!(own(&both).health, Health::Valid);
    both[METADATA_SIZE as usize + 5000] = 1;
    assert_eq!(own(&both).health, Health::Invalid);
    // The keyslots area belongs to the header.
    assert_eq!(inspect(&good[..0x8800], 0x8800, By::Own(Integrity::None)).health, Health::Invalid);
    assert_eq!(inspect(&good[..0x8800], 0x9000, By::Own(Integrity::None)).health, Health::Valid);
    assert_eq!(own(&[0; HEADER_LEN]).health, Health::NotLuks2);
    let mut luks1 = vec![0; HEADER_LEN];
    luks1[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
    assert_eq!(own(&luks1).health, Health::NotLuks2);
    assert!(own(&[]).tree.reasons.len() >= 2);
}

#[test]
fn it_is_of_one_mind_with_the_judge() {
    use proptest::prelude::*;
    let good = changed(|_| {});
    let cases = (0..HEADER_LEN, any::<u8>(), any::<bool>());
    proptest!(ProptestConfig::with_cases(200), |(changes in proptest::collection::vec(cases, 0..4))| {
        let mut bytes = good.clone();
        for (at, byte, sealed) in changes {
            bytes[if sealed { 4096 + at % 900 } else { at }] = byte;
            for copy in bytes.chunks_exact_mut(METADATA_SIZE as usize).take(if sealed { 2 } else { 0 }) {
                reseal(copy);
            }
        }
        let found = own(&bytes);
        let judged = read(&bytes[..], &Allowlist::VOLUME).and_then(|bytes| judge(bytes, &Allowlist::VOLUME));
        prop_assert_eq!(found.reasons.is_empty(), judged.is_ok());
        for by in [OpenedBy::Passphrase, OpenedBy::Clevis] {
            let found = inspect(&bytes, bytes.len() as u64, By::Foreign(by));
            prop_assert_eq!(found.reasons.first().cloned(), passphrase::judge(bytes.clone(), by).err());
        }
    });
}
