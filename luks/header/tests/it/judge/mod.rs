//! What the allowlist lets pass and what it refuses, each with right checksums in both copies.

mod copies;
mod find;
mod keyslots;
mod members;
mod patched;
mod reencryption;

use std::collections::BTreeSet;

use crate::common::{Parts, metadata, reseal};
use ccnode_luks_header::{
    Allowlist, CopyError, HEADER_LEN, METADATA_SIZE, Refusal, Role, Rule, Token, examine, judge,
};
use serde_json::{Value, json};

const ALLOW: Allowlist = Allowlist::VOLUME;

fn good() -> Vec<u8> {
    Parts::new(metadata()).header()
}

/// A header with metadata changed by `change`, in both copies, checksums right.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut json = metadata();
    change(&mut json);
    Parts::new(json).header()
}

fn refusal(bytes: Vec<u8>) -> Refusal {
    let reasons = examine(&bytes, &ALLOW);
    let first = judge(bytes, &ALLOW).expect_err("must be refused");
    assert_eq!(reasons.first(), Some(&first));
    first
}

#[track_caller]
fn forbids(change: impl FnOnce(&mut Value), rule: Rule, path: &str, value: &str) {
    let expected = Refusal::Forbidden { rule, path: path.into(), value: value.into() };
    assert_eq!(refusal(changed(change)), expected);
}

#[track_caller]
fn set(pointer: &str, value: Value, rule: Rule, shown: &str) {
    let change = |json: &mut Value| *json.pointer_mut(pointer).unwrap() = value;
    forbids(change, rule, pointer, shown);
}

#[test]
fn our_header_is_accepted_and_says_what_it_holds() {
    let judged = judge(good(), &ALLOW).unwrap();
    assert_eq!(judged.bytes(), good());
    assert_eq!(judged.uuid(), crate::common::UUID);
    assert_eq!(judged.token().volume.as_str(), "n-abc/root");
    assert_eq!(judged.token().generation, 1);
    assert_eq!((judged.segment().offset, judged.segment().sector_size), (1 << 20, 4096));
}

#[test]
fn the_token_follows_its_published_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/luks-token.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let [least, most] = [0, 1].map(|n| schema["examples"][n].clone());
    for example in [&least, &most] {
        let token = Token::from_json(&example.to_string()).unwrap();
        assert_eq!(token.to_json(), *example);
    }
    let members = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let required: BTreeSet<_> = serde_json::from_value(schema["required"].clone()).unwrap();
    assert_eq!(members(&most), members(&schema["properties"]));
    assert_eq!(members(&least), required);
    assert_eq!(schema["additionalProperties"], json!(false));
}

#[test]
fn codes_are_unique() {
    let codes: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.code()).collect();
    assert_eq!(codes.len(), Rule::ALL.len());
}

#[test]
fn every_code_is_explained() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/disk.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (io, none) = (std::io::ErrorKind::Other, String::new);
    let (role, error) = (Role::Primary, CopyError::Magic);
    let others = [
        Refusal::Unreadable(io),
        Refusal::Truncated { need: 1, have: 0 },
        Refusal::NotLuks2,
        Refusal::Version(1),
        Refusal::Damaged { primary: error.clone(), secondary: error.clone() },
        Refusal::CopyDamaged { role, error },
        Refusal::CopiesDiffer("UUID"),
        Refusal::NotCanonical(role),
        Refusal::KeyslotArea(0),
        Refusal::Missing(none()),
        Refusal::Digest { have: none(), want: none() },
    ];
    let codes = Rule::ALL.iter().map(|rule| rule.code()).chain(others.iter().map(Refusal::code));
    let unexplained: Vec<_> = codes.filter(|code| !text.contains(&format!("| `{code}` | "))).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

#[test]
fn no_input_panics() {
    use proptest::prelude::*;
    let cases = (0..HEADER_LEN, any::<u8>(), 0usize..6, any::<bool>());
    proptest!(ProptestConfig::with_cases(300), |(changes in proptest::collection::vec(cases, 1..6))| {
        let mut bytes = good();
        for (at, byte, near, sealed) in changes {
            // Half the changes hit the JSON text, where most of the code is.
            let at = if sealed { 4096 + at % 900 } else { at };
            bytes[at] = byte;
            let structural = b"{}[]\":,0\0"[near];
            bytes[(at + near) % HEADER_LEN] = structural;
            if sealed {
                let (primary, _) = bytes.split_at_mut(METADATA_SIZE as usize);
                reseal(primary);
            }
        }
        let same = bytes == good();
        prop_assert_eq!(judge(bytes, &ALLOW).is_ok(), same);
    });
}
