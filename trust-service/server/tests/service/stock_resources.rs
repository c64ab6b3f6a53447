//! Resources: whose they are, who reads them by cookie and by token, and what is never told of them.

use crate::fixture::*;
use crate::stock_clients::*;
use ccnode_evidence::Code;
use ccnode_protocol::admin::{self, AuditRow, OnUnknown, Reader, ResourceRecord, TrustLevel};
use ccnode_protocol::jwe::Jwe;
use ccnode_protocol::{PROBLEM_TYPE_BASE, limits};
use ccnode_testkit::{MakerCa, Seat};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const SECRET: &[u8] = b"the key of a LUKS volume";

impl Admin {
    /// Sets a resource by the administrators' own path.
    pub(crate) async fn set(&self, name: &str, content: &[u8]) -> Answered<ResourceRecord> {
        self.put_bytes(&format!("{}/{name}", admin::RESOURCES), content).await
    }

    pub(crate) async fn allow_reader(&self, name: &str, reader: &Reader) -> Answered<ResourceRecord> {
        self.call(Method::POST, &format!("{}/{name}/readers", admin::RESOURCES), reader).await
    }
}

/// Status, type and code of a reading by a token.
async fn by_token(trust: &Trust, token: &str, name: &str) -> Result<Jwe, (u16, String, Option<Code>)> {
    let request = trust.client().get(trust.url(&format!("/kbs/v0/resource/{name}")));
    let response = request.header("authorization", format!("Bearer {token}")).send().await.unwrap();
    read::<Jwe>(response).await.map_err(|refused| {
        let kind = refused.problem.kind.strip_prefix(PROBLEM_TYPE_BASE).unwrap().to_owned();
        (refused.status.as_u16(), kind, refused.problem.code)
    })
}

#[tokio::test]
async fn t07_a_resource_is_its_nodes_until_it_is_bound_to_others() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let admin = trust.admin();
    let (a, _) = stock_join(&trust, &soft(Seat::A)).await.unwrap();
    let name_a = nodes(&trust).await[0].name.clone();
    let (b, _) = stock_join(&trust, &soft(Seat::B)).await.unwrap();
    let name_b = nodes(&trust).await.iter().find(|node| node.name != name_a).unwrap().name.clone();
    let own = format!("{name_a}/key/root");
    admin.set(&own, SECRET).await.unwrap();
    admin.set("default/disk/root", b"bound").await.unwrap();
    assert_eq!(a.resource(&own).await.unwrap(), SECRET);
    let (foreign, absent) = (b.resource(&own).await.unwrap_err(), b.resource("a/b/c").await.unwrap_err());
    assert_eq!(foreign.problem.code, Some(Code::ResourceUnknown));
    assert_eq!((foreign.status, &foreign.problem.kind), (absent.status, &absent.problem.kind), "alike");
    assert_eq!(foreign.problem.detail.replace(&own, "a/b/c"), absent.problem.detail, "alike");
    for client in [&a, &b] {
        assert_eq!(
            code(client.resource("default/disk/root").await),
            Code::ResourceUnknown,
            "deny by default"
        );
    }
    let record = admin.allow_reader("default/disk/root", &Reader::Node(name_b.clone())).await.unwrap();
    assert_eq!((record.nodes, record.pools.len(), record.size), (vec![name_b.clone()], 0, 5));
    assert_eq!(b.resource("default/disk/root").await.unwrap(), b"bound");
    assert_eq!(code(a.resource("default/disk/root").await), Code::ResourceUnknown);
    admin.allow_reader("default/disk/root", &Reader::Pool(pool())).await.unwrap();
    assert_eq!(a.resource("default/disk/root").await.unwrap(), b"bound");
    let readers = format!("{}/default/disk/root/readers", admin::RESOURCES);
    admin.delete(&format!("{readers}/pool/{POOL}")).await.unwrap();
    admin.delete(&format!("{readers}/node/{name_b}")).await.unwrap();
    assert_eq!(code(admin.delete(&format!("{readers}/pool/{POOL}")).await), Code::NotFound);
    for client in [&a, &b] {
        assert_eq!(code(client.resource("default/disk/root").await), Code::ResourceUnknown);
    }
    // A node that is taken out reads nothing, and its own goes when its keys do.
    act(&trust, admin::NODE_REVOKE, &name_a).await.unwrap();
    assert_eq!(code(a.resource(&own).await), Code::NodeRevoked);
    admin.delete(&admin::path(admin::NODE, &[&name_a])).await.unwrap();
    let left: Vec<ResourceRecord> = admin.get(admin::RESOURCES).await;
    assert_eq!(left.iter().map(|r| r.name.to_string()).collect::<Vec<_>>(), ["kbs:///default/disk/root"]);
    admin.delete(&format!("{}/default/disk/root", admin::RESOURCES)).await.unwrap();
    assert_eq!(code(admin.delete(&format!("{}/default/disk/root", admin::RESOURCES)).await), Code::NotFound);
}

#[tokio::test]
async fn t07_a_node_that_comes_again_has_none_of_what_it_had() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let (admin, tpm) = (trust.admin(), soft(Seat::A));
    let (early, _) = stock_join(&trust, &tpm).await.unwrap();
    let name = nodes(&trust).await[0].name.clone();
    let own = format!("{name}/key/root");
    admin.set(&own, SECRET).await.unwrap();
    admin.set("default/disk/root", b"bound").await.unwrap();
    admin.allow_reader("default/disk/root", &Reader::Node(name.clone())).await.unwrap();
    assert_eq!(early.resource("default/disk/root").await.unwrap(), b"bound");
    for _ in ["retired", "deleted"] {
        admin.delete(&admin::path(admin::NODE, &[&name])).await.unwrap();
    }
    let (late, _) = stock_join(&trust, &tpm).await.unwrap();
    assert_eq!(nodes(&trust).await[0].name, name, "the same key, and so the same name");
    for client in [&early, &late] {
        for resource in [own.as_str(), "default/disk/root"] {
            assert_eq!(code(client.resource(resource).await), Code::ResourceUnknown, "{resource}");
        }
    }
}

#[tokio::test]
async fn nodes_of_ccnode_1_read_theirs_too() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let maker = MakerCa::new("maker");
    trust.admin().trust_maker(&maker, TrustLevel::HypervisorVtpm).await;
    let granted = boot(&trust, &tpm(&maker, Seat::A)).await.unwrap();
    let own = format!("{}/key/other", granted.grants.node);
    trust.admin().set(&own, SECRET).await.unwrap();
    let jwe: Jwe = granted.session.get(&format!("/kbs/v0/resource/{own}")).await.unwrap();
    assert_eq!(granted.session.key.open(&jwe).unwrap().expose(), SECRET);
    let jwe = by_token(&trust, &granted.token, &own).await.unwrap();
    assert_eq!(granted.session.key.open(&jwe).unwrap().expose(), SECRET);
}

#[tokio::test]
async fn t08_a_token_of_somebody_else_gains_nothing_that_opens() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let (a, token) = stock_join(&trust, &soft(Seat::A)).await.unwrap();
    let name = nodes(&trust).await[0].name.clone();
    let own = format!("{name}/key/root");
    trust.admin().set(&own, SECRET).await.unwrap();
    let (b, token_b) = stock_join(&trust, &soft(Seat::B)).await.unwrap();
    let stolen = by_token(&trust, &token, &own).await.unwrap();
    assert_eq!(a.key.open(&stolen).unwrap().expose(), SECRET);
    assert!(b.key.open(&stolen).is_err());
    let denied = (401, "PolicyDeny".to_owned(), Some(Code::ResourceUnknown));
    assert_eq!(by_token(&trust, &token_b, &own).await.unwrap_err(), denied);

    // Claims of one token under the signature of another, a key of the thief's in the claims, no signature at all.
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (of_a, of_b) = (parts(&token), parts(&token_b));
    let mut thief = claims(&token);
    thief["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["runtime_data_claims"]["tee-pubkey"] =
        serde_json::to_value(b.key.public()).unwrap();
    let thief = {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(thief.to_string())
    };
    let verifier = (401, "TokenVerifierError".to_owned(), Some(Code::SessionUnknown));
    for forged in [
        format!("{}.{}.{}", of_a[0], of_a[1], of_b[2]),
        format!("{}.{thief}.{}", of_a[0], of_a[2]),
        format!("{}.{}.", of_a[0], of_a[1]),
        "a.b.c".into(),
        "".into(),
        "x".repeat(20_000),
    ] {
        assert_eq!(by_token(&trust, &forged, &own).await.unwrap_err(), verifier, "{forged}");
    }
    // A token of another service, with the very same claims.
    let other = stocked(OnUnknown::Enrol, &RULES).await;
    let (_, foreign) = stock_join(&other, &soft(Seat::A)).await.unwrap();
    assert_eq!(by_token(&trust, &foreign, &own).await.unwrap_err(), verifier);
    act(&trust, admin::NODE_REVOKE, &name).await.unwrap();
    let revoked = by_token(&trust, &token, &own).await.unwrap_err();
    assert_eq!(revoked, (401, "PolicyDeny".into(), Some(Code::NodeRevoked)));
}

#[tokio::test]
async fn t09_a_token_ends_with_its_session() {
    let trust = Trust::with(|config| {
        stock_config(config);
        config.session_lifetime = "1s".parse().unwrap();
    })
    .await;
    trust.admin().create_pool(OnUnknown::Enrol, &RULES).await;
    trust.admin().allow(&ccnode_testkit::Boot::standard(), verity()).await;
    let (client, token) = stock_join(&trust, &soft(Seat::A)).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2200)).await;
    let ended = by_token(&trust, &token, "a/b/c").await.unwrap_err();
    assert_eq!((ended.0, ended.1.as_str()), (401, "TokenVerifierError"));
    assert_eq!(code(client.resource("a/b/c").await), Code::SessionExpired);
}

#[tokio::test]
async fn t21_content_is_sealed_and_in_no_log() {
    let mut trust = stocked(OnUnknown::Enrol, &RULES).await;
    let (client, _) = stock_join(&trust, &soft(Seat::A)).await.unwrap();
    let own = format!("{}/key/root", nodes(&trust).await[0].name);
    let record = trust.admin().set(&own, SECRET).await.unwrap();
    client.resource(&own).await.unwrap();
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    let actions: Vec<&str> = rows.iter().take(2).map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["resource.read", "resource.set"]);
    let hidden = String::from_utf8(SECRET.to_vec()).unwrap();
    for text in [serde_json::to_string(&rows).unwrap(), serde_json::to_string(&record).unwrap()] {
        assert!(!text.contains(&hidden) && !text.contains(&hex::encode(SECRET)), "{text}");
    }
    // Moved to another name, it does not open.
    use ccnode_server::store::{Store as _, Tx as _};
    let name = nodes(&trust).await[0].name.clone();
    let mut tx = trust.service().store.write().await.unwrap();
    let row = tx.resource(&format!("kbs:///{own}").parse().unwrap()).await.unwrap().unwrap();
    let moved = format!("kbs:///{name}/key/moved").parse().unwrap();
    tx.set_resource(&ccnode_server::store::ResourceRow { name: moved, ..row }).await.unwrap();
    tx.commit().await.unwrap();
    let refused = client.resource(&format!("{name}/key/moved")).await.unwrap_err();
    assert_eq!(
        (refused.status, refused.problem.code),
        (StatusCode::INTERNAL_SERVER_ERROR, Some(Code::Internal))
    );
    trust.stop().await;
    let bytes = std::fs::read(trust.dir().join("db.sqlite")).unwrap();
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(holds(own.as_bytes()) && !holds(SECRET), "the search finds what is there");
}

#[tokio::test]
async fn resources_have_bounds() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let admin = trust.admin();
    let large = vec![0; limits::RESOURCE + 1];
    assert_eq!(code(admin.set("a/b/c", &large).await), Code::BodyTooLarge);
    assert_eq!(admin.set("a/b/c", &large[1..]).await.unwrap().size, limits::RESOURCE as u64);
    assert_eq!(code(admin.set("node/x/cluster", b"x").await), Code::MalformedRequest);
    assert_eq!(code(admin.set(".a/b/c", b"x").await), Code::MalformedRequest);
    for reader in [json!({"node": "nobody"}), json!({"pool": "nobody"})] {
        let path = format!("{}/a/b/c/readers", admin::RESOURCES);
        assert_eq!(code(admin.call::<Value>(Method::POST, &path, &reader).await), Code::NotFound);
    }
    let path = format!("{}/a/b/none/readers", admin::RESOURCES);
    assert_eq!(code(admin.call::<Value>(Method::POST, &path, &json!({"pool": POOL})).await), Code::NotFound);
}
