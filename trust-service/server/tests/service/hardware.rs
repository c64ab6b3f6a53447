//! What a pool demands of hardware, set by an administrator and in force at the next attestation.

use crate::fixture::*;
use crate::machines::*;
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::admin::{self, AuditRow, Rule};
use ccnode_testkit::{Machine, Seat};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn t12_a_least_level_keeps_weaker_evidence_out() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let set = try_demand(&trust, &json!({"least-level": "tee"})).await.unwrap();
    assert_eq!(set["least-level"], "tee");
    assert_eq!(judged_code(&trust, &tpm).await, Code::LevelTooLow);
    demand(&trust, &json!({"kinds": ["snp"]})).await;
    assert_eq!(judged_code(&trust, &tpm).await, Code::KindNotAllowed);
    demand(&trust, &json!({})).await;
    assert!(boot(&trust, &tpm).await.is_ok(), "the whole policy takes the place of the one before");
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    let set = rows.iter().rev().find(|row| row.action == "pool.hardware").unwrap();
    assert_eq!(
        (&set.detail["from"]["least-level"], &set.detail["to"]["least-level"]),
        (&Value::Null, &json!("tee"))
    );
}

#[tokio::test]
async fn a_policy_that_could_never_work_is_refused() {
    let (trust, _) = ready().await;
    let before = json!({"least-level": "hypervisor-vtpm", "snp": {"require-crl": true}});
    let before = try_demand(&trust, &before).await.unwrap();
    let image = Sha256Digest::of(b"nobody's");
    let launch = json!({"image": image, "measurement": "11".repeat(48)});
    let malformed = [
        json!([]),
        json!("tee"),
        json!({"snp": []}),
        json!({"tdx": []}),
        json!({"azure": [true]}),
        json!({"vtpm-keepers": []}),
        json!({"least-level": "tee-bound"}),
        json!({"kinds": ["snp", "sgx"]}),
        json!({"snp": {"measurements": ["11"]}}),
        json!({"snp": {"minimum-tcb": {"rome": {"snp": 1}}}}),
        json!({"snp": {"minimum-tcb": {"milan": {"snp": 256}}}}),
        json!({"snp": {"vmpl": [0, 4]}}),
        json!({"tdx": {"mr-td": ["zz".repeat(48)]}}),
        json!({"tdx": {"minimum-tcb-evaluation": -1}}),
        json!({"snp": {"danger-roots": [{"product": "milan", "certificates": "no PEM"}]}}),
        json!({"tdx": {"danger-roots": ["no PEM"]}}),
        json!({"vtpm-keepers": {"tdx-mr-td": ["22".repeat(32)]}}),
        json!({"snp-launches": [{"image": image}]}),
    ];
    for policy in malformed {
        let got = try_demand(&trust, &policy).await.unwrap_err();
        assert_eq!(got.problem.code, Some(Code::MalformedRequest), "{policy}");
    }
    let got = try_demand(&trust, &json!({"snp-launches": [launch]})).await.unwrap_err();
    assert_eq!(got.problem.code, Some(Code::NotFound));
    let path = admin::path(admin::POOL_HARDWARE, &[&"none"]);
    let none = trust.admin().call::<Value>(Method::PUT, &path, &json!({})).await;
    assert_eq!(code(none), Code::NotFound);
    let path = admin::path(admin::POOL_HARDWARE, &[&POOL]);
    assert_eq!(trust.admin().get::<Value>(&path).await, before, "what was refused changed nothing");
}

#[tokio::test]
async fn unknown_members_are_refused_at_every_depth() {
    let (trust, _) = ready().await;
    for policy in [
        json!({"least-levels": "tee"}),
        json!({"snp": {"minimum-tbc": {}}}),
        json!({"snp": {"minimum-tcb": {"milan": {"microcod": 1}}}}),
        json!({"snp": {"platform": {"ecx": true}}}),
        json!({"snp": {"guest-policy": {"cxk": true}}}),
        json!({"tdx": {"mrtd": []}}),
        json!({"tdx": {"collateral": {"max-age": 3}}}),
        json!({"azure": {"stale": true}}),
        json!({"vtpm-keepers": {"measurements": []}}),
        json!({"snp-launches": [{"image": Sha256Digest::of(b""), "measurement": "11".repeat(48), "x": 1}]}),
        json!({"tdx-launches": [{"mrtd": ""}]}),
    ] {
        let got = try_demand(&trust, &policy).await.unwrap_err();
        assert_eq!(got.problem.code, Some(Code::MalformedRequest), "{policy}");
    }
}

#[tokio::test]
async fn t19_what_weakens_a_pool_has_danger_in_its_name() {
    let (trust, _) = ready().await;
    for (weak, danger) in [
        (json!({"snp": {"debug": true}}), json!({"snp": {"danger-debug": true}})),
        (json!({"snp": {"migration": true}}), json!({"snp": {"danger-migration": true}})),
        (json!({"snp": {"roots": []}}), json!({"snp": {"danger-roots": []}})),
        (json!({"tdx": {"debug": true}}), json!({"tdx": {"danger-debug": true}})),
        (json!({"tdx": {"attributes-allowed": "0x1"}}), json!({"tdx": {"danger-debug": true}})),
        (json!({"tdx": {"attributes-required": "0x10000080"}}), json!({"tdx": {"danger-debug": true}})),
        (json!({"tdx": {"sept-ve": true}}), json!({"tdx": {"danger-sept-ve": true}})),
        (
            json!({"tdx": {"tcb-statuses": ["no-matching-level"]}}),
            json!({"tdx": {"tcb-statuses": ["danger-no-matching-level"]}}),
        ),
        (
            json!({"tdx": {"collateral": {"grace-days": 9}}}),
            json!({"tdx": {"collateral": {"danger-grace-days": 9}}}),
        ),
        (json!({"azure": {"stale-report": true}}), json!({"azure": {"danger-stale-report": true}})),
    ] {
        let got = try_demand(&trust, &weak).await.unwrap_err();
        assert_eq!(got.problem.code, Some(Code::MalformedRequest), "{weak}");
        try_demand(&trust, &danger).await.unwrap_or_else(|e| panic!("{danger}: {e:?}"));
    }
    // A revoked platform is taken by no name at all.
    for name in ["revoked", "danger-revoked"] {
        let got = try_demand(&trust, &json!({"tdx": {"tcb-statuses": [name]}})).await.unwrap_err();
        assert_eq!(got.problem.code, Some(Code::MalformedRequest), "{name}");
    }
}

#[tokio::test]
async fn demands_hold_for_who_is_enrolled_already() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let machine: Machine = certified_svsm(&maker, Seat::A);
    join(&trust, &machine).await.unwrap();
    edit_demands(&trust, |policy| policy["snp"]["chip-ids-allowed"] = json!([])).await;
    assert_eq!(refused(&trust, &machine).await, Code::SnpChip);
    edit_demands(&trust, |policy| policy["snp"]["chip-ids-allowed"] = Value::Null).await;
    join(&trust, &machine).await.unwrap();
}
