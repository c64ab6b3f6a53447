//! A node that goes over to another machine: what goes along, and what never comes back.

use crate::audit::sql;
use crate::fixture::*;
use crate::proposals::grace;
use ccnode_evidence::Code;
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{
    self, AuditRow, NodeRecord, NodeState, OnUnknown, Pool, PoolEdit, ProposalAction, ResourceRecord,
    VolumeState,
};
use ccnode_protocol::grants::VolumeAction;
use ccnode_testkit::{Boot, MakerCa, Seat, SoftTpm};
use reqwest::Method;
use serde_json::{Value, json};

pub(crate) fn rebind(from: &NodeName, to: &NodeName) -> ProposalAction {
    ProposalAction::Rebind { from: from.clone(), to: to.clone() }
}

/// Edits what the pool does with TPMs that it does not know.
pub(crate) async fn unknown(trust: &Trust, on_unknown: OnUnknown) {
    let edit = PoolEdit { on_unknown: Some(on_unknown), ..PoolEdit::default() };
    let _: Pool =
        trust.admin().call(Method::PATCH, &admin::path(admin::POOL, &[&POOL]), &edit).await.unwrap();
}

/// A node with a root, and the machine that its disk was moved to, which the pool asks about.
async fn moved(trust: &Trust, maker: &MakerCa) -> (SoftTpm, NodeName, SoftTpm, NodeName) {
    let old = tpm(maker, Seat::A);
    let name = first_boot(trust, &old).await.grants.node;
    unknown(trust, OnUnknown::Ask).await;
    let new = tpm(maker, Seat::B);
    let waiting = challenge(trust, &new).await.answer(&new).2;
    assert_eq!(judged_code(trust, &new).await, Code::NodePending);
    (old, name, new, waiting)
}

async fn state(trust: &Trust, name: &NodeName) -> NodeState {
    trust.admin().node(name).await.state
}

#[tokio::test]
async fn t26_a_node_goes_over_to_another_machine() {
    let (trust, maker) = ready().await;
    let (old, name, new, waiting) = moved(&trust, &maker).await;
    let (ada, grace) = (trust.admin(), grace(&trust));
    let key = |granted: &Granted| granted.grants.volume().unwrap().unlock_key.clone();
    old.reboot(Boot::standard());
    let before = boot(&trust, &old).await.unwrap();
    let identity = ada.node(&name).await.identity;
    let shared = admin::path(admin::RESOURCE, &[&"default", &"key", &"one"]);
    let _: Value = ada.put_bytes(&shared, b"shared").await.unwrap();
    let _: Value =
        ada.put_bytes(&admin::path(admin::RESOURCE, &[&name, &"key", &"own"]), b"own").await.unwrap();
    let readers = admin::path(admin::RESOURCE_READERS, &[&"default", &"key", &"one"]);
    let _: ResourceRecord = ada.post(&readers, &json!({"node": name})).await;

    let made = ada.propose(rebind(&name, &waiting)).await.unwrap();
    assert_eq!(code(ada.second(made.id).await), Code::SecondAdministrator);
    assert_eq!(state(&trust, &waiting).await, NodeState::Pending);
    grace.second(made.id).await.unwrap();

    // The name, the disk and what it reads are the new machine's.
    new.reboot(Boot::standard());
    let after = boot(&trust, &new).await.unwrap();
    assert_eq!(after.grants.node, name);
    assert!(matches!(after.grants.volume().unwrap().action, VolumeAction::Open { .. }));
    assert_eq!((key(&after), &after.grants.volume().unwrap().id), (key(&before), &format!("{name}/root")));
    after.certificate(&after.csr).await.unwrap();
    for path in ["/kbs/v0/resource/default/key/one".to_owned(), format!("/kbs/v0/resource/{name}/key/own")] {
        after.session.get::<Value>(&path).await.unwrap();
    }
    let node = ada.node(&name).await;
    assert_ne!(node.identity, identity);
    assert_eq!((node.state, node.volumes[0].state), (NodeState::Active, VolumeState::Ready));

    // The old one is on record, and gets nothing: not in the session that it had, not after a boot, not by one administrator.
    assert_eq!(code(before.session.grants().await), Code::NodeRetired);
    assert_eq!(code(before.certificate(&before.csr).await), Code::NodeRetired);
    old.reboot(Boot::standard());
    assert_eq!(code(boot(&trust, &old).await), Code::NodeRetired);
    let nodes: Vec<NodeRecord> = ada.get(admin::NODES).await;
    let retired = nodes.iter().find(|node| node.identity == identity).unwrap();
    assert_eq!((retired.state, retired.volumes.len()), (NodeState::Retired, 0));
    assert_eq!(retired.name.to_string(), format!("{name}-was-{}", &identity.hex()[..8]));
    assert_eq!(code(act(&trust, admin::NODE_APPROVE, &retired.name).await), Code::Conflict);
    assert!(!nodes.iter().any(|node| node.name == waiting));
    let rows: Vec<AuditRow> = ada.get(admin::AUDIT).await;
    let row = rows.iter().find(|row| row.action == "node.rebind").unwrap();
    assert_eq!((&row.detail["proposed-by"], &row.detail["approved-by"]), (&"admin".into(), &"grace".into()));
    assert_eq!(row.detail["pinned"]["rebind"]["from"], identity.hex());

    // Off the record, it is a stranger like any other.
    ada.delete(&admin::path(admin::NODE, &[&retired.name])).await.unwrap();
    assert_eq!(state(&trust, &name).await, NodeState::Active);
    unknown(&trust, OnUnknown::Enrol).await;
    assert_eq!(code(boot(&trust, &old).await), Code::Conflict, "its name is another's");
}

#[tokio::test]
async fn a_machine_that_was_refused_as_unknown_takes_over() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    let name = first_boot(&trust, &a).await.grants.node;
    unknown(&trust, OnUnknown::Refuse).await;
    let b = tpm(&maker, Seat::B);
    let stranger = challenge(&trust, &b).await.answer(&b).2;
    assert_eq!(code(trust.admin().propose(rebind(&name, &stranger)).await), Code::NotFound, "never seen");
    assert_eq!(judged_code(&trust, &b).await, Code::NodeUnknown);
    let made = trust.admin().propose(rebind(&name, &stranger)).await.unwrap();
    grace(&trust).second(made.id).await.unwrap();
    let granted = boot(&trust, &b).await.unwrap();
    assert_eq!(granted.grants.node, name);
    // Its first verdict made the record.
    b.set_counters(0, 0, 0);
    crate::races::age(&trust, &name).await;
    assert_eq!(judged_code(&trust, &b).await, Code::CountersRolledBack);
}

#[tokio::test]
async fn a_half_made_disk_is_made_anew() {
    let (trust, maker) = ready().await;
    let a = tpm(&maker, Seat::A);
    let early = boot(&trust, &a).await.unwrap();
    let name = early.grants.node.clone();
    early.formatted(header()).await.unwrap();
    unknown(&trust, OnUnknown::Ask).await;
    let b = tpm(&maker, Seat::B);
    let waiting = challenge(&trust, &b).await.answer(&b).2;
    judged(&trust, &b).await;
    let made = trust.admin().propose(rebind(&name, &waiting)).await.unwrap();
    grace(&trust).second(made.id).await.unwrap();
    assert_eq!(code(early.ready(verity()).await), Code::NodeRetired, "a grant of the old machine's");
    let granted = boot(&trust, &b).await.unwrap();
    assert!(matches!(granted.grants.volume().unwrap().action, VolumeAction::Format { .. }));
    granted.formatted(header()).await.unwrap();
    granted.ready(verity()).await.unwrap();
}

#[tokio::test]
async fn what_can_not_go_over_says_why() {
    let (trust, maker) = ready().await;
    let (_, name, new, waiting) = moved(&trust, &maker).await;
    let no = async |from: &NodeName, to: &NodeName, because: &str| {
        let refused = trust.admin().propose(rebind(from, to)).await.unwrap_err();
        assert!(refused.problem.detail.contains(because), "{because}: {}", refused.problem.detail);
    };
    no(&"nobody".parse().unwrap(), &waiting, "there is no node").await;
    no(&name, &"nobody".parse().unwrap(), "there is no node or refused machine").await;
    no(&name, &name, "is active").await;
    no(&waiting, &name, "is pending").await;
    let changed = [
        (format!("UPDATE nodes SET pool = 'others' WHERE name = '{waiting}'"), "waits in pool others"),
        (format!("UPDATE nodes SET expires = 9999999999 WHERE name = '{waiting}'"), "is of one boot"),
        (format!("UPDATE nodes SET attested = NULL WHERE name = '{waiting}'"), "has not proven yet"),
        (
            "UPDATE last_evidence SET record = json_set(record, '$.session.stock', json('true'))".into(),
            "has not proven yet",
        ),
        ("UPDATE volumes SET unlock_key = NULL".into(), "no volume with a key"),
    ];
    sql(
        &trust.dir(),
        "PRAGMA foreign_keys = OFF; INSERT INTO pools SELECT 'others', on_unknown, rules, on_foreign_disk,
        allow_init_data, cluster, created, hardware FROM pools",
    )
    .await;
    sql(
        &trust.dir(),
        "CREATE TABLE n AS SELECT * FROM nodes; CREATE TABLE e AS SELECT * FROM last_evidence;
        CREATE TABLE v AS SELECT * FROM volumes",
    )
    .await;
    for (change, because) in changed {
        sql(&trust.dir(), &change).await;
        no(&name, &waiting, because).await;
        sql(&trust.dir(), "UPDATE nodes SET pool = n.pool, expires = n.expires, attested = n.attested FROM n WHERE n.identity = nodes.identity;
            UPDATE last_evidence SET record = e.record FROM e WHERE e.identity = last_evidence.identity;
            UPDATE volumes SET unlock_key = v.unlock_key FROM v WHERE v.id = volumes.id").await;
    }
    new.reboot(Boot::new("2022.11", "init=/bin/sh", b"initrd"));
    act(&trust, admin::NODE_REVOKE, &waiting).await.unwrap();
    no(&name, &waiting, "is revoked").await;
}

#[tokio::test]
async fn what_changed_since_is_not_handed_over() {
    let (trust, maker) = ready().await;
    let (old, name, new, waiting) = moved(&trust, &maker).await;
    let (ada, grace) = (trust.admin(), grace(&trust));
    let made = ada.propose(rebind(&name, &waiting)).await.unwrap();
    // Boots of either that change nothing are none of its business.
    old.reboot(Boot::standard());
    boot(&trust, &old).await.unwrap();
    new.reboot(Boot::standard());
    assert_eq!(judged_code(&trust, &new).await, Code::NodePending);
    act(&trust, admin::NODE_REGRANT, &name).await.unwrap();
    assert_eq!(code(grace.second(made.id).await), Code::Conflict, "another generation");
    ada.delete(&admin::path(admin::PROPOSAL, &[&made.id])).await.unwrap();
    let made = ada.propose(rebind(&name, &waiting)).await.unwrap();
    act(&trust, admin::NODE_APPROVE, &waiting).await.unwrap();
    assert_eq!(code(grace.second(made.id).await), Code::Conflict, "a node of its own by now");
    assert_eq!(state(&trust, &name).await, NodeState::Active);
}

#[tokio::test]
async fn a_change_of_key_that_was_begun_goes_along() {
    let (trust, maker) = ready().await;
    let (old, name, new, waiting) = moved(&trust, &maker).await;
    act(&trust, admin::NODE_ROTATE_KEY, &name).await.unwrap();
    old.reboot(Boot::standard());
    let before = boot(&trust, &old).await.unwrap();
    before.rotated(verity()).await.unwrap();
    let made = trust.admin().propose(rebind(&name, &waiting)).await.unwrap();
    grace(&trust).second(made.id).await.unwrap();
    assert_eq!(code(before.committed(verity()).await), Code::NodeRetired);
    let after = boot(&trust, &new).await.unwrap();
    let (was, is) = (before.rotation().unwrap(), after.rotation().unwrap());
    assert_eq!((is.pending, &is.next_key), (Some(verity()), &was.next_key));
    after.committed(verity()).await.unwrap();
    new.reboot(Boot::standard());
    assert_eq!(boot(&trust, &new).await.unwrap().grants.volume().unwrap().unlock_key, was.next_key);
}
