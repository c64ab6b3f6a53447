//! What load balancers and verifiers of tokens ask a running service.

use crate::fixture::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ccnode_testkit::Seat;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use reqwest::StatusCode;
use serde_json::Value;

async fn status(trust: &Trust, path: &str) -> StatusCode {
    trust.client().get(trust.url(path)).send().await.unwrap().status()
}

#[tokio::test]
async fn ready_means_that_the_store_answers() {
    let trust = Trust::new().await;
    assert_eq!(
        (status(&trust, "/livez").await, status(&trust, "/readyz").await),
        (StatusCode::OK, StatusCode::OK)
    );
    trust.service().store.close().await;
    assert_eq!(status(&trust, "/readyz").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(&trust, "/livez").await, StatusCode::OK, "a restart would not help");
}

#[tokio::test]
async fn tokens_verify_with_the_published_key_that_they_name() {
    let (trust, maker) = ready().await;
    let token = boot(&trust, &tpm(&maker, Seat::A)).await.unwrap().token;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let header = B64.decode(signed.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    let answer = trust.client().get(trust.url("/.well-known/jwks.json")).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "max-age=300");
    let set: Value = answer.json().await.unwrap();
    let keys = set["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == header["kid"] && key["kid"].is_string()).unwrap();
    assert!(key.get("d").is_none(), "the private half");
    let part = |name: &str| B64.decode(key[name].as_str().unwrap()).unwrap();
    let point = [&[4][..], &part("x"), &part("y")].concat();
    let signature = Signature::from_slice(&B64.decode(signature).unwrap()).unwrap();
    VerifyingKey::from_sec1_bytes(&point).unwrap().verify(signed.as_bytes(), &signature).unwrap();
}
