//! The last evidence of each node is kept with its verdict, replaced by the next, and readable by administrators alone.

use crate::audit::sql;
use crate::fixture::*;
use ccnode_evidence::{Code, EvidenceKind, Secret};
use ccnode_protocol::admin::{self, LastEvidence};
use ccnode_protocol::{Attestation, NodeName};
use ccnode_testkit::{Answer, Boot, Lies, Seat, attest};
use reqwest::Method;
use serde_json::Value;

async fn last(trust: &Trust, node: &NodeName) -> LastEvidence {
    trust.admin().get(&admin::path(admin::NODE_EVIDENCE, &[node])).await
}

fn value(attestation: &Attestation) -> Value {
    serde_json::to_value(attestation).unwrap()
}

#[tokio::test]
async fn accepted_evidence_is_kept_whole_and_without_the_secret() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let session = challenge(&trust, &tpm).await;
    let (attestation, _, name) = session.answer(&tpm);
    session.attest(&attestation).await.unwrap();
    let record = last(&trust, &name).await;
    assert_eq!((record.version, record.kind.as_str()), (1, "ccnode"));
    assert_eq!(value(record.attestation.as_ref().unwrap()), value(&attestation));
    assert_eq!((record.session.nonce, record.session.tee), (session.nonce, EvidenceKind::Tpm));
    assert_eq!(record.session.ek_cert.as_ref().unwrap().0, tpm.ek_cert());
    assert_eq!(record.session.ak.as_ref().unwrap().0, tpm.offer().ak_public);
    let verdict = &record.verdict;
    assert!(verdict.accepted && verdict.code.is_none(), "{verdict:?}");
    assert_eq!((&verdict.node, verdict.level), (&name, Some(admin::TrustLevel::HypervisorVtpm)));
    assert!(verdict.platform.is_some() && verdict.image.is_some());

    let text = serde_json::to_string(&record).unwrap();
    let secret = session.secret(&tpm);
    let url = serde_json::to_string(&secret).unwrap();
    for form in [url.trim_matches('"'), &hex::encode(secret.expose())] {
        assert!(!text.contains(form), "the credential's secret");
    }
}

#[tokio::test]
async fn each_verdict_replaces_the_one_before_and_nobody_elses_does() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let name = boot(&trust, &tpm).await.unwrap().grants.node;

    // Refused by appraisal.
    tpm.reboot(Boot::new("2022.11", "console=ttyS0 init=/bin/sh", b"initrd"));
    assert_eq!(judged_code(&trust, &tpm).await, Code::ImageUnknown);
    let record = last(&trust, &name).await;
    assert_eq!((record.verdict.accepted, record.verdict.code), (false, Some(Code::ImageUnknown)));
    assert!(record.verdict.platform.is_some() && record.verdict.image.is_none());
    assert!(record.verdict.detail.as_ref().is_some_and(|text| text.contains("PCR")));

    // Who does not activate is nobody: the record stays.
    let session = challenge(&trust, &tpm).await;
    let guess = Secret::new([7; 32]);
    let answer = Answer { nonce: &session.nonce, secret: &guess, key: &session.key, csr: None };
    assert_eq!(code(session.attest(&attest(&tpm, &answer)).await), Code::ActivationFailed);
    assert_eq!(last(&trust, &name).await.verdict, record.verdict);

    // Refused by its record: what satisfied the pool is kept with the reason.
    tpm.reboot(Boot::standard());
    act(&trust, admin::NODE_REVOKE, &name).await.unwrap();
    assert_eq!(judged_code(&trust, &tpm).await, Code::NodeRevoked);
    let record = last(&trust, &name).await;
    assert_eq!((record.verdict.accepted, record.verdict.code), (false, Some(Code::NodeRevoked)));
    assert!(record.verdict.image.is_some());

    // With the node's record it goes.
    for _ in 0..2 {
        trust.admin().delete(&admin::path(admin::NODE, &[&name])).await.unwrap();
    }
    let path = admin::path(admin::NODE_EVIDENCE, &[&name]);
    assert_eq!(code(trust.admin().call::<Value>(Method::GET, &path, &()).await), Code::NotFound);
}

#[tokio::test]
async fn records_with_the_keys_in_them_are_read_as_before() {
    let (trust, maker) = ready().await;
    let name = boot(&trust, &tpm(&maker, Seat::A)).await.unwrap().grants.node;
    let record = last(&trust, &name).await;
    // As versions wrote them that kept no keys beside them.
    let text = "UPDATE last_evidence SET keys = NULL, record = json_set(record, '$.session', json_patch(
        json_extract(record, '$.session'), (SELECT k.keys FROM evidence_keys k WHERE k.digest = last_evidence.keys)))";
    sql(&trust.dir(), text).await;
    assert!(record.session.ek_cert.is_some() && record.session.ak.is_some());
    assert_eq!(last(&trust, &name).await.session, record.session);
}

#[tokio::test]
async fn evidence_of_no_node_is_not_kept() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    tpm.lie(Lies { qualifying: Some(vec![0; 32]), ..Lies::default() });
    let session = challenge(&trust, &tpm).await;
    let (attestation, _, name) = session.answer(&tpm);
    assert_eq!(code(session.attest(&attestation).await), Code::QuoteNonce);
    let path = admin::path(admin::NODE_EVIDENCE, &[&name]);
    assert_eq!(code(trust.admin().call::<Value>(Method::GET, &path, &()).await), Code::NotFound);
}

#[tokio::test]
async fn t25_of_large_evidence_the_verdict_alone_is_kept() {
    let trust = Trust::with(|config| config.keep.last_evidence = 2000).await;
    let maker = prepare(&trust).await;
    let tpm = tpm(&maker, Seat::A);
    let name = boot(&trust, &tpm).await.unwrap().grants.node;
    let record = last(&trust, &name).await;
    assert!(record.attestation.is_none() && record.verdict.accepted);
    assert!(record.session.ek_cert.is_some());
}

#[tokio::test]
async fn what_was_refused_leaves_no_log_for_others() {
    let (trust, maker) = ready().await;
    let (a, b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    boot(&trust, &b).await.unwrap();
    // Its log takes the place of the one that it had: nobody has that any more.
    b.lie(Lies { logs: Some(Boot::new("2022.11", "other", b"initrd").logs()), ..Lies::default() });
    let session = challenge(&trust, &b).await;
    assert!(session.attest(&session.answer(&b).0).await.is_err());
    b.lie(Lies::default());
    // The transcript binds the log of before, and another one comes with it.
    let session = challenge(&trust, &b).await;
    let (mut forged, ..) = session.answer(&b);
    forged.tee_evidence.primary_evidence["ccnode"]["event-log"] = "Zm9yZ2Vk".into();
    assert_eq!(code(session.attest(&forged).await), Code::TranscriptMismatch);

    let session = challenge(&trust, &a).await;
    let (attestation, _, name) = session.answer(&a);
    session.attest(&attestation).await.unwrap();
    assert_eq!(value(&last(&trust, &name).await.attestation.unwrap()), value(&attestation));
}
