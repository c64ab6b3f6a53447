//! What a pool demands of hardware, set by an administrator and in force at the next attestation.

use crate::fixture::*;
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::admin;
use ccnode_testkit::Seat;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn t12_a_least_level_keeps_weaker_evidence_out() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let path = admin::path(admin::POOL_HARDWARE, &[&POOL]);
    let put = async |policy: Value| trust.admin().call::<Value>(Method::PUT, &path, &policy).await;

    let set = put(json!({"least-level": "tee"})).await.unwrap();
    assert_eq!(set["least-level"], "tee");
    assert_eq!(judged_code(&trust, &tpm).await, Code::LevelTooLow);
    put(json!({"kinds": ["snp"]})).await.unwrap();
    assert_eq!(judged_code(&trust, &tpm).await, Code::KindNotAllowed);
    put(json!({})).await.unwrap();
    assert!(boot(&trust, &tpm).await.is_ok(), "the whole policy takes the place of the one before");
}

#[tokio::test]
async fn a_policy_that_could_never_work_is_refused() {
    let (trust, _) = ready().await;
    let path = admin::path(admin::POOL_HARDWARE, &[&POOL]);
    let image = Sha256Digest::of(b"nobody's");
    let launch = json!({"image": image, "measurement": "11".repeat(48)});
    for (policy, code) in [
        (json!({"snp-launches": [launch]}), Code::NotFound),
        (json!({"least-levels": "tee"}), Code::MalformedRequest),
        (json!({"snp": {"measurements": ["11"]}}), Code::MalformedRequest),
    ] {
        let got = trust.admin().call::<Value>(Method::PUT, &path, &policy).await.unwrap_err();
        assert_eq!(got.problem.code, Some(code), "{policy}");
    }
}
