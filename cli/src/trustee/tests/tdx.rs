//! The exported policies on claims of good and of bad TDs, and of Azure's.

use super::{Export, KEEPER, claims, pcrs, source};
use ccnode_testkit::Boot;
use serde_json::{Value, json};

/// A TD of the first launch.
pub(super) fn td() -> Value {
    let [same, zero] = ["11", "00"].map(|digits| digits.repeat(48));
    json!({"tdx": {
        "quote": {
            "header": {"version": "0400", "tee_type": "81000000"},
            "body": {
                "tcb_svn": "03000500000000000000000000000000", "mr_seam": "55".repeat(48), "mrsigner_seam": zero,
                "td_attributes": "0000001000000000", "xfam": "e702060000000000",
                "mr_td": same, "rtmr_0": same, "rtmr_1": same, "rtmr_2": same, "rtmr_3": zero,
                "mr_config_id": zero, "mr_owner": zero, "mr_owner_config": zero, "report_data": "00".repeat(64),
            },
        },
        "tcb_status": "UpToDate", "collateral_expiration_status": "0", "advisory_ids": [],
    }})
}

fn td_with(at: &str, value: Value) -> Value {
    let mut input = td();
    let (above, name) = at.rsplit_once('/').unwrap();
    input["tdx"].pointer_mut(above).unwrap()[name] = value;
    input
}

#[test]
fn launches_tcb_and_flags_of_tds_count() {
    let mut source = source();
    let export = source.export();
    assert_eq!(claims(&export, &td()), [3, 2, 2, 0]);
    let other = "22".repeat(48);
    for (at, value, want) in [
        ("/quote/body/mr_td", json!(other), [33, 2, 36, 0]),
        ("/quote/body/rtmr_0", json!(other), [33, 2, 36, 0]),
        ("/quote/body/rtmr_1", json!(other), [33, 2, 36, 0]),
        ("/quote/body/rtmr_2", json!(other), [33, 2, 36, 0]),
        ("/quote/body/rtmr_3", json!(other), [33, 2, 36, 0]),
        ("/quote/header/tee_type", json!("00000000"), [3, 97, 2, 0]),
        ("/tcb_status", json!("OK"), [3, 2, 2, 0]),
        ("/tcb_status", json!("OutOfDate"), [3, 97, 2, 0]),
        ("/tcb_status", json!("Revoked"), [3, 97, 2, 0]),
        ("/tcb_status", json!("TerminalStatus"), [3, 97, 2, 0]),
        ("/collateral_expiration_status", json!("1"), [3, 97, 2, 0]),
        ("/quote/body/mr_servicetd", json!(other), [3, 97, 2, 0]),
        ("/quote/body/mr_servicetd", json!("00".repeat(48)), [3, 2, 2, 0]),
        // Debugged; without SEPT_VE_DISABLE; migratable; PKS, which is taken; a bit that nobody knows.
        ("/quote/body/td_attributes", json!("0100001000000000"), [3, 97, 36, 0]),
        ("/quote/body/td_attributes", json!("0000000000000000"), [3, 97, 36, 0]),
        ("/quote/body/td_attributes", json!("0000003000000000"), [3, 97, 36, 0]),
        ("/quote/body/td_attributes", json!("0000005000000000"), [3, 2, 2, 0]),
        ("/quote/body/td_attributes", json!("0000001000000001"), [3, 97, 36, 0]),
        ("/quote/body/td_attributes", json!("000000100000000"), [3, 97, 36, 0]),
        ("/quote/body/xfam", json!("e402060000000000"), [3, 97, 36, 0]),
        ("/quote/body/xfam", json!("e702060000000080"), [3, 97, 36, 0]),
    ] {
        assert_eq!(claims(&export, &td_with(at, value.clone())), want, "{at} {value}");
    }
    // Claims of init-data that was sent are never null.
    let mut fed = td();
    fed["init_data_claims"] = json!({"uuid": "node-1"});
    assert_eq!(claims(&export, &fed), [3, 2, 36, 0]);
    source.pool.allow_init_data = true;
    assert_eq!(claims(&source.export(), &fed), [3, 2, 2, 0]);
    // A launch of an image that no pair allows.
    source.pool.pairs.remove(0);
    assert_eq!(claims(&source.export(), &td()), [33, 2, 36, 0]);
}

#[test]
fn what_the_pool_demands_of_tds_is_demanded() {
    let judged = |policy: Value, input: &Value| {
        let mut source = source();
        source.hardware.tdx = serde_json::from_value(policy).unwrap();
        let export = source.export();
        assert!(
            !export.warnings.iter().any(|text| text.contains("hardware demand tdx")),
            "{:?}",
            export.warnings
        );
        claims(&export, input)[1] == 2
    };
    let body = |name: &str, value: Value| td_with(&format!("/quote/body/{name}"), value);
    for (member, claim) in [
        ("mr-seam", "mr_seam"),
        ("mr-signer-seam", "mrsigner_seam"),
        ("mr-td", "mr_td"),
        ("rtmr0", "rtmr_0"),
        ("rtmr1", "rtmr_1"),
        ("rtmr2", "rtmr_2"),
        ("rtmr3", "rtmr_3"),
        ("mr-config-id", "mr_config_id"),
        ("mr-owner", "mr_owner"),
        ("mr-owner-config", "mr_owner_config"),
    ] {
        let policy = json!({member: ["ab".repeat(48)]});
        assert!(judged(policy.clone(), &body(claim, json!("AB".repeat(48)))), "{member}");
        assert!(!judged(policy, &td()), "{member}");
        assert!(!judged(json!({member: []}), &td()), "{member}: an empty list takes nothing");
    }
    let least = json!({"minimum-tee-tcb-svn": "03000600000000000000000000000000"});
    assert!(!judged(least.clone(), &td()));
    let mut newer = body("tcb_svn", json!("03000A00000000000000000000000000"));
    assert!(judged(least.clone(), &newer));
    newer["tdx"]["quote"]["body"]["tee_tcb_svn2"] = json!("03000500000000000000000000000000");
    assert!(!judged(least.clone(), &newer), "what runs now counts, too");
    let mut launched_old = td();
    launched_old["tdx"]["quote"]["body"]["tee_tcb_svn2"] = json!("03000600000000000000000000000000");
    assert!(!judged(least.clone(), &launched_old));
    assert!(
        !judged(least, &body("tcb_svn", json!("0300060000000000000000000000000000"))),
        "one byte too long"
    );
    let number = json!({"minimum-tcb-evaluation": 17});
    for (seen, taken) in [(json!(17), true), (json!(16), false), (json!("99"), false), (Value::Null, false)] {
        assert_eq!(judged(number.clone(), &td_with("/tcb_eval_num", seen.clone())), taken, "{seen}");
    }
    assert!(!judged(number, &td()), "an older Trustee does not say");
    let debugged = body("td_attributes", json!("0100001000000000"));
    assert!(judged(json!({"danger-debug": true}), &debugged));
    assert!(judged(json!({"danger-sept-ve": true}), &body("td_attributes", json!("0000000000000000"))));
    let hardened = td_with("/tcb_status", json!("SWHardeningNeeded"));
    assert!(!judged(json!({}), &hardened));
    let also = json!({"tcb-statuses": ["up-to-date", "sw-hardening-needed"]});
    assert!(judged(also.clone(), &hardened));
    assert!(judged(also, &td_with("/tcb_status", json!("SoftwareHardeningNeeded"))), "an older word");
    let unknown = td_with("/tcb_status", json!("TerminalStatus"));
    assert!(!judged(json!({"tcb-statuses": ["danger-no-matching-level"]}), &unknown));
    let service = json!({"mr-service-td": ["ab".repeat(48)]});
    assert!(!judged(service.clone(), &td()));
    assert!(judged(service, &body("mr_servicetd", json!("ab".repeat(48)))));
}

#[test]
fn what_trustee_is_stricter_in_is_said() {
    let mut source = source();
    let parts = [
        "no word for danger-no-matching-level",
        "tdx.collateral.danger-grace-days",
        "hardware demand tdx.collateral is not enforced",
        "vtpm-keepers by ID or author key",
    ];
    let said = |export: &Export| parts.map(|part| export.warnings.iter().any(|text| text.contains(part)));
    assert_eq!(said(&source.export()), [false; 4]);
    let policy = json!({
        "azure": {"danger-stale-report": true},
        "tdx": {"tcb-statuses": ["danger-no-matching-level"], "collateral": {"danger-grace-days": 30, "max-age-days": 9}},
        "vtpm-keepers": {"snp-id-key-digests": [hex::encode(KEEPER)]},
    });
    source.hardware = serde_json::from_value(policy).unwrap();
    let export = source.export();
    assert_eq!(said(&export), [true; 4], "{:#?}", export.warnings);
    // What it allows is what Trustee does anyway, and said for every pool.
    assert!(!export.warnings.iter().any(|text| text.contains("demand azure")), "{:#?}", export.warnings);
}

#[test]
fn a_vtpm_of_azure_counts_where_a_listed_paravisor_keeps_it() {
    let export = source().export();
    let azure = |mr_td: &str| {
        let mut claims = td_with("/quote/body/mr_td", json!(mr_td))["tdx"].take();
        claims["tpm"] = pcrs(&Boot::standard());
        json!({"az-tdx-vtpm": claims})
    };
    assert_eq!(claims(&export, &azure(&hex::encode(KEEPER))), [3, 2, 2, 0]);
    // Listed as an image's launch, which keeps nothing.
    assert_eq!(claims(&export, &azure(&"11".repeat(48))), [3, 97, 2, 0]);
    let mut old = azure(&hex::encode(KEEPER));
    old["az-tdx-vtpm"]["tcb_status"] = json!("OutOfDate");
    assert_eq!(claims(&export, &old), [3, 97, 2, 0]);
}
