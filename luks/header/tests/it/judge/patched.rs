//! What storage's administrator would patch in, checksums right: in both copies, in the primary, in the secondary, and in a
//! secondary that says it is newer, which cryptsetup would take.

use super::{ALLOW, changed, good};
use crate::common::{Parts, metadata};
use ccnode_luks_header::{HeaderDigest, METADATA_SIZE, Refusal, examine, judge};
use serde_json::{Value, json};

/// Every copy that may be patched, and what is then said of the copies.
fn everywhere(change: fn(&mut Value)) -> [(&'static str, Vec<u8>, bool); 4] {
    let cut = METADATA_SIZE as usize;
    let both = changed(change);
    let mut json = metadata();
    change(&mut json);
    let newer = Parts { seqid: 4, ..Parts::new(json) }.copy(true);
    let with = |from: usize, copy: &[u8]| {
        let mut bytes = good();
        bytes[from..from + cut].copy_from_slice(copy);
        bytes
    };
    [
        ("primary", with(0, &both[..cut]), true),
        ("secondary", with(cut, &both[cut..2 * cut]), false),
        ("newer secondary", with(cut, &newer), true),
        ("both", both, true),
    ]
}

/// Wherever the patch is, it is refused: by its own code where that copy counts, else since the copies differ.
#[track_caller]
fn refused(change: fn(&mut Value), code: &str) {
    for (place, bytes, counts) in everywhere(change) {
        let reasons = examine(&bytes, &ALLOW);
        let codes: Vec<_> = reasons.iter().map(Refusal::code).collect();
        assert_eq!(codes.contains(&code), counts, "{code} in {place}: {codes:?}");
        assert_eq!(codes.contains(&"luks-copies-differ"), place != "both", "{code} in {place}: {codes:?}");
        assert_eq!(judge(bytes.clone(), &ALLOW).unwrap_err(), reasons[0], "{code} in {place}");
        assert_ne!(HeaderDigest::of(&bytes), HeaderDigest::of(&good()));
    }
}

fn keyslot(json: &mut Value, cipher: &str) {
    json["keyslots"]["0"] = json!({
        "type": "luks2", "key_size": 64,
        "area": {"type": "raw", "offset": "32768", "size": "4096", "encryption": cipher, "key_size": 64},
        "kdf": {"type": "pbkdf2", "hash": "sha256", "iterations": 1000, "salt": "AA=="},
        "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
    });
    json["digests"]["0"]["keyslots"] = json!(["0"]);
}

fn second_segment(json: &mut Value, flags: Value) {
    json["segments"]["0"]["size"] = json!("1048576");
    json["segments"]["1"] = json!({"type": "linear", "offset": "2097152", "size": "dynamic", "flags": flags});
}

#[test]
fn t01_no_copy_may_say_that_nothing_is_encrypted() {
    for change in [
        (|json| json["segments"]["0"]["encryption"] = json!("cipher_null-ecb")) as fn(&mut Value),
        |json| json["segments"]["0"]["encryption"] = json!("capi:cipher_null-ecb"),
        |json| json["segments"]["0"]["encryption"] = json!("null"),
    ] {
        refused(change, "luks-cipher");
    }
    let linear: fn(&mut Value) = |json| json["segments"]["0"]["type"] = json!("linear");
    refused(linear, "luks-segment-type");
}

#[test]
fn t01_no_copy_may_have_a_keyslot() {
    refused(|json| keyslot(json, "cipher_null-ecb"), "luks-keyslot");
    refused(|json| keyslot(json, "aes-xts-plain64"), "luks-keyslot");
}

#[test]
fn t04_no_copy_may_be_in_re_encryption() {
    fn reencrypt(json: &mut Value) {
        json["keyslots"]["0"] = json!({
            "type": "reencrypt", "mode": "decrypt", "direction": "forward", "key_size": 1,
            "area": {"type": "none", "offset": "32768", "size": "4096"},
        });
        json["config"]["requirements"] = json!({"mandatory": ["online-reencrypt-v2"]});
    }
    refused(reencrypt, "luks-reencrypt");
    refused(reencrypt, "luks-requirements");
    for names in [
        (|json| json["config"]["requirements"] = json!({"mandatory": ["offline-reencrypt"]}))
            as fn(&mut Value),
        |json| json["config"]["requirements"] = json!({"mandatory": ["inline-hw-opal"]}),
        |json| json["config"]["requirements"] = json!({"mandatory": []}),
        |json| json["config"]["requirements"] = json!({}),
    ] {
        refused(names, "luks-requirements");
    }
}

#[test]
fn t04_no_copy_may_have_backup_segments() {
    refused(|json| second_segment(json, json!(["backup-final"])), "luks-backup-segment");
    refused(|json| second_segment(json, json!(["backup-previous"])), "luks-backup-segment");
    refused(|json| second_segment(json, json!(["backup-moved-segment"])), "luks-backup-segment");
    refused(|json| second_segment(json, json!(["in-reencryption"])), "luks-flags");
    refused(|json| second_segment(json, json!([])), "luks-segment-count");
}
