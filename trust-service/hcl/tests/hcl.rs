//! HCL reports: the recorded ones as stated, and one mutation for each field that must be refused by its own name.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail by panicking")]

use base64::Engine as _;
use ccnode_hcl::{Field, HardwareReport, HclRejection, HclReport, KeyFault};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::path::PathBuf;

fn vectors() -> Option<PathBuf> {
    ccnode_vectors::folder("azure-hcl")
}

/// The HCL report that a file is or holds; `None` for files of another kind.
fn report_of(name: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    if name.contains("hcl-report") {
        return Some(bytes.to_vec());
    }
    if !name.contains("evidence-") {
        return None;
    }
    let value: Value = serde_json::from_slice(bytes).unwrap();
    Some(match value.get("hcl_report").or_else(|| value.get("report")).unwrap() {
        Value::String(text) => {
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).unwrap()
        }
        list => serde_json::from_value(list.clone()).unwrap(),
    })
}

fn report_data(report: &HclReport<'_>) -> [u8; 64] {
    match report.hardware() {
        HardwareReport::Snp(bytes) => bytes[0x50..0x90].try_into().unwrap(),
        HardwareReport::Tdx(bytes) => bytes[128..192].try_into().unwrap(),
    }
}

#[test]
fn recorded_reports_are_as_stated() {
    let Some(dir) = vectors() else { return };
    let stated: Value = serde_json::from_slice(&std::fs::read(dir.join("expected.json")).unwrap()).unwrap();
    let mut seen = 0;
    for (name, facts) in stated["files"].as_object().unwrap() {
        let bytes = std::fs::read(dir.join(name)).unwrap();
        let Some(bytes) = report_of(name, &bytes) else { continue };
        let facts = facts.get("hcl").unwrap_or(facts);
        let report = HclReport::parse(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(report.version(), facts["header_version"], "{name}");
        assert_eq!(report.hash_name(), facts["hash_type"], "{name}");
        assert_eq!(report.unproven_runtime().len(), facts["var_data_len"], "{name}");
        let kind = if matches!(report.hardware(), HardwareReport::Snp(_)) { "SNP" } else { "TDX" };
        assert_eq!(kind, facts["report_type"], "{name}");
        let proven = report.bound_to(&report_data(&report)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let data = proven.data();
        assert_eq!(data.user_data().map(hex::encode_upper).unwrap(), facts["user_data"], "{name}");
        assert_eq!(data.vm().secure_boot, facts["vm_configuration"]["secure-boot"].as_bool(), "{name}");
        assert_eq!(data.vm().vm_unique_id.as_deref(), facts["vm_configuration"]["vmUniqueId"].as_str());
        let (ak, ek) = (data.ak(), data.ek().unwrap());
        assert!(ak != ek && ak.modulus().len() == 256 && ak.exponent() == [1, 0, 1]);
        proven.names_ak(ak.modulus(), ak.exponent()).unwrap();
        proven.names_ek(&[&[0], ek.modulus()].concat(), &[0, 1, 0, 1]).unwrap();
        assert_eq!(
            proven.names_ak(ek.modulus(), ek.exponent()),
            Err(HclRejection::OtherKey { kid: "HCLAkPub" })
        );
        assert_eq!(
            proven.names_ek(ak.modulus(), ak.exponent()),
            Err(HclRejection::OtherKey { kid: "HCLEkPub" })
        );
        for len in 0..bytes.len() - facts["zero_padding_after_var_data"].as_u64().unwrap_or(254) as usize {
            assert_eq!(HclReport::parse(&bytes[..len]), Err(HclRejection::Length(len)), "{name}");
        }
        seen += 1;
    }
    assert_eq!(seen, 8);
}

fn key(kid: &str, ops: &str) -> Value {
    let n = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .encode([if kid == "HCLAkPub" { 0x91 } else { 0xb3 }; 256]);
    json!({"kid": kid, "key_ops": [ops], "kty": "RSA", "e": "AQAB", "n": n})
}

fn runtime() -> Value {
    json!({
        "keys": [key("HCLAkPub", "sign"), key("HCLEkPub", "encrypt")],
        "vm-configuration": {"secure-boot": true, "tpm-persisted": true, "other": 1},
        "user-data": "00".repeat(64),
    })
}

/// A report over `runtime`; `kind` 2 (SEV-SNP) or 4 (TDX), `hash` 1 to 3.
fn made(runtime: &[u8], kind: u32, hash: u32) -> Vec<u8> {
    let len = u32::try_from(runtime.len()).unwrap();
    let mut out = b"HCLA".to_vec();
    for word in [2, 32 + 1184 + 20 + len, 2, 0, 0, 0, 0] {
        out.extend(u32::to_le_bytes(word));
    }
    let digest = match hash {
        1 => Sha256::digest(runtime).to_vec(),
        2 => Sha384::digest(runtime).to_vec(),
        _ => Sha512::digest(runtime).to_vec(),
    };
    let mut hardware = [0; 1184];
    let at = if kind == 2 { 0x50 } else { 128 };
    hardware[at..at + digest.len()].copy_from_slice(&digest);
    out.extend(hardware);
    for word in [20 + len, 1, kind, hash, len] {
        out.extend(u32::to_le_bytes(word));
    }
    out.extend(runtime);
    out.extend([0; 100]);
    out
}

fn good() -> Vec<u8> {
    made(runtime().to_string().as_bytes(), 2, 1)
}

#[test]
fn every_hash_binds() {
    let runtime = runtime().to_string();
    for (kind, hash) in [(2, 1), (2, 2), (2, 3), (4, 1)] {
        let bytes = made(runtime.as_bytes(), kind, hash);
        let report = HclReport::parse(&bytes).unwrap();
        let data = report_data(&report);
        assert!(report.bound_to(&data).is_ok());
        for at in 0..64 {
            let mut other = data;
            other[at] ^= 1;
            assert!(matches!(report.bound_to(&other), Err(HclRejection::Binding { .. })), "{hash} {at}");
        }
    }
}

/// A field, the bytes of it that are changed, and the field that the refusal names; `None`: the hardware report covers it.
type Row = (&'static str, std::ops::Range<usize>, &'static [usize], u8, Option<Field>);

/// The rows of a report of this kind over so many bytes of runtime data, with so much padding.
#[rustfmt::skip]
fn rows(kind: u32, runtime: usize, padding: usize) -> Vec<Row> {
    const WORD: &[usize] = &[0, 1, 2, 3];
    let data = 32 + 1184;
    let hardware: &[Row] = match kind {
        // REPORT_DATA is what binds; all else of it is judged by who proves it.
        2 => &[("SEV-SNP report", 32..data_at(), &[0x50, 0x51, 0x8f], 1, None)],
        _ => &[
            ("TDREPORT", 32..32 + 1024, &[128, 129, 191], 1, None),
            ("hardware padding", 32 + 1024..data_at(), &[0, 80, 159], 1, Some(Field::HardwarePadding)),
        ],
    };
    let end = data + 20 + runtime;
    let mut rows: Vec<Row> = vec![
        ("signature", 0..4, WORD, 1, Some(Field::Signature)),
        ("version", 4..8, WORD, 4, Some(Field::Version)),
        ("report size", 8..12, WORD, 1, Some(Field::ReportSize)),
        ("request type", 12..16, WORD, 1, Some(Field::RequestType)),
        ("status", 16..20, WORD, 1, Some(Field::Status)),
        ("reserved", 20..32, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 1, Some(Field::Reserved)),
    ];
    rows.extend_from_slice(hardware);
    rows.extend([
        ("data size", data..data + 4, WORD, 1, Some(Field::DataSize)),
        ("data version", data + 4..data + 8, WORD, 4, Some(Field::DataVersion)),
        ("report type", data + 8..data + 12, WORD, 8, Some(Field::ReportType)),
        ("hash type", data + 12..data + 16, WORD, 4, Some(Field::HashType)),
        // Another hash that is known: then it is not the one that binds.
        ("hash type", data + 12..data + 16, &[0], 2, None),
        // Less than there are; more than there are cut the report.
        ("runtime size", data + 16..data + 20, &[0], 1, Some(Field::DataSize)),
        ("runtime data", data + 20..end, &[0, 1, 50, 200], 1, None),
        ("padding", end..end + padding, &[0, 50, 99], 1, Some(Field::Padding)),
    ]);
    rows
}

const fn data_at() -> usize {
    32 + 1184
}

#[test]
fn t10_every_field_mutated_has_its_own_rejection() {
    let runtime = runtime().to_string();
    for kind in [2, 4] {
        let good = made(runtime.as_bytes(), kind, 1);
        let judge = |bytes: &[u8]| {
            let proven = report_data(&HclReport::parse(&good).unwrap());
            let report = HclReport::parse(bytes)?;
            // The hardware report's own claim, where that is what was changed: whoever proves it refuses it by its signature.
            let claimed = report_data(&report);
            report.bound_to(if claimed == proven { &proven } else { &claimed }).map(drop)
        };
        judge(&good).unwrap();
        let rows = rows(kind, runtime.len(), 100);
        ccnode_vectors::assert_tiled(good.len(), rows.iter().map(|(name, range, ..)| (*name, range.clone())));
        for (name, range, at, flip, due) in rows {
            for at in at.iter().map(|at| range.start + at) {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                let got = judge(&bytes).unwrap_err();
                let is = match due {
                    Some(due) => matches!(got, HclRejection::Field { field, .. } if field == due),
                    None => matches!(got, HclRejection::Binding { .. }),
                };
                assert!(is, "kind {kind}, {name}, byte {at}: {got:?}");
            }
        }
        let mut longer = good.clone();
        longer[data_at() + 18] ^= 1;
        assert_eq!(
            judge(&longer),
            Err(HclRejection::Length(longer.len())),
            "more runtime data than there are"
        );
    }
    let long = vec![0; ccnode_hcl::MAX_HCL_REPORT + 1];
    assert_eq!(HclReport::parse(&long), Err(HclRejection::Length(long.len())));
}

/// The paths of all leaves; members of an array are alike.
fn leaves(value: &Value, path: &str, out: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            leaves(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, out);
        }),
        Value::Array(values) => values.iter().for_each(|value| leaves(value, &format!("{path}[]"), out)),
        _ => drop(out.insert(path.to_owned())),
    }
}

#[test]
fn t10_every_member_of_the_runtime_data_mutated_has_its_own_rejection() {
    let number = |byte: u8| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([byte; 256]);
    let good = json!({
        "keys": [key("HCLAkPub", "sign"), key("HCLEkPub", "encrypt")],
        "vm-configuration": {
            "secure-boot": true,
            "tpm-enabled": true,
            "tpm-persisted": true,
            "console-enabled": true,
            "interactive-console-enabled": true,
            "filtered-vpci-devices-allowed": true,
            "root-cert-thumbprint": "a",
            "vmUniqueId": "b",
        },
        "user-data": "00".repeat(64),
    });
    let judge = |runtime: &Value| {
        let bytes = made(runtime.to_string().as_bytes(), 2, 1);
        let report = HclReport::parse(&bytes)?;
        let proven = report.bound_to(&report_data(&report))?;
        proven.names_ak(&[0x91; 256], &[1, 0, 1])?;
        proven.names_ek(&[0xb3; 256], &[1, 0, 1])?;
        proven.is_fresh(&[0; 64])?;
        Ok(proven.data().vm().clone())
    };
    let honest = judge(&good).unwrap();
    let (ak, ek) = ("HCLAkPub", "HCLEkPub");
    let fault = |kid, fault| Some(HclRejection::Key { kid, fault });
    // Member, place, value, refusal; without one it is a claim, and another than before.
    let mut rows = vec![
        ("keys[].kid", "/keys/0/kid".to_owned(), json!("x"), fault(ak, KeyFault::Missing)),
        ("keys[].kid", "/keys/1/kid".to_owned(), json!("x"), fault(ek, KeyFault::Missing)),
        ("user-data", "/user-data".to_owned(), json!("01".repeat(64)), {
            let (seen, wanted) = ("01".repeat(64), "00".repeat(64));
            Some(HclRejection::UserData { seen, wanted })
        }),
    ];
    for (n, kid, other) in [(0, ak, "encrypt"), (1, ek, "sign")] {
        let at = |member: &str| format!("/keys/{n}/{member}");
        rows.extend([
            ("keys[].kty", at("kty"), json!("EC"), fault(kid, KeyFault::Type("EC".into()))),
            (
                "keys[].key_ops[]",
                at("key_ops/0"),
                json!(other),
                fault(kid, KeyFault::Use(vec![other.into()])),
            ),
            ("keys[].n", at("n"), json!("!"), fault(kid, KeyFault::Modulus)),
            ("keys[].n", at("n"), json!(number(0x55)), Some(HclRejection::OtherKey { kid })),
            ("keys[].e", at("e"), json!("!"), fault(kid, KeyFault::Exponent)),
            ("keys[].e", at("e"), json!("Aw"), Some(HclRejection::OtherKey { kid })),
        ]);
    }
    for flag in [
        "vm-configuration.secure-boot",
        "vm-configuration.tpm-enabled",
        "vm-configuration.tpm-persisted",
        "vm-configuration.console-enabled",
        "vm-configuration.interactive-console-enabled",
        "vm-configuration.filtered-vpci-devices-allowed",
    ] {
        rows.push((flag, format!("/{}", flag.replace('.', "/")), json!(false), None));
    }
    for text in ["vm-configuration.root-cert-thumbprint", "vm-configuration.vmUniqueId"] {
        rows.push((text, format!("/{}", text.replace('.', "/")), json!("c"), None));
    }
    let mut there = std::collections::BTreeSet::new();
    leaves(&good, "", &mut there);
    assert_eq!(there, rows.iter().map(|(member, ..)| (*member).to_owned()).collect());
    for (member, at, to, due) in rows {
        let mut changed = good.clone();
        *changed.pointer_mut(&at).unwrap() = to;
        match (judge(&changed), due) {
            (Err(got), Some(due)) => assert_eq!(got, due, "{member}"),
            (Ok(taken), None) => assert_ne!(taken, honest, "{member}"),
            (got, due) => panic!("{member}: {got:?}, due is {due:?}"),
        }
        // Of another type, it can't be read.
        *changed.pointer_mut(&at).unwrap() = json!([{}]);
        assert!(matches!(judge(&changed), Err(HclRejection::Runtime(_))), "{member}");
    }
}

#[test]
fn runtime_data_are_judged() {
    let read = |runtime: &str| {
        let bytes = made(runtime.as_bytes(), 2, 1);
        let report = HclReport::parse(&bytes).unwrap();
        report.bound_to(&report_data(&report)).map(drop)
    };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut runtime = runtime();
        change(&mut runtime);
        read(&runtime.to_string())
    };
    assert_eq!(with(&|_| {}), Ok(()));
    let key_fault = |kid, fault| Err(HclRejection::Key { kid, fault });
    let (ak, ek) = ("HCLAkPub", "HCLEkPub");
    assert_eq!(with(&|r| r["keys"] = json!([])), key_fault(ak, KeyFault::Missing));
    let endorsement = json!([key("HCLEkPub", "encrypt")]);
    assert_eq!(with(&|r| r["keys"] = endorsement.clone()), key_fault(ak, KeyFault::Missing));
    assert_eq!(with(&|r| r["keys"][1] = key(ak, "sign")), key_fault(ak, KeyFault::Twice));
    assert_eq!(
        with(&|r| r["keys"][0]["kty"] = json!("E\u{202e}C\u{200b}")),
        key_fault(ak, KeyFault::Type("EC".into()))
    );
    let encrypt = KeyFault::Use(vec!["encrypt".into()]);
    assert_eq!(with(&|r| r["keys"][0]["key_ops"] = json!(["encrypt"])), key_fault(ak, encrypt));
    for n in ["", "AAAA", "!", "AQAB"] {
        assert_eq!(with(&|r| r["keys"][1]["n"] = json!(n)), key_fault(ek, KeyFault::Modulus));
    }
    let long = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([0x91; 1025]);
    assert_eq!(with(&|r| r["keys"][0]["n"] = json!(long)), key_fault(ak, KeyFault::Modulus));
    for e in ["", "AAAA", "AQAAAAAAAAAA"] {
        assert_eq!(with(&|r| r["keys"][0]["e"] = json!(e)), key_fault(ak, KeyFault::Exponent));
    }
    for broken in [
        with(&|r| r["user-data"] = json!("00")),
        with(&|r| r["keys"] = json!(vec![key("x", "sign"); 17])),
        read("{}"),
        read("[]"),
        read(r#"{"keys":[],"keys":[]}"#),
    ] {
        assert!(matches!(broken, Err(HclRejection::Runtime(_))), "{broken:?}");
    }
    // An endorsement key that is not named vouches for none.
    let runtime = json!({"keys": [key(ak, "sign")]}).to_string();
    let bytes = made(runtime.as_bytes(), 2, 1);
    let report = HclReport::parse(&bytes).unwrap();
    let proven = report.bound_to(&report_data(&report)).unwrap();
    assert_eq!(proven.names_ek(&[1], &[1]), key_fault(ek, KeyFault::Missing));
}

#[test]
fn a_key_is_modulus_and_exponent_as_numbers() {
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let mut runtime = runtime();
    // With leading zeros, as some writers have them.
    runtime["keys"][0]["n"] = json!(encode(&[&[0, 0][..], &[0x91; 256]].concat()));
    runtime["keys"][0]["e"] = json!(encode(&[0, 1, 0, 1]));
    let bytes = made(runtime.to_string().as_bytes(), 2, 1);
    let report = HclReport::parse(&bytes).unwrap();
    let proven = report.bound_to(&report_data(&report)).unwrap();
    proven.names_ak(&[0x91; 256], &[1, 0, 1]).unwrap();
    let other = Err(HclRejection::OtherKey { kid: "HCLAkPub" });
    assert_eq!(proven.names_ak(&[0x91; 256], &[3]), other);
    assert_eq!(proven.names_ak(&[0x91; 255], &[1, 0, 1]), other);
}

#[test]
fn codes_are_those_of_the_cause() {
    let code = |rejection: HclRejection| rejection.code().as_str();
    assert_eq!(code(HclReport::parse(&[]).unwrap_err()), "hcl-malformed");
    let bytes = good();
    let report = HclReport::parse(&bytes).unwrap();
    assert_eq!(code(report.bound_to(&[0; 64]).unwrap_err()), "hcl-binding");
    let proven = report.bound_to(&report_data(&report)).unwrap();
    assert_eq!(code(proven.names_ak(&[1], &[1]).unwrap_err()), "hcl-key");
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(at in 0usize..2000, byte in proptest::prelude::any::<u8>(), cut in 0usize..2000) {
        let mut bytes = good();
        let len = bytes.len();
        bytes[at % len] = byte;
        if let Ok(report) = HclReport::parse(&bytes[..len - cut % len]) {
            let _ = report.bound_to(&[0; 64]);
            let _ = report.unproven_claims();
        }
    }
}
