//! What cryptsetup would not take: every defect of a copy and of its metadata, told with its place.

use crate::common::{Parts, metadata, patch};
use ccnode_luks_header::{Copies, CopyError, Header, Invalid, METADATA_SIZE, ParseError, Problem, Role};
use serde_json::{Value, json};

const LEN: u64 = 2 << 20;

fn good() -> Vec<u8> {
    Parts::new(metadata()).header()
}

#[track_caller]
fn primary_error(bytes: &[u8]) -> CopyError {
    match Header::parse(bytes, LEN) {
        Err(ParseError::Damaged { primary, .. }) => primary,
        other => panic!("{:?}", other.map(|header| header.copies)),
    }
}

/// Both copies with `text` as metadata.
#[track_caller]
fn invalid(text: impl ToString) -> Invalid {
    match primary_error(&Parts::new(text).header()) {
        CopyError::Json(invalid) => invalid,
        other => panic!("{other}"),
    }
}

#[track_caller]
fn broken(change: impl FnOnce(&mut Value), path: &str, problem: Problem) {
    let mut json = metadata();
    change(&mut json);
    let found = invalid(json);
    assert_eq!((found.path.as_str(), found.problem), (path, problem), "{found}");
}

fn keyslot(start: u64) -> Value {
    json!({
        "type": "luks2", "key_size": 64,
        "area": {"type": "raw", "offset": start.to_string(), "size": "4096", "encryption": "aes-xts-plain64", "key_size": 64},
        "kdf": {"type": "argon2id", "time": 4, "memory": 32, "cpus": 1, "salt": "AA=="},
        "af": {"type": "luks1", "stripes": 4000, "hash": "sha256"},
    })
}

fn with_keyslot(json: &mut Value) {
    json["keyslots"]["0"] = keyslot(0x8000);
    json["digests"]["0"]["keyslots"] = json!(["0"]);
}

#[test]
fn a_good_header_is_taken() {
    assert_eq!(Header::parse(&good(), LEN).unwrap().copies, Copies::Agree);
    let mut json = metadata();
    with_keyslot(&mut json);
    assert!(Header::parse(&Parts::new(json).header(), LEN).is_ok());
}

#[test]
fn every_defect_of_a_binary_header_is_told() {
    let cases: [(usize, u8, CopyError); 6] = [
        (0, b'l', CopyError::Magic),
        (7, 3, CopyError::Version(3)),
        (262, 1, CopyError::Offset(256)),
        (14, 0x20, CopyError::Size(0x2000)),
        (72, b'S', CopyError::Algorithm("Sha256".into())),
        (200, b'x', CopyError::Checksum),
    ];
    for (at, byte, error) in cases {
        let mut bytes = good();
        bytes[at] = byte;
        let header = Header::parse(&bytes, LEN).unwrap();
        assert_eq!(header.copies, Copies::Damaged(Role::Primary, error));
        assert_eq!(header.binary.role, Role::Secondary);
    }
    let (need, have) = (0x8000, 0x7fff);
    let cut = Header::parse(&good()[..0x7fff], LEN).unwrap().copies;
    assert_eq!(cut, Copies::Damaged(Role::Secondary, CopyError::Truncated { need, have }));
    assert_eq!(
        Header::parse(&good(), 0x8fff).unwrap_err(),
        ParseError::Truncated { need: 0x9000, have: 0x8fff }
    );
}

#[test]
fn a_secondary_alone_is_found_where_it_may_be() {
    let mut bytes = good();
    bytes[..METADATA_SIZE as usize].fill(0);
    let header = Header::parse(&bytes, LEN).unwrap();
    assert_eq!(header.copies, Copies::Damaged(Role::Primary, CopyError::Magic));
    assert_eq!(header.end(), 0x9000);
}

#[test]
fn a_newer_copy_counts() {
    let mut bytes = good();
    let newer = Parts { seqid: 9, ..Parts::new(metadata()) }.copy(true);
    bytes[METADATA_SIZE as usize..2 * METADATA_SIZE as usize].copy_from_slice(&newer);
    let header = Header::parse(&bytes, LEN).unwrap();
    assert_eq!((header.binary.seqid, &header.copies), (9, &Copies::Differ("sequence number")));
    assert_eq!(header.binary.role, Role::Secondary);
    assert_eq!(header.keyslots_size(), 4096);
}

#[test]
fn the_json_area_holds_an_object_and_zeros() {
    let text = metadata().to_string();
    for (wrong, problem) in [
        (format!(" {text}"), Problem::NotJson),
        (format!("{text} "), Problem::Trailing),
        (format!("{text}\0x"), Problem::Trailing),
        (format!("{text}}}"), Problem::NotJson),
        ("[]".into(), Problem::NotJson),
        ("{\"a\":1,}".into(), Problem::NotJson),
        (format!("{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40)), Problem::NotJson),
    ] {
        assert_eq!(invalid(&wrong), Invalid { path: String::new(), value: None, problem }, "{wrong:.40}");
    }
    let mut bytes = good();
    patch(&mut bytes, |copy| copy[4097..4099].copy_from_slice(b"\xff\xfe"));
    assert!(matches!(primary_error(&bytes), CopyError::Json(Invalid { problem: Problem::NotJson, .. })));
    patch(&mut bytes, |copy| copy[4096..].fill(b'{'));
    assert!(matches!(primary_error(&bytes), CopyError::Json(Invalid { problem: Problem::Trailing, .. })));
}

#[test]
fn types_and_numbers_are_checked() {
    for section in ["keyslots", "tokens", "segments", "digests", "config"] {
        broken(|json| json[section] = json!([]), &format!("/{section}"), Problem::Type);
    }
    let empty = |json: &mut Value| {
        json["segments"] = json!({});
        json["digests"] = json!({});
    };
    broken(empty, "/segments", Problem::Type);
    broken(|json| json["tokens"]["x"] = json!({}), "/tokens/x", Problem::Number);
    broken(|json| json["tokens"]["0"]["type"] = json!(1), "/tokens/0/type", Problem::Type);
    broken(|json| json["tokens"]["0"]["type"] = json!(""), "/tokens/0/type", Problem::Type);
    broken(|json| json["segments"]["0"]["offset"] = json!(1048576), "/segments/0/offset", Problem::Type);
    for wrong in ["-1", "+1", " 1", "18446744073709551616", "0x100000"] {
        broken(|json| json["segments"]["0"]["offset"] = json!(wrong), "/segments/0/offset", Problem::Number);
        broken(
            |json| json["segments"]["0"]["iv_tweak"] = json!(wrong),
            "/segments/0/iv_tweak",
            Problem::Number,
        );
    }
    let sector = |value: Value| move |json: &mut Value| json["segments"]["0"]["sector_size"] = value;
    broken(sector(json!(-1)), "/segments/0/sector_size", Problem::Number);
    broken(sector(json!(1u64 << 32)), "/segments/0/sector_size", Problem::Number);
    broken(sector(json!(4096.0)), "/segments/0/sector_size", Problem::Type);
    broken(sector(json!(0)), "/segments/0", Problem::Alignment);
    broken(sector(json!(1000)), "/segments/0", Problem::Alignment);
    broken(|json| json["config"]["flags"] = json!("x"), "/config/flags", Problem::Type);
    broken(|json| json["config"]["requirements"] = json!([]), "/config/requirements", Problem::Type);
}

#[test]
fn names_must_refer_to_something() {
    broken(|json| json["tokens"]["0"]["keyslots"] = json!(["0"]), "/tokens/0/keyslots", Problem::Dangling);
    broken(|json| json["digests"]["0"]["segments"] = json!(["1"]), "/digests/0/segments", Problem::Dangling);
    broken(|json| json["digests"]["0"]["segments"] = json!([]), "/segments/0", Problem::Digests);
    let unbound = |json: &mut Value| {
        with_keyslot(json);
        json["digests"]["0"]["keyslots"] = json!([]);
    };
    broken(unbound, "/keyslots/0", Problem::Digests);
}

#[test]
fn segments_are_in_order_and_apart() {
    let second = |number: &str, offset: &str, flags: Value| {
        let segment = json!({"type": "linear", "offset": offset, "size": "dynamic", "flags": flags});
        let number = number.to_owned();
        move |json: &mut Value| {
            json["segments"]["0"]["size"] = json!("8192");
            json["segments"][number] = segment;
        }
    };
    broken(second("2", "2097152", json!([])), "/segments/2", Problem::Order);
    broken(second("1", "1052672", json!([])), "/segments/1", Problem::Overlap);
    broken(second("1", "1000", json!([])), "/segments/1", Problem::Alignment);
    broken(|json| json["segments"]["0"]["flags"] = json!(["backup-x"]), "/segments/0", Problem::Order);
    let behind_dynamic = |json: &mut Value| {
        second("1", "2097152", json!([]))(json);
        json["segments"]["0"]["size"] = json!("dynamic");
    };
    broken(behind_dynamic, "/segments/1", Problem::Overlap);
}

#[test]
fn sizes_and_areas_are_bounded() {
    broken(|json| json["config"]["json_size"] = json!("28672"), "/config/json_size", Problem::Size);
    for wrong in ["4095", "1048576", "134221824", "18446744073709547520"] {
        let change = |json: &mut Value| json["config"]["keyslots_size"] = json!(wrong);
        broken(change, "/config/keyslots_size", Problem::Size);
    }
    for start in [0, 0x7000, 0x9000, u64::MAX] {
        let change = |json: &mut Value| {
            with_keyslot(json);
            json["keyslots"]["0"]["area"]["offset"] = json!(start.to_string());
        };
        broken(change, "/keyslots/0/area", Problem::Overlap);
    }
    let twice = |json: &mut Value| {
        with_keyslot(json);
        json["keyslots"]["1"] = keyslot(0x8000);
        json["digests"]["0"]["keyslots"] = json!(["0", "1"]);
    };
    broken(twice, "/keyslots/1/area", Problem::Overlap);
}

#[test]
fn reencryption_keyslots_and_requirements_go_together() {
    let online = json!({"mandatory": ["online-reencrypt-v2"]});
    broken(|json| json["config"]["requirements"] = online, "/keyslots", Problem::Reencrypt);
    let slot = json!({
        "type": "reencrypt", "mode": "reencrypt", "direction": "forward", "key_size": 1,
        "area": {"type": "none", "offset": "32768", "size": "4096"},
    });
    broken(|json| json["keyslots"]["0"] = slot, "/keyslots", Problem::Reencrypt);
}
