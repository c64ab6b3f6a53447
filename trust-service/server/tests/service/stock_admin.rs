//! Stock administrators: what their client sends, by which token, what it opens, and what it is told of policies.

use crate::fixture::*;
use crate::stock_clients::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as B64};
use ccnode_evidence::Code;
use ccnode_protocol::admin::{self, AuditRow, NodeState, OnUnknown, Rule};
use ccnode_protocol::{PROBLEM_TYPE_BASE, Problem, REGISTER_AK};
use ccnode_server::pki;
use ccnode_server::store::SqliteStore;
use ccnode_testkit::{Boot, Seat};
use reqwest::Method;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An administrator's key pair.
struct Key(Ed25519KeyPair);

impl Key {
    fn new() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap())
    }

    fn pem(&self) -> String {
        pki::pem("PUBLIC KEY", &[&SPKI[..], self.0.public_key().as_ref()].concat())
    }

    /// A token as the stock client makes it, until so many seconds from `now`.
    fn token(&self, now: u64, seconds: i64) -> String {
        let until = now.saturating_add_signed(seconds);
        let claims = json!({"iat": now.min(until), "nbf": now.min(until), "exp": until});
        let signed =
            format!("{}.{}", B64.encode(r#"{"alg": "EdDSA", "typ": "JWT"}"#), B64.encode(claims.to_string()));
        format!("{signed}.{}", B64.encode(self.0.sign(signed.as_bytes())))
    }
}

async fn with_key(rules: &[Rule]) -> (Trust, Key) {
    let key = Key::new();
    let pem = key.pem();
    let mut trust = Trust::with(|config| {
        stock_config(config);
    })
    .await;
    std::fs::write(trust.dir().join("admin.pub.pem"), pem).unwrap();
    let mut config = ccnode_server::config::Config::load(&trust.dir()).unwrap();
    config.stock.as_mut().unwrap().admin_keys = vec!["admin.pub.pem".into()];
    std::fs::write(trust.dir().join("config.toml"), toml::to_string(&config).unwrap()).unwrap();
    trust.restart().await;
    trust.admin().create_pool(OnUnknown::Enrol, rules).await;
    trust.admin().allow(&Boot::standard(), verity()).await;
    (trust, key)
}

/// Status and body of a request to the administrators' listener without a client certificate.
async fn send(
    trust: &Trust,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Vec<u8>,
) -> (u16, Vec<u8>) {
    let url = format!("https://{}{path}", trust.admin_address());
    let mut request = trust.client().request(method, url).body(body);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

/// Type and code of a refusal.
fn problem(body: &[u8]) -> (String, Option<Code>) {
    let problem: Problem = serde_json::from_slice(body).unwrap();
    (problem.kind.strip_prefix(PROBLEM_TYPE_BASE).unwrap().to_owned(), problem.code)
}

fn values(values: &Value) -> Vec<u8> {
    let payload = STANDARD.encode(values.to_string());
    json!({"version": "0.1.0", "type": "sample", "payload": payload}).to_string().into_bytes()
}

#[tokio::test]
async fn the_stock_administrators_client_sets_resources_and_reference_values() {
    let (trust, key) = with_key(&RULES).await;
    let token = key.token(trust.service().now(), 7200);
    let send = async |method, path: &str, body: Vec<u8>| send(&trust, method, path, Some(&token), body).await;
    let post = async |path: &str, body: Vec<u8>| send(Method::POST, path, body).await;
    let (client, _) = stock_join(&trust, &soft(Seat::A)).await.unwrap();
    let name = nodes(&trust).await[0].name.clone();
    let own = format!("/kbs/v0/resource/{name}/key/luks");
    assert_eq!(
        post(&own, b"luks-passphrase".to_vec()).await,
        (200, Vec::new()),
        "as recorded: an empty body"
    );
    assert_eq!(client.resource(&format!("{name}/key/luks")).await.unwrap(), b"luks-passphrase");
    assert_eq!(send(Method::DELETE, &own, Vec::new()).await.0, 200);
    assert_eq!(code(client.resource(&format!("{name}/key/luks")).await), Code::ResourceUnknown);

    let pcr = |index: u8| Boot::standard().pcrs().0[&ccnode_testkit::pcr(index)].hex();
    let good = json!({"tpm_pcr4": [pcr(4)], "tpm_pcr7": [pcr(7)], "tpm_pcr14": [pcr(14)]});
    assert_eq!(post("/kbs/v0/reference-value", values(&good)).await, (200, Vec::new()));
    let (status, body) = send(Method::GET, "/kbs/v0/reference-value/tpm_pcr4", Vec::new()).await;
    assert_eq!((status, serde_json::from_slice::<Value>(&body).unwrap()), (200, json!([pcr(4)])));
    let (_, token_of_node) = stock_join(&trust, &soft(Seat::A)).await.unwrap();
    let ours = &claims(&token_of_node)["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["ccnode"];
    assert_eq!(ours["reference-values"].as_array().unwrap().len(), 3);
    let ours: Value = trust.admin().get(&admin::path(admin::POOL_REFERENCE_VALUES, &[&POOL])).await;
    assert_eq!(ours, good);
    trust.admin().delete(&admin::path(admin::POOL_REFERENCE_VALUES, &[&POOL])).await.unwrap();
    let ours: Value = trust.admin().get(&admin::path(admin::POOL_REFERENCE_VALUES, &[&POOL])).await;
    assert_eq!(ours, json!({}));

    // What nothing would be compared with is refused when it is posted.
    for (path, body, kind, code) in [
        ("/kbs/v0/reference-value", values(&json!({"svn": ["1"]})), "RvpsError", Code::MalformedRequest),
        ("/kbs/v0/reference-value", values(&json!({"tpm_pcr4": [1]})), "RvpsError", Code::MalformedRequest),
        ("/kbs/v0/reference-value", b"{}".to_vec(), "RvpsError", Code::MalformedRequest),
        ("/kbs/v0/resource/.a/b/c", b"x".to_vec(), "PluginInternalError", Code::MalformedRequest),
        ("/kbs/v0/resource-policy", b"{}".to_vec(), "PolicyEngineError", Code::PolicyIsData),
        ("/kbs/v0/attestation-policy", b"{}".to_vec(), "PolicyEngineError", Code::PolicyIsData),
    ] {
        let (status, answer) = post(path, body).await;
        assert_eq!((status, problem(&answer)), (401, (kind.to_owned(), Some(code))), "{path}");
    }
    let (status, answer) = post("/kbs/v0/resource-policy", b"{}".to_vec()).await;
    let detail = serde_json::from_slice::<Problem>(&answer).unwrap().detail;
    assert!(status == 401 && detail.contains("`ccnode resource allow`"), "{detail}");
    let (status, answer) = send(Method::GET, "/kbs/v0/reference-value/nosuch", Vec::new()).await;
    assert_eq!((status, problem(&answer)), (401, ("RvpsError".into(), Some(Code::NotFound))));
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    let set = rows.iter().find(|row| row.action == "resource.set").unwrap();
    assert!(set.actor.starts_with("admin:stock-key-"), "{}", set.actor);
    assert!(!serde_json::to_string(&rows).unwrap().contains("luks-passphrase"), "t21");
}

#[tokio::test]
async fn t20_a_token_opens_the_stock_paths_and_nothing_else() {
    let (trust, key) = with_key(&RULES).await;
    let now = trust.service().now();
    let good = key.token(now, 7200);
    let stock = ccnode_server::admin::stock::routes::<SqliteStore>();
    assert_eq!(stock.len(), 5);
    let stock: Vec<String> = stock.iter().map(|(path, _)| path.replace(['{', '}'], "")).collect();
    let methods = || [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    // No token, tokens of another key, of yesterday, of a year, and one of a node.
    let (_, node) = stock_join(&trust, &soft(Seat::A)).await.unwrap();
    let none = [
        None,
        Some(Key::new().token(now, 7200)),
        Some(key.token(now, -1)),
        Some(key.token(now, 366 * 86400)),
        Some(node),
        Some(String::new()),
    ];
    for path in &stock {
        for method in methods() {
            for token in &none {
                let (status, body) =
                    send(&trust, method.clone(), path, token.as_deref(), b"{}".to_vec()).await;
                assert_eq!(
                    (status, problem(&body)),
                    (401, ("AdminAuthInitialization".to_owned(), Some(Code::AdminUnauthenticated))),
                    "{method} {path} {token:?}"
                );
            }
        }
    }
    // A good token, everywhere else.
    let ours = ccnode_server::admin::routes::<SqliteStore>();
    let mut others: Vec<String> = ours.iter().map(|(path, _)| path.replace(['{', '}'], "")).collect();
    others.extend(
        [
            "/",
            "/kbs/v0/auth",
            "/kbs/v0/resource",
            "/kbs/v0/resource/a/b",
            "/kbs/v0/resource/a/b/c/d",
            "/kbs/v0/none",
        ]
        .map(str::to_owned),
    );
    for path in &others {
        for method in methods() {
            let (status, body) = send(&trust, method.clone(), path, Some(&good), b"{}".to_vec()).await;
            assert_eq!(
                (status, problem(&body).1),
                (401, Some(Code::AdminUnauthenticated)),
                "{method} {path}"
            );
        }
    }
    // A certificate of another role is not made up for by a token.
    let dir = trust.dir();
    let ca = std::fs::read_to_string(dir.join("tls/ca.pem")).unwrap();
    let ca_key = rcgen::KeyPair::from_pem(&std::fs::read_to_string(dir.join("tls/ca.key")).unwrap()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&ca, ca_key).unwrap();
    let auditor = pki::admin("eve", "auditor", &issuer, time::OffsetDateTime::now_utc()).unwrap();
    let auditor = trust.admin_with(&[auditor.key.expose(), auditor.cert.as_bytes()].concat());
    let refused = auditor.call::<Value>(Method::GET, "/kbs/v0/reference-value/x", &()).await.unwrap_err();
    assert_eq!((refused.status.as_u16(), refused.problem.code), (401, Some(Code::RoleMissing)));
    // And the administrator's certificate opens them as it does all others.
    let own: Answered<Value> = trust.admin().call(Method::GET, "/kbs/v0/reference-value/x", &()).await;
    assert_eq!(code(own), Code::NotFound);
}

#[tokio::test]
async fn t20_without_keys_no_token_is_one_and_nodes_have_no_such_path() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let token = Key::new().token(trust.service().now(), 60);
    let (status, body) =
        send(&trust, Method::POST, "/kbs/v0/resource/a/b/c", Some(&token), b"x".to_vec()).await;
    assert_eq!((status, problem(&body).1), (401, Some(Code::AdminUnauthenticated)));
    for path in [
        "/kbs/v0/resource/a/b/c",
        "/kbs/v0/reference-value",
        "/kbs/v0/resource-policy",
        "/kbs/v0/attestation-policy",
    ] {
        let request = trust.client().post(trust.url(path)).header("authorization", format!("Bearer {token}"));
        let response = request.body("x").send().await.unwrap();
        let status = response.status().as_u16();
        let told = problem(&response.bytes().await.unwrap());
        assert_eq!(
            (status, told),
            (401, ("AdminAuthInitialization".into(), Some(Code::AdminUnauthenticated))),
            "{path}"
        );
    }
    assert!(trust.admin().get::<Vec<Value>>(admin::RESOURCES).await.is_empty());
}

async fn register(trust: &Trust, body: &Value) -> Answered<Value> {
    let request = trust.client().put(trust.url(REGISTER_AK)).json(body);
    read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_registered_key_waits_proves_nothing_and_is_registered_once() {
    let trust = stocked(OnUnknown::Refuse, &[Rule::DangerNoActivation]).await;
    let tpm = soft(Seat::A);
    let pem = pki::pem("PUBLIC KEY", &tpm.ak_spki());
    let body = json!({"attestation_key": pem, "uuid": "28632274-8c8a"});
    assert_eq!(code(register(&trust, &body).await), Code::AkRegistrationNotAllowed);
    let rules = vec![Rule::DangerNoActivation, Rule::DangerOpenRegistration];
    edit_pool(&trust, admin::PoolEdit { rules: Some(rules), ..Default::default() }).await;
    assert_eq!(register(&trust, &body).await.unwrap(), json!({"status": "success"}));
    let again = json!({"public_key": STANDARD.encode(tpm.ak_spki())});
    assert_eq!(
        register(&trust, &again).await.unwrap(),
        json!({"status": "success"}),
        "the other form, the same key"
    );
    let [node] = nodes(&trust).await.try_into().unwrap();
    assert_eq!((node.state, node.level, node.attested), (NodeState::Pending, None, None));
    assert!(node.reason.clone().unwrap().contains("28632274-8c8a"), "{:?}", node.reason);
    assert_eq!(code(stock_join(&trust, &tpm).await.map(|_| ())), Code::NodePending);
    act(&trust, admin::NODE_APPROVE, &node.name).await.unwrap();
    stock_join(&trust, &tpm).await.unwrap();
    // Registered once more, nothing changes; what is no key is refused.
    register(&trust, &again).await.unwrap();
    assert_eq!(nodes(&trust).await[0].state, NodeState::Active);
    for (key, due) in [
        ("!".to_owned(), Code::AkMalformed),
        (STANDARD.encode(b"no key"), Code::AkMalformed),
        (pki::pem("CERTIFICATE", &tpm.ek_cert()), Code::AkCertMalformed),
        (
            STANDARD.encode(soft(Seat::A).with_ak(ccnode_testkit::AkKind::EcdsaP256).ak_spki()),
            Code::AkMalformed,
        ),
    ] {
        assert_eq!(code(register(&trust, &json!({"public_key": key})).await), due);
    }
    assert_eq!(nodes(&trust).await.len(), 1);
}

#[tokio::test]
async fn t25_registrations_are_bounded() {
    let trust = Trust::with(|config| {
        stock_config(config);
        config.stock.as_mut().unwrap().newcomers_per_minute = 1;
    })
    .await;
    let rules = [Rule::DangerNoActivation, Rule::DangerOpenRegistration];
    trust.admin().create_pool(OnUnknown::Refuse, &rules).await;
    let tried =
        async |seat| register(&trust, &json!({"public_key": STANDARD.encode(soft(seat).ak_spki())})).await;
    tried(Seat::A).await.unwrap();
    assert_eq!(code(tried(Seat::B).await), Code::RateLimited);
    tried(Seat::A).await.unwrap();
    assert_eq!(nodes(&trust).await.len(), 1);
}
