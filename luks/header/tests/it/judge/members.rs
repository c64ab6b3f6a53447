//! The JSON area member by member: segment, digest, token, and what is unknown, missing or there twice.

use super::{ALLOW, changed, forbids, good, refusal, set};
use crate::common::{Parts, metadata};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_luks_header::{Allowlist, Integrity, Refusal, Rule, examine, judge};
use serde_json::{Value, json};

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
    let allow = Allowlist::volume(Integrity::HmacSha256);
    let with = |integrity: Value| {
        changed(|json| {
            json["segments"]["0"]["integrity"] = integrity;
            json["tokens"]["0"]["wrapped-key"] = STANDARD.encode([7; 104]).into();
        })
    };
    let right = json!({"type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none"});
    assert!(judge(with(right.clone()), &allow).is_ok());
    let short = changed(|json| json["segments"]["0"]["integrity"] = right.clone());
    let refusal = judge(short, &allow).unwrap_err();
    assert_eq!(
        (refusal.code(), refusal.path()),
        ("luks-token", Some("/tokens/0")),
        "a key of another cipher"
    );
    assert_eq!(judge(good(), &allow).unwrap_err(), Refusal::Missing("/segments/0/integrity".into()));
    for (key, code) in [
        ("type", "luks-integrity"),
        ("journal_integrity", "luks-integrity"),
        ("key_size", "luks-unknown-field"),
    ] {
        let mut wrong = right.clone();
        wrong[key] = json!("x");
        assert_eq!(judge(with(wrong), &allow).unwrap_err().code(), code);
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
    for wrong in [json!("AAAA"), json!(null)] {
        let bytes = changed(|json| json["tokens"]["0"]["recovery-key"] = wrong);
        assert_eq!(refusal(bytes).code(), "luks-token");
    }
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
