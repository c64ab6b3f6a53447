//! Attacks by name: what hit others, and what holds here.

use crate::fixture::*;
use ccnode_evidence::Code;
use ccnode_protocol::admin::{self, AuditRow, NodeState, RefusalRecord};
use ccnode_protocol::jwe::{EphemeralKey, Jwe};
use ccnode_protocol::{GRANTS, Problem};
use ccnode_server::tls::{self, Material};
use ccnode_server::{pki, store::Store as _, store::Tx as _};
use ccnode_testkit::{Answer, Boot, Lies, MakerCa, Seat, attest, auth_request, kubelet_csr};
use reqwest::Method;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[tokio::test]
async fn t06_keys_that_no_tpm_guards_are_refused() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    // An unrestricted key: it would sign a quote that its owner wrote.
    a.lie(Lies { ak_attributes: Some(0x0004_0072), ..Lies::default() });
    let session = challenge(&trust, &a).await;
    let (attestation, ..) = session.answer(&a);
    assert_eq!(code(session.attest(&attestation).await), Code::AkAttributes);
    a.lie(Lies::default());

    // A software key beside another TPM's certificate: the credential opens in that TPM alone.
    let b = tpm(&maker, Seat::B);
    b.lie(Lies { ek_cert: Some(a.ek_cert()), ..Lies::default() });
    let session = challenge(&trust, &b).await;
    assert!(b.open(&session.activation().credential.0, &session.activation().secret.0).is_err());
    b.lie(Lies { ek_cert: Some(a.ek_cert()), activated: Some([9; 32]), ..Lies::default() });
    let secret = session.secret(&b);
    let answer = Answer { nonce: &session.nonce, secret: &secret, key: &session.key, csr: None };
    assert_eq!(code(session.attest(&attest(&b, &answer)).await), Code::ActivationFailed);

    // An endorsement key of somebody's own making.
    let foreign = tpm(&MakerCa::new("attacker"), Seat::C);
    assert_eq!(code(boot(&trust, &foreign).await), Code::EkUntrusted);
    let nodes: Vec<admin::NodeRecord> = trust.admin().get(admin::NODES).await;
    assert!(nodes.is_empty());
}

#[tokio::test]
async fn t06_a_changed_key_under_a_known_ek_is_quarantined() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    let name = first_boot(&trust, &a).await.grants.node;
    // The record says another key: the one now quoted is the changed one.
    let mut tx = trust.service().store.write().await.unwrap();
    let mut row = tx.node_named(&name).await.unwrap().unwrap();
    let real = std::mem::replace(&mut row.ak_name, "000b00".into());
    row.attested = Some(1);
    tx.update_node(&row).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(code(boot(&trust, &a).await), Code::AkChanged);
    assert_eq!(trust.admin().node(&name).await.state, NodeState::Quarantined);
    assert_eq!(code(boot(&trust, &a).await), Code::NodeQuarantined);
    let approve = admin::path(admin::NODE_APPROVE, &[&name]);
    let _: Value = trust.admin().post(&approve, &admin::NodeAction::default()).await;
    boot(&trust, &a).await.unwrap();
    let row = trust.service().store.read().await.unwrap().node_named(&name).await.unwrap().unwrap();
    assert_eq!(row.ak_name, real);
}

#[tokio::test]
async fn t07_a_node_reads_what_belongs_to_it_and_nothing_else() {
    let (trust, maker) = ready().await;
    let (a, b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    let (a, b) = (boot(&trust, &a).await.unwrap(), boot(&trust, &b).await.unwrap());
    let path = |node: &str| format!("/kbs/v0/resource/node/{node}/cluster");
    let own: Jwe = a.session.get(&path(a.grants.node.as_str())).await.unwrap();
    let own: Value = serde_json::from_slice(a.session.key.open(&own).unwrap().expose()).unwrap();
    assert_eq!(own["server"], "https://10.0.2.101:6443");

    let foreign = a.session.get::<Jwe>(&path(b.grants.node.as_str())).await.unwrap_err();
    let absent = a.session.get::<Jwe>(&path("workers-nobody")).await.unwrap_err();
    assert_eq!(foreign.problem.code, Some(Code::ResourceUnknown));
    assert_eq!((foreign.status, &foreign.problem.kind), (absent.status, &absent.problem.kind), "alike");
    let detail = |p: &Problem, name: &str| p.detail.replace(name, "X");
    assert_eq!(
        detail(&foreign.problem, b.grants.node.as_str()),
        detail(&absent.problem, "workers-nobody"),
        "alike"
    );
    assert_eq!(code(a.session.get::<Jwe>("/kbs/v0/resource/default/key/root").await), Code::ResourceUnknown);

    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    let denied =
        rows.iter().find(|r| r.detail["detail"].as_str().is_some_and(|d| d.contains(b.grants.node.as_str())));
    let denied = denied.expect("the denial is audited");
    assert_eq!(denied.actor, format!("node:{}", a.grants.node));
    assert_eq!(denied.detail["code"], "resource-unknown");

    // The grants follow the attested identity, not what the request says.
    assert_ne!(a.grants.volume().unwrap().unlock_key, b.grants.volume().unwrap().unlock_key);
    assert_eq!(a.grants.volume().unwrap().id, format!("{}/root", a.grants.node));
}

#[tokio::test]
async fn t08_a_proxy_with_a_key_of_its_own_is_not_talked_to() {
    let (trust, maker) = ready().await;
    let now = time::OffsetDateTime::now_utc();
    let (ca, issuer) = pki::ca("attacker", now).unwrap();
    let leaf = pki::server(&["127.0.0.1".into()], &issuer, now).unwrap();
    let key = std::str::from_utf8(leaf.key.expose()).unwrap();
    let cas = [ca.cert.clone().into()];
    let config = tls::node(&Material { cert: &leaf.cert, key, cas: &cas }).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(mut tls) = TlsAcceptor::from(config).accept(stream).await {
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let request = auth_request(&tpm(&maker, Seat::A), &pool());
    let sent = trust.client().post(format!("https://{address}/kbs/v0/auth")).json(&request).send().await;
    let error = format!("{:?}", sent.unwrap_err());
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn t08_evidence_is_worth_nothing_in_another_session() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    let (one, two) = (challenge(&trust, &a).await, challenge(&trust, &a).await);
    let (of_one, ..) = one.answer(&a);
    assert_eq!(code(two.attest(&of_one).await), Code::NonceMismatch, "as it is");

    // Evidence for the first session's transcript, relayed under the second one's nonce.
    let mut moved = serde_json::to_value(&of_one).unwrap();
    moved["runtime-data"]["nonce"] = two.nonce.text().into();
    assert_eq!(code(two.attest(&moved).await), Code::ActivationFailed, "with the nonce exchanged");

    // A man in the middle puts in an encryption key of his own.
    let mut stolen = serde_json::to_value(&of_one).unwrap();
    stolen["runtime-data"]["tee-pubkey"] = serde_json::to_value(EphemeralKey::generate().public()).unwrap();
    assert_eq!(code(one.attest(&stolen).await), Code::ActivationFailed, "with the key exchanged");
    one.attest(&of_one).await.unwrap();

    // What is released opens with the attested key alone.
    let jwe: Jwe = one.get(GRANTS).await.unwrap();
    assert!(EphemeralKey::generate().open(&jwe).is_err());
    assert!(one.key.open(&jwe).is_ok());
}

#[tokio::test]
async fn t09_a_nonce_works_once() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    let session = challenge(&trust, &a).await;
    let (attestation, ..) = session.answer(&a);
    session.attest(&attestation).await.unwrap();
    assert_eq!(code(session.attest(&attestation).await), Code::NonceSpent);

    // A refusal of proven evidence spends it too.
    a.cap();
    let session = challenge(&trust, &a).await;
    let (capped, ..) = session.answer(&a);
    assert_eq!(code(session.attest(&capped).await), Code::AlreadyCapped);
    assert_eq!(code(session.attest(&capped).await), Code::NonceSpent);
}

#[tokio::test]
async fn t09_of_two_at_once_one_wins() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    for _ in 0..5 {
        a.reboot(Boot::standard());
        let session = challenge(&trust, &a).await;
        let (attestation, ..) = session.answer(&a);
        let tries = (0..4).map(|_| session.attest(&attestation));
        let mut answers = Vec::new();
        let mut set: Vec<_> = tries.map(Box::pin).collect();
        // All are polled before any is finished.
        std::future::poll_fn(|cx| {
            set.retain_mut(|one| match one.as_mut().poll(cx) {
                std::task::Poll::Ready(answer) => {
                    answers.push(answer);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if set.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 3));
        assert!(lost.into_iter().all(|answer| code(answer) == Code::NonceSpent));
    }
}

#[tokio::test]
async fn t20_no_admin_route_without_credentials() {
    let (trust, _) = ready().await;
    let base = format!("https://{}", trust.admin_address());
    let routes = ccnode_server::admin::routes::<ccnode_server::store::SqliteStore>();
    assert!(routes.len() >= 18);
    let mut paths: Vec<String> = routes.iter().map(|(path, _)| path.replace(['{', '}'], "")).collect();
    paths.push("/".into());
    paths.push("/ccnode/v1/admin/none".into());
    let outsider = {
        let now = time::OffsetDateTime::now_utc();
        let (_, foreign) = pki::ca("foreign", now).unwrap();
        let admin = pki::admin("admin", pki::CLUSTER_ADMIN, &foreign, now).unwrap();
        [admin.key.expose(), admin.cert.as_bytes()].concat()
    };
    let outsider = trust.admin_with(&outsider);
    for path in &paths {
        for method in [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE] {
            let request = trust.client().request(method.clone(), format!("{base}{path}")).json(&());
            let refused = read::<Value>(request.send().await.unwrap()).await.unwrap_err();
            assert_eq!(refused.status, 401, "{method} {path}");
            assert_eq!(refused.problem.code, Some(Code::AdminUnauthenticated), "{method} {path}");
        }
        assert!(outsider.try_get(path).await.is_none(), "a certificate of another CA ends the handshake");
    }
}

#[tokio::test]
async fn t20_other_certificates_of_the_service_are_no_administrators() {
    let (trust, maker) = ready().await;
    let dir = trust.dir();
    // The service's own certificate is for servers.
    let own = trust.admin_of(&dir.join("tls/cert.pem"), &dir.join("tls/key.pem"));
    assert!(own.try_get(admin::POOLS).await.is_none());
    // A kubelet's certificate is of the cluster's CA.
    let a = tpm(&maker, Seat::A);
    let session = challenge(&trust, &a).await;
    let secret = session.secret(&a);
    let (csr, key) = kubelet_csr(&session.name(&secret));
    let answer = Answer { nonce: &session.nonce, secret: &secret, key: &session.key, csr: Some(csr.clone()) };
    session.attest(&attest(&a, &answer)).await.unwrap();
    let grants = session.grants().await.unwrap();
    let granted = Granted { session, grants, csr: csr.clone(), token: String::new() };
    let chain = granted.certificate(&csr).await.unwrap().chain;
    let kubelet = trust.admin_with(&[key.serialize_pem(), chain].concat().into_bytes());
    assert!(kubelet.try_get(admin::POOLS).await.is_none());
    // Another role.
    let ca = std::fs::read_to_string(dir.join("tls/ca.pem")).unwrap();
    let key = std::fs::read_to_string(dir.join("tls/ca.key")).unwrap();
    let key = rcgen::KeyPair::from_pem(&key).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&ca, key).unwrap();
    let auditor = pki::admin("eve", "auditor", &issuer, time::OffsetDateTime::now_utc()).unwrap();
    let auditor = trust.admin_with(&[auditor.key.expose(), auditor.cert.as_bytes()].concat());
    let refused = auditor.call::<Value>(Method::GET, admin::POOLS, &()).await.unwrap_err();
    assert_eq!((refused.status.as_u16(), refused.problem.code), (403, Some(Code::RoleMissing)));
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    assert_eq!((rows[0].actor.as_str(), rows[0].action.as_str()), ("admin:eve", "admin.denied"));
}

#[tokio::test]
async fn t20_the_nodes_listener_has_no_admin_route() {
    let (trust, _) = ready().await;
    for path in [admin::POOLS, admin::AUDIT, admin::REFUSALS] {
        let response = trust.client().get(trust.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn t25_unproven_peers_fill_neither_store_nor_audit_log() {
    let trust = Trust::with(|config| config.limits.unproven_per_minute = 5).await;
    let maker = prepare(&trust).await;
    let stranger = tpm(&MakerCa::new("nobody"), Seat::B);
    let before = trust.admin().get::<Vec<AuditRow>>(admin::AUDIT).await.len();
    for _ in 0..20 {
        assert_eq!(code(boot(&trust, &stranger).await), Code::EkUntrusted);
    }
    let records: Vec<RefusalRecord> = trust.admin().refusals().await;
    assert!((5..10).contains(&records.len()), "{}", records.len());
    let after = trust.admin().get::<Vec<AuditRow>>(admin::AUDIT).await.len();
    assert_eq!(after - before, records.len());
    boot(&trust, &tpm(&maker, Seat::A)).await.expect("a good node still passes");
}
