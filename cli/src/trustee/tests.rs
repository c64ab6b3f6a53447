//! The exported policies, run by a Rego engine on claims as Trustee makes them, of good and of bad nodes.

mod tdx;

use super::export::{Export, Node, Source, names};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_appraise::HardwarePolicy;
use ccnode_evidence::{EvidenceKind, Sha256Digest};
use ccnode_protocol::admin::{OnUnknown, Pair, Pool, ResourceRecord};
use ccnode_testkit::Boot;
use regorus::Engine;
use serde_json::{Value, json};

const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const LAUNCH: [u8; 48] = [0x11; 48];
const KEEPER: [u8; 48] = [0x33; 48];

/// Two allowed pairs, two nodes with keys, one of Azure, and resources.
fn source() -> Source {
    let boots = [Boot::standard(), Boot::new("2025.02", "quiet", b"other")];
    let tuples = boots
        .map(|boot| (boot.platform_tuple("p"), boot.image_tuple("worker", "1", Sha256Digest::of(b"root"))));
    let pairs = tuples.iter().map(|(p, i)| Pair { platform: p.id(), image: i.id() }).collect();
    let policy = json!({
        "least-level": "tee",
        "snp": {"minimum-tcb": {"milan": {"snp": 24, "microcode": 219}}, "host-data": [ZERO]},
        "snp-launches": [{"image": tuples[0].1.id(), "measurement": hex::encode(LAUNCH)}],
        "tdx-launches": [td_launch(tuples[0].1.id(), "11"), td_launch(tuples[1].1.id(), "22")],
        "vtpm-keepers": {"snp-measurements": [hex::encode(KEEPER)], "tdx-mr-td": [hex::encode(KEEPER)]},
    });
    let node = |name: &str, kind, ak: Option<&str>| Node {
        name: name.parse().unwrap(),
        kind: Some(kind),
        ak: ak.map(str::to_owned),
    };
    let resource = |name: &str, nodes: &[&str], pools: &[&str]| ResourceRecord {
        name: name.parse().unwrap(),
        size: 1,
        updated: 1,
        nodes: nodes.iter().map(|name| name.parse().unwrap()).collect(),
        pools: pools.iter().map(|name| name.parse().unwrap()).collect(),
    };
    Source {
        pool: Pool {
            name: "workers".parse().unwrap(),
            on_unknown: OnUnknown::Ask,
            rules: Vec::new(),
            on_foreign_disk: Default::default(),
            allow_init_data: false,
            least_level: None,
            cluster: None,
            ek_roots: Vec::new(),
            pairs,
            nodes: 3,
            created: 1,
        },
        hardware: serde_json::from_value::<HardwarePolicy>(policy).unwrap(),
        platforms: tuples.iter().map(|(p, _)| (p.id(), p.clone())).collect(),
        images: tuples.iter().map(|(_, i)| (i.id(), i.clone())).collect(),
        nodes: vec![
            node("workers-a", EvidenceKind::Tpm, Some("AAAA")),
            node("workers-b", EvidenceKind::Tpm, Some("BBBB")),
            node("workers-z", EvidenceKind::AzSnpVtpm, Some("ZZZZ")),
        ],
        resources: vec![
            resource("kbs:///default/shared/a", &["workers-a"], &[]),
            resource("kbs:///default/pool/all", &[], &["workers"]),
            resource("kbs:///default/other/all", &[], &["elsewhere"]),
        ],
    }
}

fn td_launch(image: Sha256Digest, digits: &str) -> Value {
    let same = digits.repeat(48);
    json!({"image": image, "mr-td": same, "rtmr0": same, "rtmr1": same, "rtmr2": same})
}

/// The PCRs of a boot as claims have them.
fn pcrs(boot: &Boot) -> Value {
    let values = boot.pcrs().0.into_iter();
    values.map(|(pcr, value)| (format!("pcr{:02}", pcr.get()), json!(value.hex()))).collect()
}

fn tpm(boot: &Boot, ak: &str) -> Value {
    let mut claims = pcrs(boot);
    claims["ak_public"] = json!(ak);
    json!({"tpm": claims, "report_data": "00", "runtime_data_claims": {}})
}

fn run(policy: &str, input: &Value, data: Option<&Value>, rule: &str) -> Value {
    let mut engine = Engine::new();
    engine.set_rego_v0(false);
    engine.add_policy("policy.rego".into(), policy.into()).unwrap_or_else(|e| panic!("{e}\n{policy}"));
    if let Some(data) = data {
        engine.add_data_json(&data.to_string()).unwrap();
    }
    engine.set_input_json(&input.to_string()).unwrap();
    let value = engine.eval_rule(format!("data.policy.{rule}")).unwrap_or_else(|e| panic!("{e}"));
    serde_json::from_str(&value.to_json_str().unwrap()).unwrap()
}

/// Executables, hardware, configuration and instance identity.
fn claims(export: &Export, input: &Value) -> [i64; 4] {
    let claims = run(&export.attestation, input, None, "trust_claims");
    ["executables", "hardware", "configuration", "instance-identity"]
        .map(|name| claims[name].as_i64().unwrap())
}

const AFFIRMING: [i64; 4] = [3, 2, 2, 2];

#[test]
fn a_whole_allowed_pair_of_a_known_key_is_affirmed() {
    let export = source().export();
    for boot in [Boot::standard(), Boot::new("2025.02", "quiet", b"other")] {
        assert_eq!(claims(&export, &tpm(&boot, "AAAA")), AFFIRMING);
    }
    let mut upper = tpm(&Boot::standard(), "BBBB");
    upper["tpm"]["pcr04"] = json!(upper["tpm"]["pcr04"].as_str().unwrap().to_uppercase());
    assert_eq!(claims(&export, &upper), AFFIRMING);
}

#[test]
fn every_register_of_a_pair_counts_and_pairs_do_not_mix() {
    let export = source().export();
    let good = tpm(&Boot::standard(), "AAAA");
    for pcr in [0, 1, 2, 3, 4, 6, 7, 9, 11, 12, 13, 14] {
        let mut bad = good.clone();
        bad["tpm"][format!("pcr{pcr:02}")] = json!("ab".repeat(32));
        assert_eq!(claims(&export, &bad), [33, 2, 36, 2], "{pcr}");
    }
    let mut mixed = good.clone();
    let other = pcrs(&Boot::new("2025.02", "quiet", b"other"));
    for pcr in ["pcr04", "pcr09", "pcr11", "pcr12", "pcr13", "pcr14"] {
        mixed["tpm"][pcr] = other[pcr].clone();
    }
    assert_eq!(claims(&export, &mixed), [33, 2, 36, 2], "one's platform, the other's image");
    let mut lost = good;
    lost["tpm"].as_object_mut().unwrap().remove("pcr04");
    assert_eq!(claims(&export, &lost), [33, 2, 36, 2]);
}

#[test]
fn a_foreign_key_a_capped_boot_and_init_data_are_not_affirmed() {
    let mut source = source();
    let export = source.export();
    assert_eq!(claims(&export, &tpm(&Boot::standard(), "CCCC")), [3, 97, 2, 0]);
    let mut capped = Boot::standard();
    capped.cap();
    assert_eq!(claims(&export, &tpm(&capped, "AAAA")), [33, 2, 2, 2]);
    let mut fed = Boot::standard();
    fed.extend(8, Sha256Digest::of(b"init-data"), "init-data");
    assert_eq!(claims(&export, &tpm(&fed, "AAAA")), [3, 2, 36, 2]);
    source.pool.allow_init_data = true;
    assert_eq!(claims(&source.export(), &tpm(&fed, "AAAA")), AFFIRMING);
    assert_eq!(claims(&export, &json!({})), [33, 97, 36, 0]);
    assert_eq!(claims(&export, &json!({"sample": {"svn": "1"}})), [33, 97, 36, 0]);
}

fn snp() -> Value {
    json!({"snp": {
        "measurement": hex::encode(LAUNCH), "policy_debug_allowed": false, "policy_migrate_ma": false,
        "reported_tcb_bootloader": 4, "reported_tcb_tee": 0, "reported_tcb_snp": 24, "reported_tcb_microcode": 219,
    }})
}

#[test]
fn launches_and_tcb_of_snp_count() {
    let export = source().export();
    assert_eq!(claims(&export, &snp()), [3, 2, 2, 0]);
    for (member, value, want) in [
        ("measurement", json!("22".repeat(48)), [33, 2, 36, 0]),
        ("policy_debug_allowed", json!(true), [3, 97, 36, 0]),
        ("policy_migrate_ma", json!(true), [3, 97, 36, 0]),
        ("reported_tcb_snp", json!(23), [3, 97, 2, 0]),
        ("reported_tcb_microcode", json!(218), [3, 97, 2, 0]),
    ] {
        let mut bad = snp();
        bad["snp"][member] = value;
        assert_eq!(claims(&export, &bad), want, "{member}");
    }
    let azure = |debug: &str, snp: &str| {
        json!({"az-snp-vtpm": {
            "measurement": STANDARD.encode(KEEPER), "tpm": pcrs(&Boot::standard()), "policy_debug_allowed": debug, "policy_migrate_ma": "false",
            "reported_tcb_bootloader": "4", "reported_tcb_tee": "0", "reported_tcb_snp": snp, "reported_tcb_microcode": "219",
        }})
    };
    assert_eq!(claims(&export, &azure("false", "24")), [3, 2, 2, 0]);
    assert_eq!(claims(&export, &azure("true", "24")), [3, 97, 2, 0]);
    assert_eq!(claims(&export, &azure("false", "9")), [3, 97, 2, 0]);
    // Who runs a machine of that kind can put any TPM's key into its report.
    let mut other = azure("false", "24");
    for (measurement, hardware) in [
        (STANDARD.encode(LAUNCH), 97),
        (hex::encode(KEEPER), 2),
        (hex::encode(LAUNCH), 97),
        (String::new(), 97),
    ] {
        other["az-snp-vtpm"]["measurement"] = json!(measurement);
        assert_eq!(claims(&export, &other), [3, hardware, 2, 0], "{measurement}");
    }
    // A keeper, but none of the launches that the pool takes at all.
    let mut narrow = source();
    narrow.hardware.snp.measurements = Some(serde_json::from_value(json!([hex::encode(LAUNCH)])).unwrap());
    assert_eq!(claims(&narrow.export(), &azure("false", "24")), [3, 97, 2, 0]);
}

#[test]
fn several_lines_of_processors_are_none() {
    let mut source = source();
    let policy = json!({"snp": {"minimum-tcb": {"milan": {"snp": 1}, "turin": {"snp": 1}}}});
    source.hardware = serde_json::from_value(policy).unwrap();
    let export = source.export();
    assert!(export.warnings.iter().any(|text| text.contains("several lines")));
    assert_eq!(claims(&export, &snp())[1], 97);
}

fn may(export: &Export, ak: &str, status: &str, plugin: &str, path: &str) -> bool {
    let input = json!({"submods": {"cpu0": {
        "ear.status": status, "ear.veraison.annotated-evidence": {"tpm": {"ak_public": ak}},
    }}});
    let parts: Vec<&str> = path.split('/').collect();
    let data = json!({"plugin": plugin, "resource-path": parts, "query": {}});
    run(&export.resources, &input, Some(&data), "allow") == json!(true)
}

#[test]
fn t07_a_node_reads_what_is_bound_to_its_key_and_nothing_else() {
    let export = source().export();
    let a = |path| may(&export, "AAAA", "affirming", "resource", path);
    let b = |path| may(&export, "BBBB", "affirming", "resource", path);
    assert!(a("workers-a/key/root") && !a("workers-b/key/root") && !b("workers-a/key/root"));
    assert!(a("default/shared/a") && !b("default/shared/a"));
    assert!(a("default/pool/all") && b("default/pool/all") && !a("default/other/all"));
    assert!(!a("workers-a/key") && !a("workers-a/key/root/more") && !a("default/key/root"));
    for status in ["warning", "contraindicated", "none"] {
        assert!(!may(&export, "AAAA", status, "resource", "workers-a/key/root"), "{status}");
    }
    assert!(!may(&export, "AAAA", "affirming", "pkcs11", "workers-a/key/root"));
    assert!(!may(&export, "CCCC", "affirming", "resource", "workers-a/key/root"));
    assert!(!may(&export, "ZZZZ", "affirming", "resource", "workers-z/key/root"), "no key in Azure's claims");
    let nobody = run(
        &export.resources,
        &json!({"submods": {}}),
        Some(&json!({"plugin": "resource",
        "resource-path": ["default", "pool", "all"]})),
        "allow",
    );
    assert_eq!(nobody, json!(false));
}

#[test]
fn what_is_lost_is_said() {
    let export = source().export();
    let said = |part: &str| export.warnings.iter().any(|text| text.contains(part));
    for part in [
        "no endorsement key is asked for",
        "PCR 5 and 10",
        "workers-z: Trustee's claims name no key",
        "hardware demand snp.host-data is not enforced",
        "hardware demand least-level is not enforced",
        "resources are not copied",
        "a report of Azure may be of an earlier session",
        "need not be registered",
    ] {
        assert!(said(part), "{part}: {:#?}", export.warnings);
    }
    assert!(!said("snp.minimum-tcb is not"), "{:#?}", export.warnings);
    let mut empty = source();
    empty.pool.pairs.clear();
    let export = empty.export();
    assert!(export.warnings.iter().any(|text| text.contains("no TPM passes")));
    assert_eq!(claims(&export, &tpm(&Boot::standard(), "AAAA"))[0], 33);
}

#[test]
fn reference_values_have_the_names_of_confidential_clusters() {
    let values = source().export().values;
    let found: Vec<&str> = values.keys().map(String::as_str).collect();
    let due = [
        "mr_td",
        "rtmr_0",
        "rtmr_1",
        "rtmr_2",
        "snp_launch_measurement",
        "tpm_pcr11",
        "tpm_pcr14",
        "tpm_pcr4",
        "tpm_pcr7",
        "trusted_aks",
    ];
    assert_eq!(found, due);
    assert_eq!(values["rtmr_1"], ["11".repeat(48), "22".repeat(48)]);
    assert_eq!(values["trusted_aks"], ["AAAA", "BBBB"]);
    assert_eq!(values["tpm_pcr4"].len(), 2);
    assert!(names().any(|name| name == "tpm_pcr4") && names().any(|name| name == "trusted_aks"));
}

#[test]
fn what_other_policies_affirm_opens_nothing() {
    let export = source().export();
    let allowed = |submods: Value, path: &[&str]| {
        let data = json!({"plugin": "resource", "resource-path": path, "query": {}});
        run(&export.resources, &json!({"submods": submods}), Some(&data), "allow") == json!(true)
    };
    let (pool, own) = (["default", "pool", "all"], ["workers-a", "key", "root"]);
    let affirming =
        |evidence: Value| json!({"ear.status": "affirming", "ear.veraison.annotated-evidence": evidence});
    let cpu = affirming(json!({"tpm": {"ak_public": "AAAA"}}));
    assert!(allowed(json!({"cpu0": cpu}), &pool) && allowed(json!({"cpu0": cpu}), &own));
    let gpu = affirming(json!({"nvidia": {}}));
    assert!(allowed(json!({"cpu0": cpu, "gpu0": gpu}), &pool));
    for path in [pool, own] {
        // A device alone is judged by a policy that nobody posted.
        assert!(!allowed(json!({"gpu0": gpu}), &path), "{path:?}");
        assert!(!allowed(json!({"gpu0": cpu}), &path), "{path:?}");
        assert!(!allowed(json!({"cpu1": cpu}), &path), "{path:?}");
        assert!(!allowed(json!([cpu]), &path), "{path:?}");
    }
}

#[test]
fn init_data_of_a_report_is_judged_as_that_of_a_quote() {
    let mut source = source();
    let with = |data: Value| {
        let mut input = snp();
        input["init_data"] = json!("ab".repeat(32));
        input["init_data_claims"] = data;
        input
    };
    let export = source.export();
    assert_eq!(claims(&export, &with(Value::Null)), [3, 2, 2, 0], "none was sent");
    for data in [json!({"aa.toml": {"token_configs": {}}}), json!({}), json!(false), json!("")] {
        assert_eq!(claims(&export, &with(data.clone())), [3, 2, 36, 0], "{data}");
    }
    source.pool.allow_init_data = true;
    assert_eq!(claims(&source.export(), &with(json!({"uuid": "node-1"}))), [3, 2, 2, 0]);
}

/// `input` with each of its leaves and objects replaced by what is of another type, or left out.
fn damaged(input: &Value) -> Vec<(String, Value)> {
    fn places(value: &Value, at: &str, out: &mut Vec<String>) {
        if let Value::Object(members) = value {
            for (name, inner) in members {
                let at = format!("{at}/{name}");
                out.push(at.clone());
                places(inner, &at, out);
            }
        }
    }
    let mut all = Vec::new();
    places(input, "", &mut all);
    let mut out = Vec::new();
    for at in all {
        let good = input.pointer(&at).unwrap().clone();
        let others = [
            Value::Null,
            json!(true),
            json!(false),
            json!(0),
            json!(1e9),
            json!(""),
            json!([]),
            json!({}),
            json!([good]),
            json!({"": good}),
        ];
        for other in others {
            let mut bad = input.clone();
            *bad.pointer_mut(&at).unwrap() = other.clone();
            out.push((format!("{at} = {other}"), bad));
        }
        let (above, name) = at.rsplit_once('/').unwrap();
        let mut bad = input.clone();
        bad.pointer_mut(above).unwrap().as_object_mut().unwrap().remove(name);
        out.push((format!("{at} left out"), bad));
    }
    out
}

#[test]
fn claims_of_other_types_are_affirmed_by_nobody() {
    let export = source().export();
    let affirmed = |input: &Value| {
        let mut engine = Engine::new();
        engine.set_rego_v0(false);
        engine.add_policy("policy.rego".into(), export.attestation.clone()).unwrap();
        engine.set_input_json(&input.to_string()).unwrap();
        // An error is no verdict, and no token.
        let Ok(value) = engine.eval_rule("data.policy.trust_claims".into()) else { return false };
        let claims: Value = serde_json::from_str(&value.to_json_str().unwrap()).unwrap();
        ["executables", "hardware", "configuration"].map(|name| claims[name].as_i64())
            == [Some(3), Some(2), Some(2)]
    };
    // What nothing is compared with, and what says the same or more.
    let unjudged =
        ["report_data", "runtime_data_claims", "pcr05", "pcr10", "advisory_ids", "/header/version"];
    let more = ["policy_debug_allowed = false", "policy_migrate_ma = false", "= 1000000000.0"];
    let unlisted = [
        "reported_tcb_bootloader",
        "reported_tcb_tee",
        "/mr_seam",
        "/mrsigner_seam",
        "/mr_config_id",
        "/mr_owner",
    ];
    for good in [tpm(&Boot::standard(), "AAAA"), snp(), tdx::td()] {
        assert!(affirmed(&good));
        for (what, bad) in damaged(&good) {
            let of = |names: &[&str]| names.iter().any(|name| what.contains(name));
            let beyond = ["16", "17", "18", "19", "20", "21", "22", "23"]
                .iter()
                .any(|n| what.contains(&format!("/pcr{n}")));
            let free = beyond || of(&unlisted) || of(&more) || of(&unjudged);
            assert!(free || !affirmed(&bad), "{what}");
        }
    }
}
