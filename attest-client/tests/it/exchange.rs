//! Sessions that go well, or start again and then do.

use crate::server::{Ca, NAME, Reply, Server, attest, challenge, client, grants, problem, service};
use ccnode_attest_client::{Deadline, InitData};
use ccnode_evidence::{Code, Secret, Sha256Digest};
use ccnode_protocol::grants::{CertificateRequest, Committed, Formatted, Ready, Rotated};
use ccnode_protocol::{
    ATTEST, AUTH, CERTIFICATE, COMMITTED, FORMATTED, GRANTS, NodeRefusal, READY, REFUSALS, ROTATED,
};
use serde_json::{Value, json};
use std::time::Duration;

const FAR: u64 = 20_000;

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(FAR))
}

#[tokio::test]
async fn a_session_ends_with_grants() {
    let ca = Ca::new();
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), service(|_, _| None)).await;
    let (outcome, waits) = attest(&mut client(&[&server.url], &ca, 0), FAR).await;
    let outcome = outcome.unwrap();
    assert_eq!(outcome.grants, grants(NAME));
    assert_eq!(outcome.csr, NAME.as_bytes());
    assert_eq!(server.paths(), [AUTH, ATTEST, GRANTS]);
    assert!(waits.is_empty());
    let auth: Value = server.requests()[0].json();
    assert_eq!(
        auth,
        json!({"version": "0.4.0", "tee": "tpm",
            "extra-params": {"ccnode": {"version": 1, "pool": "workers", "ek-cert": "ZWs", "ak": "YWs"}}})
    );
}

#[tokio::test]
async fn init_data_are_bound_by_their_digest() {
    let ca = Ca::new();
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), service(|_, _| None)).await;
    let data = InitData { format: "toml".into(), body: "a = 1".into() };
    let mut client = client(&[&server.url], &ca, 0).with_init_data(Some(data));
    attest(&mut client, FAR).await.0.unwrap();
    let sent: Value = server.requests()[1].json();
    assert_eq!(sent["init-data"], json!({"format": "toml", "body": "a = 1"}));
    assert_eq!(sent["runtime-data"]["ccnode"]["init-data"], json!(Sha256Digest::of(b"a = 1")));
}

#[tokio::test]
async fn failures_are_tried_again_and_refusals_are_not() {
    let ca = Ca::new();
    let script = service(|r, n| (r.path == AUTH && n <= 2).then(|| Reply::Json(500, json!({}))));
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let (outcome, waits) = attest(&mut client(&[&server.url], &ca, 0), FAR).await;
    outcome.unwrap();
    assert_eq!(waits.len(), 2);
    assert!(waits[0].reason.contains("status 500") && waits[1].left < waits[0].left, "{waits:?}");

    for (path, code) in [(AUTH, "pool-unknown"), (ATTEST, "image-unknown"), (GRANTS, "releases-exhausted")] {
        let script = service(move |r, _| (r.path == path).then(|| problem(401, code)));
        let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
        let (outcome, waits) = attest(&mut client(&[&server.url], &ca, 0), FAR).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.code().as_str(), code);
        let refused = error.refused().unwrap();
        assert_eq!((refused.pcr, refused.correlation_id.as_deref()), (Some(9), Some("c-1")));
        assert!(waits.is_empty());
        assert_eq!(server.paths().iter().filter(|p| *p == path).count(), 1);
    }
}

#[tokio::test]
async fn t09_a_spent_or_expired_session_is_begun_anew_and_never_repeated() {
    let ca = Ca::new();
    for code in ["nonce-spent", "session-expired", "session-unknown"] {
        let script = service(move |r, n| (r.path == ATTEST && n == 1).then(|| problem(401, code)));
        let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
        attest(&mut client(&[&server.url], &ca, 0), FAR).await.0.unwrap();
        assert_eq!(server.paths(), [AUTH, ATTEST, AUTH, ATTEST, GRANTS]);
        let keys: Vec<Value> = server
            .requests()
            .iter()
            .filter(|r| r.path == ATTEST)
            .map(|r| r.json::<Value>()["runtime-data"]["tee-pubkey"].clone())
            .collect();
        assert_ne!(keys[0], keys[1], "each session has a key of its own");
    }
    // A service that always says so is given up before the deadline.
    let server = Server::start(
        ca.server((2020, 2098), "127.0.0.1"),
        service(|r, _| (r.path == ATTEST).then(|| problem(401, "nonce-spent"))),
    )
    .await;
    let error = attest(&mut client(&[&server.url], &ca, 0), FAR).await.0.unwrap_err();
    assert_eq!(error.code(), Code::NonceSpent);
    assert_eq!(server.paths().len(), 6);
}

#[tokio::test]
async fn delivery_repeats_within_the_session() {
    let ca = Ca::new();
    let script = service(|r, n| {
        (r.path == GRANTS && n <= 2)
            .then(|| Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_vec()))
    });
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let (outcome, waits) = attest(&mut client(&[&server.url], &ca, 0), FAR).await;
    outcome.unwrap();
    assert_eq!(server.paths(), [AUTH, ATTEST, GRANTS, GRANTS, GRANTS]);
    assert_eq!(waits.len(), 2);
}

#[tokio::test]
async fn the_url_that_answers_is_kept() {
    let ca = Ca::new();
    let config = ca.server((2020, 2098), "127.0.0.1");
    let sick = Server::start(config.clone(), |_| Reply::Json(503, Value::Null)).await;
    let well = Server::start(config, service(|_, _| None)).await;
    let mut client = client(&[&sick.url, &well.url], &ca, 0);
    attest(&mut client, FAR).await.0.unwrap();
    assert_eq!(client.url(), well.url);
    let ready = Ready {
        grant: "g".into(),
        secret: Secret::new([1; 32]),
        generation: 1,
        populated_from: Sha256Digest::ZERO,
    };
    client.ready(&ready, soon(), |_| ()).await.unwrap();
    assert_eq!(sick.paths(), [AUTH]);
}

#[tokio::test]
async fn grants_are_spent_until_they_are_answered() {
    let ca = Ca::new();
    let grants = [FORMATTED, READY, ROTATED, COMMITTED, CERTIFICATE];
    let script =
        service(move |r, n| (n == 1 && grants.contains(&r.path.as_str())).then(|| Reply::Raw(Vec::new())));
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let mut client = client(&[&server.url], &ca, 0);
    attest(&mut client, FAR).await.0.unwrap();
    let (grant, secret) = ("g".to_owned(), Secret::new([1; 32]));
    let digest = Sha256Digest::ZERO;
    let formatted = Formatted {
        grant: grant.clone(),
        secret: secret.clone(),
        generation: 7,
        header_digest: digest,
        recovery: None,
    };
    client.formatted(&formatted, soon(), |_| ()).await.unwrap();
    let ready = Ready { grant: grant.clone(), secret: secret.clone(), generation: 7, populated_from: digest };
    client.ready(&ready, soon(), |_| ()).await.unwrap();
    let (id, key) = (grant.clone(), secret.clone());
    let rotated =
        Rotated { grant: id, secret: key, generation: 8, header_digest: digest, replaces: Some(digest) };
    client.rotated(&rotated, soon(), |_| ()).await.unwrap();
    let (id, key) = (grant.clone(), secret.clone());
    let committed = Committed { grant: id, secret: key, generation: 8, header_digest: digest };
    client.committed(&committed, soon(), |_| ()).await.unwrap();
    let request = CertificateRequest { grant, secret, csr: b"csr".to_vec().into() };
    assert_eq!(client.certificate(&request, soon(), |_| ()).await.unwrap().chain, "pem");
    assert_eq!(server.paths()[3..], grants.map(|path| [path; 2]).concat());
    for repeated in server.requests()[3..].chunks(2) {
        assert_eq!(repeated[0].body, repeated[1].body, "the repeat has equal values");
    }
}

#[tokio::test]
async fn a_refusal_is_reported_once_and_only_with_a_session() {
    let ca = Ca::new();
    let script = service(|r, _| (r.path == REFUSALS).then(|| Reply::Json(500, json!({}))));
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let mut client = client(&[&server.url], &ca, 0);
    let refusal = NodeRefusal { code: Code::DiskMissing, detail: "d".into(), correlation_id: "i".into() };
    client.refusal(&refusal, Duration::from_secs(2)).await.unwrap();
    assert!(server.paths().is_empty());
    attest(&mut client, FAR).await.0.unwrap();
    assert!(client.refusal(&refusal, Duration::from_secs(2)).await.is_err());
    assert_eq!(server.paths().iter().filter(|p| *p == REFUSALS).count(), 1);
}

#[tokio::test]
async fn t08_grants_for_another_key_or_another_node_are_not_taken() {
    let ca = Ca::new();
    // Sealed to a key of the server's own: what a relay that kept the session would hand on.
    let other = ccnode_protocol::jwe::EphemeralKey::generate().public();
    let plain = serde_json::to_vec(&grants(NAME)).unwrap();
    let sealed = serde_json::to_value(ccnode_protocol::jwe::seal(&other, &plain).unwrap()).unwrap();
    let script = service(move |r, _| (r.path == GRANTS).then(|| Reply::Json(200, sealed.clone())));
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let error = attest(&mut client(&[&server.url], &ca, 0), FAR).await.0.unwrap_err();
    assert_eq!(error.code(), Code::ServiceGarbage);
    assert!(error.to_string().contains("does not open"), "{error}");

    // The right key, another node's grants.
    let key = std::sync::Mutex::new(None);
    let script = service(move |r, _| match r.path.as_str() {
        ATTEST => {
            *key.lock().unwrap() = Some(crate::server::check(&r.json()));
            None
        }
        GRANTS => {
            let plain = serde_json::to_vec(&grants("workers-other")).unwrap();
            let key = key.lock().unwrap().clone().unwrap();
            Some(Reply::Json(
                200,
                serde_json::to_value(ccnode_protocol::jwe::seal(&key, &plain).unwrap()).unwrap(),
            ))
        }
        _ => None,
    });
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let error = attest(&mut client(&[&server.url], &ca, 0), FAR).await.0.unwrap_err();
    assert_eq!(error.code(), Code::ServiceGarbage);
    assert!(error.to_string().contains("workers-other"), "{error}");
}

#[tokio::test]
async fn a_stock_challenge_is_not_answered() {
    let ca = Ca::new();
    for params in
        [json!(""), Value::Null, json!({"supported-hash-algorithms": []}), json!({"ccnode": {"version": 1}})]
    {
        let script = service(move |r, _| {
            (r.path == AUTH).then(|| {
                Reply::Json(200, json!({"nonce": crate::server::nonce().text(), "extra-params": params}))
            })
        });
        let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
        let error = attest(&mut client(&[&server.url], &ca, 0), FAR).await.0.unwrap_err();
        assert_eq!(error.code(), Code::ChallengeStock);
        assert_eq!(server.paths(), [AUTH]);
    }
    // Nor is one of a later version.
    let Reply::Json(status, mut later) = challenge() else { unreachable!() };
    later["extra-params"]["ccnode"]["version"] = json!(2);
    let script = service(move |r, _| (r.path == AUTH).then(|| Reply::Json(status, later.clone())));
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let error = attest(&mut client(&[&server.url], &ca, 0), FAR).await.0.unwrap_err();
    assert_eq!(error.code(), Code::ChallengeStock);
}
