//! A state that two administrators let through once: whose, which, how often, and that all else is judged as ever.

use crate::audit::sql;
use crate::fixture::*;
use crate::proposals::{grace, locked_out, once, updated};
use crate::races::{Tx, overtaken};
use base64::Engine as _;
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{self, Allowance, AuditRow};
use ccnode_protocol::grants::VolumeAction;
use ccnode_server::store::{AllowanceRow, Tx as _};
use ccnode_testkit::{Boot, Seat, SoftTpm};
use serde_json::Value;

/// Two administrators let a node through as it was refused.
async fn allow(trust: &Trust, name: &NodeName, refusal: u64) {
    let made = trust.admin().propose(once(name, refusal)).await.unwrap();
    grace(trust).second(made.id).await.unwrap();
}

async fn allowance(trust: &Trust, name: &NodeName) -> Allowance {
    trust.admin().node(name).await.allowed_once.unwrap()
}

/// Why a boot that attests alike is refused once more.
async fn newest(trust: &Trust) -> u64 {
    trust.admin().refusals().await[0].id
}

#[tokio::test]
async fn a_locked_out_node_is_let_through_once() {
    let (trust, maker) = ready().await;
    let (a, name, refusal) = locked_out(&trust, &maker, Seat::A).await;
    allow(&trust, &name, refusal).await;
    let open = allowance(&trust, &name).await;
    assert_eq!((open.refusal, open.used, open.this_boot), (refusal, None, false));
    a.reboot(updated());
    let granted = boot(&trust, &a).await.unwrap();
    assert!(matches!(granted.grants.volume().unwrap().action, VolumeAction::Open { .. }));
    let again = granted.session.grants().await.unwrap();
    assert_eq!(again.volume().unwrap().unlock_key, granted.grants.volume().unwrap().unlock_key);
    granted.certificate(&granted.csr).await.unwrap();
    let node = trust.admin().node(&name).await;
    let used = node.allowed_once.unwrap();
    assert!(used.used.is_some() && used.this_boot, "{used:?}");
    assert_eq!(node.platform, None);
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    let row = rows.iter().find(|row| row.action == "node.let-through").unwrap();
    assert_eq!((row.actor.clone(), &row.detail["proposal"]), (format!("node:{name}"), &used.proposal.into()));
    assert_eq!(judged_code(&trust, &a).await, Code::PlatformUnknown, "another session of this boot");
    a.reboot(updated());
    assert_eq!(judged_code(&trust, &a).await, Code::PlatformUnknown, "the next boot");

    // What is on record afterwards is a boot of what the pool allows.
    a.reboot(Boot::standard());
    boot(&trust, &a).await.unwrap();
    let later = allowance(&trust, &name).await;
    assert!(later.used.is_some() && !later.this_boot);
}

#[tokio::test]
async fn what_ended_while_it_was_appraised_lets_nobody_through() {
    let (trust, maker) = ready().await;
    let (a, name, refusal) = locked_out(&trust, &maker, Seat::A).await;
    allow(&trust, &name, refusal).await;
    let session = challenge(&trust, &a).await;
    let (attestation, ..) = session.answer(&a);
    let answer = overtaken(&trust, session.attest(&attestation), async |tx: &mut Tx| {
        let node = tx.node_named(&name).await.unwrap().unwrap();
        let open = tx.allowance(&node.identity).await.unwrap().unwrap();
        assert!(tx.set_allowance(&AllowanceRow { expires: 1, ..open }).await.unwrap());
    })
    .await;
    let problem = answer.unwrap_err().problem;
    assert_eq!(problem.code, Some(Code::PlatformUnknown));
    assert!(problem.detail.contains("not on record any more"), "{}", problem.detail);
    assert_eq!(code(session.grants().await), Code::SessionUnknown, "nothing came of it");
}

#[tokio::test]
async fn others_are_told_that_no_reference_knows_it() {
    let (trust, maker) = ready().await;
    let (a, name, refusal) = locked_out(&trust, &maker, Seat::A).await;
    allow(&trust, &name, refusal).await;
    let claims = |token: &str| -> Value {
        let text = token.split('.').nth(1).unwrap();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
        serde_json::from_slice::<Value>(&bytes).unwrap()["submods"]["cpu0"].clone()
    };
    let let_through = claims(&boot(&trust, &a).await.unwrap().token);
    a.reboot(Boot::standard());
    let allowed = claims(&boot(&trust, &a).await.unwrap().token);
    let said = |claims: &Value| {
        let executables = claims["ear.trustworthiness-vector"]["executables"].as_i64().unwrap();
        let ours = &claims["ear.veraison.annotated-evidence"]["ccnode"];
        let once = ours["allowed-once"].as_bool().unwrap();
        (claims["ear.status"].as_str().unwrap().to_owned(), executables, once, ours["platform"].is_null())
    };
    assert_eq!(said(&let_through), ("warning".into(), 33, true, true));
    assert_eq!(said(&allowed), ("affirming".into(), 3, false, false));
}

#[tokio::test]
async fn only_that_state_of_that_node() {
    let (trust, maker) = ready().await;
    let (a, name, refusal) = locked_out(&trust, &maker, Seat::A).await;
    let (b, ..) = locked_out(&trust, &maker, Seat::B).await;
    allow(&trust, &name, refusal).await;
    assert_eq!(judged_code(&trust, &b).await, Code::PlatformUnknown, "another node in this state");
    let with = |change: &dyn Fn(&mut Boot)| {
        let mut boot = updated();
        change(&mut boot);
        boot
    };
    let gpt = |boot: &mut Boot| {
        boot.event(5, 0x8000_0007, b"Exit Boot Services Invocation", b"Exit Boot Services Invocation", "x")
    };
    let others = [
        (Boot::new("2023.03", "console=ttyS0 lockdown=integrity", b"initrd"), Code::PlatformUnknown),
        (Boot::new("2023.02", "console=ttyS0", b"initrd"), Code::PlatformUnknown),
        (Boot::new("2022.11", "console=ttyS0", b"initrd"), Code::ImageUnknown),
        (updated().without_ima(), Code::PlatformUnknown),
        (with(&gpt), Code::PlatformUnknown),
        (with(&|boot| boot.extend(8, Sha256Digest::of(b"init-data"), "x")), Code::PlatformUnknown),
        (with(&|boot| boot.cap()), Code::AlreadyCapped),
    ];
    for (at, (other, due)) in others.into_iter().enumerate() {
        a.reboot(other);
        assert_eq!(judged_code(&trust, &a).await, due, "{at}");
    }
    assert_eq!(allowance(&trust, &name).await.used, None);
    // A boot that the pool allows has no use for it either.
    a.reboot(Boot::standard());
    boot(&trust, &a).await.unwrap();
    assert_eq!(allowance(&trust, &name).await.used, None);
    a.reboot(updated());
    boot(&trust, &a).await.unwrap();
}

#[tokio::test]
async fn all_else_is_judged_as_ever() {
    let (trust, maker) = ready().await;
    // What was refused for its platform had an event in PCR 5, too, or init-data.
    let tool = |boot: &mut Boot| boot.event(5, 0x8000_0003, &[0; 32], b"a tool", "EFI application: a tool");
    let data = |boot: &mut Boot| boot.extend(8, Sha256Digest::of(b"init-data"), "init-data");
    let ima = |boot: &mut Boot| boot.extend(10, Sha256Digest::of(b"ima"), "ima");
    type Change<'a> = &'a dyn Fn(&mut Boot);
    let changes: [(Change<'_>, Code); 3] =
        [(&tool, Code::BootEvents), (&data, Code::InitDataNotAllowed), (&ima, Code::ImaUnexpected)];
    let (a, name, _) = locked_out(&trust, &maker, Seat::A).await;
    for (change, due) in changes {
        let mut boot = updated();
        change(&mut boot);
        a.reboot(boot.clone());
        assert_eq!(judged_code(&trust, &a).await, Code::PlatformUnknown);
        let refusal = newest(&trust).await;
        allow(&trust, &name, refusal).await;
        a.reboot(boot);
        assert_eq!(judged_code(&trust, &a).await, due);
        assert_eq!(allowance(&trust, &name).await.used, None);
    }
    // Counters and the attestation key are the record's business.
    a.reboot(updated());
    assert_eq!(judged_code(&trust, &a).await, Code::PlatformUnknown);
    let refusal = newest(&trust).await;
    allow(&trust, &name, refusal).await;
    crate::races::age(&trust, &name).await;
    a.set_counters(1, 0, 0);
    assert_eq!(judged_code(&trust, &a).await, Code::CountersRolledBack);
}

#[tokio::test]
async fn the_volume_goes_to_the_image_it_was_copied_from() {
    let (trust, maker) = ready().await;
    let (a, name, _) = locked_out(&trust, &maker, Seat::A).await;
    let other = Boot::new("2023.02", "another image", b"initrd");
    let image = image(&other, Sha256Digest::of(b"another root"));
    let _: Value = trust.admin().post(admin::IMAGES, &image).await;
    a.reboot(other);
    assert_eq!(judged_code(&trust, &a).await, Code::PlatformUnknown);
    let refusal = newest(&trust).await;
    allow(&trust, &name, refusal).await;
    assert_eq!(code(boot(&trust, &a).await), Code::PopulatedFromOther);
    assert_eq!(allowance(&trust, &name).await.used, None, "nothing was released");
}

#[tokio::test]
async fn of_two_sessions_one_is_let_through() {
    let (trust, maker) = ready().await;
    let (a, name, refusal) = locked_out(&trust, &maker, Seat::A).await;
    for round in 0..4 {
        a.reboot(updated());
        allow(&trust, &name, refusal).await;
        let (one, two) = (attested(&trust, &a).await, attested(&trust, &a).await);
        let resource = format!("/kbs/v0/resource/node/{name}/cluster");
        let early = one.get::<Value>(&resource).await;
        assert_eq!(code(early), Code::PlatformUnknown, "nothing before it is spent");
        let (of_one, of_two) = tokio::join!(one.grants(), two.grants());
        let (won, lost) = if of_one.is_ok() { (&one, of_two) } else { (&two, of_one) };
        assert_eq!(code(lost), Code::PlatformUnknown, "round {round}");
        let lost = if of_one_is(won, &one) { &two } else { &one };
        won.get::<Value>(&resource).await.unwrap();
        assert_eq!(code(lost.get::<Value>(&resource).await), Code::PlatformUnknown);
        assert_eq!(code(lost.grants().await), Code::PlatformUnknown);
    }
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    assert_eq!(rows.iter().filter(|row| row.action == "node.let-through").count(), 4);
}

fn of_one_is(won: &Challenged, one: &Challenged) -> bool {
    won.nonce == one.nonce
}

async fn attested(trust: &Trust, tpm: &SoftTpm) -> Challenged {
    let session = challenge(trust, tpm).await;
    let (attestation, ..) = session.answer(tpm);
    session.attest(&attestation).await.unwrap();
    session
}

#[tokio::test]
async fn it_ends_and_is_replaced() {
    let (trust, maker) = ready().await;
    let (a, name, refusal) = locked_out(&trust, &maker, Seat::A).await;
    allow(&trust, &name, refusal).await;
    let left = allowance(&trust, &name).await.expires - trust.service().now();
    assert!((800..=900).contains(&left), "{left} s");
    let early = attested(&trust, &a).await;
    sql(&trust.dir(), "UPDATE allowances SET expires = expires - 1000").await;
    assert_eq!(code(early.grants().await), Code::PlatformUnknown, "ended between verdict and release");
    assert_eq!(judged_code(&trust, &a).await, Code::PlatformUnknown, "ended");
    allow(&trust, &name, refusal).await;
    assert_eq!(code(early.grants().await), Code::PlatformUnknown, "that session is of the one before");
    act(&trust, admin::NODE_REVOKE, &name).await.unwrap();
    assert_eq!(code(boot(&trust, &a).await), Code::NodeRevoked);
    act(&trust, admin::NODE_APPROVE, &name).await.unwrap();
    boot(&trust, &a).await.unwrap();
}

#[tokio::test]
async fn a_pair_that_was_forbidden_is_let_through_as_well() {
    let (trust, maker) = ready().await;
    let pair = trust.admin().allow(&Boot::standard(), verity()).await;
    let a = tpm(&maker, Seat::A);
    let name = first_boot(&trust, &a).await.grants.node;
    trust.admin().delete(&admin::path(admin::PAIR, &[&POOL, &pair.platform, &pair.image])).await.unwrap();
    a.reboot(Boot::standard());
    assert_eq!(judged_code(&trust, &a).await, Code::PairNotAllowed);
    allow(&trust, &name, newest(&trust).await).await;
    let granted = boot(&trust, &a).await.unwrap();
    granted.certificate(&granted.csr).await.unwrap();
    a.reboot(Boot::standard());
    assert_eq!(code(boot(&trust, &a).await), Code::PairNotAllowed);
}

#[tokio::test]
async fn what_can_not_be_allowed_says_why() {
    let (trust, maker) = ready().await;
    let (a, name, refusal) = locked_out(&trust, &maker, Seat::A).await;
    let (_, other, _) = locked_out(&trust, &maker, Seat::B).await;
    let ada = trust.admin();
    let why = async |name: &NodeName, refusal: u64| {
        let refused = ada.propose(once(name, refusal)).await.unwrap_err();
        (refused.problem.code.unwrap(), refused.problem.detail)
    };
    let no = async |refusal: u64, because: &str| {
        let (code, detail) = why(&name, refusal).await;
        assert!(code == Code::Conflict && detail.contains(because), "{detail}");
    };
    assert_eq!(why(&"nobody".parse().unwrap(), refusal).await.0, Code::NotFound);
    assert_eq!(why(&name, 4000).await.0, Code::NotFound);
    let (code, detail) = why(&other, refusal).await;
    assert!(code == Code::Conflict && detail.contains(&format!("it is of `{name}`")), "{detail}");
    a.reboot(Boot::new("2022.11", "init=/bin/sh", b"initrd"));
    judged(&trust, &a).await;
    no(newest(&trust).await, "register the image").await;
    a.reboot(Boot::new("2023.02", "init=/bin/sh", b"initrd"));
    assert_eq!(judged_code(&trust, &a).await, Code::PlatformUnknown);
    no(newest(&trust).await, "its image is unknown, too").await;
    a.cap();
    judged(&trust, &a).await;
    no(newest(&trust).await, "`already-capped`").await;
    sql(&trust.dir(), "CREATE TABLE spare AS SELECT * FROM refusals").await;
    let foreign =
        format!("UPDATE refusals SET machine = json_set(machine, '$.identity', '{}')", Sha256Digest::ZERO);
    for (change, because) in [
        ("UPDATE refusals SET proven = 0", "nobody proved"),
        ("UPDATE refusals SET machine = NULL", "nobody proved"),
        ("UPDATE refusals SET refused_by = 'node'", "the node itself refused"),
        (&foreign, "it is of another machine"),
        ("UPDATE refusals SET machine = json_set(machine, '$.ak-name', '000c')", "attestation key"),
        ("DELETE FROM evidence", "not kept any more"),
    ] {
        sql(&trust.dir(), change).await;
        no(refusal, because).await;
        let back = "UPDATE refusals SET proven = s.proven, refused_by = s.refused_by, machine = s.machine
            FROM spare s WHERE s.id = refusals.id";
        sql(&trust.dir(), back).await;
    }
    act(&trust, admin::NODE_REVOKE, &name).await.unwrap();
    let (code, detail) = why(&name, refusal).await;
    assert!(code == Code::Conflict && detail.contains("is revoked"), "{detail}");
}
