//! Every member of the JSON form: missing, of another type, out of range, and carried to bytes of its own.

use super::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Reports of each layout, every byte that has a member set.
fn reports() -> [SnpReport; 3] {
    [(2, 0, false), (4, 0x19, false), (5, 0x1a, true)].map(|(version, family, turin)| {
        let octets = |len: usize| vec![1u8; len];
        let tcb = json!({"fmc": turin.then_some(1), "bootloader": 1, "tee": 1, "snp": 1, "microcode": 1});
        let firmware = json!({"major": 1, "minor": 1, "build": 1});
        let cpuid = (version >= 3).then_some(family);
        let vector = (version >= 5).then_some(1);
        serde_json::from_value(json!({
            "version": version, "guest_svn": 1, "policy": 1, "family_id": octets(16), "image_id": octets(16),
            "vmpl": 1, "sig_algo": 1, "current_tcb": tcb, "plat_info": 1, "key_info": 1,
            "report_data": octets(64), "measurement": octets(48), "host_data": octets(32),
            "id_key_digest": octets(48), "author_key_digest": octets(48), "report_id": octets(32),
            "report_id_ma": octets(32), "reported_tcb": tcb, "cpuid_fam_id": cpuid, "cpuid_mod_id": cpuid,
            "cpuid_step": cpuid, "chip_id": octets(64), "committed_tcb": tcb, "current": firmware,
            "committed": firmware, "launch_tcb": tcb, "launch_mit_vector": vector, "current_mit_vector": vector,
            "signature": {"r": octets(72), "s": octets(72)},
        }))
        .unwrap()
    })
}

/// Paths of all leaves; an array of numbers is one.
fn leaves(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, inner)| leaves(inner, &format!("{at}/{name}"), out));
        }
        _ => out.push(at.to_owned()),
    }
}

fn read(value: &Value) -> Result<SnpReport, String> {
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}

#[test]
fn every_member_mutated_has_its_own_rejection_or_bytes() {
    for report in reports() {
        let (good, bytes) = (serde_json::to_value(&report).unwrap(), report.to_bytes().unwrap());
        let (mut all, mut carried) = (Vec::new(), BTreeSet::new());
        leaves(&good, "", &mut all);
        assert_eq!(all.len(), 50, "{all:?}");
        for path in all {
            let (parent, name) = path.rsplit_once('/').unwrap();
            let with = |to: Value| {
                let mut bad = good.clone();
                *bad.pointer_mut(&path).unwrap() = to;
                bad
            };
            let old = good.pointer(&path).unwrap();
            assert!(read(&with(json!("text"))).is_err(), "{path}");
            assert!(read(&with(json!(-1))).is_err(), "{path}");
            if old.is_null() {
                // What this version lacks is refused by name where it is there all the same.
                let there = read(&with(json!(1))).unwrap().to_bytes().unwrap_err();
                assert!(there.to_string().contains(name), "{path}: {there}");
                continue;
            }
            let mut lost = good.clone();
            lost.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
            let error = read(&lost).map(|report| report.to_bytes());
            match error {
                Err(text) => assert!(text.contains(name), "{path}: {text}"),
                Ok(formed) => assert!(formed.unwrap_err().to_string().contains(name), "{path}"),
            }
            let changed = match old {
                Value::Array(items) => {
                    assert!(read(&with(json!(items[1..]))).is_err(), "{path}: one short");
                    assert!(read(&with(json!([items.as_slice(), &[json!(1)]].concat()))).is_err(), "{path}");
                    with(json!(vec![2; items.len()]))
                }
                _ if name == "version" => {
                    for version in [0, 1, 6, 256] {
                        let refused = read(&with(json!(version))).unwrap().to_bytes();
                        assert_eq!(refused, Err(SnpFormError::Version(version)));
                    }
                    carried.extend(0..4);
                    continue;
                }
                // Not the bit that would make a Turin of an older line, or the reverse: that is refused, by the TCBs' form.
                _ => with(json!(old.as_u64().unwrap() ^ 1)),
            };
            let now = read(&changed).unwrap().to_bytes().unwrap_or_else(|error| panic!("{path}: {error}"));
            let places: Vec<usize> = (0..SIZE).filter(|at| now[*at] != bytes[*at]).collect();
            assert!(!places.is_empty(), "{path} is carried");
            assert!(places.iter().all(|at| carried.insert(*at)), "{path} has bytes of its own");
        }
    }
}
