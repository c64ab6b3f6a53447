//! Another unlock key for a volume: asked for, given, on record, in force, and the one before nowhere.

use crate::fixture::*;
use ccnode_evidence::{Code, Secret, Sha256Digest};
use ccnode_protocol::admin::{self, AuditRow, NodeRecord, RotationState, VolumeRecord, VolumeState};
use ccnode_protocol::grants::{Rotated, VolumeAction};
use ccnode_protocol::{NodeName, ROTATED};
use ccnode_server::keys::{random, secret_hash};
use ccnode_server::rotate;
use ccnode_server::store::{GrantKind, GrantRow, Store as _, Tx as _};
use ccnode_testkit::{Boot, Seat, SoftTpm};

fn digest(n: u8) -> Sha256Digest {
    Sha256Digest::of(&[n])
}

/// A node that has joined, and is asked to change its key; answers its key, too.
async fn asked() -> (Trust, SoftTpm, NodeName, Secret<32>) {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let first = first_boot(&trust, &tpm).await;
    let record = ask(&trust, &first.grants.node).await;
    assert_eq!(record.rotation, Some(RotationState::Asked));
    (trust, tpm, first.grants.node.clone(), first.grants.volume().unwrap().unlock_key.clone())
}

async fn ask(trust: &Trust, name: &NodeName) -> VolumeRecord {
    let done = act(trust, admin::NODE_ROTATE_KEY, name).await.unwrap();
    serde_json::from_value::<NodeRecord>(done).unwrap().volumes.remove(0)
}

async fn again(trust: &Trust, tpm: &SoftTpm) -> Granted {
    tpm.reboot(Boot::standard());
    boot(trust, tpm).await.unwrap()
}

/// Key and header of a grant to open.
fn opens(granted: &Granted) -> (Secret<32>, Sha256Digest) {
    let volume = granted.grants.volume().unwrap();
    match &volume.action {
        VolumeAction::Open { header_digest, .. } => (volume.unlock_key.clone(), *header_digest),
        VolumeAction::Format { .. } => panic!("formatted"),
    }
}

async fn shown(trust: &Trust, name: &NodeName) -> VolumeRecord {
    trust.admin().node(name).await.volumes.remove(0)
}

/// Whether `key` is anywhere among what is sealed.
pub(crate) async fn is_kept(trust: &Trust, key: &Secret<32>) -> bool {
    let service = trust.service();
    let rows = service.store.read().await.unwrap().sealed().await.unwrap();
    let text = serde_json::to_value(key).unwrap();
    let text = text.as_str().unwrap();
    rows.iter().any(|row| {
        let plain = service.at_rest.open(&row.place, &row.value).unwrap();
        plain.as_slice() == key.expose() || plain.windows(text.len()).any(|w| w == text.as_bytes())
    })
}

#[tokio::test]
async fn t05_one_boot_changes_the_key_and_the_one_before_is_nowhere() {
    let (trust, tpm, name, old) = asked().await;
    let granted = again(&trust, &tpm).await;
    assert_eq!(opens(&granted), (old.clone(), header()), "the disk is as it was");
    let rotation = granted.rotation().unwrap();
    assert_eq!(rotation.pending, None);
    assert_ne!(rotation.next_key, old);
    granted.rotated(digest(1)).await.unwrap();
    granted.rotated(digest(1)).await.unwrap();
    let record = shown(&trust, &name).await;
    assert_eq!((record.rotation, record.generation), (Some(RotationState::Pending), 1));
    assert_eq!(record.header_digest, Some(header()), "still in force");
    assert!(is_kept(&trust, &old).await && is_kept(&trust, &rotation.next_key).await);
    granted.committed(digest(1)).await.unwrap();
    granted.committed(digest(1)).await.unwrap();
    let record = shown(&trust, &name).await;
    assert_eq!((record.rotation, record.generation, record.state), (None, 2, VolumeState::Ready));
    assert_eq!((record.header_digest, record.populated_from), (Some(digest(1)), Some(verity())));
    assert!(!is_kept(&trust, &old).await, "in no volume, and in no session");
    assert_eq!(code(granted.session.grants().await), Code::GenerationStale);
    granted.certificate(&granted.csr).await.unwrap();
    let next = again(&trust, &tpm).await;
    assert_eq!(opens(&next), (rotation.next_key, digest(1)));
    assert_eq!((next.rotation(), next.grants.volume().unwrap().generation), (None, 2));
    let rows: Vec<AuditRow> = trust.admin().get(admin::AUDIT).await;
    let count = |action: &str| rows.iter().filter(|row| row.action == action).count();
    assert_eq!(["node.rotate-key", "volume.rotated", "volume.committed"].map(count), [1, 1, 1]);
}

#[tokio::test]
async fn asked_twice_is_asked_once() {
    let (trust, tpm, name, _) = asked().await;
    let next = again(&trust, &tpm).await.rotation().unwrap().next_key;
    assert_eq!(ask(&trust, &name).await.rotation, Some(RotationState::Asked));
    let granted = again(&trust, &tpm).await;
    assert_eq!(granted.rotation().unwrap().next_key, next);
    granted.rotated(digest(1)).await.unwrap();
    assert_eq!(ask(&trust, &name).await.rotation, Some(RotationState::Pending));
    granted.committed(digest(1)).await.unwrap();
    // And another one, once the first is over.
    assert_eq!(ask(&trust, &name).await.rotation, Some(RotationState::Asked));
    let granted = again(&trust, &tpm).await;
    assert_eq!(opens(&granted), (next.clone(), digest(1)));
    granted.rotated(digest(2)).await.unwrap();
    granted.committed(digest(2)).await.unwrap();
    assert!(!is_kept(&trust, &next).await);
    assert_eq!(shown(&trust, &name).await.generation, 3);
}

#[tokio::test]
async fn only_what_is_ready_has_a_key_to_change() {
    let (trust, maker) = ready().await;
    let granted = boot(&trust, &tpm(&maker, Seat::A)).await.unwrap();
    let name = granted.grants.node.clone();
    let ask = async || code(act(&trust, admin::NODE_ROTATE_KEY, &name).await);
    assert_eq!(ask().await, Code::Conflict, "granted");
    granted.formatted(header()).await.unwrap();
    assert_eq!(ask().await, Code::Conflict, "half made");
    granted.ready(verity()).await.unwrap();
    assert!(act(&trust, admin::NODE_ROTATE_KEY, &name).await.is_ok());
    trust.admin().delete(&admin::path(admin::NODE, &[&name])).await.unwrap();
    assert_eq!(ask().await, Code::Conflict, "retired");
    assert!(
        trust
            .service()
            .store
            .read()
            .await
            .unwrap()
            .volume(&format!("{name}/root"))
            .await
            .unwrap()
            .unwrap()
            .next
            .is_none()
    );
    assert_eq!(code(act(&trust, admin::NODE_ROTATE_KEY, &"nobody").await), Code::NotFound);
}

#[tokio::test]
async fn a_boot_that_was_cut_short_leaves_both_to_the_next() {
    let (trust, tpm, _, old) = asked().await;
    let first = again(&trust, &tpm).await;
    first.rotated(digest(1)).await.unwrap();
    let second = again(&trust, &tpm).await;
    let rotation = second.rotation().unwrap();
    assert_eq!((opens(&second), rotation.pending), ((old.clone(), header()), Some(digest(1))));
    // It finds the new header on its disk.
    second.committed(digest(1)).await.unwrap();
    assert!(!is_kept(&trust, &old).await);
    assert_eq!(opens(&again(&trust, &tpm).await), (rotation.next_key, digest(1)));
}

#[tokio::test]
async fn what_was_begun_is_replaced_by_who_knows_of_it_alone() {
    let (trust, tpm, _, old) = asked().await;
    let (first, other) = (again(&trust, &tpm).await, boot(&trust, &tpm).await.unwrap());
    assert_eq!(code(first.committed(digest(1)).await), Code::GenerationStale, "before it is on record");
    first.rotated(digest(1)).await.unwrap();
    assert_eq!(code(other.rotated(digest(9)).await), Code::GenerationStale, "another session of the boot");
    let second = again(&trust, &tpm).await;
    second.rotated(digest(2)).await.unwrap();
    for late in [&first, &other] {
        assert_eq!(code(late.rotated(digest(1)).await), Code::GenerationStale, "the boot before");
        assert_eq!(code(late.committed(digest(1)).await), Code::GenerationStale);
    }
    assert!(is_kept(&trust, &old).await);
    second.committed(digest(2)).await.unwrap();
    for late in [&first, &second] {
        assert_eq!(code(late.rotated(digest(3)).await), Code::GenerationStale, "it is over");
        assert_eq!(code(late.committed(digest(1)).await), Code::GenerationStale);
    }
    assert_eq!(opens(&again(&trust, &tpm).await).1, digest(2));
}

#[tokio::test]
async fn a_rotation_is_spent_with_its_own_grant_while_it_lasts() {
    let (trust, tpm, name, _) = asked().await;
    let granted = again(&trust, &tpm).await;
    let grant = granted.rotation().unwrap().grant;
    let post = async |id: &str, secret: &Secret<32>, generation| {
        let (grant, secret) = (id.to_owned(), secret.clone());
        let body = Rotated { grant, secret, generation, header_digest: digest(1), replaces: None };
        code(granted.session.post::<()>(ROTATED, &body).await)
    };
    assert_eq!(post(&grant.id, &Secret::new([0; 32]), 2).await, Code::GrantUnknown);
    let certificate = &granted.grants.certificate;
    assert_eq!(post(&certificate.id, &certificate.secret, 2).await, Code::GrantUnknown, "kind");
    for generation in [1, 3] {
        assert_eq!(post(&grant.id, &grant.secret, generation).await, Code::GenerationStale);
    }
    let service = trust.service();
    let (mut tx, secret) = (service.store.write().await.unwrap(), random());
    let row = tx.grant(&grant.id).await.unwrap().unwrap();
    assert_eq!(row.kind, GrantKind::Rotate);
    let (secret_hash, expires) = (secret_hash(&secret), service.now() - 1);
    tx.insert_grant(&GrantRow { id: "old".into(), secret_hash, expires, ..row }).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(post("old", &secret, 2).await, Code::GrantExpired);
    act(&trust, admin::NODE_REVOKE, &name).await.unwrap();
    assert_eq!(code(granted.rotated(digest(1)).await), Code::NodeRevoked);
}

#[tokio::test]
async fn a_root_made_anew_forgets_both_keys() {
    let (trust, tpm, name, old) = asked().await;
    let granted = again(&trust, &tpm).await;
    granted.rotated(digest(1)).await.unwrap();
    act(&trust, admin::NODE_REGRANT, &name).await.unwrap();
    assert_eq!(shown(&trust, &name).await.rotation, None);
    assert_eq!(code(granted.committed(digest(1)).await), Code::GenerationStale);
    let anew = again(&trust, &tpm).await;
    let key = &anew.grants.volume().unwrap().unlock_key;
    assert!(*key != old && *key != granted.rotation().unwrap().next_key);
}

#[tokio::test]
async fn the_key_encryption_key_may_change_meanwhile() {
    let (trust, tpm, _, old) = asked().await;
    let first = again(&trust, &tpm).await;
    first.rotated(digest(1)).await.unwrap();
    rotate::kek(&trust.dir()).unwrap();
    trust.reload().await.unwrap();
    let second = again(&trust, &tpm).await;
    assert_eq!(opens(&second).0, old);
    assert_eq!(second.rotation().unwrap().next_key, first.rotation().unwrap().next_key);
    second.committed(digest(1)).await.unwrap();
    rotate::kek(&trust.dir()).err();
    assert_eq!(opens(&again(&trust, &tpm).await).0, first.rotation().unwrap().next_key);
}
