//! What the allowlist lets pass and what it refuses, each with right checksums in both copies.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};

use ccnode_luks_header::{
    Allowlist, CopyError, HEADER_LEN, HeaderDigest, Kind, METADATA_SIZE, Refusal, Role, Rule, Token, examine,
    judge, read, rebuild_secondary,
};
use common::{Parts, metadata, patch, reseal};
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
    assert_eq!(judged.uuid(), common::UUID);
    assert_eq!(judged.token().volume.as_str(), "n-abc/root");
    assert_eq!(judged.token().generation, 1);
    assert_eq!((judged.segment().offset, judged.segment().sector_size), (1 << 20, 4096));
}

/// A disk that answers the first read of a byte truly and every later one with a patched header.
struct Liar {
    truth: Vec<u8>,
    lie: Vec<u8>,
    seen: Vec<bool>,
    at: usize,
}

impl Read for Liar {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = buf.len().min(self.truth.len() - self.at).min(1000);
        for byte in &mut buf[..n] {
            let source = if self.seen[self.at] { &self.lie } else { &self.truth };
            *byte = source[self.at];
            self.seen[self.at] = true;
            self.at += 1;
        }
        Ok(n)
    }
}

impl Seek for Liar {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let SeekFrom::Start(to) = to else { return Err(std::io::ErrorKind::Unsupported.into()) };
        self.at = to as usize;
        Ok(to)
    }
}

#[test]
fn t01_a_disk_that_lies_on_the_second_read_gains_nothing() {
    let lie = changed(|json| json["segments"]["0"]["encryption"] = json!("cipher_null-ecb"));
    let mut disk = Liar { seen: vec![false; HEADER_LEN], truth: good(), lie: lie.clone(), at: 0 };
    let bytes = read(&mut disk, &ALLOW).unwrap();
    let expected = judge(bytes, &ALLOW).unwrap().require_digest(&HeaderDigest::of(&good())).unwrap();
    assert_eq!(expected.bytes(), good());
    // What is used later are the judged bytes, although the disk now shows others.
    disk.seek(SeekFrom::Start(0)).unwrap();
    assert_eq!(read(&mut disk, &ALLOW).unwrap(), lie);
    assert_eq!(expected.bytes(), good());
}

#[test]
fn t01_cipher_null_is_refused_in_segment_and_keyslot() {
    set("/segments/0/encryption", json!("cipher_null-ecb"), Rule::Cipher, "\"cipher_null-ecb\"");
    set("/segments/0/encryption", json!("aes-cbc-plain64"), Rule::Cipher, "\"aes-cbc-plain64\"");
    let keyslot = json!({
        "type": "luks2", "key_size": 64,
        "area": {"type": "raw", "offset": "32768", "size": "4096", "encryption": "cipher_null-ecb", "key_size": 32},
        "kdf": {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": "AA=="},
        "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
    });
    let bytes = changed(|json| {
        json["keyslots"]["0"] = keyslot;
        json["digests"]["0"]["keyslots"] = json!(["0"]);
    });
    let codes: Vec<_> = examine(&bytes, &ALLOW).iter().map(Refusal::code).collect();
    assert_eq!(codes, ["luks-keyslot", "luks-digest-binding"]);
}

#[test]
fn t01_a_patched_header_with_right_checksums_is_not_the_registered_one() {
    let registered = HeaderDigest::of(&good());
    for bytes in [
        changed(|json| json["tokens"]["0"]["wrapped-key"] = json!("B".repeat(96))),
        changed(|json| json["tokens"]["0"]["generation"] = json!(2)),
        changed(|json| json["digests"]["0"]["salt"] = json!("BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
        Parts { seqid: 2, ..Parts::new(metadata()) }.header(),
    ] {
        let have = HeaderDigest::of(&bytes).to_string();
        let refused = judge(bytes, &ALLOW).unwrap().require_digest(&registered).unwrap_err();
        assert_eq!(refused, Refusal::Digest { have, want: registered.to_string() });
        assert_eq!((refused.kind(), refused.code()), (Kind::Unexpected, "luks-header-digest"));
    }
}

#[test]
fn t05_an_older_header_of_the_same_volume_is_refused() {
    let current = changed(|json| json["tokens"]["0"]["generation"] = json!(2));
    let older = judge(good(), &ALLOW).unwrap();
    assert!(older.clone().require_digest(&older.digest()).is_ok());
    let refused = older.require_digest(&HeaderDigest::of(&current)).unwrap_err();
    assert_eq!(refused.code(), "luks-header-digest");
}

#[test]
fn t01_one_patched_copy_is_refused_and_named() {
    let cut = METADATA_SIZE as usize;
    let other = changed(|json| json["segments"]["0"]["encryption"] = json!("cipher_null-ecb"));
    let (mut primary, mut secondary) = (good(), good());
    primary[..cut].copy_from_slice(&other[..cut]);
    secondary[cut..2 * cut].copy_from_slice(&other[cut..2 * cut]);
    // The primary counts at equal sequence numbers, so there the cipher itself is the first reason.
    assert_eq!(refusal(primary.clone()).code(), "luks-cipher");
    assert!(examine(&primary, &ALLOW).contains(&Refusal::CopiesDiffer("JSON area")));
    assert_eq!(refusal(secondary), Refusal::CopiesDiffer("JSON area"));
    // A newer secondary would be taken by cryptsetup; it is judged, and the difference named.
    let newer = Parts { seqid: 9, ..Parts::new(metadata()) }.copy(true);
    let mut bytes = good();
    bytes[cut..2 * cut].copy_from_slice(&newer);
    assert_eq!(refusal(bytes), Refusal::CopiesDiffer("sequence number"));
}

#[test]
fn a_damaged_copy_is_refused_and_named() {
    for (at, role) in [(100, Role::Primary), (METADATA_SIZE as usize + 5000, Role::Secondary)] {
        let mut bytes = good();
        bytes[at] ^= 1;
        let error = CopyError::Checksum;
        assert_eq!(refusal(bytes), Refusal::CopyDamaged { role, error });
    }
    let mut bytes = good();
    bytes[100] ^= 1;
    bytes[METADATA_SIZE as usize + 100] ^= 1;
    let (primary, secondary) = (CopyError::Checksum, CopyError::Checksum);
    assert_eq!(refusal(bytes), Refusal::Damaged { primary, secondary });
}

#[test]
fn a_secondary_is_rebuilt_from_its_primary() {
    let mut bytes = good();
    rebuild_secondary(&mut bytes).unwrap();
    let whole = bytes.clone();
    assert!(judge(whole.clone(), &ALLOW).is_ok());
    bytes[METADATA_SIZE as usize..].fill(0);
    rebuild_secondary(&mut bytes).unwrap();
    assert_eq!(bytes, whole);
    bytes[0] = 0;
    assert_eq!(rebuild_secondary(&mut bytes), Err(CopyError::Magic));
    let short = &mut whole.clone()[..METADATA_SIZE as usize + 1];
    assert!(matches!(rebuild_secondary(short), Err(CopyError::Truncated { .. })));
}

#[test]
fn t04_requirements_and_flags_are_refused() {
    let requirements = json!({"mandatory": ["offline-reencrypt"]});
    let shown = requirements.to_string();
    forbids(
        |json| json["config"]["requirements"] = requirements,
        Rule::Requirements,
        "/config/requirements",
        &shown,
    );
    let flags = json!(["allow-discards"]);
    let shown = flags.to_string();
    forbids(|json| json["config"]["flags"] = flags, Rule::Flags, "/config/flags", &shown);
}

fn reencrypt(json: &mut Value) {
    json["keyslots"]["0"] = json!({
        "type": "reencrypt", "mode": "decrypt", "direction": "forward", "key_size": 1,
        "area": {"type": "none", "offset": "32768", "size": "4096"},
    });
    json["config"]["requirements"] = json!({"mandatory": ["online-reencrypt"]});
}

#[test]
fn t04_a_reencryption_keyslot_is_refused() {
    let codes: Vec<_> = examine(&changed(reencrypt), &ALLOW).iter().map(Refusal::code).collect();
    assert_eq!(codes, ["luks-requirements", "luks-reencrypt"]);
}

#[test]
fn t04_backup_segments_and_second_segments_are_refused() {
    let second = |flags: Value| {
        move |json: &mut Value| {
            json["segments"]["0"]["size"] = json!("1048576");
            json["segments"]["1"] = json!({
                "type": "linear", "offset": "2097152", "size": "dynamic", "flags": flags,
            });
        }
    };
    let shown = r#"["backup-final"]"#;
    forbids(second(json!(["backup-final"])), Rule::BackupSegment, "/segments/1/flags", shown);
    forbids(second(json!(["in-reencryption"])), Rule::Flags, "/segments/1/flags", r#"["in-reencryption"]"#);
    let bytes = changed(|json| {
        second(json!([]))(json);
        json["segments"]["1"].as_object_mut().unwrap().remove("flags");
    });
    assert_eq!(refusal(bytes).code(), "luks-segment-count");
}

#[test]
fn every_pinned_value_of_the_segment_is_enforced() {
    set("/segments/0/offset", json!("2097152"), Rule::SegmentOffset, "\"2097152\"");
    set("/segments/0/offset", json!("01048576"), Rule::SegmentOffset, "\"01048576\"");
    set("/segments/0/size", json!("4096"), Rule::SegmentSize, "\"4096\"");
    set("/segments/0/iv_tweak", json!("8"), Rule::IvTweak, "\"8\"");
    set("/segments/0/sector_size", json!(512), Rule::SectorSize, "512");
    set("/segments/0/type", json!("linear"), Rule::SegmentType, "\"linear\"");
    let integrity = json!({"type": "none", "journal_encryption": "none", "journal_integrity": "none"});
    let shown = integrity.to_string();
    forbids(
        |json| json["segments"]["0"]["integrity"] = integrity,
        Rule::Integrity,
        "/segments/0/integrity",
        &shown,
    );
    forbids(|json| json["segments"]["0"]["flags"] = json!([]), Rule::Flags, "/segments/0/flags", "[]");
}

#[test]
fn integrity_is_pinned_where_the_allowlist_has_it() {
    let allow = Allowlist { integrity: &["hmac(sha256)"], ..ALLOW };
    let with = |integrity: Value| changed(|json| json["segments"]["0"]["integrity"] = integrity);
    let right = json!({"type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none"});
    assert!(judge(with(right.clone()), &allow).is_ok());
    assert_eq!(judge(good(), &allow).unwrap_err(), Refusal::Missing("/segments/0/integrity".into()));
    for key in ["type", "journal_integrity"] {
        let mut wrong = right.clone();
        wrong[key] = json!("x");
        assert_eq!(judge(with(wrong), &allow).unwrap_err().code(), "luks-integrity");
    }
}

#[test]
fn the_digest_is_pinned() {
    set("/digests/0/type", json!("tcrypt"), Rule::DigestType, "\"tcrypt\"");
    set("/digests/0/hash", json!("sha1"), Rule::DigestHash, "\"sha1\"");
    for wrong in [json!(999), json!(1001), json!(u32::MAX), json!(1e3), json!("1000")] {
        let shown = wrong.to_string();
        set("/digests/0/iterations", wrong, Rule::DigestIterations, &shown);
    }
    set("/digests/0/salt", json!("AAAA"), Rule::DigestValue, "\"AAAA\"");
    set("/digests/0/digest", json!("*"), Rule::DigestValue, "\"*\"");
    let bytes = changed(|json| {
        json["digests"]["1"] = json["digests"]["0"].clone();
    });
    assert_eq!(refusal(bytes).code(), "luks-digest-count");
    let bytes = changed(|json| json["digests"]["0"]["segments"] = json!(["0", "0"]));
    assert_eq!(refusal(bytes).code(), "luks-digest-binding");
}

#[test]
fn only_our_token_is_allowed() {
    let clevis = json!({"type": "clevis", "keyslots": [], "jwe": {}});
    forbids(|json| json["tokens"]["1"] = clevis.clone(), Rule::TokenType, "/tokens/1/type", "clevis");
    forbids(|json| json["tokens"] = json!({"0": clevis}), Rule::TokenType, "/tokens/0/type", "clevis");
    let bytes = changed(|json| json["tokens"]["1"] = json["tokens"]["0"].clone());
    assert_eq!(refusal(bytes).code(), "luks-token-count");
    let bytes = changed(|json| json["tokens"]["0"]["generation"] = json!(0));
    assert_eq!(refusal(bytes).code(), "luks-token");
    let bytes = changed(|json| json["tokens"]["0"]["wrapped-key"] = json!("AAAA"));
    assert_eq!(refusal(bytes).code(), "luks-token");
    let bytes = changed(|json| json["tokens"] = json!({}));
    assert_eq!(refusal(bytes), Refusal::Missing("/tokens/0".into()));
}

#[test]
fn unknown_members_are_refused_everywhere() {
    for at in ["", "/config", "/segments/0", "/digests/0"] {
        let path = format!("{at}/x\\u{{1b}}");
        forbids(
            |json| json.pointer_mut(at).unwrap()["x\x1b"] = json!(true),
            Rule::UnknownField,
            &path,
            "true",
        );
    }
}

#[test]
fn missing_members_are_named() {
    for path in ["/digests/0/hash", "/digests/0/iterations", "/digests/0/salt"] {
        let key = path.rsplit('/').next().unwrap();
        let bytes = changed(|json| {
            json["digests"]["0"].as_object_mut().unwrap().remove(key);
        });
        assert_eq!(refusal(bytes), Refusal::Missing(path.into()));
    }
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let json = metadata().to_string();
    let twice = json.replace("\"iv_tweak\"", "\"encryption\":\"cipher_null-ecb\",\"iv_tweak\"");
    let refused = refusal(Parts::new(twice).header());
    assert_eq!((refused.code(), refused.path()), ("luks-repeated-key", Some("/segments/0/encryption")));
}

#[test]
fn labels_uuid_and_padding_of_the_binary_header_are_pinned() {
    let label = Parts { label: "root", ..Parts::new(metadata()) }.header();
    let expected = Refusal::Forbidden { rule: Rule::Label, path: "label".into(), value: "root".into() };
    assert_eq!(refusal(label), expected);
    for uuid in
        ["", "28632274-8c8a-493f-835b-da802e1c576B", "../../x", "28632274-8c8a-493f-835bda80-2e1c576b0000"]
    {
        assert_eq!(refusal(Parts { uuid, ..Parts::new(metadata()) }.header()).code(), "luks-uuid");
    }
    for at in [300, 440, 490, 600, 4095] {
        let mut bytes = good();
        patch(&mut bytes, |copy| copy[at] = 1);
        if at == 490 {
            bytes[490] = 1;
        }
        assert_eq!(refusal(bytes), Refusal::NotCanonical(Role::Primary), "byte {at}");
    }
    let mut bytes = good();
    bytes[METADATA_SIZE as usize + 600] = 1;
    reseal(&mut bytes[METADATA_SIZE as usize..2 * METADATA_SIZE as usize]);
    assert_eq!(refusal(bytes), Refusal::NotCanonical(Role::Secondary));
}

#[test]
fn sizes_are_pinned() {
    let bytes = changed(|json| json["config"]["keyslots_size"] = json!("8192"));
    assert_eq!(refusal(bytes.clone()).code(), "luks-keyslots-size");
    // Under a list that allows it, the bytes that go with it must be there.
    let allow = Allowlist { keyslots_size: 8192, ..ALLOW };
    assert!(matches!(judge(bytes, &allow), Err(Refusal::Truncated { .. })));
    let allow = Allowlist { metadata_size: 0x8000, ..ALLOW };
    assert!(examine(&good(), &allow).iter().any(|r| r.code() == "luks-metadata-size"));
}

#[test]
fn nothing_hides_in_the_keyslots_area() {
    let mut bytes = good();
    bytes[HEADER_LEN - 1] = 1;
    assert_eq!(refusal(bytes), Refusal::KeyslotArea(HEADER_LEN as u64 - 1));
}

#[test]
fn what_is_no_header_is_said_so() {
    assert_eq!(refusal(vec![0; HEADER_LEN]), Refusal::NotLuks2);
    let mut luks1 = vec![0; HEADER_LEN];
    luks1[..8].copy_from_slice(b"LUKS\xba\xbe\0\x01");
    assert_eq!(refusal(luks1), Refusal::Version(1));
    for len in [0, 5, 4096, 0x4000, HEADER_LEN - 1] {
        let (need, have) = (HEADER_LEN as u64, len as u64);
        assert_eq!(read(&good()[..len], &ALLOW), Err(Refusal::Truncated { need, have }));
        assert_eq!(refusal(good()[..len].to_vec()), Refusal::Truncated { need, have });
    }
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::TimedOut.into())
        }
    }
    assert_eq!(read(Broken, &ALLOW), Err(Refusal::Unreadable(std::io::ErrorKind::TimedOut)));
}

#[test]
fn a_leftover_secondary_under_something_else_is_no_header() {
    let mut bytes = good();
    bytes[..METADATA_SIZE as usize].fill(0x5a);
    assert_eq!(refusal(bytes), Refusal::NotLuks2);
}

#[test]
fn the_token_follows_its_published_schema() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/luks-token.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let example = &schema["examples"][0];
    let token = Token::from_json(&example.to_string()).unwrap();
    assert_eq!(token.to_json(), *example);
    let members = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let required: BTreeSet<_> = serde_json::from_value(schema["required"].clone()).unwrap();
    assert_eq!(members(example), members(&schema["properties"]));
    assert_eq!(members(example), required);
    assert_eq!(schema["additionalProperties"], json!(false));
}

#[test]
fn codes_are_unique() {
    let codes: BTreeSet<_> = Rule::ALL.iter().map(|rule| rule.code()).collect();
    assert_eq!(codes.len(), Rule::ALL.len());
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
