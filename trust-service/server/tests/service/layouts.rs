//! The layout of an image decides what its nodes are given for their roots.

use crate::fixture::*;
use ccnode_evidence::{Code, ImageTuple, Layout, Secret, Sha256Digest};
use ccnode_protocol::admin;
use ccnode_protocol::grants::{RootGrant, VolumeAction};
use ccnode_testkit::{Boot, Seat};
use reqwest::Method;
use serde_json::Value;

/// An image of that layout on the standard platform.
fn of(layout: &str) -> Boot {
    Boot::new("2022.11", &format!("console=ttyS0 ccnode.layout={layout}"), b"initrd")
}

fn entropy(granted: &Granted) -> &Secret<32> {
    match &granted.grants.root {
        RootGrant::Ephemeral { entropy } => entropy,
        RootGrant::Volume(_) => panic!("a volume for an image that wants none"),
    }
}

#[tokio::test]
async fn an_ephemeral_image_gets_no_volume_though_its_node_persists() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    trust.admin().allow(&of("ephemeral"), verity()).await;
    tpm.reboot(of("ephemeral"));
    let one = boot(&trust, &tpm).await.unwrap();
    let name = one.grants.node.clone();
    // Repeated within the session it is the same; a new session has its own.
    assert_eq!(one.session.grants().await.unwrap().root, one.grants.root);
    tpm.reboot(of("ephemeral"));
    let two = boot(&trust, &tpm).await.unwrap();
    assert_eq!(two.grants.node, name);
    assert_ne!(entropy(&one), entropy(&two));
    two.certificate(&two.csr).await.unwrap();
    let node = trust.admin().node(&name).await;
    assert!(node.volumes.is_empty(), "{:?}", node.volumes);
    assert_eq!(node.expires, None, "the node stays");
    // The bounds of a boot are what they are for other images.
    for _ in 0..2 {
        boot(&trust, &tpm).await.unwrap();
    }
    assert_eq!(code(boot(&trust, &tpm).await), Code::ReleasesExhausted);
}

#[tokio::test]
async fn an_ephemeral_image_leaves_the_volume_of_another_alone() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let first = first_boot(&trust, &tpm).await;
    let before = trust.admin().node(&first.grants.node).await;
    trust.admin().allow(&of("ephemeral"), verity()).await;
    tpm.reboot(of("ephemeral"));
    entropy(&boot(&trust, &tpm).await.unwrap());
    assert_eq!(trust.admin().node(&first.grants.node).await.volumes, before.volumes);
    tpm.reboot(Boot::standard());
    let again = boot(&trust, &tpm).await.unwrap();
    assert_eq!(again.grants.volume().unwrap().unlock_key, first.grants.volume().unwrap().unlock_key);
}

/// What a volume of state is filled from, whatever image made it.
fn state() -> Sha256Digest {
    Layout::VerityRoot.populated_from(Sha256Digest::ZERO)
}

#[tokio::test]
async fn the_state_of_a_verified_root_outlives_its_image() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let of_initrd = |initrd| Boot::new("2022.11", "console=ttyS0 ccnode.layout=verity-root", initrd);
    let (v1, v2) = (of_initrd(b"initrd"), of_initrd(b"initrd 2"));
    trust.admin().allow(&v1, verity()).await;
    trust.admin().allow(&v2, Sha256Digest::of(b"root source 2")).await;
    tpm.reboot(v1);
    let first = boot(&trust, &tpm).await.unwrap();
    first.formatted(header()).await.unwrap();
    assert_eq!(code(first.ready(verity()).await), Code::PopulatedFromOther, "no copy of the root");
    first.ready(state()).await.unwrap();
    tpm.reboot(v2);
    let second = boot(&trust, &tpm).await.unwrap();
    let (one, two) = (first.grants.volume().unwrap(), second.grants.volume().unwrap());
    assert_eq!((&one.id, &one.unlock_key), (&two.id, &two.unlock_key));
    assert!(
        matches!(two.action, VolumeAction::Open { populated_from, .. } if populated_from == state()),
        "{two:?}"
    );
}

#[tokio::test]
async fn t27_a_volume_of_another_layout_is_not_released() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    trust.admin().allow(&of("verity-root"), verity()).await;
    let copied = first_boot(&trust, &tpm).await;
    tpm.reboot(of("verity-root"));
    let refused = boot(&trust, &tpm).await.unwrap_err().problem;
    assert_eq!(refused.code, Some(Code::PopulatedFromOther));
    assert!(refused.detail.contains("whose layout is verity-root"), "{}", refused.detail);
    act(&trust, admin::NODE_REGRANT, &copied.grants.node).await.unwrap();
    let anew = boot(&trust, &tpm).await.unwrap();
    assert_ne!(anew.grants.volume().unwrap().unlock_key, copied.grants.volume().unwrap().unlock_key);
    anew.formatted(header()).await.unwrap();
    anew.ready(state()).await.unwrap();
    tpm.reboot(Boot::standard());
    assert_eq!(code(boot(&trust, &tpm).await), Code::PopulatedFromOther, "and the reverse");
}

#[tokio::test]
async fn a_tuple_of_another_layout_than_the_measured_one_is_not_registered() {
    let trust = Trust::new().await;
    for (declared, claimed) in [("ephemeral", Layout::LuksRoot), ("luks-root", Layout::Ephemeral)] {
        let tuple = ImageTuple { layout: claimed, ..image(&of(declared), verity()) };
        let answer: Answered<Value> = trust.admin().call(Method::POST, admin::IMAGES, &tuple).await;
        assert_eq!(code(answer), Code::MalformedRequest, "{declared}");
    }
}

#[tokio::test]
async fn what_was_begun_for_other_content_is_not_gone_on_with() {
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let begun = |granted: &Granted| match &granted.root().action {
        VolumeAction::Format { begun, .. } => begun.clone(),
        VolumeAction::Open { .. } => panic!("opened"),
    };
    trust.admin().allow(&of("verity-root"), verity()).await;
    boot(&trust, &tpm).await.unwrap().formatted(header()).await.unwrap();
    tpm.reboot(of("verity-root"));
    let other = boot(&trust, &tpm).await.unwrap();
    assert_eq!(begun(&other), None, "other sectors of it were wiped");
    other.formatted(header()).await.unwrap();
    tpm.reboot(of("verity-root"));
    assert!(begun(&boot(&trust, &tpm).await.unwrap()).is_some());
}
