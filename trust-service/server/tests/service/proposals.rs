//! What takes two administrators: who is another one, and what becomes of a proposal.

use crate::audit::sql;
use crate::fixture::*;
use ccnode_evidence::Code;
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{self, AuditRow, Pinned, Proposal, ProposalAction, ProposalMake};
use ccnode_server::pki::{CLUSTER_ADMIN, METRICS};
use ccnode_testkit::{Boot, MakerCa, Seat, SoftTpm};
use reqwest::Method;
use serde_json::Value;

/// A client of the service's CA under a name of its own.
pub(crate) fn client_named(trust: &Trust, name: &str, role: &str) -> Admin {
    let out = trust.dir().join(format!("client of {name} {}", uuid::Uuid::new_v4()));
    ccnode_server::client::issue(&trust.dir(), name, role, &out).unwrap();
    trust.admin_of(&out.join("cert.pem"), &out.join("key.pem"))
}

/// The other administrator.
pub(crate) fn grace(trust: &Trust) -> Admin {
    client_named(trust, "grace", CLUSTER_ADMIN)
}

impl Admin {
    pub(crate) async fn propose(&self, action: ProposalAction) -> Answered<Proposal> {
        let make = ProposalMake { action, reason: Some("firmware update".into()) };
        self.call(Method::POST, admin::PROPOSALS, &make).await
    }

    pub(crate) async fn second(&self, id: u64) -> Answered<Proposal> {
        self.call(Method::POST, &admin::path(admin::PROPOSAL_APPROVE, &[&id]), &()).await
    }
}

/// The firmware that a fleet was updated to behind the pool's back, under the image that it allows.
pub(crate) fn updated() -> Boot {
    Boot::new("2023.02", "console=ttyS0 lockdown=integrity", b"initrd")
}

/// A node with a root that is locked out by its firmware, and the number of its refusal.
pub(crate) async fn locked_out(trust: &Trust, maker: &MakerCa, seat: Seat) -> (SoftTpm, NodeName, u64) {
    let tpm = tpm(maker, seat);
    let name = first_boot(trust, &tpm).await.grants.node;
    tpm.reboot(updated());
    assert_eq!(judged_code(trust, &tpm).await, Code::PlatformUnknown);
    let refusal = trust.admin().refusals().await[0].id;
    (tpm, name, refusal)
}

pub(crate) fn once(node: &NodeName, refusal: u64) -> ProposalAction {
    ProposalAction::AllowOnce { node: node.clone(), refusal }
}

#[tokio::test]
async fn t26_what_takes_two_takes_two() {
    let (trust, maker) = ready().await;
    let (_, name, refusal) = locked_out(&trust, &maker, Seat::A).await;
    let (ada, grace) = (trust.admin(), grace(&trust));
    let made = ada.propose(once(&name, refusal)).await.unwrap();
    assert_eq!((made.proposed_by.as_str(), &made.approved_by), ("admin", &None));
    let Pinned::AllowOnce(state) = &made.pinned else { panic!("{made:?}") };
    assert_eq!((&state.node, state.code, state.pcrs.0.len()), (&name, Code::PlatformUnknown, 16));
    assert_eq!(grace.get::<Vec<Proposal>>(admin::PROPOSALS).await, std::slice::from_ref(&made));
    let one = admin::path(admin::PROPOSAL, &[&made.id]);
    assert_eq!(grace.get::<Proposal>(&one).await, made);

    // The same person: as they are, and with a certificate that was renewed.
    for renewed in [false, true] {
        if renewed {
            ccnode_server::renew::renew(&trust.dir(), &[]).unwrap();
        }
        let refused = trust.admin().second(made.id).await.unwrap_err();
        let answer = (refused.status.as_u16(), refused.problem.code);
        assert_eq!(answer, (403, Some(Code::SecondAdministrator)), "renewed: {renewed}");
    }
    assert_eq!(
        code(client_named(&trust, "Admin", CLUSTER_ADMIN).second(made.id).await),
        Code::SecondAdministrator
    );
    let metrics = client_named(&trust, "prometheus", METRICS);
    assert_eq!(code(metrics.second(made.id).await), Code::RoleMissing);
    assert_eq!(code(metrics.propose(once(&name, refusal)).await), Code::RoleMissing);
    assert!(ada.node(&name).await.allowed_once.is_none());

    let approved = grace.second(made.id).await.unwrap();
    assert_eq!((approved.proposed_by.as_str(), approved.approved_by.as_deref()), ("admin", Some("grace")));
    assert_eq!(ada.node(&name).await.allowed_once.map(|once| once.proposal), Some(made.id));
    assert_eq!(code(grace.second(made.id).await), Code::NotFound, "once");
    assert!(grace.get::<Vec<Proposal>>(admin::PROPOSALS).await.is_empty());
    let rows: Vec<AuditRow> = grace.get(admin::AUDIT).await;
    let row = |action: &str| rows.iter().find(|row| row.action == action).unwrap();
    assert_eq!(row("proposal.make").actor, "admin:admin");
    assert_eq!(row("proposal.denied").detail["proposed-by"], "admin");
    let done = row("node.allow-once");
    assert_eq!((done.actor.as_str(), done.object.as_str()), ("admin:grace", name.as_str()));
    assert_eq!(
        (&done.detail["proposed-by"], &done.detail["approved-by"]),
        (&"admin".into(), &"grace".into())
    );
    assert_eq!(done.detail["reason"], "firmware update");
}

#[tokio::test]
async fn proposals_end_are_withdrawn_and_are_few() {
    let (trust, maker) = ready().await;
    let (_, name, refusal) = locked_out(&trust, &maker, Seat::A).await;
    let (ada, grace) = (trust.admin(), grace(&trust));
    let made = ada.propose(once(&name, refusal)).await.unwrap();
    assert_eq!(code(grace.propose(once(&name, refusal)).await), Code::Conflict, "it is there");
    let one = admin::path(admin::PROPOSAL, &[&made.id]);
    grace.delete(&one).await.unwrap();
    assert_eq!(code(grace.second(made.id).await), Code::NotFound);
    assert_eq!(code(ada.delete(&one).await), Code::NotFound);
    let rows: Vec<AuditRow> = grace.get(admin::AUDIT).await;
    assert_eq!(rows[0].action, "proposal.withdraw");
    let names = (&rows[0].detail["proposed-by"], &rows[0].detail["withdrawn-by"]);
    assert_eq!(names, (&"admin".into(), &"grace".into()));

    let made = ada.propose(once(&name, refusal)).await.unwrap();
    sql(&trust.dir(), "UPDATE proposals SET expires = expires - 100000").await;
    assert_eq!(code(grace.second(made.id).await), Code::Conflict, "its time is over");
    assert!(grace.get::<Vec<Proposal>>(admin::PROPOSALS).await.is_empty());
    let gone = admin::path(admin::PROPOSAL, &[&made.id]);
    assert_eq!(code(grace.call::<Value>(Method::GET, &gone, &()).await), Code::NotFound);
    let again = ada.propose(once(&name, refusal)).await.unwrap();
    assert!(again.id > made.id, "numbers are not used twice");
    let copies = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 31)
        INSERT INTO proposals (action, pinned, proposer, proposer_key, proposed, expires)
        SELECT '{\"allow-once\":{\"node\":\"x\",\"refusal\":' || i || '}}', pinned, proposer, proposer_key, proposed, expires
        FROM proposals, n";
    sql(&trust.dir(), copies).await;
    let (_, other, refusal) = locked_out(&trust, &maker, Seat::B).await;
    assert_eq!(code(ada.propose(once(&other, refusal)).await), Code::Conflict, "too many");
    grace.delete(&admin::path(admin::PROPOSAL, &[&again.id])).await.unwrap();
    ada.propose(once(&other, refusal)).await.unwrap();
}

#[tokio::test]
async fn a_proposal_is_about_what_the_proposer_saw() {
    let (trust, maker) = ready().await;
    let (_, name, refusal) = locked_out(&trust, &maker, Seat::A).await;
    let (ada, grace) = (trust.admin(), grace(&trust));
    let made = ada.propose(once(&name, refusal)).await.unwrap();
    act(&trust, admin::NODE_REVOKE, &name).await.unwrap();
    assert_eq!(code(grace.second(made.id).await), Code::Conflict, "revoked since");
    act(&trust, admin::NODE_APPROVE, &name).await.unwrap();
    crate::races::edit_node(&trust, &name, |row| row.ak_name = "000c".into()).await;
    assert_eq!(code(grace.second(made.id).await), Code::Conflict, "another key since");
    assert!(ada.node(&name).await.allowed_once.is_none());
    for _ in 0..2 {
        ada.delete(&admin::path(admin::NODE, &[&name])).await.unwrap();
    }
    assert_eq!(code(grace.second(made.id).await), Code::Conflict, "gone since");
}
