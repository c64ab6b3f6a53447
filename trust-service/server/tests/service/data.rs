//! Volumes for data beside the root: a key, a generation and a life each, and one end for all of them.

use crate::audit::sql;
use crate::erase::{holders, row, sealed};
use crate::fixture::*;
use crate::proposals::grace;
use crate::rebind::{rebind, unknown};
use crate::rekey::is_kept;
use ccnode_evidence::{Code, DataName, Secret, Sha256Digest};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{self, AuditRow, OnUnknown, RotationState, VolumeRecord, VolumeState};
use ccnode_protocol::grants::{VolumeAction, VolumeGrant};
use ccnode_testkit::{Boot, MakerCa, Seat, SoftTpm};
use reqwest::Method;

/// An image whose command line names these volumes, in the order of their names.
fn of(names: &str) -> Boot {
    Boot::new("2022.11", &format!("console=ttyS0 ccnode.data={names}"), b"initrd")
}

/// The header of a volume as its node first made it.
fn made(volume: &VolumeGrant) -> Sha256Digest {
    Sha256Digest::of(volume.id.as_bytes())
}

/// The same under its next key.
fn changed(volume: &VolumeGrant) -> Sha256Digest {
    Sha256Digest::of(format!("{}, next", volume.id).as_bytes())
}

fn keys(granted: &Granted) -> Vec<Secret<32>> {
    granted.grants.all_volumes().map(|volume| volume.unlock_key.clone()).collect()
}

/// Reports a volume as made.
async fn make(granted: &Granted, volume: &VolumeGrant) {
    granted.formatted_of(volume, made(volume)).await.unwrap();
    let from = if volume == granted.root() { verity() } else { DataName::populated_from() };
    granted.ready_of(volume, from).await.unwrap();
}

/// A node whose root and volumes `logs` and `work` are ready.
async fn joined() -> (Trust, MakerCa, SoftTpm, NodeName) {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    trust.admin().allow(&of("logs,work"), verity()).await;
    let granted = again(&trust, &tpm).await;
    for volume in granted.grants.all_volumes() {
        make(&granted, volume).await;
    }
    (trust, maker, tpm, granted.grants.node)
}

async fn again(trust: &Trust, tpm: &SoftTpm) -> Granted {
    tpm.reboot(of("logs,work"));
    boot(trust, tpm).await.unwrap()
}

async fn volumes(trust: &Trust, name: &NodeName) -> Vec<VolumeRecord> {
    trust.admin().node(name).await.volumes
}

#[tokio::test]
async fn each_has_a_key_and_a_life_of_its_own() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    trust.admin().allow(&of("logs,work"), verity()).await;
    let first = again(&trust, &tpm).await;
    let name = &first.grants.node;
    let ids: Vec<_> = first.grants.all_volumes().map(|volume| volume.id.clone()).collect();
    assert_eq!(ids, [format!("{name}/root"), format!("{name}/data/logs"), format!("{name}/data/work")]);
    let keys = keys(&first);
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2]);
    assert_eq!(first.session.grants().await.unwrap().volumes, first.grants.volumes, "repeated");
    // One of them is made, the other is not.
    make(&first, first.root()).await;
    let [logs, work] = &first.grants.volumes[..] else { panic!("two volumes") };
    first.formatted_of(logs, made(logs)).await.unwrap();
    assert_eq!(
        code(first.formatted_of(work, made(logs)).await.and(first.ready_of(work, verity()).await)),
        Code::PopulatedFromOther
    );
    first.ready_of(logs, DataName::populated_from()).await.unwrap();

    let second = again(&trust, &tpm).await;
    let [logs, work] = &second.grants.volumes[..] else { panic!("two volumes") };
    assert!(matches!(logs.action, VolumeAction::Open { header_digest, .. } if header_digest == made(logs)));
    assert_eq!((&logs.unlock_key, logs.generation), (&keys[1], 1));
    assert!(matches!(work.action, VolumeAction::Format { .. }) && work.generation == 2);
    assert_eq!(work.unlock_key, keys[2]);
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    let said = &rows.iter().find(|row| row.action == "session.granted").unwrap().detail["data"];
    assert_eq!((&said[0]["action"], &said[1]["action"]), (&"open".into(), &"format".into()), "{said}");
}

#[tokio::test]
async fn a_grant_is_for_its_volume_alone() {
    let (trust, maker) = ready().await;
    trust.admin().allow(&of("logs,work"), verity()).await;
    let granted = again(&trust, &tpm(&maker, Seat::A)).await;
    let [logs, work] = &granted.grants.volumes[..] else { panic!("two volumes") };
    make(&granted, logs).await;
    let states: Vec<_> =
        volumes(&trust, &granted.grants.node).await.into_iter().map(|v| (v.id, v.state)).collect();
    let name = &granted.grants.node;
    assert_eq!(
        states,
        [
            (format!("{name}/data/logs"), VolumeState::Ready),
            (format!("{name}/data/work"), VolumeState::Granted),
            (format!("{name}/root"), VolumeState::Granted),
        ]
    );
    assert_eq!(
        code(granted.session.grants().await),
        Code::GrantSpent,
        "what is made is not granted once more"
    );
    make(&granted, work).await;
}

#[tokio::test]
async fn an_image_gets_what_it_names() {
    let (trust, _, tpm, name) = joined().await;
    let all = again(&trust, &tpm).await;
    for (names, wanted) in [("logs", &all.grants.volumes[..1]), ("work", &all.grants.volumes[1..])] {
        trust.admin().allow(&of(names), verity()).await;
        tpm.reboot(of(names));
        assert_eq!(boot(&trust, &tpm).await.unwrap().grants.volumes, wanted);
    }
    trust.admin().allow(&of("logs,new"), verity()).await;
    tpm.reboot(of("logs,new"));
    let granted = boot(&trust, &tpm).await.unwrap();
    let [logs, new] = &granted.grants.volumes[..] else { panic!("two volumes") };
    assert_eq!(logs, &all.grants.volumes[0]);
    assert!(matches!(new.action, VolumeAction::Format { .. }) && new.generation == 1);
    // What no image names any more stays as it is.
    assert_eq!(volumes(&trust, &name).await.len(), 4);
    assert_eq!(again(&trust, &tpm).await.grants.volumes, all.grants.volumes);
    // And an image of one boot gets none, whatever it names.
    let one_boot = Boot::new("2022.11", "console=ttyS0 ccnode.layout=ephemeral ccnode.data=logs", b"initrd");
    trust.admin().allow(&one_boot, verity()).await;
    tpm.reboot(one_boot);
    assert_eq!(boot(&trust, &tpm).await.unwrap().grants.all_volumes().count(), 0);
}

#[tokio::test]
async fn each_changes_its_key_by_itself() {
    let (trust, _, tpm, name) = joined().await;
    act(&trust, admin::NODE_ROTATE_KEY, &name).await.unwrap();
    assert!(volumes(&trust, &name).await.iter().all(|v| v.rotation == Some(RotationState::Asked)));
    let granted = again(&trust, &tpm).await;
    let old = keys(&granted);
    let next: Vec<_> = granted.grants.all_volumes().map(|v| v.rotation().unwrap().next_key.clone()).collect();
    let [logs, work] = &granted.grants.volumes[..] else { panic!("two volumes") };
    // Root and one more in this boot; of the other only the record.
    for volume in [granted.root(), logs] {
        granted.rotated_of(volume, changed(volume)).await.unwrap();
        granted.committed_of(volume, changed(volume)).await.unwrap();
    }
    granted.rotated_of(work, changed(work)).await.unwrap();
    let state = |id: &str, all: &[VolumeRecord]| {
        all.iter().find(|v| v.id == id).map(|v| (v.generation, v.rotation)).unwrap()
    };
    let all = volumes(&trust, &name).await;
    assert_eq!(state(&logs.id, &all), (2, None));
    assert_eq!(state(&work.id, &all), (1, Some(RotationState::Pending)));
    let again = again(&trust, &tpm).await;
    assert_eq!(keys(&again), [next[0].clone(), next[1].clone(), old[2].clone()]);
    let rotating: Vec<_> = again.grants.all_volumes().filter_map(VolumeGrant::rotation).collect();
    let [rotation] = rotating[..] else { panic!("one is left") };
    assert_eq!((&rotation.next_key, rotation.pending), (&next[2], Some(changed(work))));
    again.committed_of(&again.grants.volumes[1], changed(work)).await.unwrap();
    for key in &old {
        assert!(!is_kept(&trust, key).await, "in no volume, and in no session");
    }
    assert!(volumes(&trust, &name).await.iter().all(|v| v.generation == 2 && v.rotation.is_none()));
}

#[tokio::test]
async fn a_new_grant_is_one_for_all() {
    let (trust, _, tpm, name) = joined().await;
    let before = again(&trust, &tpm).await;
    let files = sealed(&trust, &name).await;
    act(&trust, admin::NODE_REGRANT, &name).await.unwrap();
    assert!(files.iter().all(|bytes| holders(&trust.dir(), bytes).is_empty()));
    assert_eq!(row(&trust, "node.regrant").await.1.len(), 3);
    assert!(volumes(&trust, &name).await.iter().all(|v| v.state == VolumeState::None && v.generation == 2));
    let after = again(&trust, &tpm).await;
    for (was, is) in before.grants.all_volumes().zip(after.grants.all_volumes()) {
        assert!(matches!(is.action, VolumeAction::Format { .. }) && is.generation == 3);
        assert!(is.unlock_key != was.unlock_key && is.uuid != was.uuid && is.id == was.id);
    }
}

#[tokio::test]
async fn one_alone_is_made_anew() {
    let (trust, _, tpm, name) = joined().await;
    let before = again(&trust, &tpm).await;
    let path = admin::path(admin::NODE_REGRANT, &[&name]);
    let ask = async |volume: &str| {
        let wish = admin::Regrant { reason: None, volume: Some(volume.into()) };
        trust.admin().call::<admin::NodeRecord>(Method::POST, &path, &wish).await
    };
    for other in ["", "work", "data", "data/none", "../root", &format!("{name}/root")] {
        assert_eq!(code(ask(other).await), Code::NotFound, "{other}");
    }
    ask("root").await.unwrap();
    assert_eq!(row(&trust, "node.regrant").await.1.len(), 1);
    assert_eq!(code(before.session.grants().await), Code::GenerationStale);
    // What data the node has goes on under another image, whose root it is not.
    let other = Sha256Digest::of(b"another root source");
    let image = Boot::new("2022.11", "console=ttyS1 ccnode.data=logs,work", b"initrd");
    trust.admin().allow(&image, other).await;
    tpm.reboot(image);
    let after = boot(&trust, &tpm).await.unwrap();
    assert!(matches!(after.root().action, VolumeAction::Format { .. }));
    assert_ne!(after.root().unlock_key, before.root().unlock_key);
    assert_eq!(after.grants.volumes, before.grants.volumes);
    assert_eq!(trust.admin().node(&name).await.root().unwrap().id, format!("{name}/root"));
    ask("data/work").await.unwrap();
    let states: Vec<_> = volumes(&trust, &name).await.into_iter().map(|v| v.state).collect();
    assert_eq!(states, [VolumeState::Ready, VolumeState::None, VolumeState::Granted]);
}

#[tokio::test]
async fn a_retired_nodes_keys_are_all_destroyed() {
    let (trust, _, _, name) = joined().await;
    act(&trust, admin::NODE_ROTATE_KEY, &name).await.unwrap();
    let files = sealed(&trust, &name).await;
    assert_eq!(files.len(), 4, "three keys, and a session with all of them");
    act(&trust, admin::NODE_RETIRE, &name).await.unwrap();
    assert!(files.iter().all(|bytes| holders(&trust.dir(), bytes).is_empty()));
    let mut destroyed: Vec<_> =
        row(&trust, "node.retire").await.1.into_iter().map(|key| key.volume).collect();
    destroyed.sort();
    assert_eq!(destroyed, ["data/logs", "data/work", "root"].map(|which| format!("{name}/{which}")));
    let all = volumes(&trust, &name).await;
    assert!(all.len() == 3 && all.iter().all(|v| v.state == VolumeState::Retired && v.rotation.is_none()));
}

#[tokio::test]
async fn all_go_over_to_another_machine() {
    let (trust, maker, a, name) = joined().await;
    act(&trust, admin::NODE_ROTATE_KEY, &name).await.unwrap();
    let before = again(&trust, &a).await;
    let work = &before.grants.volumes[1];
    before.rotated_of(work, changed(work)).await.unwrap();
    unknown(&trust, OnUnknown::Ask).await;
    let b = tpm(&maker, Seat::B);
    b.reboot(of("logs,work"));
    let waiting = challenge(&trust, &b).await.answer(&b).2;
    assert_eq!(judged_code(&trust, &b).await, Code::NodePending);
    let proposed = trust.admin().propose(rebind(&name, &waiting)).await.unwrap();
    grace(&trust).second(proposed.id).await.unwrap();
    let after = again(&trust, &b).await;
    assert_eq!((after.grants.node.clone(), keys(&after)), (name, keys(&before)));
    let rotations = |granted: &Granted| -> Vec<_> {
        granted.grants.all_volumes().map(|v| v.rotation().map(|r| r.next_key.clone())).collect()
    };
    assert_eq!(rotations(&after), rotations(&before));
    assert_eq!(code(before.committed_of(work, changed(work)).await), Code::NodeRetired);
    let work = &after.grants.volumes[1];
    assert_eq!(work.rotation().unwrap().pending, Some(changed(work)));
    after.committed_of(work, changed(work)).await.unwrap();
}

#[tokio::test]
async fn an_id_that_no_header_can_carry_is_not_granted() {
    let (trust, _, tpm, _) = joined().await;
    sql(&trust.dir(), &format!("UPDATE nodes SET name = '{}'", "n".repeat(55))).await;
    // 55 characters, `/data/` and 4 are one too many.
    tpm.reboot(of("logs,work"));
    assert_eq!(code(boot(&trust, &tpm).await), Code::Conflict);
}
