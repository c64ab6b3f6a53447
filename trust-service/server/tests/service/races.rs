//! Sessions that something overtakes: a later boot, another pool, the end of their time, a held writer.

use crate::audit::sql;
use crate::fixture::*;
use ccnode_evidence::{Code, Nonce, Secret};
use ccnode_protocol::admin::{self, NodeState, OnUnknown};
use ccnode_protocol::grants::Formatted;
use ccnode_protocol::{CERTIFICATE, FORMATTED, NodeName};
use ccnode_server::config::Lifetime;
use ccnode_server::store::{NodeRow, PoolRow, SqliteStore, Store as _, Tx as _};
use ccnode_testkit::{Boot, Seat};
use serde_json::{Value, json};
use std::time::Duration;

pub(crate) type Tx = <SqliteStore as ccnode_server::store::Store>::Tx;

/// Edits a node's record behind the service's back.
pub(crate) async fn edit_node(trust: &Trust, name: &NodeName, edit: impl FnOnce(&mut NodeRow)) {
    let mut tx = trust.service().store.write().await.unwrap();
    let mut row = tx.node_named(name).await.unwrap().unwrap();
    edit(&mut row);
    tx.update_node(&row).await.unwrap();
    tx.commit().await.unwrap();
}

/// Makes the last verdict one of long ago: what comes now was challenged after it.
pub(crate) async fn age(trust: &Trust, name: &NodeName) {
    edit_node(trust, name, |row| row.attested = row.attested.map(|at| at - 10)).await;
}

/// Runs `request` until it waits for the writer, does `meanwhile`, and gives the writer back.
pub(crate) async fn overtaken<T>(
    trust: &Trust,
    request: impl Future<Output = T>,
    meanwhile: impl AsyncFnOnce(&mut Tx),
) -> T {
    let mut tx = trust.service().store.write().await.unwrap();
    let other = async {
        let all = ccnode_server::config::Limits::default().attestations;
        while trust.service().attestations.free() == all {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Inside its slot a request reads the store, and appraises: both take far less.
        tokio::time::sleep(Duration::from_secs(2)).await;
        meanwhile(&mut tx).await;
        tx.commit().await.unwrap();
    };
    tokio::join!(request, other).0
}

#[tokio::test]
async fn a_node_that_comes_into_another_pool_meanwhile_starts_anew() {
    let (trust, maker) = ready().await;
    let (a, b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    let template = boot(&trust, &b).await.unwrap().grants.node;
    let template = trust.service().store.read().await.unwrap().node_named(&template).await.unwrap().unwrap();
    let session = challenge(&trust, &a).await;
    let (attestation, ..) = session.answer(&a);
    let identity = ccnode_appraise::TpmIdentity::parse(&a.ek_cert(), &a.offer().ak_public).unwrap();
    let answer = overtaken(&trust, session.attest(&attestation), async |tx: &mut Tx| {
        let workers = tx.pool(&pool()).await.unwrap().unwrap();
        let others = PoolRow { name: "others".parse().unwrap(), on_unknown: OnUnknown::Refuse, ..workers };
        tx.insert_pool(&others).await.unwrap();
        let ak_name = hex::encode(identity.ak_name());
        let (identity, name) =
            (identity.node_id(ccnode_evidence::EvidenceKind::Tpm), "others-a".parse().unwrap());
        let node = NodeRow { identity, name, ak_name, pool: others.name, counters: None, ..template };
        assert!(tx.insert_node(&node).await.unwrap());
    })
    .await;
    assert_eq!(code(answer), Code::SessionExpired);
    assert_eq!(code(session.grants().await), Code::SessionUnknown, "nothing came of it");
    // The next session is appraised by that pool's rules: it allows nothing yet.
    assert_eq!(judged_code(&trust, &a).await, Code::EkUntrusted);
}

#[tokio::test]
async fn t09_a_session_that_ends_while_it_waits_is_over() {
    let trust = Trust::with(|config| config.session_lifetime = Lifetime(Duration::from_secs(2))).await;
    let maker = prepare(&trust).await;
    let a = tpm(&maker, Seat::A);
    let session = challenge(&trust, &a).await;
    let (attestation, ..) = session.answer(&a);
    let mut tx = trust.service().store.write().await.unwrap();
    // Nothing else can be written while the writer is held; dropped, it writes nothing itself.
    let held = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(tx.pools().await.is_ok());
        drop(tx);
    };
    let (answer, ()) = tokio::join!(session.attest(&attestation), held);
    assert_eq!(code(answer), Code::SessionExpired);
}

#[tokio::test]
async fn t09_a_nonce_stays_on_record_after_its_session() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    let first = boot(&trust, &a).await.unwrap();
    sql(&trust.dir(), "UPDATE sessions SET expires = expires - 3600").await;
    boot(&trust, &a).await.unwrap();
    let nonce: Nonce = first.session.nonce;
    let kept = trust.service().store.read().await.unwrap().session(&nonce).await.unwrap();
    assert!(kept.is_some(), "another attestation purges what is older than a day alone");
}

#[tokio::test]
async fn t18_an_attestation_that_was_held_back_quarantines_nobody() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    let name = first_boot(&trust, &a).await.grants.node;
    let held_back = challenge(&trust, &a).await;
    let (attestation, ..) = held_back.answer(&a);
    a.reboot(Boot::standard());
    boot(&trust, &a).await.unwrap();
    assert_eq!(code(held_back.attest(&attestation).await), Code::SessionExpired);
    assert_eq!(trust.admin().node(&name).await.state, NodeState::Active);
    assert_eq!(code(held_back.attest(&attestation).await), Code::NonceSpent);
    a.reboot(Boot::standard());
    boot(&trust, &a).await.unwrap();
}

#[tokio::test]
async fn a_session_of_an_earlier_boot_gets_nothing() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    first_boot(&trust, &a).await;
    a.reboot(Boot::standard());
    let early = boot(&trust, &a).await.unwrap();
    let late = challenge(&trust, &a).await;
    let (attestation, ..) = late.answer(&a);
    late.attest(&attestation).await.unwrap();
    a.reboot(Boot::standard());
    boot(&trust, &a).await.unwrap();
    assert_eq!(code(late.grants().await), Code::SessionExpired, "attested, never granted");
    assert_eq!(code(early.session.grants().await), Code::SessionExpired, "granted before");
}

#[tokio::test]
async fn a_used_format_grant_is_not_repeated() {
    let (trust, maker) = ready().await;
    let granted = boot(&trust, &tpm(&maker, Seat::A)).await.unwrap();
    granted.session.grants().await.unwrap();
    granted.formatted(header()).await.unwrap();
    assert_eq!(code(granted.session.grants().await), Code::GrantSpent, "formatted");
    granted.ready(verity()).await.unwrap();
    assert_eq!(code(granted.session.grants().await), Code::GrantSpent, "ready");
    sql(&trust.dir(), "UPDATE volumes SET state = 'retired'").await;
    assert_eq!(code(granted.session.grants().await), Code::VolumeRetired);
}

#[tokio::test]
async fn t07_a_key_opens_in_the_row_of_its_node_alone() {
    let (trust, maker) = ready().await;
    let (tpm_a, tpm_b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    let (a, b) = (first_boot(&trust, &tpm_a).await, first_boot(&trust, &tpm_b).await);
    let mut tx = trust.service().store.read().await.unwrap();
    let mut row = tx.volume(&a.grants.volume().unwrap().id).await.unwrap().unwrap();
    let other = tx.node_named(&b.grants.node).await.unwrap().unwrap().identity;
    drop(tx);
    assert!(trust.service().unlock_key(&row).unwrap().is_some());
    row.identity = other;
    assert!(trust.service().unlock_key(&row).is_err(), "sealed for the identity, too");
    let moved =
        format!("UPDATE volumes SET identity = '{other}' WHERE id = '{}'", a.grants.volume().unwrap().id);
    sql(&trust.dir(), &moved).await;
    tpm_a.reboot(Boot::standard());
    assert_eq!(code(boot(&trust, &tpm_a).await), Code::Internal, "its volume is another node's");
    tpm_b.reboot(Boot::standard());
    boot(&trust, &tpm_b).await.unwrap();
}

#[tokio::test]
async fn t25_whoever_has_nothing_does_not_wait_for_the_writer() {
    let trust = Trust::with(|config| config.limits.unproven_per_minute = 0).await;
    let maker = prepare(&trust).await;
    let session = challenge(&trust, &tpm(&maker, Seat::A)).await;
    let writer = trust.service().store.write().await.unwrap();
    let (grant, secret) = ("none".to_owned(), Secret::new([0; 32]));
    let body =
        Formatted { grant, secret: secret.clone(), generation: 1, header_digest: header(), recovery: None };
    let ready = json!({"grant": "none", "secret": secret, "generation": 1, "populated-from": verity()});
    let csr = json!({"grant": "none", "secret": secret, "csr": ""});
    let all = async {
        assert_eq!(code(session.grants().await), Code::SessionUnknown);
        assert_eq!(code(session.post::<Value>(FORMATTED, &body).await), Code::GrantUnknown);
        assert_eq!(code(session.post::<Value>(ccnode_protocol::READY, &ready).await), Code::GrantUnknown);
        assert_eq!(code(session.post::<Value>(CERTIFICATE, &csr).await), Code::GrantUnknown);
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("answered while another writes");
    drop(writer);
    let _: Vec<admin::NodeRecord> = trust.admin().get(admin::NODES).await;
}

#[tokio::test]
async fn what_a_writer_undid_of_a_pool_counts_for_nobody() {
    let (trust, _) = ready().await;
    let service = trust.service();
    let edit = async |allow_init_data, keep| {
        let mut tx = service.store.write().await.unwrap();
        let row = tx.pool(&pool()).await.unwrap().unwrap();
        tx.update_pool(&PoolRow { allow_init_data, ..row }).await.unwrap();
        let seen = service.references.pool(&mut tx, &pool()).await.unwrap().unwrap();
        assert_eq!(seen.allow_init_data, allow_init_data, "its own change");
        if keep {
            tx.commit().await.unwrap();
        }
    };
    edit(true, false).await;
    // Another change has the number now that the one before had.
    edit(false, true).await;
    let mut tx = service.store.read().await.unwrap();
    assert!(!service.references.pool(&mut tx, &pool()).await.unwrap().unwrap().allow_init_data);
}
