//! docs/openapi.yaml against the running service: every route is described, and every description is how the service answers.

mod page;

use crate::bounds::short;
use crate::fixture::*;
use crate::stock_clients::{soft, stock_config};
use base64::Engine as _;
use ccnode_protocol::admin::{self, AuditRow, OnUnknown, Pair, Rule, TrustLevel};
use ccnode_protocol::{NodeName, REFERENCE_VALUE, REGISTER_AK};
use ccnode_server::store::SqliteStore;
use ccnode_server::{metrics, pki, routes};
use ccnode_testkit::{Boot, MakerCa, Seat, auth_request};
use futures_util::{StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use page::{Page, described};
use reqwest::{Client, Method};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// A path on which nothing is found, though it can be read.
fn filled(path: &str) -> String {
    let part = |part: &str| match part {
        "{pool}" | "{node}" => "nothing".to_owned(),
        "{platform}" | "{image}" => "a".repeat(64),
        "{id}" if [admin::REFUSAL, admin::PROPOSAL, admin::PROPOSAL_APPROVE].contains(&path) => {
            "4000000".to_owned()
        }
        "{id}" => "a".repeat(64),
        "{*path}" => "default/none/of".to_owned(),
        "{repository}" | "{type}" | "{tag}" => "none".to_owned(),
        "{*name}" | "{name}" => "nothing".to_owned(),
        other => other.to_owned(),
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

fn client_of(trust: &Trust, role: &str) -> Client {
    let out = trust.dir().join(role);
    ccnode_server::client::issue(&trust.dir(), "openapi", role, &out).unwrap();
    let pem = ["key.pem", "cert.pem"].map(|name| std::fs::read(out.join(name)).unwrap()).concat();
    let identity = reqwest::Identity::from_pem(&pem).unwrap();
    builder().add_root_certificate(trust.ca()).identity(identity).build().unwrap()
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let trust = Trust::new().await;
    let page = Page::read();
    let (admin, reader) = (client_of(&trust, pki::CLUSTER_ADMIN), client_of(&trust, pki::METRICS));
    let base = format!("https://{}", trust.admin_address());
    let nodes = routes::routes::<SqliteStore>(0).into_iter().map(|(path, _)| (path, false));
    let nodes = nodes.chain(routes::ELSEWHERE.map(|path| (path, false)));
    let admins = [ccnode_server::admin::routes::<SqliteStore>(), ccnode_server::admin::stock::routes()];
    let admins = admins.into_iter().flatten().map(|(path, _)| (path, true));
    let mut routes = BTreeSet::new();
    for (path, is_admin) in nodes.chain(admins) {
        routes.insert(described(path));
        for method in METHODS {
            let url = format!("{}{}", if is_admin { base.clone() } else { trust.url("") }, filled(path));
            let request = |client: &Client| client.request(method.clone(), &url).json(&json!({}));
            let answer = request(&admin).send().await.unwrap();
            let status = answer.status();
            let there = !answer.text().await.unwrap().contains("there is nothing at this path");
            let of = page.operation(path, &method).map(|operation| operation["tags"][0] == "admin");
            // The nodes' listener refuses what administrators ask there, and what nobody asks at the resources.
            let due = of == Some(is_admin) || (!is_admin && there && status == 401);
            assert_eq!(there, due, "{method} {path} {status}: there, and described for {of:?}");
            if of != Some(is_admin) {
                continue;
            }
            page.answer(path, &method, request(&admin).send().await.unwrap()).await;
            if is_admin {
                let nobody = page.answer(path, &method, request(&trust.client()).send().await.unwrap()).await;
                assert_eq!(nobody["code"], "admin-unauthenticated");
                let refused = page.answer(path, &method, request(&reader).send().await.unwrap()).await;
                assert!(path == metrics::PATH || refused["code"] == "role-missing", "{method} {path}");
            }
        }
    }
    let all: BTreeSet<String> = page.page["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(all, routes);
}

fn json_of(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

/// The administrator's part of the story.
struct Desk<'a> {
    page: &'a Page,
    client: Client,
    base: String,
}

impl Desk<'_> {
    async fn call(
        &self,
        method: Method,
        path: &str,
        values: &[&dyn std::fmt::Display],
        body: Option<Value>,
    ) -> Value {
        let request =
            self.client.request(method.clone(), format!("{}{}", self.base, admin::path(path, values)));
        self.page.send(path, &method, request, body.as_ref()).await
    }

    /// Retires a node, and takes it off the record.
    async fn forget(&self, node: &str) {
        for _ in 0..2 {
            assert_eq!(self.call(Method::DELETE, admin::NODE, &[&node], None).await, Value::Null);
        }
    }

    async fn get(&self, path: &str, values: &[&dyn std::fmt::Display]) -> Value {
        self.call(Method::GET, path, values, None).await
    }
}

#[tokio::test]
async fn every_operation_answers_as_described() {
    let trust = Trust::with(|config| {
        stock_config(config);
        config.limits.sessions_per_minute_per_address = 5;
    })
    .await;
    let page = Page::read();
    let base = format!("https://{}", trust.admin_address());
    let desk = Desk { page: &page, client: client_of(&trust, pki::CLUSTER_ADMIN), base };
    let (boot, maker) = (Boot::standard(), MakerCa::new("maker"));

    // A pool with all that there is to say of one.
    let rules = [Rule::DangerHostIsTrusted];
    let pool = json!({"name": POOL, "on-unknown": json_of(&OnUnknown::Ask), "rules": []});
    desk.call(Method::POST, admin::POOLS, &[], Some(pool.clone())).await;
    let again = desk.call(Method::POST, admin::POOLS, &[], Some(pool)).await;
    assert_eq!(again["code"], "conflict");
    desk.call(Method::PATCH, admin::POOL, &[&POOL], Some(json!({"rules": rules, "on-unknown": "enrol"})))
        .await;
    desk.get(admin::POOLS, &[]).await;
    desk.get(admin::POOL, &[&POOL]).await;
    let hardware = desk.get(admin::POOL_HARDWARE, &[&POOL]).await;
    desk.call(Method::PUT, admin::POOL_HARDWARE, &[&POOL], Some(hardware)).await;
    let root = |der: &[u8]| json!({"certificate": pki::pem("CERTIFICATE", der), "level": json_of(&TrustLevel::HypervisorVtpm)});
    for der in [maker.root(), maker.intermediate()] {
        desk.call(Method::POST, admin::EK_ROOTS, &[&POOL], Some(root(&der))).await;
    }
    let (platform, image) = (boot.platform_tuple("qemu"), image(&boot, verity()));
    let pair = Pair { platform: platform.id(), image: image.id() };
    desk.call(Method::POST, admin::PLATFORMS, &[], Some(json_of(&platform))).await;
    desk.call(Method::POST, admin::IMAGES, &[], Some(json_of(&image))).await;
    desk.call(Method::POST, admin::PAIRS, &[&POOL], Some(json_of(&pair))).await;
    for (list, one, id) in
        [(admin::PLATFORMS, admin::PLATFORM, pair.platform), (admin::IMAGES, admin::IMAGE, pair.image)]
    {
        desk.get(list, &[]).await;
        desk.get(one, &[&id]).await;
        assert_eq!(desk.call(Method::DELETE, one, &[&id], None).await["code"], "conflict", "allowed");
    }

    // A node's whole way, and one that is refused.
    let a = tpm(&maker, Seat::A);
    let name = walk(&trust, &page, &a).await;
    desk.call(Method::POST, admin::NODE_ROTATE_KEY, &[&name], Some(json!({"reason": "test"}))).await;
    rotate_key(&trust, &page, &a).await;
    a.cap();
    let session = challenge(&trust, &a).await;
    let (attestation, ..) = session.answer(&a);
    let refused =
        session.send(&page, ccnode_protocol::ATTEST, Method::POST, Some(json_of(&attestation))).await;
    assert!(refused["pcr"].is_u64(), "{refused}");
    a.reboot(crate::proposals::updated());
    assert_eq!(judged_code(&trust, &a).await, ccnode_evidence::Code::PlatformUnknown);
    proposals(&trust, &desk, &name).await;
    let body = json!({"version": "0.4.0", "tee": "tpm", "extra-params": ""});
    // Some come in meanwhile, where the machine is slow.
    for _ in 0..20 {
        let request = trust.client().post(trust.url(ccnode_protocol::AUTH));
        let answer = page.send(ccnode_protocol::AUTH, &Method::POST, request, Some(&body)).await;
        if answer["code"] == "sessions-too-many" {
            break;
        }
        assert_eq!(answer["code"], "stock-not-allowed");
    }
    let large = trust.client().post(trust.url(ccnode_protocol::FORMATTED)).body(vec![b' '; 64 * 1024]);
    page.answer(ccnode_protocol::FORMATTED, &Method::POST, large.send().await.unwrap()).await;
    for path in ["/livez", "/readyz", "/.well-known/jwks.json"] {
        page.send(path, &Method::GET, trust.client().get(trust.url(path)), None).await;
    }

    // What is left of them.
    desk.get(admin::NODES, &[]).await;
    desk.get(admin::NODE, &[&name]).await;
    desk.get(admin::NODE_EVIDENCE, &[&name]).await;
    let refusals = desk.get(admin::REFUSALS, &[]).await;
    desk.get(admin::REFUSAL, &[&refusals[0]["id"]]).await;
    let rows = desk.get(admin::AUDIT, &[]).await;
    assert!(serde_json::from_value::<Vec<AuditRow>>(rows).unwrap().len() > 10);
    desk.get(metrics::PATH, &[]).await;
    let why = || Some(json!({"reason": "test"}));
    let root = json!({"volume": "root", "reason": "test"});
    desk.call(Method::POST, admin::NODE_RECOVERY, &[&name], Some(root)).await;
    for path in [admin::NODE_REGRANT, admin::NODE_REVOKE, admin::NODE_APPROVE] {
        desk.call(Method::POST, path, &[&name], why()).await;
    }
    resources(&trust, &desk, &name).await;
    let retired = desk.call(Method::POST, admin::NODE_RETIRE, &[&name], why()).await;
    assert_eq!(retired["state"], "retired");
    desk.call(Method::DELETE, admin::NODE, &[&name], None).await;
    desk.call(Method::DELETE, admin::PAIR, &[&POOL, &pair.platform, &pair.image], None).await;
    desk.call(Method::DELETE, admin::IMAGE, &[&pair.image], None).await;
    desk.call(Method::DELETE, admin::PLATFORM, &[&pair.platform], None).await;
    let id = ccnode_evidence::Sha256Digest::of(&maker.root());
    desk.call(Method::DELETE, admin::EK_ROOT, &[&POOL, &id], None).await;
    assert_eq!(desk.call(Method::DELETE, admin::POOL, &[&POOL], None).await, Value::Null);
    trust.service().store.close().await;
    page.send("/readyz", &Method::GET, trust.client().get(trust.url("/readyz")), None).await;
    desk.get(admin::POOLS, &[]).await;

    for (path, method, operation) in page.operations() {
        let good = operation["responses"].as_object().unwrap().keys().find(|status| status.starts_with('2'));
        assert!(
            good.is_none_or(|good| page.saw(path, method, good)),
            "{method} {path} was not seen to succeed"
        );
    }
    for status in ["401", "409", "413", "429", "500", "503"] {
        assert!(page.seen.borrow().iter().any(|(.., seen)| seen == status), "{status} was not seen");
    }
}

#[tokio::test]
async fn what_comes_too_slowly_is_told_so_as_described() {
    let trust = Trust::with(|config| {
        (config.limits.request_time, config.limits.body_time) = (short(400), short(200));
    })
    .await;
    let maker = prepare(&trust).await;
    let page = Page::read();
    let (node, admin) = (trust.client(), client_of(&trust, pki::CLUSTER_ADMIN));
    let cookie = challenge(&trust, &tpm(&maker, Seat::A)).await.cookie;
    let mut early = Vec::new();
    for (path, method, operation) in
        page.operations().filter(|(.., operation)| operation["requestBody"].is_object())
    {
        let (client, base) = match operation["tags"][0].as_str() {
            Some("admin") => (&admin, format!("https://{}", trust.admin_address())),
            _ => (&node, trust.url("")),
        };
        let method: Method = method.to_uppercase().parse().unwrap();
        let begun = Frame::data(hyper::body::Bytes::from_static(b"{"));
        let begun = stream::once(std::future::ready(Ok::<_, std::io::Error>(begun))).chain(stream::pending());
        let request = client.request(method.clone(), format!("{base}{}", filled(path)));
        let request = request.header("cookie", &cookie).header("content-type", "application/json");
        let answer = request.body(reqwest::Body::wrap(StreamBody::new(begun))).send().await;
        page.answer(path, &method, answer.unwrap()).await;
        if !page.saw(path, &method.as_str().to_lowercase(), "408") {
            early.push(format!("{method} {path}"));
        }
    }
    assert!(early.is_empty(), "refused before they were read: {early:?}");
}

/// What takes two: withdrawn, and approved.
async fn proposals(trust: &Trust, desk: &Desk<'_>, node: &NodeName) {
    let refusal = desk.get(admin::REFUSALS, &[]).await[0]["id"].clone();
    let make = json!({"action": {"allow-once": {"node": node, "refusal": refusal}}, "reason": "test"});
    let made =
        async || desk.call(Method::POST, admin::PROPOSALS, &[], Some(make.clone())).await["id"].clone();
    let first = made().await;
    desk.get(admin::PROPOSALS, &[]).await;
    desk.get(admin::PROPOSAL, &[&first]).await;
    let own = desk.call(Method::POST, admin::PROPOSAL_APPROVE, &[&first], None).await;
    assert_eq!(own["code"], "second-administrator");
    desk.call(Method::DELETE, admin::PROPOSAL, &[&first], None).await;
    let second = made().await;
    let other = crate::proposals::grace(trust).client;
    let other = Desk { page: desk.page, client: other, base: desk.base.clone() };
    let done = other.call(Method::POST, admin::PROPOSAL_APPROVE, &[&second], None).await;
    assert_eq!((&done["proposed-by"], &done["approved-by"]), (&json!("openapi"), &json!("grace")));
}

/// Resources and reference values, by both ways of saying them, and a key that is registered.
async fn resources(trust: &Trust, desk: &Desk<'_>, node: &NodeName) {
    let name: [&dyn std::fmt::Display; 3] = [&"default", &"key", &"one"];
    let bytes = || Some(json!("what it holds"));
    desk.call(Method::PUT, admin::RESOURCE, &name, bytes()).await;
    desk.get(admin::RESOURCE, &name).await;
    desk.get(admin::RESOURCES, &[]).await;
    for reader in [json!({"node": node}), json!({"pool": POOL})] {
        let record = desk.call(Method::POST, admin::RESOURCE_READERS, &name, Some(reader)).await;
        assert_eq!(record["nodes"], json!([node]));
    }
    for (path, reader) in [(admin::RESOURCE_NODE, node.as_str()), (admin::RESOURCE_POOL, POOL)] {
        let values: [&dyn std::fmt::Display; 4] = [&"default", &"key", &"one", &reader];
        desk.call(Method::DELETE, path, &values, None).await;
    }
    desk.call(Method::DELETE, admin::RESOURCE, &name, None).await;
    let stock = "/kbs/v0/resource/{repository}/{type}/{tag}";
    desk.call(Method::POST, stock, &name, bytes()).await;
    desk.call(Method::DELETE, stock, &name, None).await;
    let payload =
        base64::engine::general_purpose::STANDARD.encode(json!({"tpm_pcr4": ["a".repeat(64)]}).to_string());
    let values = json!({"version": "0.1.0", "type": "sample", "payload": payload});
    desk.call(Method::POST, REFERENCE_VALUE, &[], Some(values)).await;
    desk.get("/kbs/v0/reference-value/{name}", &[&"tpm_pcr4"]).await;
    desk.get(admin::POOL_REFERENCE_VALUES, &[&POOL]).await;
    desk.call(Method::DELETE, admin::POOL_REFERENCE_VALUES, &[&POOL], None).await;
    let rules = json!({"rules": ["danger-no-activation", "danger-open-registration"]});
    desk.call(Method::PATCH, admin::POOL, &[&POOL], Some(rules)).await;
    let key = pki::pem("PUBLIC KEY", &soft(Seat::C).ak_spki());
    let request = trust.client().put(trust.url(REGISTER_AK));
    desk.page.send(REGISTER_AK, &Method::PUT, request, Some(&json!({"public_key": key}))).await;
    let nodes = desk.get(admin::NODES, &[]).await;
    let waiting = nodes.as_array().unwrap().iter().find(|node| node["state"] == "pending").unwrap();
    desk.forget(waiting["name"].as_str().unwrap()).await;
}

impl Challenged {
    async fn send(&self, page: &Page, path: &str, method: Method, body: Option<Value>) -> Value {
        let request = self.client.request(method.clone(), format!("{}{path}", self.base));
        page.send(path, &method, request.header("cookie", &self.cookie), body.as_ref()).await
    }
}

/// A session that puts the next unlock key in force.
async fn rotate_key(trust: &Trust, page: &Page, tpm: &ccnode_testkit::SoftTpm) {
    use ccnode_protocol::{COMMITTED, ROTATED};
    let granted = boot(trust, tpm).await.unwrap();
    let rotation = granted.rotation().unwrap();
    let body = |member: Option<&str>| {
        let mut body = json!({
            "grant": rotation.grant.id, "secret": json_of(&rotation.grant.secret), "generation": 2,
            "header-digest": json_of(&verity()),
        });
        if let Some(member) = member {
            body[member] = json_of(&header());
        }
        Some(body)
    };
    let other = granted.session.send(page, ROTATED, Method::POST, body(Some("replaces"))).await;
    assert_eq!(other["code"], "generation-stale");
    for path in [ROTATED, COMMITTED] {
        granted.session.send(page, path, Method::POST, body(None)).await;
    }
}

/// A node's first boot; answers its name.
async fn walk(trust: &Trust, page: &Page, tpm: &ccnode_testkit::SoftTpm) -> NodeName {
    use ccnode_protocol::{ATTEST, AUTH, CERTIFICATE, FORMATTED, GRANTS, READY, REFUSALS};
    let begin = trust.client().post(trust.url(AUTH));
    page.send(AUTH, &Method::POST, begin, Some(&json_of(&auth_request(tpm, &pool())))).await;
    let session = challenge(trust, tpm).await;
    let (attestation, csr, name) = session.answer(tpm);
    session.send(page, ATTEST, Method::POST, Some(json_of(&attestation))).await;
    let sealed = session.send(page, GRANTS, Method::GET, None).await;
    let sealed = serde_json::from_value(sealed).unwrap();
    let grants: ccnode_protocol::grants::Grants =
        serde_json::from_slice(session.key.open(&sealed).unwrap().expose()).unwrap();
    let granted = Granted { session, grants, csr, token: String::new() };
    let ((id, secret), generation) = (granted.format(), granted.grants.volume().unwrap().generation);
    let spent = |member: &str, digest| {
        Some(
            json!({"grant": id, "secret": json_of(&secret), "generation": generation, member: json_of(&digest)}),
        )
    };
    let mut formatted = spent("header-digest", header());
    formatted.as_mut().unwrap()["recovery"] =
        json_of(&crate::recovery::shares(&granted, &crate::recovery::keys()));
    granted.session.send(page, FORMATTED, Method::POST, formatted).await;
    granted.session.send(page, READY, Method::POST, spent("populated-from", verity())).await;
    let grant = &granted.grants.certificate;
    let csr = json_of(&ccnode_evidence::Base64Url(granted.csr.clone()));
    let body = json!({"grant": grant.id, "secret": json_of(&grant.secret), "csr": csr});
    granted.session.send(page, CERTIFICATE, Method::POST, Some(body)).await;
    let report = json!({"code": "disk-failed", "detail": "read", "correlation-id": "n"});
    granted.session.send(page, REFUSALS, Method::POST, Some(report)).await;
    // The cluster that it joins is a resource of its own.
    let path = format!("/kbs/v0/resource/node/{name}/cluster");
    let request = granted.session.client.get(trust.url(&path)).header("cookie", &granted.session.cookie);
    page.send("/kbs/v0/resource/{repository}/{type}/{tag}", &Method::GET, request, None).await;
    name
}
