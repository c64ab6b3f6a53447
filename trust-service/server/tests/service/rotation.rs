//! Keys and certificates put in the place of others: sessions that began before go on after.

use crate::fixture::*;
use crate::stock_clients::{RULES, edit_pool, soft, stock_config, stock_join};
use ccnode_attest_client::{Client, ClockAtLeast, Deadline, Settings, Subject};
use ccnode_evidence::Code;
use ccnode_protocol::admin::{self, AuditRow, PoolEdit};
use ccnode_protocol::grants::VolumeAction;
use ccnode_server::keys::Kek;
use ccnode_server::rotate::{self, RotateError};
use ccnode_server::rotation::{self, KEK, OLD_KEK};
use ccnode_server::service::AT_REST;
use ccnode_server::store::{Store as _, Tx as _};
use ccnode_testkit::{Boot, Seat, SoftTpm, kubelet_csr};
use reqwest::Method;
use serde_json::Value;
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// Two sessions: one that has its grants, one that has its challenge.
async fn begun(trust: &Trust, granted: &SoftTpm, challenged: &SoftTpm) -> (Granted, Challenged) {
    (boot(trust, granted).await.unwrap(), challenge(trust, challenged).await)
}

/// Both go on to their ends.
async fn go_on(granted: Granted, challenged: Challenged, tpm: &SoftTpm) {
    let again = granted.session.grants().await.unwrap();
    assert_eq!(again.volume().unwrap().unlock_key, granted.grants.volume().unwrap().unlock_key);
    granted.formatted(header()).await.unwrap();
    granted.ready(verity()).await.unwrap();
    granted.certificate(&granted.csr).await.unwrap();
    let (attestation, csr, _) = challenged.answer(tpm);
    let token = challenged.attest(&attestation).await.unwrap().token;
    let grants = challenged.grants().await.unwrap();
    let second = Granted { session: challenged, grants, csr, token };
    second.formatted(header()).await.unwrap();
    second.certificate(&second.csr).await.unwrap();
}

#[tokio::test]
async fn a_session_outlives_a_new_certificate_of_the_service() {
    let (trust, maker) = ready().await;
    let (a, b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    let (granted, challenged) = begun(&trust, &a, &b).await;
    let before = served(&trust).await;
    ccnode_server::renew::renew(&trust.dir(), &[]).unwrap();
    assert_eq!(served(&trust).await, before, "nobody has told the service");
    trust.reload().await.unwrap();
    let after = served(&trust).await;
    assert_ne!(after, before);
    assert_eq!(after, ccnode_server::pki::der_of_pem(&text(&trust, "tls/cert.pem")).unwrap());
    go_on(granted, challenged, &b).await;
    // A reload that can't be: everything stays as it was.
    std::fs::write(trust.dir().join("tls/key.pem"), "x").unwrap();
    assert!(trust.reload().await.is_err());
    assert_eq!(served(&trust).await, after);
}

fn text(trust: &Trust, name: &str) -> String {
    std::fs::read_to_string(trust.dir().join(name)).unwrap()
}

/// The certificate that the nodes' listener shows.
async fn served(trust: &Trust) -> Vec<u8> {
    let stream = crate::bounds::plain(trust).await;
    let (_, connection) = stream.get_ref();
    connection.peer_certificates().unwrap()[0].to_vec()
}

async fn kids(trust: &Trust) -> Vec<Value> {
    let answer = trust.client().get(trust.url("/.well-known/jwks.json")).send().await.unwrap();
    let set: Value = answer.json().await.unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect()
}

#[tokio::test]
async fn tokens_and_checkpoints_of_before_count_after() {
    let mut trust = Trust::with(stock_config).await;
    let maker = prepare(&trust).await;
    edit_pool(&trust, PoolEdit { rules: Some(RULES.to_vec()), ..PoolEdit::default() }).await;
    let (a, b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    let (granted, challenged) = begun(&trust, &a, &b).await;
    let (stock, token) = stock_join(&trust, &soft(Seat::C)).await.unwrap();
    let name = admin::path(admin::RESOURCE, &[&"default", &"key", &"one"]);
    let _: Value = trust.admin().call(Method::PUT, &name, &"held").await.unwrap();
    let reader = serde_json::json!({"pool": POOL});
    let _: Value = trust.admin().post(&format!("{name}/readers"), &reader).await;
    let by_token = async |trust: &Trust| {
        let url = trust.url("/kbs/v0/resource/default/key/one");
        read::<ccnode_protocol::jwe::Jwe>(trust.client().get(url).bearer_auth(&token).send().await.unwrap())
            .await
    };
    let before = kids(&trust).await;
    rotate::token(&trust.dir(), trust.service().now()).unwrap();
    trust.reload().await.unwrap();
    let after = kids(&trust).await;
    assert_eq!((after.len(), &after[1..]), (2, &before[..]), "both, the new one first");
    let jwe = by_token(&trust).await.unwrap();
    assert_eq!(stock.key.open(&jwe).unwrap().expose(), b"\"held\"");
    go_on(granted, challenged, &b).await;
    let keys = trust.service().token.get();
    let later = trust.service().now() + 300 + 601;
    assert!(keys.bearer(&token, trust.service().now()).is_ok());
    assert_eq!(keys.jwks(later).len(), 1, "shown no more");
    // The checkpoint was signed by the old key.
    trust.restart().await;
    assert_eq!(kids(&trust).await, after);
    let checkpoint = serde_json::from_str(&text(&trust, "audit-checkpoint.json")).unwrap();
    let service = trust.service();
    ccnode_server::audit::verify(&service.store, Some((&checkpoint, &service.token.get()))).await.unwrap();
    // Once more: three keys, and the oldest one's tokens too.
    rotate::token(&trust.dir(), service.now()).unwrap();
    trust.reload().await.unwrap();
    assert_eq!(kids(&trust).await.len(), 3);
    by_token(&trust).await.unwrap();
}

/// Whether nothing that is sealed opens with this key.
pub(crate) async fn shut(trust: &Trust, kek: &Kek) -> bool {
    let sealer = kek.sealer(AT_REST);
    let rows = trust.service().store.read().await.unwrap().sealed().await.unwrap();
    assert!(rows.len() >= 3, "a volume, a session, a resource");
    rows.iter().all(|row| sealer.open(&row.place, &row.value).is_err())
}

#[tokio::test]
async fn the_key_encryption_key_changes_under_running_sessions() {
    let (mut trust, maker) = ready().await;
    let (a, b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    let name = admin::path(admin::RESOURCE, &[&"default", &"key", &"one"]);
    let _: Value = trust.admin().call(Method::PUT, &name, &"held").await.unwrap();
    let (granted, challenged) = begun(&trust, &a, &b).await;
    let unlock_key = granted.grants.volume().unwrap().unlock_key.clone();
    let old = Kek::load(&trust.dir().join(KEK)).unwrap();
    rotate::kek(&trust.dir()).unwrap();
    assert!(matches!(rotate::kek(&trust.dir()), Err(RotateError::Pending(_))), "one at a time");
    // It is killed before it was told; what is on disk is enough to go on.
    trust.crash().await;
    assert!(shut(&trust, &old).await, "sealed anew at the start");
    let moved = |challenged: Challenged| Challenged { base: trust.url(""), ..challenged };
    let granted = Granted { session: moved(granted.session), ..granted };
    go_on(granted, moved(challenged), &b).await;
    // Not before the last session that may have an old cookie is over.
    let service = trust.service();
    let lifetime = service.config.session_lifetime.0;
    rotation::resume(&**service, Instant::now() + lifetime).await.unwrap();
    assert!(trust.dir().join(OLD_KEK).exists());
    rotation::resume(&**service, Instant::now() + lifetime + Duration::from_secs(62)).await.unwrap();
    assert!(!trust.dir().join(OLD_KEK).exists());
    assert!(shut(&trust, &old).await);
    // Without a restart this time.
    let third = challenge(&trust, &a).await;
    let (attestation, ..) = third.answer(&a);
    rotate::kek(&trust.dir()).unwrap();
    trust.reload().await.unwrap();
    third.attest(&attestation).await.unwrap();
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    assert_eq!(rows.iter().filter(|row| row.action == "keys.resealed").count(), 2);
    a.reboot(Boot::standard());
    let volume = boot(&trust, &a).await.unwrap().grants.volume().unwrap().clone();
    assert!(matches!(volume.action, VolumeAction::Open { .. }));
    assert_eq!(volume.unlock_key, unlock_key);
}

#[tokio::test]
async fn a_value_that_no_key_opens_keeps_the_old_key() {
    let (mut trust, maker) = ready().await;
    let name = admin::path(admin::RESOURCE, &[&"default", &"key", &"one"]);
    let _: Value = trust.admin().call(Method::PUT, &name, &"held").await.unwrap();
    first_boot(&trust, &tpm(&maker, Seat::A)).await;
    let service = trust.service();
    let mut tx = service.store.write().await.unwrap();
    let mut row = tx.sealed().await.unwrap().pop().unwrap();
    row.value = vec![1; 80];
    tx.set_sealed(&row).await.unwrap();
    tx.commit().await.unwrap();
    let old = Kek::load(&trust.dir().join(KEK)).unwrap();
    rotate::kek(&trust.dir()).unwrap();
    assert!(trust.reload().await.is_err());
    assert!(!shut(&trust, &old).await, "all of it, or nothing");
    let later = Instant::now() + Duration::from_secs(24 * 3600);
    assert!(rotation::resume(&**service, later).await.is_err());
    assert!(trust.dir().join(OLD_KEK).exists());
    // New sessions pass, after a restart too: the new key seals, both open.
    trust.restart().await;
    boot(&trust, &tpm(&maker, Seat::B)).await.unwrap();
}

async fn attest_by(trust: &Trust, pins: &[&str], tpm: &SoftTpm) -> Result<(), Code> {
    let pins = pins.iter().map(|pem| pem.as_bytes().to_vec()).collect();
    let settings =
        Settings { urls: vec![trust.url("")], pins, pool: pool(), clock: ClockAtLeast { floor: 0 } };
    let subject = Subject { identity: Some(tpm.offer()), logs: tpm.read_logs() };
    let csr = |name: &_| Ok::<_, Infallible>(kubelet_csr(name).0);
    let deadline = Deadline::after(Duration::from_secs(20));
    let done = Client::new(settings).unwrap().attest(&subject, tpm, csr, deadline, |_| ()).await;
    done.map(drop).map_err(|error| match error {
        ccnode_attest_client::AttestError::Client(error) => error.code(),
        other => panic!("{other}"),
    })
}

#[tokio::test]
async fn nodes_with_the_next_ca_pinned_pass_before_and_after() {
    let (trust, maker) = ready().await;
    let (a, b, c) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B), tpm(&maker, Seat::C));
    let dir = trust.dir();
    let old = text(&trust, "tls/ca.pem");
    assert!(matches!(rotate::switch_ca(&dir), Err(RotateError::NotStaged)));
    rotate::next_ca(&dir).unwrap();
    assert!(matches!(rotate::next_ca(&dir), Err(RotateError::Staged)));
    trust.reload().await.unwrap();
    let next = text(&trust, "tls/ca-next.pem");
    assert_eq!(text(&trust, "admin/ca.pem"), format!("{old}{next}"));
    attest_by(&trust, &[&old], &a).await.unwrap();
    attest_by(&trust, &[&old, &next], &a).await.unwrap();

    // A session whose node has both, and an administrator of the old CA.
    let both = || {
        let ca = |pem: &str| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap();
        builder().add_root_certificate(ca(&old)).add_root_certificate(ca(&next))
    };
    let (granted, challenged) = begun(&trust, &b, &c).await;
    let client = both().build().unwrap();
    let granted = Granted { session: Challenged { client: client.clone(), ..granted.session }, ..granted };
    let challenged = Challenged { client, ..challenged };
    let pem =
        [std::fs::read(dir.join("admin/key.pem")).unwrap(), text(&trust, "admin/cert.pem").into_bytes()];
    let admin = both().identity(reqwest::Identity::from_pem(&pem.concat()).unwrap()).build().unwrap();

    rotate::switch_ca(&dir).unwrap();
    trust.reload().await.unwrap();
    assert_eq!(attest_by(&trust, &[&old], &a).await, Err(Code::ServiceUntrusted));
    attest_by(&trust, &[&old, &next], &a).await.unwrap();
    assert_eq!(
        attest_by(&trust, &[&next], &a).await,
        Err(Code::ReleasesExhausted),
        "TLS passes, and it had three"
    );
    go_on(granted, challenged, &c).await;
    let pools = async || {
        admin
            .get(format!("https://{}{}", trust.admin_address(), admin::POOLS))
            .send()
            .await
            .map(|r| r.status())
    };
    assert_eq!(pools().await.unwrap(), 200, "the old certificate, while the old CA is there");
    let _: Vec<Value> = trust.admin().get(admin::POOLS).await;
    std::fs::remove_file(dir.join(rotate::OLD_CA)).unwrap();
    trust.reload().await.unwrap();
    assert!(pools().await.is_err());
    let _: Vec<Value> = trust.admin().get(admin::POOLS).await;
}

#[tokio::test]
async fn kubelets_get_certificates_of_the_next_cluster_ca_after_the_switch() {
    let (trust, maker) = ready().await;
    let dir = trust.dir();
    let old = text(&trust, "cluster-ca/cert.pem");
    assert!(matches!(rotate::switch_cluster_ca(&dir), Err(RotateError::ClusterNotStaged)));
    rotate::next_cluster_ca(&dir).unwrap();
    assert!(matches!(rotate::next_cluster_ca(&dir), Err(RotateError::ClusterStaged)));
    let next = text(&trust, rotate::NEXT_CLUSTER_CA);
    trust.reload().await.unwrap();
    let signed_by = |chain: &str, ca: &str| {
        let der = |pem: &str| ccnode_server::pki::der_of_pem(pem).unwrap();
        let (leaf, ca) = (der(chain), der(ca));
        let ca = ccnode_server::pki::parse(&ca).unwrap();
        ccnode_server::pki::parse(&leaf).unwrap().verify_signature(Some(ca.public_key())).is_ok()
    };
    let (a, b, c) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B), tpm(&maker, Seat::C));
    let granted = boot(&trust, &a).await.unwrap();
    let chain = granted.certificate(&granted.csr).await.unwrap().chain;
    assert!(signed_by(&chain, &old) && !signed_by(&chain, &next), "staged, and no more");

    // One that was granted before gets its certificate after, by the new CA.
    let (granted, challenged) = begun(&trust, &b, &c).await;
    rotate::switch_cluster_ca(&dir).unwrap();
    trust.reload().await.unwrap();
    assert_eq!(text(&trust, "cluster-ca/cert.pem"), next);
    assert!(!dir.join(rotate::NEXT_CLUSTER_CA).exists());
    let chain = granted.certificate(&granted.csr).await.unwrap().chain;
    assert!(signed_by(&chain, &next) && !signed_by(&chain, &old));
    go_on(boot(&trust, &a).await.unwrap(), challenged, &c).await;

    // A switch that was cut off between key and certificate: not taken, and gone on with.
    rotate::next_cluster_ca(&dir).unwrap();
    std::fs::copy(dir.join("cluster-ca/next.key"), dir.join("cluster-ca/key.pem")).unwrap();
    let error = trust.reload().await.unwrap_err();
    assert!(error.to_string().contains("run again"), "{error}");
    rotate::switch_cluster_ca(&dir).unwrap();
    trust.reload().await.unwrap();
}

#[tokio::test]
async fn a_ca_switch_that_was_cut_off_goes_on() {
    let trust = Trust::new().await;
    let dir = trust.dir();
    let old = text(&trust, "tls/ca.pem");
    rotate::next_ca(&dir).unwrap();
    let next = text(&trust, "tls/ca-next.pem");
    // Up to the new CA's file, and no further.
    std::fs::copy(dir.join("tls/ca.pem"), dir.join(rotate::OLD_CA)).unwrap();
    std::fs::copy(dir.join("tls/ca-next.key"), dir.join("tls/ca.key")).unwrap();
    std::fs::copy(dir.join("tls/ca-next.pem"), dir.join("tls/ca.pem")).unwrap();
    rotate::switch_ca(&dir).unwrap();
    assert_eq!((text(&trust, "tls/ca.pem"), text(&trust, rotate::OLD_CA)), (next, old));
    trust.reload().await.unwrap();
    let _: Vec<Value> = trust.admin().get(admin::POOLS).await;
}

#[tokio::test]
async fn an_edit_of_the_pool_counts_in_sessions_that_are_granted() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    let pair = trust.admin().allow(&Boot::standard(), verity()).await;
    let granted = boot(&trust, &a).await.unwrap();
    let path = admin::path(admin::PAIR, &[&POOL, &pair.platform, &pair.image]);
    trust.admin().delete(&path).await.unwrap();
    assert_eq!(code(granted.session.grants().await), Code::PairNotAllowed, "no second time");
    assert_eq!(code(granted.certificate(&granted.csr).await), Code::PairNotAllowed, "no certificate");
    // What is done without a key goes on, and all of it once the pair is allowed again.
    granted.formatted(header()).await.unwrap();
    trust.admin().allow(&Boot::standard(), verity()).await;
    granted.certificate(&granted.csr).await.unwrap();
    trust.admin().delete(&path).await.unwrap();
    assert_eq!(code(granted.certificate(&granted.csr).await), Code::PairNotAllowed, "not the same once more");
}
