//! Refusals after the verdict: nodes that lost their rights, bounds of a boot, volumes and grants.

use crate::fixture::*;
use ccnode_evidence::{Code, Secret, Sha256Digest};
use ccnode_protocol::admin;
use ccnode_protocol::grants::Formatted;
use ccnode_protocol::{CERTIFICATE, FORMATTED};
use ccnode_server::keys::{random, secret_hash};
use ccnode_server::store::{GrantKind, GrantRow, Store as _, Tx as _};
use ccnode_testkit::{Answer, Boot, Seat, attest, kubelet_csr};
use serde_json::{Value, json};

#[tokio::test]
async fn revoked_and_retired_nodes_get_nothing() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let granted = first_boot(&trust, &tpm).await;
    let name = granted.grants.node.clone();
    act(&trust, admin::NODE_REVOKE, &name).await.unwrap();
    assert_eq!(code(granted.session.grants().await), Code::NodeRevoked, "an open session too");
    assert_eq!(code(granted.certificate(&granted.csr).await), Code::NodeRevoked, "an open grant too");
    tpm.reboot(Boot::standard());
    assert_eq!(judged_code(&trust, &tpm).await, Code::NodeRevoked);
    act(&trust, admin::NODE_APPROVE, &name).await.unwrap();
    boot(&trust, &tpm).await.unwrap();
    trust.admin().delete(&admin::path(admin::NODE, &[&name])).await.unwrap();
    assert_eq!(judged_code(&trust, &tpm).await, Code::NodeRetired);
    assert_eq!(code(act(&trust, admin::NODE_APPROVE, &name).await), Code::Conflict);
    trust.admin().delete(&admin::path(admin::NODE, &[&name])).await.unwrap();
    tpm.reboot(Boot::standard());
    let anew = boot(&trust, &tpm).await.unwrap();
    assert_ne!(
        anew.grants.volume().unwrap().unlock_key,
        granted.grants.volume().unwrap().unlock_key,
        "the old key is forgotten"
    );
}

#[tokio::test]
async fn three_sessions_a_boot_have_a_release() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    for _ in 0..3 {
        let granted = boot(&trust, &tpm).await.unwrap();
        granted.session.grants().await.unwrap();
    }
    assert_eq!(code(boot(&trust, &tpm).await), Code::ReleasesExhausted);
    tpm.reboot(Boot::standard());
    boot(&trust, &tpm).await.unwrap();
}

#[tokio::test]
async fn t27_another_image_than_the_root_was_made_from_gets_no_key() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let first = first_boot(&trust, &tpm).await;
    let v2 = Boot::new("2022.11", "console=ttyS0 v2", b"initrd 2");
    trust.admin().allow(&v2, Sha256Digest::of(b"root source 2")).await;
    tpm.reboot(v2.clone());
    assert_eq!(code(boot(&trust, &tpm).await), Code::PopulatedFromOther);
    act(&trust, admin::NODE_REGRANT, &first.grants.node).await.unwrap();
    let anew = boot(&trust, &tpm).await.unwrap();
    assert_ne!(anew.grants.volume().unwrap().unlock_key, first.grants.volume().unwrap().unlock_key);
    assert!(anew.grants.volume().unwrap().generation > first.grants.volume().unwrap().generation);
    anew.formatted(header()).await.unwrap();
    assert_eq!(code(anew.ready(verity()).await), Code::PopulatedFromOther, "filled from the old source");
    anew.ready(Sha256Digest::of(b"root source 2")).await.unwrap();
    tpm.reboot(Boot::standard());
    assert_eq!(code(boot(&trust, &tpm).await), Code::PopulatedFromOther, "and the reverse");
}

#[tokio::test]
async fn grants_are_proven_live_and_in_order() {
    let (trust, maker) = ready().await;
    let granted = boot(&trust, &tpm(&maker, Seat::A)).await.unwrap();
    assert_eq!(code(granted.ready(verity()).await), Code::Conflict, "ready before formatted");
    let (grant, secret) = granted.format();
    let request = |grant: &str, secret: &Secret<32>, generation| Formatted {
        grant: grant.into(),
        secret: secret.clone(),
        generation,
        header_digest: header(),
        recovery: None,
    };
    let post = async |body: Formatted| code(granted.session.post::<()>(FORMATTED, &body).await);
    assert_eq!(post(request("none", &secret, 1)).await, Code::GrantUnknown);
    assert_eq!(post(request(&grant, &Secret::new([0; 32]), 1)).await, Code::GrantUnknown);
    assert_eq!(post(request(&grant, &secret, 2)).await, Code::GenerationStale);
    let certificate = &granted.grants.certificate;
    assert_eq!(post(request(&certificate.id, &certificate.secret, 1)).await, Code::GrantUnknown, "kind");

    // The same grants, ended.
    let service = trust.service();
    let mut tx = service.store.write().await.unwrap();
    let secret = random();
    let ended = |id: &str, kind, grant: &GrantRow| GrantRow {
        id: id.into(),
        kind,
        secret_hash: secret_hash(&secret),
        expires: service.now() - 1,
        ..grant.clone()
    };
    let (format, sign) =
        (tx.grant(&grant).await.unwrap().unwrap(), tx.grant(&certificate.id).await.unwrap().unwrap());
    tx.insert_grant(&ended("old-format", GrantKind::Format, &format)).await.unwrap();
    tx.insert_grant(&ended("old-sign", GrantKind::Certificate, &sign)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(post(request("old-format", &secret, 1)).await, Code::GrantExpired);
    let old = json!({"grant": "old-sign", "secret": secret, "csr": ccnode_evidence::Base64Url(granted.csr.clone())});
    assert_eq!(code(granted.session.post::<Value>(CERTIFICATE, &old).await), Code::GrantExpired);
}

#[tokio::test]
async fn a_retired_volume_is_not_released() {
    use ccnode_protocol::admin::{VolumeRecord, VolumeState};
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let granted = first_boot(&trust, &tpm).await;
    let mut tx = trust.service().store.write().await.unwrap();
    let volume = tx.volume(&granted.grants.volume().unwrap().id).await.unwrap().unwrap();
    let mut retired = volume.clone();
    retired.record = VolumeRecord { state: VolumeState::Retired, ..retired.record };
    assert!(tx.swap_volume(volume.version(), &retired).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(code(boot(&trust, &tpm).await), Code::VolumeRetired);
    assert_eq!(code(granted.ready(verity()).await), Code::VolumeRetired);
}

#[tokio::test]
async fn certificates_only_for_the_bound_request_and_the_chosen_name() {
    let (trust, maker) = ready().await;
    let tpm_a = tpm(&maker, Seat::A);
    let granted = boot(&trust, &tpm_a).await.unwrap();
    let (other, _) = kubelet_csr(&granted.grants.node);
    assert_eq!(code(granted.certificate(&other).await), Code::CsrRefused, "not the bound one");

    // Bound, and for another name.
    let session = challenge(&trust, &tpm_a).await;
    let secret = session.secret(&tpm_a);
    let (csr, _) = kubelet_csr(&"workers-other".parse().unwrap());
    let answer = Answer { nonce: &session.nonce, secret: &secret, key: &session.key, csr: Some(csr.clone()) };
    session.attest(&attest(&tpm_a, &answer)).await.unwrap();
    let grants = session.grants().await.unwrap();
    let granted = Granted { session, grants, csr: csr.clone(), token: String::new() };
    assert_eq!(code(granted.certificate(&csr).await), Code::CsrRefused, "another name");

    // None bound.
    let session = challenge(&trust, &tpm_a).await;
    let secret = session.secret(&tpm_a);
    let answer = Answer { nonce: &session.nonce, secret: &secret, key: &session.key, csr: None };
    session.attest(&attest(&tpm_a, &answer)).await.unwrap();
    let grants = session.grants().await.unwrap();
    let granted = Granted { session, grants, csr: csr.clone(), token: String::new() };
    assert_eq!(code(granted.certificate(&csr).await), Code::CsrRefused, "none bound");

    // Malformed.
    let session = challenge(&trust, &tpm_a).await;
    let secret = session.secret(&tpm_a);
    let answer =
        Answer { nonce: &session.nonce, secret: &secret, key: &session.key, csr: Some(b"x".to_vec()) };
    assert_eq!(code(session.attest(&attest(&tpm_a, &answer)).await), Code::CsrRefused);
}
