//! Re-encryption: its requirements, keyslots and segments are refused, half-done or not.

use super::{ALLOW, changed, forbids, refusal};
use ccnode_luks_header::{Refusal, Rule, examine};
use serde_json::{Value, json};

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
