//! Keyslots under an allowlist that has some: one for recovery, of one form, its area alone in use.

use super::{ALLOW, good};
use crate::common::{Parts, metadata};
use ccnode_luks_header::{Allowlist, HEADER_LEN, KEYSLOTS_SIZE, Keyslots, Refusal, examine, judge};
use serde_json::{Value, json};

/// What the keyslot's key takes on the disk: 4000 stripes of 64 bytes.
const AREA: u64 = 0x3_f000;
const SIZE: u64 = AREA + KEYSLOTS_SIZE;

fn allow() -> Allowlist {
    Allowlist { keyslots: Some(Keyslots::RECOVERY), keyslots_size: SIZE, ..ALLOW }
}

fn with_keyslot() -> Value {
    let mut json = metadata();
    json["keyslots"]["0"] = json!({
        "type": "luks2", "key_size": 64,
        "kdf": {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
        "area": {"type": "raw", "offset": "32768", "size": AREA.to_string(), "encryption": "aes-xts-plain64", "key_size": 64},
    });
    json["digests"]["0"]["keyslots"] = json!(["0"]);
    json["config"]["keyslots_size"] = json!(SIZE.to_string());
    json
}

/// The header of `json`, its keyslots area in use.
fn bytes(json: Value) -> Vec<u8> {
    let mut bytes = Parts::new(json).header();
    bytes.truncate(HEADER_LEN - KEYSLOTS_SIZE as usize);
    bytes.resize(bytes.len() + AREA as usize, 7);
    bytes.resize(bytes.len() + KEYSLOTS_SIZE as usize, 0);
    bytes
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Value), code: &str) {
    let mut json = with_keyslot();
    change(&mut json);
    let reasons = examine(&bytes(json), &allow());
    assert_eq!(reasons.iter().map(Refusal::code).collect::<Vec<_>>(), [code]);
}

#[test]
fn a_recovery_keyslot_is_accepted_by_a_list_that_has_it_alone() {
    assert!(judge(bytes(with_keyslot()), &allow()).is_ok());
    let codes: Vec<_> = examine(&bytes(with_keyslot()), &ALLOW).iter().map(Refusal::code).collect();
    assert!(codes.contains(&"luks-keyslot"), "{codes:?}");
    // There where it should be, and not missing.
    assert!(judge(good(), &allow()).is_err());
    let mut none = with_keyslot();
    (none["keyslots"], none["digests"]["0"]["keyslots"]) = (json!({}), json!([]));
    let codes: Vec<_> = examine(&bytes(none), &allow()).iter().map(Refusal::code).collect();
    assert_eq!(codes, ["luks-keyslot-count", "luks-keyslot-area"]);
}

#[test]
fn t01_a_recovery_keyslot_has_one_cipher_and_one_derivation() {
    let area =
        |key: &'static str, value: Value| move |json: &mut Value| json["keyslots"]["0"]["area"][key] = value;
    refused(area("encryption", json!("cipher_null-ecb")), "luks-keyslot-cipher");
    refused(area("key_size", json!(32)), "luks-keyslot-cipher");
    for iterations in [999, 1001] {
        refused(|json| json["keyslots"]["0"]["kdf"]["iterations"] = json!(iterations), "luks-keyslot-cost");
    }
    refused(|json| json["keyslots"]["0"]["kdf"]["hash"] = json!("sha512"), "luks-keyslot-form");
    let argon2 =
        json!({"type": "argon2id", "time": 1, "memory": 32, "cpus": 1, "salt": "AAAAAAAAAAAAAAAAAAAAAA=="});
    refused(|json| json["keyslots"]["0"]["kdf"] = argon2, "luks-keyslot-form");
}

#[test]
fn nothing_hides_beside_the_area_of_a_keyslot() {
    let mut after = bytes(with_keyslot());
    let last = after.len() - 1;
    after[last] = 1;
    assert_eq!(judge(after, &allow()).unwrap_err(), Refusal::KeyslotArea(last as u64));
}

#[test]
fn the_digest_vouches_for_the_recovery_keyslot() {
    refused(|json| json["digests"]["0"]["segments"] = json!(["0", "0"]), "luks-digest-binding");
    let twice = |json: &mut Value| json["digests"]["0"]["keyslots"] = json!(["0", "0"]);
    refused(twice, "luks-keyslot-binding");
}
