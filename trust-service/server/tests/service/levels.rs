//! t12: a node's level may rise by itself, and drops only by an administrator's word.

use crate::fixture::*;
use crate::machines::*;
use crate::races::age;
use ccnode_evidence::Code;
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{self, AuditRow, NodeState, Rule, TrustLevel};
use ccnode_protocol::grants::VolumeAction;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Boot, Hardware, Machine, Seat};
use serde_json::{Value, json};

/// The machine as it is without the word of its SVSM.
fn unbound(machine: &mut Machine) {
    machine.hardware = Hardware::snp(TestChip::milan());
}

async fn held(trust: &Trust, machine: &Machine, name: &NodeName) {
    age(trust, name).await;
    assert_eq!(refused(trust, machine).await, Code::LevelDropped);
    let record = trust.admin().node(name).await;
    assert_eq!((record.state, record.level), (NodeState::Quarantined, Some(TrustLevel::TeeBoundVtpm)));
    assert!(record.reason.unwrap().contains("hypervisor-vtpm"), "the reason names what was seen");
}

#[tokio::test]
async fn t12_a_level_that_drops_is_held_until_somebody_approves() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let mut machine = certified_svsm(&maker, Seat::A);
    let first = join_first(&trust, &machine).await;
    let name = first.grants.node.clone();
    assert_eq!(trust.admin().node(&name).await.level, Some(TrustLevel::TeeBoundVtpm));

    let good = machine.hardware.clone();
    unbound(&mut machine);
    tpm_of(&machine).reboot(Boot::standard());
    held(&trust, &machine, &name).await;
    // Held is held: neither the open session nor better evidence gets anything.
    assert_eq!(code(first.session.grants().await), Code::NodeQuarantined);
    assert_eq!(code(first.certificate(&first.csr).await), Code::NodeQuarantined);
    machine.hardware = good.clone();
    assert_eq!(refused(&trust, &machine).await, Code::NodeQuarantined);

    // Approved, it goes on with its root at the level that was seen.
    act(&trust, admin::NODE_APPROVE, &name).await.unwrap();
    assert_eq!(trust.admin().node(&name).await.level, Some(TrustLevel::HypervisorVtpm));
    unbound(&mut machine);
    let second = join(&trust, &machine).await.unwrap();
    assert!(matches!(second.grants.volume().unwrap().action, VolumeAction::Open { .. }));
    assert_eq!(trust.admin().node(&name).await.level, Some(TrustLevel::HypervisorVtpm));
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    let held = rows.iter().find(|row| row.action == "node.held").unwrap();
    assert_eq!(held.detail["code"], "level-dropped");

    // It rises by itself, and from there a drop is a drop again.
    tpm_of(&machine).reboot(Boot::standard());
    machine.hardware = good;
    join(&trust, &machine).await.unwrap();
    assert_eq!(trust.admin().node(&name).await.level, Some(TrustLevel::TeeBoundVtpm));
    unbound(&mut machine);
    self::held(&trust, &machine, &name).await;
}

#[tokio::test]
async fn t12_a_keeper_that_is_no_longer_listed_is_a_drop() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let machine = certified_svsm(&maker, Seat::A);
    let name = join(&trust, &machine).await.unwrap().grants.node;
    edit_demands(&trust, |policy| policy["vtpm-keepers"] = json!({})).await;
    held(&trust, &machine, &name).await;
}

#[tokio::test]
async fn t12_evidence_of_the_tpm_alone_is_a_drop() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let machine = certified_svsm(&maker, Seat::A);
    let name = join(&trust, &machine).await.unwrap().grants.node;
    age(&trust, &name).await;
    assert_eq!(judged_code(&trust, tpm_of(&machine)).await, Code::LevelDropped);
}

#[tokio::test]
async fn t12_a_pool_that_wants_more_takes_no_less_not_even_at_the_release() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let beside = Machine::with(tpm(&maker, Seat::A), Hardware::snp(TestChip::milan()));
    let (bound, bare) = (svsm(Seat::B), bare_snp(1));
    let mut waiting = Vec::new();
    for machine in [&beside, &bare, &bound] {
        let session = offer(&trust, machine).await;
        session.attest(&session.reply(machine).0).await.unwrap();
        waiting.push(session);
    }
    edit_demands(&trust, |policy| policy["least-level"] = json!("tee-bound-vtpm")).await;
    assert_eq!(refused(&trust, &beside).await, Code::LevelTooLow);
    assert_eq!(refused(&trust, &bare_snp(2)).await, Code::LevelTooLow);
    assert_eq!(code(waiting[0].grants().await), Code::LevelTooLow, "edited between verdict and release");
    assert_eq!(code(waiting[1].grants().await), Code::LevelTooLow);
    edit_demands(&trust, |policy| policy["kinds"] = json!(["az-snp-vtpm"])).await;
    assert_eq!(code(waiting[2].grants().await), Code::KindNotAllowed);
    assert_eq!(refused(&trust, &bound).await, Code::KindNotAllowed);
    edit_demands(&trust, |policy| policy["kinds"] = json!(["snp"])).await;
    waiting[2].grants().await.unwrap();
    let _: Value = trust.admin().get(admin::NODES).await;
}

#[tokio::test]
async fn t19_demands_that_were_edited_since_the_verdict_hold_at_the_release() {
    let (trust, maker) = confidential(&[Rule::DangerHostIsTrusted]).await;
    let plain = Machine::with(tpm(&maker, Seat::A), Hardware::snp(TestChip::milan()));
    let mut waiting = Vec::new();
    for machine in [&svsm(Seat::B), &plain, &bare_snp(1)] {
        let session = offer(&trust, machine).await;
        session.attest(&session.reply(machine).0).await.unwrap();
        waiting.push(session);
    }
    // The chip's owner is found to have opened it, say.
    let chip = hex::encode(TestChip::milan().chip_id());
    edit_demands(&trust, |policy| policy["snp"]["chip-ids-denied"] = json!([chip])).await;
    assert_eq!(refused(&trust, &bare_snp(2)).await, Code::SnpChip);
    for session in &waiting {
        assert_eq!(code(session.grants().await), Code::SessionExpired);
    }
    edit_demands(&trust, |policy| policy["snp"]["chip-ids-denied"] = json!([])).await;
    waiting[0].grants().await.unwrap();
}
