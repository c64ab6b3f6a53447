//! What recovers a volume: kept with its header, given to administrators alone, moved and destroyed with its key.

use crate::audit::sql;
use crate::erase::{holders, row};
use crate::fixture::*;
use crate::proposals::grace;
use crate::rebind::{rebind, unknown};
use crate::rotation::shut;
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{self, OnUnknown, RecoveryFetch, RecoveryRecord, VolumeState};
use ccnode_protocol::grants::VolumeGrant;
use ccnode_protocol::recovery::{Custodians, Recovery};
use ccnode_recovery::{CustodianKey, Volume, combine, open, split};
use ccnode_server::keys::Kek;
use ccnode_server::rotate;
use ccnode_server::rotation::KEK;
use ccnode_server::store::{Sealed, SealedAt, Store as _, Tx as _};
use ccnode_testkit::{Boot, MakerCa, Seat, SoftTpm};
use reqwest::Method;
use serde_json::Value;
use zeroize::Zeroizing;

const KEY: [u8; 32] = *b"the recovery key of one volume..";

/// Three custodians, two of whom are needed.
pub(crate) fn keys() -> Vec<CustodianKey> {
    (0..3).map(|_| CustodianKey::generate()).collect()
}

/// What the node sends with its header.
pub(crate) fn shares(granted: &Granted, keys: &[CustodianKey]) -> Recovery {
    shares_of(granted.root(), keys)
}

fn shares_of(volume: &VolumeGrant, keys: &[CustodianKey]) -> Recovery {
    let volume = Volume { id: &volume.id, uuid: &volume.uuid, generation: volume.generation };
    let all = keys.iter().map(|key| key.custodian().unwrap()).collect();
    split(&KEY, Zeroizing::new([1; 32]), &volume, &Custodians::new(all, 2).unwrap()).unwrap()
}

/// A node whose volume two of three custodians recover.
async fn recoverable() -> (Trust, MakerCa, SoftTpm, NodeName, Vec<CustodianKey>) {
    let (trust, maker) = ready().await;
    let (tpm, keys) = (tpm(&maker, Seat::A), keys());
    let granted = boot(&trust, &tpm).await.unwrap();
    granted.formatted_with(granted.root(), header(), Some(shares(&granted, &keys))).await.unwrap();
    granted.ready(verity()).await.unwrap();
    (trust, maker, tpm, granted.grants.node, keys)
}

async fn fetch(trust: &Trust, name: &dyn std::fmt::Display, volume: &str) -> Answered<RecoveryRecord> {
    let body = RecoveryFetch { volume: volume.into(), reason: Some("the machine burnt".into()) };
    trust.admin().call(Method::POST, &admin::path(admin::NODE_RECOVERY, &[name]), &body).await
}

fn recovered(record: &RecoveryRecord, keys: &[CustodianKey]) -> [u8; 32] {
    let shares: Vec<_> = keys.iter().map(|key| open(record, key).unwrap()).collect();
    *combine(&shares).unwrap().key.expose()
}

/// The sealed shares that are there.
async fn sealed(trust: &Trust) -> Vec<Sealed> {
    let mut rows = trust.service().store.read().await.unwrap().sealed().await.unwrap();
    rows.retain(|row| matches!(row.at, SealedAt::Recovery(_)));
    rows
}

#[tokio::test]
async fn custodians_get_by_an_administrator_what_the_node_sealed_for_them() {
    let (trust, _, _, name, keys) = recoverable().await;
    let record = fetch(&trust, &name, "root").await.unwrap();
    assert_eq!((record.volume.as_str(), record.formatted), (format!("{name}/root").as_str(), 1));
    assert_eq!(record.header_digests, [header()]);
    assert_eq!(record.uuid, trust.admin().node(&name).await.volumes[0].uuid);
    assert_eq!(recovered(&record, &keys[1..]), KEY);

    let rows: Vec<admin::AuditRow> = trust.admin().get(admin::AUDIT).await;
    let row = rows.iter().find(|row| row.action == "node.recovery").unwrap();
    assert_eq!((row.actor.as_str(), row.object.as_str()), ("admin:admin", name.as_str()));
    assert_eq!(row.detail["reason"], "the machine burnt");
    assert_eq!(row.detail["volume"], format!("{name}/root"));
    assert_eq!(row.detail["custodians"].as_array().unwrap().len(), 3);

    let tag = record.recovery.shares[0].jwe.tag.0.clone();
    let [kept] = sealed(&trust).await.try_into().unwrap();
    assert!(!kept.value.windows(16).any(|window| window == tag), "sealed");
    assert_eq!(holders(&trust.dir(), &KEY), Vec::<String>::new());
    let node: Value = trust.admin().get(&admin::path(admin::NODE, &[&name])).await;
    assert!(!node.to_string().contains("encrypted_key"), "{node}");
    // Who is out of trust has a disk still.
    act(&trust, admin::NODE_REVOKE, &name).await.unwrap();
    assert_eq!(recovered(&fetch(&trust, &name, "root").await.unwrap(), &keys[..2]), KEY);
}

#[tokio::test]
async fn each_volume_of_a_node_has_shares_of_its_own() {
    let (trust, maker) = ready().await;
    let (tpm, keys) = (tpm(&maker, Seat::A), keys());
    let image = Boot::new("2022.11", "console=ttyS0 ccnode.data=logs", b"initrd");
    trust.admin().allow(&image, verity()).await;
    tpm.reboot(image);
    let granted = boot(&trust, &tpm).await.unwrap();
    for volume in granted.grants.all_volumes() {
        granted.formatted_with(volume, header(), Some(shares_of(volume, &keys))).await.unwrap();
    }
    let name = &granted.grants.node;
    let [root, logs] = [fetch(&trust, name, "root").await, fetch(&trust, name, "data/logs").await];
    let (root, logs) = (root.unwrap(), logs.unwrap());
    assert_eq!((recovered(&root, &keys[..2]), recovered(&logs, &keys[1..])), (KEY, KEY));
    assert!(root.volume != logs.volume && root.uuid != logs.uuid);
    // Nobody passes the shares of one off for the other's.
    let swapped = RecoveryRecord { recovery: logs.recovery, ..root.clone() };
    assert!(open(&swapped, &keys[0]).is_err());
}

#[tokio::test]
async fn what_nobody_recovers_is_not_found() {
    let (trust, maker, _, name, _) = recoverable().await;
    let other = first_boot(&trust, &tpm(&maker, Seat::B)).await.grants.node;
    for (name, volume) in
        [(&name, "rot"), (&name, ""), (&other, "root"), (&"nobody".parse().unwrap(), "root")]
    {
        assert_eq!(code(fetch(&trust, name, volume).await), Code::NotFound, "{name}/{volume}");
    }
    let body = RecoveryFetch { volume: "root".into(), reason: Some("x".repeat(1025)) };
    let path = admin::path(admin::NODE_RECOVERY, &[&name]);
    let long: Answered<Value> = trust.admin().call(Method::POST, &path, &body).await;
    assert_eq!(code(long), Code::MalformedRequest);
    let rows: Vec<admin::AuditRow> = trust.admin().get(admin::AUDIT).await;
    assert!(!rows.iter().any(|row| row.action == "node.recovery"), "nobody took anything");
}

#[tokio::test]
async fn shares_of_another_form_are_refused_with_their_header() {
    let (trust, maker) = ready().await;
    let granted = boot(&trust, &tpm(&maker, Seat::A)).await.unwrap();
    let good = shares(&granted, &keys());
    let changes: [fn(&mut Recovery); 5] = [
        |r| r.threshold = 1,
        |r| r.threshold = 4,
        |r| r.shares.truncate(1),
        |r| r.shares[2].custodian = r.shares[0].custodian,
        |r| r.shares[1].jwe.ciphertext.0.push(0),
    ];
    for change in changes {
        let mut bad = good.clone();
        change(&mut bad);
        assert_eq!(
            code(granted.formatted_with(granted.root(), header(), Some(bad)).await),
            Code::MalformedRequest
        );
    }
    let many = std::iter::repeat_with(|| good.shares.clone()).take(6).flatten().collect();
    let many = Recovery { shares: many, ..good.clone() };
    assert_eq!(
        code(granted.formatted_with(granted.root(), header(), Some(many)).await),
        Code::MalformedRequest
    );
    let name = &granted.grants.node;
    assert_eq!(trust.admin().node(name).await.volumes[0].state, VolumeState::Granted);
    assert!(sealed(&trust).await.is_empty());
    granted.formatted_with(granted.root(), header(), Some(good)).await.unwrap();
    assert_eq!(fetch(&trust, name, "root").await.unwrap().header_digests, [header()], "half made, too");
}

#[tokio::test]
async fn they_come_once_and_go_with_a_format_that_was_cut_short() {
    let (trust, maker) = ready().await;
    let (tpm, keys) = (tpm(&maker, Seat::A), keys());
    let first = boot(&trust, &tpm).await.unwrap();
    let good = shares(&first, &keys);
    first.formatted_with(first.root(), header(), Some(good.clone())).await.unwrap();
    first.formatted_with(first.root(), header(), Some(shares(&first, &keys))).await.unwrap();
    first.formatted_with(first.root(), header(), None).await.unwrap();
    let record = fetch(&trust, &first.grants.node, "root").await.unwrap();
    assert_eq!(record.recovery, good, "a message that is repeated changes nothing");
    tpm.reboot(Boot::standard());
    let second = boot(&trust, &tpm).await.unwrap();
    assert!(sealed(&trust).await.is_empty());
    second.formatted(header()).await.unwrap();
    second.ready(verity()).await.unwrap();
    assert_eq!(code(fetch(&trust, &second.grants.node, "root").await), Code::NotFound);
}

#[tokio::test]
async fn another_unlock_key_leaves_them_as_they_are() {
    let (trust, _, tpm, name, keys) = recoverable().await;
    act(&trust, admin::NODE_ROTATE_KEY, &name).await.unwrap();
    tpm.reboot(Boot::standard());
    let granted = boot(&trust, &tpm).await.unwrap();
    let next = Sha256Digest::of(b"under the next key");
    granted.rotated(next).await.unwrap();
    let record = fetch(&trust, &name, "root").await.unwrap();
    assert_eq!(record.header_digests, [header(), next], "the disk holds one of them");
    let old = Kek::load(&trust.dir().join(KEK)).unwrap();
    rotate::kek(&trust.dir()).unwrap();
    trust.reload().await.unwrap();
    assert!(shut(&trust, &old).await, "sealed anew, like all else");
    granted.committed(next).await.unwrap();
    let record = fetch(&trust, &name, "root").await.unwrap();
    assert_eq!((record.header_digests.as_slice(), record.formatted), ([next].as_slice(), 1));
    assert_eq!(recovered(&record, &keys[..2]), KEY);
    let (_, destroyed) = row(&trust, "volume.committed").await;
    assert_eq!(destroyed[0].sealed_recovery, None);
}

#[tokio::test]
async fn they_are_destroyed_with_the_key() {
    for (path, action) in [(admin::NODE_RETIRE, "node.retire"), (admin::NODE_REGRANT, "node.regrant")] {
        let (mut trust, _, _, name, _) = recoverable().await;
        let kept = sealed(&trust).await.remove(0).value;
        assert!(!holders(&trust.dir(), &kept).is_empty());
        act(&trust, path, &name).await.unwrap();
        assert_eq!(holders(&trust.dir(), &kept), Vec::<String>::new(), "{action}");
        assert_eq!(code(fetch(&trust, &name, "root").await), Code::NotFound);
        let (_, destroyed) = row(&trust, action).await;
        assert_eq!(destroyed[0].sealed_recovery, Some(Sha256Digest::of(&kept)), "{action}");
        trust.stop().await;
        let verify = || verify_audit(&trust.dir());
        let (exit, said) = verify();
        assert_eq!(exit, Some(0), "{said}");
        assert!(said.contains("and the shares that recovered it"), "{said}");
        let hex: String = kept.iter().map(|byte| format!("{byte:02x}")).collect();
        sql(&trust.dir(), &format!("UPDATE volumes SET recovery = x'{hex}'")).await;
        let (exit, said) = verify();
        assert_eq!(exit, Some(3), "put back: {said}");
    }
}

#[tokio::test]
async fn they_go_over_to_another_machine_with_the_volume() {
    let (trust, maker, _, name, keys) = recoverable().await;
    unknown(&trust, OnUnknown::Ask).await;
    let new = tpm(&maker, Seat::B);
    let waiting = challenge(&trust, &new).await.answer(&new).2;
    assert_eq!(judged_code(&trust, &new).await, Code::NodePending);
    let made = trust.admin().propose(rebind(&name, &waiting)).await.unwrap();
    grace(&trust).second(made.id).await.unwrap();
    assert_eq!(recovered(&fetch(&trust, &name, "root").await.unwrap(), &keys[..2]), KEY);
}
