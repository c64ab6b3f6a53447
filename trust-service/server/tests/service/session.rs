//! Good sessions: first boot, second boot, repeats, restarts of the service.

use crate::fixture::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ccnode_evidence::Sha256Digest;
use ccnode_protocol::admin::{AuditRow, NodeState, TrustLevel, VolumeState};
use ccnode_protocol::grants::{Begun, OnForeignDisk, VolumeAction};
use ccnode_server::pki;
use ccnode_testkit::{Boot, Seat};
use p256::ecdsa::signature::Verifier as _;
use serde_json::Value;

#[tokio::test]
async fn first_boot_formats_and_second_boot_opens() {
    let (trust, maker) = ready().await;
    let (tpm, admin) = (tpm(&maker, Seat::A), trust.admin());

    let first = boot(&trust, &tpm).await.unwrap();
    let name = first.grants.node.clone();
    assert!(name.as_str().starts_with("workers-") && name.as_str().len() == 18, "{name}");
    assert_eq!(first.grants.volume().unwrap().id, format!("{name}/root"));
    assert_eq!(first.grants.volume().unwrap().generation, 1);
    assert_eq!(first.grants.cluster.server, "https://10.0.2.101:6443");
    assert!(first.grants.cluster.ca.starts_with("-----BEGIN CERTIFICATE-----"));
    let VolumeAction::Format { on_foreign_disk, .. } = &first.grants.volume().unwrap().action else {
        panic!()
    };
    assert_eq!(*on_foreign_disk, OnForeignDisk::Refuse);
    first.formatted(header()).await.unwrap();
    first.ready(verity()).await.unwrap();
    let chain = first.certificate(&first.csr).await.unwrap().chain;
    let der = pki::der_of_pem(&chain).unwrap();
    assert_eq!(
        pki::parse(&der).unwrap().subject().to_string(),
        format!("O=system:nodes, CN=system:node:{name}")
    );

    let record = admin.node(&name).await;
    assert_eq!((record.state, record.level), (NodeState::Active, Some(TrustLevel::HypervisorVtpm)));
    let [volume] = record.volumes.as_slice() else { panic!("{record:?}") };
    assert_eq!((volume.state, volume.generation), (VolumeState::Ready, 1));
    assert_eq!((volume.header_digest, volume.populated_from), (Some(header()), Some(verity())));

    tpm.reboot(Boot::standard());
    let second = boot(&trust, &tpm).await.unwrap();
    assert_eq!(second.grants.node, name);
    assert_eq!(second.grants.volume().unwrap().unlock_key, first.grants.volume().unwrap().unlock_key);
    assert_eq!(second.grants.volume().unwrap().uuid, first.grants.volume().unwrap().uuid);
    assert_eq!(second.grants.volume().unwrap().generation, 1);
    let VolumeAction::Open { header_digest, populated_from, .. } = second.grants.volume().unwrap().action
    else {
        panic!()
    };
    assert_eq!((header_digest, populated_from), (header(), verity()));
    assert!(admin.refusals().await.is_empty());
}

#[tokio::test]
async fn every_decision_has_its_audit_row() {
    let (trust, maker) = ready().await;
    let granted = first_boot(&trust, &tpm(&maker, Seat::A)).await;
    granted.certificate(&granted.csr).await.unwrap();
    let rows: Vec<AuditRow> = trust.admin().get(ccnode_protocol::admin::AUDIT).await;
    let actions: Vec<&str> = rows.iter().rev().map(|row| row.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "service.init",
            "pool.create",
            "pool.ek-root.add",
            "pool.ek-root.add",
            "platform.register",
            "image.register",
            "pool.allow",
            "session.accepted",
            "session.granted",
            "volume.formatted",
            "volume.ready",
            "certificate.issued",
        ]
    );
    let text = serde_json::to_string(&rows).unwrap();
    for secret in [
        &granted.grants.volume().unwrap().unlock_key,
        &granted.grants.certificate.secret,
        &granted.format().1,
    ] {
        let hidden = [hex::encode(secret.expose()), B64.encode(secret.expose())];
        assert!(hidden.iter().all(|h| !text.contains(h)), "t21: a secret in the audit log");
    }
}

#[tokio::test]
async fn a_half_made_volume_is_made_anew_and_old_grants_are_stale() {
    use ccnode_evidence::Code::{GenerationStale, GrantSpent};
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let first = boot(&trust, &tpm).await.unwrap();
    first.formatted(header()).await.unwrap();
    assert_eq!(code(first.formatted(Sha256Digest::of(b"other")).await), GrantSpent);

    tpm.reboot(Boot::standard());
    let second = boot(&trust, &tpm).await.unwrap();
    assert_eq!(second.grants.volume().unwrap().generation, 2);
    // A node whose tags are still being written may go on with what the boot before formatted, and with nothing older.
    let begun = |granted: &Granted| match &granted.root().action {
        VolumeAction::Format { begun, .. } => begun.as_deref().cloned(),
        VolumeAction::Open { .. } => panic!("opened"),
    };
    assert_eq!(begun(&first), None);
    assert_eq!(begun(&second), Some(Begun { header_digest: header(), holders: None }));
    tpm.reboot(Boot::standard());
    let second = boot(&trust, &tpm).await.unwrap();
    assert_eq!((second.root().generation, begun(&second)), (3, None));
    assert_eq!(code(first.ready(verity()).await), GenerationStale);
    assert_eq!(code(first.formatted(header()).await), GenerationStale);
    assert_eq!(code(first.session.grants().await), GenerationStale);
    second.formatted(header()).await.unwrap();
    second.ready(verity()).await.unwrap();
}

#[tokio::test]
async fn repeats_are_answered_alike() {
    let (trust, maker) = ready().await;
    let granted = boot(&trust, &tpm(&maker, Seat::A)).await.unwrap();
    let mut again = granted.session.grants().await.unwrap();
    again.time = granted.grants.time;
    assert_eq!(again, granted.grants);
    for _ in 0..2 {
        granted.formatted(header()).await.unwrap();
    }
    for _ in 0..2 {
        granted.ready(verity()).await.unwrap();
    }
    granted.formatted(header()).await.unwrap();
    let one = granted.certificate(&granted.csr).await.unwrap().chain;
    assert_eq!(granted.certificate(&granted.csr).await.unwrap().chain, one);
}

#[tokio::test]
async fn state_survives_restart_and_crash() {
    let (mut trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let session = challenge(&trust, &tpm).await;
    trust.restart().await;
    // The service remembers nothing of a challenge: another replica, or the same one later, goes on with it.
    let moved = Challenged { base: trust.url(""), ..session };
    let (attestation, ..) = moved.answer(&tpm);
    moved.attest(&attestation).await.unwrap();
    let grants = moved.grants().await.unwrap();
    let first = Granted { session: moved, grants, csr: Vec::new(), token: String::new() };
    first.formatted(header()).await.unwrap();
    first.ready(verity()).await.unwrap();
    trust.crash().await;
    tpm.reboot(Boot::standard());
    let second = boot(&trust, &tpm).await.unwrap();
    assert!(matches!(second.grants.volume().unwrap().action, VolumeAction::Open { .. }));
    assert_eq!(second.grants.volume().unwrap().unlock_key, first.grants.volume().unwrap().unlock_key);
}

#[tokio::test]
async fn the_token_is_signed_and_true() {
    let (trust, maker) = ready().await;
    let granted = boot(&trust, &tpm(&maker, Seat::A)).await.unwrap();
    let parts: Vec<&str> = granted.token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{}", granted.token) };
    let json = |part: &str| serde_json::from_slice::<Value>(&B64.decode(part).unwrap()).unwrap();
    let (head, claims_json) = (json(header), json(claims));
    assert_eq!((head["alg"].as_str(), head["typ"].as_str()), (Some("ES256"), Some("JWT")));
    let coordinate = |name: &str| B64.decode(head["jwk"][name].as_str().unwrap()).unwrap();
    let point = [&[4][..], &coordinate("x"), &coordinate("y")].concat();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
    let signature = p256::ecdsa::Signature::from_slice(&B64.decode(signature).unwrap()).unwrap();
    let signed = format!("{header}.{claims}");
    key.verify(signed.as_bytes(), &signature).unwrap();
    let cpu = &claims_json["submods"]["cpu0"];
    assert_eq!(claims_json["eat_profile"], "tag:github.com,2024:confidential-containers/Trustee");
    assert_eq!(cpu["ear.status"], "affirming");
    assert_eq!(cpu["ear.veraison.annotated-evidence"]["ccnode"]["trust-level"], "hypervisor-vtpm");
    assert!(claims_json["exp"].as_u64() > claims_json["iat"].as_u64());
}

#[tokio::test]
async fn keys_at_rest_are_sealed() {
    let (mut trust, maker) = ready().await;
    let granted = first_boot(&trust, &tpm(&maker, Seat::A)).await;
    trust.stop().await;
    let bytes = std::fs::read(trust.dir().join("db.sqlite")).unwrap();
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|w| w == needle);
    assert!(holds(granted.grants.volume().unwrap().id.as_bytes()), "the search finds what is there");
    for secret in [&granted.grants.volume().unwrap().unlock_key, &granted.grants.certificate.secret] {
        assert!(!holds(secret.expose()), "raw");
        assert!(!holds(hex::encode(secret.expose()).as_bytes()), "hex");
        assert!(!holds(B64.encode(secret.expose()).as_bytes()), "base64");
    }
}
