//! Stock clients from challenge to resource: deny by default, what the pool must say, who waits, and what they never get.

use crate::fixture::*;
use ccnode_evidence::{Code, EvidenceKind, Sha256Digest};
use ccnode_protocol::admin::{self, NodeRecord, NodeState, OnUnknown, Pool, PoolEdit, Rule, TrustLevel};
use ccnode_protocol::jwe::{EphemeralKey, Jwe};
use ccnode_protocol::{
    ATTEST, AUTH, AttestResponse, Attestation, COOKIE, GRANTS, NodeName, NodeRefusal, REFUSALS,
};
use ccnode_server::config::StockConfig;
use ccnode_testkit::{Boot, MakerCa, Seat, SoftTpm, StockReply, stock_attest, stock_request};
use reqwest::{Client, Method};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) const RULES: [Rule; 2] = [Rule::DangerNoActivation, Rule::DangerHostIsTrusted];

pub(crate) fn stock_config(config: &mut ccnode_server::config::Config) {
    config.stock =
        Some(StockConfig { pool: pool(), admin_keys: Vec::new(), newcomers_per_minute: 1000, waiting: 1000 });
}

/// A service that takes stock clients into its one pool, which has these rules and allows the standard boot.
pub(crate) async fn stocked(on_unknown: OnUnknown, rules: &[Rule]) -> Trust {
    let trust = Trust::with(stock_config).await;
    trust.admin().create_pool(on_unknown, rules).await;
    trust.admin().allow(&Boot::standard(), verity()).await;
    trust
}

pub(crate) fn soft(seat: Seat) -> SoftTpm {
    SoftTpm::new(&MakerCa::new("nobody"), seat)
}

/// A stock session after the challenge.
pub(crate) struct StockClient {
    pub(crate) http: Client,
    pub(crate) base: String,
    pub(crate) cookie: String,
    pub(crate) nonce: ccnode_evidence::Nonce,
    pub(crate) key: EphemeralKey,
}

pub(crate) async fn stock_auth(trust: &Trust, kind: EvidenceKind) -> Answered<StockClient> {
    let (challenge, cookie) = auth(trust, &stock_request(kind)).await?;
    assert_eq!(serde_json::to_value(&challenge).unwrap()["extra-params"], "", "the stock form");
    let (http, base) = (trust.client(), trust.url(""));
    Ok(StockClient { http, base, cookie, nonce: challenge.nonce, key: EphemeralKey::generate() })
}

impl StockClient {
    pub(crate) fn answer(&self, tpm: &SoftTpm) -> Attestation {
        stock_attest(tpm, &StockReply { nonce: &self.nonce, key: &self.key.public(), init_data: None })
    }

    pub(crate) async fn attest(&self, attestation: &impl serde::Serialize) -> Answered<String> {
        let request = self.http.post(format!("{}{ATTEST}", self.base)).header("cookie", &self.cookie);
        read::<AttestResponse>(request.json(attestation).send().await.unwrap()).await.map(|r| r.token)
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Answered<T> {
        let request = self.http.get(format!("{}{path}", self.base)).header("cookie", &self.cookie);
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn resource(&self, name: &str) -> Answered<Vec<u8>> {
        let jwe: Jwe = self.get(&format!("/kbs/v0/resource/{name}")).await?;
        Ok(self.key.open(&jwe).unwrap().expose().to_vec())
    }
}

pub(crate) async fn stock_join(trust: &Trust, tpm: &SoftTpm) -> Answered<(StockClient, String)> {
    let client = stock_auth(trust, EvidenceKind::Tpm).await?;
    let token = client.attest(&client.answer(tpm)).await?;
    Ok((client, token))
}

pub(crate) async fn nodes(trust: &Trust) -> Vec<NodeRecord> {
    trust.admin().get(admin::NODES).await
}

/// The claims of a token.
pub(crate) fn claims(token: &str) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub(crate) async fn edit_pool(trust: &Trust, edit: PoolEdit) {
    let _: Pool =
        trust.admin().call(Method::PATCH, &admin::path(admin::POOL, &[&POOL]), &edit).await.unwrap();
}

#[tokio::test]
async fn t12_stock_clients_are_refused_until_the_administrators_say_twice_that_they_may() {
    // No table [stock].
    let (trust, _) = ready().await;
    let asked = stock_request(EvidenceKind::Tpm);
    assert_eq!(code(auth(&trust, &asked).await.map(|_| ())), Code::StockTranscript);
    // A table, and no such pool; a pool, and no rule.
    let trust = Trust::with(stock_config).await;
    assert_eq!(code(auth(&trust, &asked).await.map(|_| ())), Code::PoolUnknown);
    trust.admin().create_pool(OnUnknown::Enrol, &[Rule::DangerHostIsTrusted]).await;
    let refused = auth(&trust, &asked).await.map(|_| ()).unwrap_err().problem;
    assert_eq!(refused.code, Some(Code::StockNotAllowed));
    assert!(refused.detail.contains("danger-no-activation"), "{}", refused.detail);
    edit_pool(&trust, PoolEdit { rules: Some(RULES.to_vec()), ..PoolEdit::default() }).await;
    auth(&trust, &asked).await.unwrap();
    // What was allowed at the challenge may be taken back before the attestation, and before the resource.
    trust.admin().allow(&Boot::standard(), verity()).await;
    let (early, (late, _)) = (
        stock_auth(&trust, EvidenceKind::Tpm).await.unwrap(),
        stock_join(&trust, &soft(Seat::A)).await.unwrap(),
    );
    edit_pool(&trust, PoolEdit { rules: Some(Vec::new()), ..PoolEdit::default() }).await;
    assert_eq!(code(early.attest(&early.answer(&soft(Seat::B))).await), Code::StockNotAllowed);
    assert_eq!(code(late.resource("a/b/c").await), Code::StockNotAllowed);
}

#[tokio::test]
async fn a_stock_tpm_waits_is_approved_and_is_worth_a_hypervisors() {
    let trust = stocked(OnUnknown::Ask, &[Rule::DangerNoActivation]).await;
    let tpm = soft(Seat::A);
    assert_eq!(code(stock_join(&trust, &tpm).await.map(|_| ())), Code::NodePending);
    assert_eq!(code(stock_join(&trust, &tpm).await.map(|_| ())), Code::NodePending, "one record");
    let [node] = nodes(&trust).await.try_into().unwrap();
    assert_eq!((node.state, node.level), (NodeState::Pending, Some(TrustLevel::HypervisorVtpm)));
    let reason = node.reason.clone().unwrap();
    assert!(reason.contains(&Sha256Digest::of(&tpm.ak_spki()).hex()), "whom to approve: {reason}");
    act(&trust, admin::NODE_APPROVE, &node.name).await.unwrap();
    let (_, token) = stock_join(&trust, &tpm).await.unwrap();
    let claims = claims(&token);
    let cpu = &claims["submods"]["cpu0"];
    assert_eq!(cpu["ear.status"], "affirming");
    let evidence = &cpu["ear.veraison.annotated-evidence"];
    assert_eq!(evidence["ccnode"]["trust-level"], "hypervisor-vtpm");
    assert_eq!(evidence["ccnode"]["pcrs-not-judged"], json!([5, 10, 16, 17, 18, 19, 20, 21, 22, 23]));
    assert_eq!(evidence["tpm"].as_object().unwrap().len(), 25);
    // The tables of an edited pool decide over levels as for every node.
    let mut policy = json!({"least-level": "discrete-tpm"});
    crate::machines::demand(&trust, &policy).await;
    assert_eq!(code(stock_join(&trust, &tpm).await.map(|_| ())), Code::LevelTooLow);
    policy = json!({"kinds": ["snp"]});
    crate::machines::demand(&trust, &policy).await;
    assert_eq!(code(stock_join(&trust, &tpm).await.map(|_| ())), Code::KindNotAllowed);
}

#[tokio::test]
async fn unknown_keys_are_refused_or_enrolled_as_the_pool_says() {
    let trust = stocked(OnUnknown::Refuse, &RULES).await;
    assert_eq!(code(stock_join(&trust, &soft(Seat::A)).await.map(|_| ())), Code::NodeUnknown);
    assert!(nodes(&trust).await.is_empty());
    edit_pool(
        &trust,
        PoolEdit {
            on_unknown: Some(OnUnknown::Enrol),
            rules: Some(vec![Rule::DangerNoActivation]),
            ..PoolEdit::default()
        },
    )
    .await;
    assert_eq!(code(stock_join(&trust, &soft(Seat::A)).await.map(|_| ())), Code::EnrolmentNeedsTrust);
    edit_pool(&trust, PoolEdit { rules: Some(RULES.to_vec()), ..PoolEdit::default() }).await;
    stock_join(&trust, &soft(Seat::A)).await.unwrap();
    assert_eq!(nodes(&trust).await[0].state, NodeState::Active);
}

#[tokio::test]
async fn t25_made_up_keys_fill_no_list() {
    let trust = Trust::with(|config| {
        stock_config(config);
        let stock = config.stock.as_mut().unwrap();
        (stock.newcomers_per_minute, stock.waiting) = (2, 1);
    })
    .await;
    trust.admin().create_pool(OnUnknown::Ask, &[Rule::DangerNoActivation]).await;
    trust.admin().allow(&Boot::standard(), verity()).await;
    let tried = async |seat| code(stock_join(&trust, &soft(seat)).await.map(|_| ()));
    assert_eq!(tried(Seat::A).await, Code::NodePending);
    assert_eq!(tried(Seat::B).await, Code::RateLimited, "one waits already");
    let [node] = nodes(&trust).await.try_into().unwrap();
    act(&trust, admin::NODE_APPROVE, &node.name).await.unwrap();
    assert_eq!(tried(Seat::B).await, Code::RateLimited, "two were put on record this minute");
    assert_eq!(nodes(&trust).await.len(), 1);
    stock_join(&trust, &soft(Seat::A)).await.unwrap();
}

#[tokio::test]
async fn t07_a_stock_session_gets_nothing_of_ccnode_1() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let (client, _) = stock_join(&trust, &soft(Seat::A)).await.unwrap();
    assert_eq!(code(client.get::<Value>(GRANTS).await), Code::StockTranscript);
    let report = NodeRefusal { code: Code::TpmFailed, detail: String::new(), correlation_id: "x".into() };
    let sent = client.http.post(trust.url(REFUSALS)).header("cookie", &client.cookie).json(&report);
    assert_eq!(code(read::<Value>(sent.send().await.unwrap()).await), Code::StockTranscript);
    let name: NodeName = nodes(&trust).await[0].name.clone();
    let cluster = client.get::<Jwe>(&format!("/kbs/v0/resource/node/{name}/cluster")).await;
    assert_eq!(code(cluster), Code::ResourceUnknown);
    let record = trust.admin().node(&name).await;
    assert!(record.volumes.is_empty());
}

#[tokio::test]
async fn t06_a_stock_key_never_takes_over_a_node_of_ccnode_1() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let maker = MakerCa::new("maker");
    trust.admin().trust_maker(&maker, TrustLevel::HypervisorVtpm).await;
    let tpm = tpm(&maker, Seat::A);
    let first = first_boot(&trust, &tpm).await;
    stock_join(&trust, &tpm).await.unwrap();
    let all = nodes(&trust).await;
    assert_eq!(all.len(), 2, "the same attestation key, two nodes");
    let ours = trust.admin().node(&first.grants.node).await;
    assert_eq!(ours.volumes.len(), 1);
    let other = all.iter().find(|node| node.name != first.grants.node).unwrap();
    assert_ne!(other.identity, ours.identity);
    boot(&trust, &tpm).await.unwrap();
}

#[tokio::test]
async fn the_challenge_and_the_cookie_are_those_that_stock_clients_read() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    for params in [json!(null), json!(""), json!({}), json!({"other": 1})] {
        let body = json!({"version": "0.4.0", "tee": "tpm", "extra-params": params});
        let response = trust.client().post(trust.url(AUTH)).json(&body).send().await.unwrap();
        let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.starts_with(&format!("{COOKIE}=")));
        let challenge: Value = response.json().await.unwrap();
        let members: Vec<&String> = challenge.as_object().unwrap().keys().collect();
        assert_eq!((members.len(), &challenge["extra-params"]), (2, &json!("")));
        assert_eq!(challenge["nonce"].as_str().unwrap().len(), 44);
    }
    // Half an offer of ours is no stock client's.
    let half = json!({"version": "0.4.0", "tee": "tpm", "extra-params": {"ccnode": {"version": 1}}});
    assert_eq!(code(auth(&trust, &half).await.map(|_| ())), Code::StockTranscript);
}
