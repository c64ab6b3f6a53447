//! Headers of volumes that a passphrase opens: what cryptsetup makes passes, one change of each kind does not.

use crate::common::{Liar, Parts, UUID, metadata, patch, reseal};
use ccnode_luks_header::passphrase::{OpenedBy, PassphraseHeader, examine, judge, read};
use ccnode_luks_header::{Refusal, Rule};
use serde_json::{Value, json};

const B64_32: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// Both copies and a keyslots area of 256 KiB.
const LEN: usize = 0x8000 + 0x4_0000;

fn argon2() -> Value {
    json!({"type": "argon2id", "time": 4, "memory": 1_048_576, "cpus": 4, "salt": B64_32})
}

fn pbkdf2() -> Value {
    json!({"type": "pbkdf2", "hash": "sha256", "iterations": 2_000_000, "salt": B64_32})
}

fn keyslot(offset: u32, kdf: Value) -> Value {
    json!({
        "type": "luks2", "key_size": 64, "kdf": kdf,
        "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
        "area": {"type": "raw", "offset": offset.to_string(), "size": "16384", "encryption": "aes-xts-plain64", "key_size": 64},
    })
}

/// Metadata as `cryptsetup luksFormat` and `clevis luks bind` leave them.
fn bound() -> Value {
    json!({
        "keyslots": {"0": keyslot(0x8000, argon2()), "1": keyslot(0xc000, pbkdf2())},
        "tokens": {"0": {"type": "clevis", "keyslots": ["1"], "jwe": {"protected": "e30", "tag": "AA"}}},
        "segments": {"0": {
            "type": "crypt", "offset": "16777216", "size": "dynamic", "iv_tweak": "0",
            "encryption": "aes-xts-plain64", "sector_size": 512,
        }},
        "digests": {"0": {
            "type": "pbkdf2", "keyslots": ["0", "1"], "segments": ["0"], "hash": "sha256", "iterations": 300_000,
            "salt": B64_32, "digest": B64_32,
        }},
        "config": {"json_size": "12288", "keyslots_size": "262144"},
    })
}

fn bytes(json: Value) -> Vec<u8> {
    let mut bytes = Parts::new(json).header();
    bytes.truncate(0x8000);
    bytes.resize(LEN, 7);
    bytes
}

fn of(json: Value, by: OpenedBy) -> Result<PassphraseHeader, Refusal> {
    // What follows on the device does not belong to the header.
    judge([bytes(json), vec![1; 4096]].concat(), by)
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut json = bound();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap_or_else(|| panic!("{parent}"))[key] = value;
    json
}

/// The codes of all reasons.
fn codes(json: Value, by: OpenedBy) -> Vec<&'static str> {
    examine(&bytes(json), by).iter().map(Refusal::code).collect()
}

#[track_caller]
fn forbids(json: Value, by: OpenedBy, rule: Rule) {
    match of(json, by).expect_err("must be refused") {
        Refusal::Forbidden { rule: found, .. } => assert_eq!(found, rule),
        other => panic!("{other}"),
    }
}

#[test]
fn what_clevis_binds_is_accepted_and_says_which_keyslot() {
    let header = of(bound(), OpenedBy::Clevis).unwrap();
    assert_eq!((header.bytes().len(), header.uuid()), (LEN, UUID));
    assert_eq!((header.segment().offset, header.segment().sector_size), (16 << 20, 512));
    let token = header.clevis().unwrap();
    assert_eq!((token.keyslot, token.jwe.as_str()), (1, r#"{"protected":"e30","tag":"AA"}"#));
}

#[test]
fn a_passphrase_opens_a_volume_without_tokens() {
    let header = of(changed("/tokens", json!({})), OpenedBy::Passphrase).unwrap();
    assert!(header.clevis().is_none());
    forbids(bound(), OpenedBy::Passphrase, Rule::PassphraseToken);
    forbids(changed("/tokens", json!({})), OpenedBy::Clevis, Rule::ClevisToken);
    // Our own volumes are none of these.
    assert!(of(metadata(), OpenedBy::Passphrase).is_err() && of(metadata(), OpenedBy::Clevis).is_err());
}

#[test]
fn t01_a_null_cipher_is_refused_wherever_it_stands() {
    for cipher in ["cipher_null-ecb", "null", "capi:cipher_null-ecb"] {
        forbids(changed("/segments/0/encryption", json!(cipher)), OpenedBy::Clevis, Rule::Cipher);
        for slot in ["0", "1"] {
            let at = format!("/keyslots/{slot}/area/encryption");
            forbids(changed(&at, json!(cipher)), OpenedBy::Clevis, Rule::KeyslotCipher);
        }
    }
    forbids(changed("/keyslots/0/key_size", json!(32)), OpenedBy::Clevis, Rule::KeyslotForm);
    forbids(changed("/keyslots/0/area/key_size", json!(32)), OpenedBy::Clevis, Rule::KeyslotCipher);
}

#[test]
fn t04_nothing_that_changes_how_the_rest_is_read() {
    let by = OpenedBy::Clevis;
    forbids(changed("/config/requirements", json!({"mandatory": ["x"]})), by, Rule::Requirements);
    forbids(changed("/config/flags", json!(["allow-discards"])), by, Rule::Flags);
    forbids(changed("/segments/0/flags", json!(["x"])), by, Rule::Flags);
    forbids(changed("/segments/0/more", json!(1)), by, Rule::UnknownField);
    forbids(changed("/keyslots/0/more", json!(1)), by, Rule::UnknownField);
    forbids(changed("/keyslots/0/kdf/more", json!(1)), by, Rule::UnknownField);
    forbids(changed("/keyslots/0/af/more", json!(1)), by, Rule::UnknownField);
    forbids(changed("/keyslots/0/area/more", json!(1)), by, Rule::UnknownField);
    forbids(changed("/digests/0/more", json!(1)), by, Rule::UnknownField);
    forbids(changed("/tokens/0/more", json!(1)), by, Rule::UnknownField);
    forbids(changed("/more", json!(1)), by, Rule::UnknownField);
    let integrity =
        json!({"type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none"});
    forbids(changed("/segments/0/integrity", integrity), by, Rule::Integrity);
    let linear = json!({"type": "linear", "offset": "16777216", "size": "dynamic"});
    assert!(codes(changed("/segments/0", linear), by).contains(&"luks-segment-type"));
    forbids(changed("/config/more", json!(1)), by, Rule::UnknownField);
    forbids(changed("/segments/0/iv_tweak", json!("8")), by, Rule::IvTweak);
    let second = json!({"type": "crypt", "offset": "33554432", "size": "dynamic", "iv_tweak": "0", "encryption": "aes-xts-plain64", "sector_size": 512});
    let mut two = changed("/segments/1", second);
    two["segments"]["0"]["size"] = json!("16777216");
    two["digests"]["0"]["segments"] = json!(["0", "1"]);
    forbids(two, by, Rule::SegmentCount);
    let mut reencrypt = changed("/config/requirements", json!({"mandatory": ["online-reencrypt-v2"]}));
    reencrypt["keyslots"]["2"] = json!({"type": "reencrypt", "key_size": 1, "mode": "encrypt", "direction": "forward",
        "area": {"type": "none", "offset": "81920", "size": "4096"}});
    let codes = codes(reencrypt, by);
    assert!(codes.contains(&"luks-requirements") && codes.contains(&"luks-reencrypt"), "{codes:?}");
}

#[test]
fn a_key_derivation_costs_neither_too_little_nor_too_much() {
    let by = OpenedBy::Clevis;
    for (key, value) in
        [("time", 0), ("time", 33), ("memory", 31), ("memory", 1_048_577), ("cpus", 5), ("cpus", 0)]
    {
        forbids(changed(&format!("/keyslots/0/kdf/{key}"), json!(value)), by, Rule::KeyslotCost);
    }
    for iterations in [999u32, 10_000_001, u32::MAX] {
        forbids(changed("/keyslots/1/kdf/iterations", json!(iterations)), by, Rule::KeyslotCost);
    }
    forbids(changed("/digests/0/iterations", json!(u32::MAX)), by, Rule::DigestIterations);
    forbids(changed("/digests/0/iterations", json!(999)), by, Rule::DigestIterations);
    for (at, wrong) in [
        ("/keyslots/1/kdf/hash", json!("sha1")),
        ("/keyslots/1/kdf/salt", json!("AAAA")),
        ("/keyslots/1/af/hash", json!("sha1")),
        ("/keyslots/1/af/stripes", json!(1)),
    ] {
        forbids(changed(at, wrong), by, Rule::KeyslotForm);
    }
    forbids(changed("/keyslots/1/kdf/time", json!(1)), by, Rule::UnknownField);
    forbids(changed("/keyslots/1/kdf/type", json!("scrypt")), by, Rule::KeyslotForm);
    // Each may be within bounds and all of them too much; where a token names one, that one counts.
    let mut many = changed("/tokens", json!({}));
    for slot in 0..8u32 {
        let costly = json!({"type": "argon2id", "time": 5, "memory": 1_048_576, "cpus": 1, "salt": B64_32});
        many["keyslots"][slot.to_string()] = keyslot(0x8000 + slot * 0x4000, costly);
    }
    many["digests"]["0"]["keyslots"] = json!(["0", "1", "2", "3", "4", "5", "6", "7"]);
    forbids(many.clone(), OpenedBy::Passphrase, Rule::KeyslotCost);
    many["tokens"] = bound()["tokens"].clone();
    assert!(of(many.clone(), by).is_ok());
    many["keyslots"]["8"] = keyslot(0x8000 + 8 * 0x4000, pbkdf2());
    many["digests"]["0"]["keyslots"] = json!(["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
    forbids(many, by, Rule::KeyslotCount);
}

#[test]
fn the_digest_vouches_for_every_keyslot_and_the_segment() {
    let by = OpenedBy::Clevis;
    let mut one = bound();
    one["digests"]["1"] = one["digests"]["0"].clone();
    one["digests"]["0"]["keyslots"] = json!(["0"]);
    one["digests"]["1"]["keyslots"] = json!(["1"]);
    forbids(one, by, Rule::DigestCount);
    forbids(changed("/digests/0/type", json!("argon2id")), by, Rule::DigestType);
    forbids(changed("/digests/0/hash", json!("md5")), by, Rule::DigestHash);
    forbids(changed("/digests/0/segments", json!(["0", "0"])), by, Rule::KeyslotBinding);
    forbids(changed("/digests/0/digest", json!("AAAA")), by, Rule::DigestValue);
}

#[test]
fn a_token_is_clevis_for_one_keyslot() {
    let by = OpenedBy::Clevis;
    forbids(changed("/tokens/0/type", json!("systemd-tpm2")), by, Rule::ClevisToken);
    forbids(changed("/tokens/0/keyslots", json!(["0", "1"])), by, Rule::ClevisToken);
    forbids(changed("/tokens/0/keyslots", json!([])), by, Rule::ClevisToken);
    forbids(changed("/tokens/0/jwe", json!("e30")), by, Rule::ClevisToken);
    let second = bound()["tokens"]["0"].clone();
    forbids(changed("/tokens/1", second), by, Rule::ClevisToken);
}

#[test]
fn the_ciphertext_lies_behind_the_header() {
    let by = OpenedBy::Clevis;
    for offset in ["16777217", "16777728", "68719476736", "x"] {
        assert!(of(changed("/segments/0/offset", json!(offset)), by).is_err(), "{offset}");
    }
    forbids(changed("/segments/0/offset", json!("134217728")), by, Rule::SegmentOffset);
    // 0 is what a detached header says; here the header is on the device.
    forbids(changed("/segments/0/offset", json!("0")), by, Rule::SegmentOffset);
    forbids(changed("/segments/0/sector_size", json!(8192)), by, Rule::SectorSize);
    assert!(of(changed("/segments/0/size", json!("1048576")), by).is_err());
}

#[test]
fn both_copies_must_agree_and_be_whole() {
    let good = bytes(bound());
    assert!(judge(good.clone(), OpenedBy::Clevis).is_ok());
    assert!(matches!(judge(good[..LEN - 1].to_vec(), OpenedBy::Clevis), Err(Refusal::Truncated { .. })));
    let mut damaged = good.clone();
    damaged[0x4000 + 4096] ^= 1;
    assert!(matches!(judge(damaged, OpenedBy::Clevis), Err(Refusal::CopyDamaged { .. })));
    let mut newer = good.clone();
    newer[0x4000 + 23] = 9;
    reseal(&mut newer[0x4000..0x8000]);
    assert!(matches!(judge(newer, OpenedBy::Clevis), Err(Refusal::CopiesDiffer(_))));
    let mut uuid = good;
    patch(&mut uuid, |copy| copy[168] = b'x');
    assert!(matches!(judge(uuid, OpenedBy::Clevis), Err(Refusal::Forbidden { rule: Rule::Uuid, .. })));
    assert!(judge(Vec::new(), OpenedBy::Clevis).is_err());
}

#[test]
fn t01_a_disk_that_lies_on_the_second_read_gains_nothing() {
    let (truth, lie) = (bytes(bound()), bytes(changed("/segments/0/encryption", json!("cipher_null-ecb"))));
    let mut disk = Liar::new(truth.clone(), lie.clone());
    let header = judge(read(&mut disk).unwrap(), OpenedBy::Clevis).unwrap();
    // What is opened is what was judged, although the disk now shows another.
    disk.rewind();
    assert_eq!(read(&mut disk).unwrap(), lie);
    assert_eq!(header.bytes(), truth);
}
