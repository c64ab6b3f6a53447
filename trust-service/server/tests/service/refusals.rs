//! Every refusal that the service decides about a node, produced over the wire, answered and recorded.

use crate::fixture::*;
use crate::races::{age, edit_node};
use ccnode_evidence::transcript::{Bound, Transcript};
use ccnode_evidence::{Code, EvidenceKind, Nonce, Secret, Sha256Digest};
use ccnode_protocol::admin::{
    self, AuditRow, NodeState, OnUnknown, Pool, PoolEdit, RefusalRecord, RefusedBy, Rule, TrustLevel,
};
use ccnode_protocol::{ExtParams, GRANTS, NodeRefusal, REFUSALS, RefusalText, Tee, TeePubKey};
use ccnode_server::cookie::{OfferedTpm, Session};
use ccnode_testkit::{
    Answer, Boot, EkProfile, Lies, MakerCa, Seat, SoftTpm, attest, attest_with, auth_request,
};
use reqwest::Method;
use serde_json::{Value, json};

async fn lying(trust: &Trust, tpm: &SoftTpm, lies: Lies) -> Code {
    tpm.lie(lies);
    let code = judged_code(trust, tpm).await;
    tpm.lie(Lies::default());
    code
}

async fn last(trust: &Trust) -> RefusalRecord {
    let newest = trust.admin().refusals().await.remove(0);
    trust.admin().get(&admin::path(admin::REFUSAL, &[&newest.id])).await
}

#[tokio::test]
async fn auth_is_strict() {
    let (trust, maker) = ready().await;
    let good = auth_request(&tpm(&maker, Seat::A), &pool());
    let of = async |edit: &dyn Fn(&mut Value)| {
        let mut request = serde_json::to_value(&good).unwrap();
        edit(&mut request);
        code(auth(&trust, &request).await)
    };
    assert_eq!(of(&|r| r["version"] = json!("0.3.0")).await, Code::VersionUnsupported);
    assert_eq!(of(&|r| r["version"] = json!(4)).await, Code::MalformedRequest);
    assert_eq!(of(&|r| r["tee"] = json!(Tee::Sample)).await, Code::TeeUnsupported);
    assert_eq!(of(&|r| r["extra-params"] = Value::Null).await, Code::StockTranscript);
    assert_eq!(of(&|r| r["extra-params"]["ccnode"]["version"] = json!(2)).await, Code::StockTranscript);
    assert_eq!(of(&|r| r["extra-params"]["ccnode"]["ek-cert"] = json!("AAAA")).await, Code::EkCertMalformed);
    assert_eq!(of(&|r| r["extra-params"]["ccnode"]["ak"] = json!("AAAA")).await, Code::AkMalformed);
    let answer = auth(&trust, &json!([])).await.unwrap_err();
    assert_eq!(answer.status, 401);
    assert!(answer.problem.kind.starts_with("https://github.com/confidential-containers/kbs/errors/"));
    assert!(answer.problem.correlation_id.is_some());
}

#[tokio::test]
async fn unknown_tpms_are_challenged_like_known_ones() {
    let (trust, maker) = ready().await;
    let known = tpm(&maker, Seat::A);
    let name = boot(&trust, &known).await.unwrap().grants.node;
    // A chosen name, of another length than default ones.
    edit_node(&trust, &name, |row| row.name = "gold".parse().unwrap()).await;
    let stranger = tpm(&MakerCa::new("nobody"), Seat::B);
    let (a, b) = (challenge(&trust, &known).await, challenge(&trust, &stranger).await);
    assert_eq!(a.activation().credential.0.len(), b.activation().credential.0.len());
    assert_eq!(a.activation().name.ciphertext.0.len(), b.activation().name.ciphertext.0.len());
    assert_eq!(a.name(&a.secret(&known)).as_str(), "gold");
    assert!(b.name(&b.secret(&stranger)).as_str().starts_with("workers-"));
    assert!(trust.admin().refusals().await.is_empty());

    // Who can't activate learns nothing of records either: a revoked node's certificate is answered like a stranger's.
    act(&trust, admin::NODE_REVOKE, &"gold").await.unwrap();
    for (session, tpm) in [(a, &known), (b, &stranger)] {
        let guess = Secret::new([7; 32]);
        let answer = Answer { nonce: &session.nonce, secret: &guess, key: &session.key, csr: None };
        let refused = session.attest(&attest(tpm, &answer)).await.unwrap_err();
        assert_eq!(refused.problem.code, Some(Code::ActivationFailed));
    }
    // In a pool that does not exist, too.
    let mut request = auth_request(&known, &pool());
    let ExtParams::Ccnode { ccnode } = &mut request.extra_params else { panic!() };
    ccnode.pool = "none".parse().unwrap();
    ccnode.ek_cert = Some(stranger.ek_cert().into());
    let session = try_challenge(&trust, &request).await.unwrap();
    let guess = Secret::new([7; 32]);
    let answer = Answer { nonce: &session.nonce, secret: &guess, key: &session.key, csr: None };
    assert_eq!(code(session.attest(&attest(&known, &answer)).await), Code::ActivationFailed);
}

#[tokio::test]
async fn sessions_are_the_services_own_and_end() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let session = challenge(&trust, &tpm).await;
    let (attestation, ..) = session.answer(&tpm);
    let with = |cookie: String| Challenged {
        client: session.client.clone(),
        base: session.base.clone(),
        cookie,
        nonce: session.nonce,
        asks: session.asks.clone(),
        key: ccnode_protocol::jwe::EphemeralKey::generate(),
    };
    assert_eq!(code(with("other=1".into()).attest(&attestation).await), Code::SessionUnknown);
    assert_eq!(code(with("kbs-session-id=AAAA".into()).attest(&attestation).await), Code::SessionUnknown);
    assert_eq!(code(with("kbs-session-id=AAAA".into()).grants().await), Code::SessionUnknown);
    let old = |expires| Session {
        form: ccnode_server::cookie::Form::Ccnode,
        nonce: session.nonce,
        kind: EvidenceKind::Tpm,
        tpm: Some(OfferedTpm { identity: tpm.offer(), secret: session.secret(&tpm) }),
        pool: pool(),
        issued: expires - 300,
        expires,
    };
    let cookie = |expires| {
        let sealed = old(expires).seal(&trust.service().cookies).unwrap();
        format!("kbs-session-id={sealed}")
    };
    let now = trust.service().now();
    assert_eq!(code(with(cookie(now - 1)).attest(&attestation).await), Code::SessionExpired);
    let fresh = with(cookie(now + 60));
    assert_eq!(code(fresh.grants().await), Code::SessionUnknown, "attested before granted");
    session.attest(&attestation).await.unwrap();
}

#[tokio::test]
async fn keys_and_quotes_that_no_tpm_makes() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let lie = async |lies: Lies| lying(&trust, &tpm, lies).await;
    assert_eq!(lie(Lies { magic: Some(0), ..Lies::default() }).await, Code::QuoteMalformed);
    assert_eq!(lie(Lies { tag: Some(0x8017), ..Lies::default() }).await, Code::QuoteMalformed);
    assert_eq!(lie(Lies { signer: Some(Seat::B), ..Lies::default() }).await, Code::QuoteSignature);
    assert_eq!(lie(Lies { qualifying: Some(vec![0; 32]), ..Lies::default() }).await, Code::QuoteNonce);
    let sixteen_of_sha1 = Some(vec![(4, vec![0xff, 0xff, 0])]);
    assert_eq!(lie(Lies { selections: sixteen_of_sha1, ..Lies::default() }).await, Code::QuoteBankWeak);
    assert_eq!(lie(Lies { pcr_digest: Some(vec![0; 32]), ..Lies::default() }).await, Code::QuotePcrDigest);
    assert_eq!(lie(Lies { sent_ak: Some(Seat::B), ..Lies::default() }).await, Code::TranscriptMismatch);
    let session = challenge(&trust, &tpm).await;
    let guess = Secret::new([7; 32]);
    let answer = Answer { nonce: &session.nonce, secret: &guess, key: &session.key, csr: None };
    assert_eq!(code(session.attest(&attest(&tpm, &answer)).await), Code::ActivationFailed);
    let mut logs = tpm.read_logs();
    logs.event_log.0.truncate(40);
    assert_eq!(lie(Lies { logs: Some(logs), ..Lies::default() }).await, Code::EventLogMalformed);
    let other = Boot::new("2022.11", "quiet", b"initrd").logs();
    assert_eq!(lie(Lies { logs: Some(other), ..Lies::default() }).await, Code::EventLogMismatch);
    assert_eq!(trust.admin().refusals().await.len(), 10, "each is recorded");
    boot(&trust, &tpm).await.unwrap();
}

#[tokio::test]
async fn keys_that_nothing_can_be_sealed_to_are_refused_at_once() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let session = challenge(&trust, &tpm).await;
    let secret = session.secret(&tpm);
    let TeePubKey::EC { x, y, .. } = session.key.public() else { panic!() };
    let alg = "ECDH-ES+A256KW".to_owned();
    for key in [
        TeePubKey::RSA { alg: "RSA-OAEP-256".into(), k_mod: "AQAB".into(), k_exp: "AQAB".into() },
        TeePubKey::EC { crv: "P-521".into(), alg: alg.clone(), x, y: y.clone() },
        TeePubKey::EC { crv: "P-256".into(), alg, x: y.clone(), y },
    ] {
        // Bound like any other: only the key itself is at fault.
        let transcript =
            Transcript { additional_evidence: Some(""), nonce: &session.nonce, tee_pubkey: &key };
        let bound = Bound { csr: None, init_data: None, event_logs: tpm.read_logs().digest().ok() };
        let (ext, _) = transcript.bind(bound, &secret).unwrap();
        let (mut attestation, ..) = session.answer(&tpm);
        attestation.runtime_data.stock.tee_pubkey = key;
        attestation.runtime_data.ccnode = Some(ext);
        let refused = session.attest(&attestation).await.unwrap_err().problem;
        assert_eq!(refused.code, Some(Code::MalformedRequest));
        assert!(refused.detail.starts_with("runtime-data.tee-pubkey"), "{}", refused.detail);
    }
    let (attestation, ..) = session.answer(&tpm);
    session.attest(&attestation).await.unwrap();
}

#[tokio::test]
async fn a_nonce_of_another_session_is_refused() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let session = challenge(&trust, &tpm).await;
    let secret = session.secret(&tpm);
    let answer = Answer { nonce: &Nonce([1; 32]), secret: &secret, key: &session.key, csr: None };
    assert_eq!(code(session.attest(&attest(&tpm, &answer)).await), Code::NonceMismatch);
}

#[tokio::test]
async fn endorsement_keys_need_a_trusted_valid_chain() {
    let (trust, maker) = ready().await;
    let stranger = tpm(&MakerCa::new("nobody"), Seat::A);
    let problem = judged(&trust, &stranger).await;
    assert_eq!(problem.code, Some(Code::EkUntrusted));
    let record = last(&trust).await;
    assert!(!record.has_evidence && record.kept.is_none(), "nothing is kept of the unproven");
    let old = EkProfile { years: (2020, 2024), ..EkProfile::default() };
    let old = SoftTpm::with(&maker, Seat::B, &old, Boot::standard());
    assert_eq!(judged_code(&trust, &old).await, Code::EkCertExpired);
}

#[tokio::test]
async fn an_unknown_platform_is_explained_and_kept() {
    let trust = Trust::new().await;
    let (maker, admin) = (MakerCa::new("maker"), trust.admin());
    admin.create_pool(OnUnknown::Enrol, &[Rule::DangerHostIsTrusted]).await;
    admin.trust_maker(&maker, TrustLevel::HypervisorVtpm).await;
    let tpm = tpm(&maker, Seat::A);
    assert_eq!(judged_code(&trust, &tpm).await, Code::PlatformUnknown);
    let record = last(&trust).await;
    assert_eq!((record.by, record.code), (RefusedBy::Service, Code::PlatformUnknown));
    let kept = record.kept.unwrap();
    assert_eq!(kept.logs, tpm.read_logs());
    assert_eq!(kept.pcrs.0.len(), 16);
    assert_eq!(kept.pcrs.get(ccnode_testkit::pcr(0)), tpm.boot().pcrs().get(ccnode_testkit::pcr(0)));
    assert!(admin.refusals().await[0].kept.is_none(), "lists are short");
    assert_eq!((record.image, record.platform), (None, None));

    let image = image(&Boot::standard(), verity());
    let _: Value = admin.post(admin::IMAGES, &image).await;
    assert_eq!(judged_code(&trust, &tpm).await, Code::PlatformUnknown);
    assert_eq!(last(&trust).await.image, Some(image.id()), "the image that ran is known all the same");
}

#[tokio::test]
async fn an_unknown_image_names_pcr_event_and_closest() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    tpm.reboot(Boot::new("2022.11", "console=ttyS0 lockdown=integrity init=/bin/sh", b"initrd"));
    let problem = judged(&trust, &tpm).await;
    assert_eq!(problem.code, Some(Code::ImageUnknown));
    assert!(matches!(problem.pcr, Some(9 | 11)), "{problem:?}");
    assert!(problem.event.as_deref().is_some_and(|e| !e.is_empty()), "{problem:?}");
    assert_eq!(problem.closest.as_deref(), Some("image worker 1"));
    let record = last(&trust).await;
    assert_eq!((record.pcr, &record.event, &record.closest), (problem.pcr, &problem.event, &problem.closest));
    assert!(!record.differences.is_empty());
    assert!(trust.admin().refusals().await[0].differences.is_empty(), "lists are short");
    assert!(record.platform.is_some() && record.image.is_none());
    assert_eq!(Some(&record.correlation_id), problem.correlation_id.as_ref());

    // The audit record reads as the node's console does, which has the answer alone.
    assert_eq!(problem.differences, record.differences);
    let console = RefusalText {
        code: problem.code.unwrap(),
        detail: &problem.detail,
        pcr: problem.pcr,
        event: problem.event.as_deref(),
        closest: problem.closest.as_deref(),
        differences: &problem.differences,
        id: problem.correlation_id.as_deref().unwrap(),
    };
    let audit: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    assert_eq!(audit[0].action, "session.refused");
    assert_eq!(audit[0].detail["text"], console.to_string());
    assert!(console.to_string().lines().count() > 5, "{console}");
}

#[tokio::test]
async fn known_parts_need_an_allowed_pair() {
    let (trust, maker) = ready().await;
    let admin = trust.admin();
    let pair = admin.allow(&Boot::standard(), verity()).await;
    admin.allow(&Boot::new("2022.11", "another", b"initrd"), verity()).await;
    let tpm = tpm(&maker, Seat::A);
    let session = challenge(&trust, &tpm).await;
    let (attestation, ..) = session.answer(&tpm);
    session.attest(&attestation).await.unwrap();
    admin.delete(&admin::path(admin::PAIR, &[&POOL, &pair.platform, &pair.image])).await.unwrap();
    assert_eq!(code(session.grants().await), Code::PairNotAllowed, "also between verdict and release");
    assert_eq!(judged_code(&trust, &tpm).await, Code::PairNotAllowed);
}

#[tokio::test]
async fn events_and_registers_beside_the_tuples() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let mut boot = Boot::standard();
    boot.event(5, 0x8000_0003, &[0; 32], b"a tool", "EFI application: a tool");
    tpm.reboot(boot);
    assert_eq!(judged_code(&trust, &tpm).await, Code::BootEvents);
    let mut boot = Boot::standard();
    boot.extend(8, Sha256Digest::of(b"init-data"), "init-data");
    tpm.reboot(boot);
    assert_eq!(judged_code(&trust, &tpm).await, Code::InitDataNotAllowed);
    tpm.reboot(Boot::standard().without_ima());
    let session = challenge(&trust, &tpm).await;
    let (attestation, ..) = session.answer(&tpm);
    session.attest(&attestation).await.unwrap();
    let mut boot = Boot::standard();
    boot.extend(10, Sha256Digest::of(b"ima"), "ima");
    tpm.reboot(boot.without_ima());
    assert_eq!(judged_code(&trust, &tpm).await, Code::ImaUnexpected);
}

#[tokio::test]
async fn t17_a_capped_boot_gets_nothing() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    first_boot(&trust, &tpm).await;
    tpm.cap();
    let problem = judged(&trust, &tpm).await;
    assert_eq!((problem.code, problem.pcr), (Some(Code::AlreadyCapped), Some(15)));
}

#[tokio::test]
async fn pools_that_do_not_exist() {
    let trust = Trust::new().await;
    let tpm = tpm(&MakerCa::new("maker"), Seat::A);
    assert_eq!(judged_code(&trust, &tpm).await, Code::PoolUnknown);
    assert_eq!(last(&trust).await.pool, None, "only pools that exist have records of their own");
}

async fn enrolling(on_unknown: OnUnknown, rules: &[Rule], level: TrustLevel) -> (Trust, MakerCa) {
    let trust = Trust::new().await;
    let (maker, admin) = (MakerCa::new("maker"), trust.admin());
    admin.create_pool(on_unknown, rules).await;
    admin.trust_maker(&maker, level).await;
    admin.allow(&Boot::standard(), verity()).await;
    (trust, maker)
}

#[tokio::test]
async fn enrolment_by_the_pools_rule() {
    let (trust, maker) = enrolling(OnUnknown::Refuse, &[], TrustLevel::DiscreteTpm).await;
    assert_eq!(judged_code(&trust, &tpm(&maker, Seat::A)).await, Code::NodeUnknown);
    let none: Vec<admin::NodeRecord> = trust.admin().get(admin::NODES).await;
    assert!(none.is_empty());

    let (trust, maker) = enrolling(OnUnknown::Ask, &[], TrustLevel::DiscreteTpm).await;
    let tpm_a = tpm(&maker, Seat::A);
    assert_eq!(judged_code(&trust, &tpm_a).await, Code::NodePending);
    let nodes: Vec<admin::NodeRecord> = trust.admin().get(admin::NODES).await;
    assert_eq!((nodes.len(), nodes[0].state), (1, NodeState::Pending));
    assert_eq!(judged_code(&trust, &tpm_a).await, Code::NodePending);
    act(&trust, admin::NODE_APPROVE, &nodes[0].name).await.unwrap();
    boot(&trust, &tpm_a).await.unwrap();

    let (trust, maker) = enrolling(OnUnknown::Enrol, &[], TrustLevel::DiscreteTpm).await;
    boot(&trust, &tpm(&maker, Seat::A)).await.unwrap();
}

#[tokio::test]
async fn t12_a_hypervisors_vtpm_enrols_only_where_the_host_is_trusted() {
    let (trust, maker) = enrolling(OnUnknown::Enrol, &[], TrustLevel::HypervisorVtpm).await;
    let (a, b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    assert_eq!(judged_code(&trust, &a).await, Code::EnrolmentNeedsTrust);
    assert_eq!(judged_code(&trust, &a).await, Code::EnrolmentNeedsTrust);
    let nodes: Vec<admin::NodeRecord> = trust.admin().get(admin::NODES).await;
    assert_eq!((nodes[0].state, nodes[0].level), (NodeState::Pending, Some(TrustLevel::HypervisorVtpm)));
    act(&trust, admin::NODE_APPROVE, &nodes[0].name).await.unwrap();
    boot(&trust, &a).await.unwrap();
    let edit = PoolEdit { rules: Some(vec![Rule::DangerHostIsTrusted]), ..PoolEdit::default() };
    let _: Pool =
        trust.admin().call(Method::PATCH, &admin::path(admin::POOL, &[&POOL]), &edit).await.unwrap();
    boot(&trust, &b).await.unwrap();
}

#[tokio::test]
async fn t18_counters_that_went_back_are_quarantined() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    tpm.set_counters(90_000, 9, 0);
    let name = first_boot(&trust, &tpm).await.grants.node;
    age(&trust, &name).await;
    tpm.set_counters(80_000, 8, 0);
    assert_eq!(judged_code(&trust, &tpm).await, Code::CountersRolledBack);
    assert_eq!(trust.admin().node(&name).await.state, NodeState::Quarantined);
    tpm.set_counters(100_000, 10, 0);
    assert_eq!(judged_code(&trust, &tpm).await, Code::NodeQuarantined);
    act(&trust, admin::NODE_APPROVE, &name).await.unwrap();
    boot(&trust, &tpm).await.unwrap();
}

#[tokio::test]
async fn nodes_report_their_own_refusals() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let report =
        |code, detail: &str, id: &str| NodeRefusal { code, detail: detail.into(), correlation_id: id.into() };
    let early = challenge(&trust, &tpm).await;
    early.post::<()>(REFUSALS, &report(Code::QuoteRace, "busy", "n-0")).await.unwrap();
    let granted = first_boot(&trust, &tpm).await;
    let send = async |body| granted.session.post::<()>(REFUSALS, &body).await;
    send(report(Code::DiskNotBlank, "something\u{1b}[2J else", "n-1")).await.unwrap();
    assert_eq!(code(send(report(Code::PlatformUnknown, "", "n-2")).await), Code::MalformedRequest);
    assert_eq!(code(send(report(Code::DiskFailed, "", &"x".repeat(65))).await), Code::MalformedRequest);
    let records = trust.admin().refusals().await;
    let (disk, busy) = (&records[2], &records[3]);
    assert_eq!((disk.by, disk.code), (RefusedBy::Node, Code::DiskNotBlank));
    assert_eq!(disk.node.as_ref(), Some(&granted.grants.node));
    assert_eq!(disk.correlation_id, "n-1");
    assert!(!disk.detail.contains('\u{1b}'), "{}", disk.detail);
    assert_eq!((busy.by, busy.code), (RefusedBy::Node, Code::QuoteRace));
}

#[tokio::test]
async fn a_failing_store_answers_internal_and_nothing_else() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let session = challenge(&trust, &tpm).await;
    let (attestation, ..) = session.answer(&tpm);
    trust.service().store.close().await;
    let refused = session.attest(&attestation).await.unwrap_err();
    assert_eq!((refused.status.as_u16(), refused.problem.code), (500, Some(Code::Internal)));
    assert!(!refused.problem.detail.contains("sql") && !refused.problem.detail.contains("pool"));
    assert_eq!(code(session.get::<Value>(GRANTS).await), Code::Internal);
}

#[tokio::test]
async fn evidence_is_kept_for_the_newest_alone() {
    let trust = Trust::with(|config| config.keep.evidence = 2).await;
    let maker = prepare(&trust).await;
    let tpm = tpm(&maker, Seat::A);
    tpm.cap();
    for _ in 0..4 {
        assert_eq!(judged_code(&trust, &tpm).await, Code::AlreadyCapped);
    }
    let kept: Vec<bool> = trust.admin().refusals().await.iter().map(|r| r.has_evidence).collect();
    assert_eq!(kept, [true, true, false, false]);
}

#[tokio::test]
async fn quotes_of_another_tpm_are_refused() {
    let (trust, maker) = ready().await;
    let (a, b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    let session = challenge(&trust, &a).await;
    let secret = session.secret(&a);
    let answer = Answer { nonce: &session.nonce, secret: &secret, key: &session.key, csr: None };
    let diverted = attest_with(&answer, b.read_logs(), |qualifying| b.sign_quote(qualifying));
    assert_eq!(code(session.attest(&diverted).await), Code::TranscriptMismatch);
}
