//! Stock sessions against a scripted service that knows nothing of ccnode.

use crate::server::{COOKIE, Ca, FakeTpm, Reply, Req, Server, nonce};
use ccnode_attest_client::stock::{StockClient, StockOutcome, StockSettings};
use ccnode_attest_client::{AttestError, ClientError, ClockAtLeast, Deadline, InitData, Retry};
use ccnode_evidence::transcript::Transcript;
use ccnode_evidence::{Code, TpmEvidence};
use ccnode_protocol::jwe::{SessionKeyKind, seal};
use ccnode_protocol::{ATTEST, AUTH, Attestation, ResourceUri, TeePubKey};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

const KEY: &str = "/kbs/v0/resource/default/node-1/root";
const FILE: &str = "/kbs/v0/resource/default/node-1/kubeconfig";

fn uri(text: &str) -> ResourceUri {
    text.parse().unwrap()
}

fn wants() -> [ResourceUri; 2] {
    [uri("kbs:///default/node-1/root"), uri("kbs:///default/node-1/kubeconfig")]
}

/// The stock service: an empty challenge, a check of the binding, resources that hold their own path. `change` may answer first.
pub(crate) fn broker(
    change: impl Fn(&Req, usize) -> Option<Reply> + Send + Sync + 'static,
) -> impl Fn(&Req) -> Reply + Send + Sync {
    let key: Mutex<Option<TeePubKey>> = Mutex::default();
    let count = Mutex::new(HashMap::<String, usize>::new());
    move |request| {
        let n = {
            let mut count = count.lock().unwrap();
            *count.entry(request.path.clone()).and_modify(|n| *n += 1).or_insert(1)
        };
        if let Some(reply) = change(request, n) {
            return reply;
        }
        let text = String::from_utf8(request.body.clone()).unwrap();
        assert!(!text.contains("ccnode"), "a stock node sent our member: {text}");
        match request.path.as_str() {
            AUTH => Reply::Json(200, json!({"nonce": nonce().text(), "extra-params": ""})),
            ATTEST => {
                assert_eq!(request.headers.get("cookie").map(String::as_str), Some(COOKIE));
                *key.lock().unwrap() = Some(check(&request.json()));
                Reply::Json(200, json!({"token": "t.o.k"}))
            }
            path => {
                assert_eq!(request.headers.get("cookie").map(String::as_str), Some(COOKIE));
                let key = key.lock().unwrap().clone().expect("attested");
                Reply::Json(200, serde_json::to_value(seal(&key, path.as_bytes()).unwrap()).unwrap())
            }
        }
    }
}

fn check(attestation: &Attestation) -> TeePubKey {
    let key = attestation.runtime_data.stock.tee_pubkey.clone();
    assert!(attestation.runtime_data.ccnode.is_none());
    let transcript = Transcript { additional_evidence: Some(""), nonce: &nonce(), tee_pubkey: &key };
    let evidence: TpmEvidence =
        serde_json::from_value(attestation.tee_evidence.primary_evidence.clone()).unwrap();
    assert_eq!(evidence.tpm_quote.message.0, transcript.stock().unwrap().qualifying_data());
    assert_eq!(evidence.tpm_quote.pcrs.len(), 24);
    key
}

pub(crate) fn client(urls: &[&str], ca: &Ca, key: SessionKeyKind) -> StockClient {
    StockClient::new(StockSettings {
        urls: urls.iter().map(|u| (*u).to_owned()).collect(),
        pins: vec![ca.pem.clone().into_bytes()],
        clock: ClockAtLeast { floor: 0 },
        key,
    })
    .unwrap()
}

pub(crate) async fn fetch(
    client: &mut StockClient,
    ms: u64,
) -> (Result<StockOutcome, ClientError>, Vec<Retry>) {
    let mut waits = Vec::new();
    let deadline = Deadline::after(Duration::from_millis(ms));
    let outcome = client.fetch(&FakeTpm, &wants(), None, deadline, |retry| waits.push(retry)).await;
    let outcome = outcome.map_err(|error| match error {
        AttestError::Client(error) => error,
        AttestError::Source(never) | AttestError::Csr(never) => match never {},
    });
    (outcome, waits)
}

fn stock_problem(status: u16, kind: &str) -> Reply {
    let kind = format!("https://github.com/confidential-containers/kbs/errors/{kind}");
    Reply::Json(status, json!({"type": kind, "detail": "as the service says"}))
}

#[tokio::test]
async fn one_session_reads_every_resource_with_every_type_of_key() {
    let ca = Ca::new();
    for key in [SessionKeyKind::P256, SessionKeyKind::P521, SessionKeyKind::Rsa] {
        let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), broker(|_, _| None)).await;
        let (outcome, waits) = fetch(&mut client(&[&server.url], &ca, key), 60_000).await;
        let outcome = outcome.unwrap();
        assert_eq!(outcome.token, "t.o.k");
        let read: Vec<&[u8]> = outcome.resources.iter().map(|r| r.expose()).collect();
        assert_eq!(read, [KEY.as_bytes(), FILE.as_bytes()]);
        assert_eq!(server.paths(), [AUTH, ATTEST, KEY, FILE]);
        assert!(waits.is_empty(), "{waits:?}");
        assert_eq!(server.requests()[1].json::<Value>()["init-data"], Value::Null);
    }
}

#[tokio::test]
async fn init_data_travel_as_they_are() {
    let ca = Ca::new();
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), broker(|_, _| None)).await;
    let data = InitData { format: "toml".into(), body: "version = \"0.1.0\"\n".into() };
    let mut client = client(&[&server.url], &ca, SessionKeyKind::P256);
    let deadline = Deadline::after(Duration::from_secs(20));
    client.fetch(&FakeTpm, &wants(), Some(&data), deadline, |_| ()).await.unwrap();
    let sent = &server.requests()[1].json::<Value>()["init-data"];
    assert_eq!(*sent, json!({"format": "toml", "body": "version = \"0.1.0\"\n"}));
}

#[tokio::test]
async fn no_401_is_answered_with_another_attestation() {
    let ca = Ca::new();
    let cases = [
        (KEY, "PolicyDeny", Code::ResourceRefused),
        (FILE, "PluginInternalError", Code::ResourceRefused),
        (KEY, "TokenVerifierError", Code::ServiceFailed),
        (KEY, "JweError", Code::ServiceFailed),
        (ATTEST, "AttestationError", Code::EvidenceRefused),
        (AUTH, "AttestationError", Code::ServiceFailed),
    ];
    for (path, kind, code) in cases {
        let script = broker(move |r, _| (r.path == path).then(|| stock_problem(401, kind)));
        let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
        let (outcome, waits) = fetch(&mut client(&[&server.url], &ca, SessionKeyKind::P256), 20_000).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), code, "{path} {kind}: {error}");
        assert!(error.to_string().contains("as the service says"), "{error}");
        assert!(waits.is_empty());
        assert!(server.paths().iter().filter(|p| *p == ATTEST).count() <= 1, "{:?}", server.paths());
    }
}

#[tokio::test]
async fn a_lost_session_is_begun_anew_three_times_at_most() {
    let ca = Ca::new();
    let script = broker(|r, n| (r.path == KEY && n == 1).then(|| stock_problem(401, "TokenNotFound")));
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    fetch(&mut client(&[&server.url], &ca, SessionKeyKind::P256), 20_000).await.0.unwrap();
    assert_eq!(server.paths(), [AUTH, ATTEST, KEY, AUTH, ATTEST, KEY, FILE]);

    let script = broker(|r, _| (r.path == KEY).then(|| stock_problem(401, "TokenNotFound")));
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let error = fetch(&mut client(&[&server.url], &ca, SessionKeyKind::P256), 20_000).await.0.unwrap_err();
    assert_eq!(error.code(), Code::ResourceRefused);
    assert_eq!(server.paths().iter().filter(|p| *p == ATTEST).count(), 3);
}

#[tokio::test]
async fn a_resource_that_does_not_come_is_asked_for_again_in_the_same_session() {
    let ca = Ca::new();
    let cut = || Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{".to_vec());
    let script = broker(move |r, n| (r.path == KEY && n == 1).then(cut));
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    fetch(&mut client(&[&server.url], &ca, SessionKeyKind::P256), 20_000).await.0.unwrap();
    assert_eq!(server.paths(), [AUTH, ATTEST, KEY, KEY, FILE]);
}

#[tokio::test]
async fn t08_a_resource_for_another_key_is_not_taken() {
    let ca = Ca::new();
    let other = ccnode_protocol::jwe::EphemeralKey::generate().public();
    let sealed = serde_json::to_value(seal(&other, b"theirs").unwrap()).unwrap();
    let script = broker(move |r, _| (r.path == KEY).then(|| Reply::Json(200, sealed.clone())));
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let error = fetch(&mut client(&[&server.url], &ca, SessionKeyKind::P256), 20_000).await.0.unwrap_err();
    assert_eq!(error.code(), Code::ServiceGarbage, "{error}");
}

#[tokio::test]
async fn another_hash_is_not_agreed_to() {
    let ca = Ca::new();
    for (params, good) in [
        (Value::Null, true),
        (json!({}), true),
        (json!({"selected-hash-algorithm": "sha384"}), true),
        (json!({"selected-hash-algorithm": "sha256"}), false),
        (json!({"selected-hash-algorithm": 1}), false),
    ] {
        let answer = json!({"nonce": nonce().text(), "extra-params": params});
        let script = broker(move |r, _| (r.path == AUTH).then(|| Reply::Json(200, answer.clone())));
        let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
        let outcome = fetch(&mut client(&[&server.url], &ca, SessionKeyKind::P256), 20_000).await.0;
        assert_eq!(outcome.is_ok(), good);
        if let Err(error) = outcome {
            assert_eq!((error.code(), server.paths().len()), (Code::ServiceGarbage, 1), "{error}");
        }
    }
}
