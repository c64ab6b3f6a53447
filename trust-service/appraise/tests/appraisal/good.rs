//! Good evidence, and what the verdict says of it.

use crate::world::{VERITY, World, roots};
use ccnode_appraise::{
    EkRoot, Hardware, References, Session, Shelf, TpmIdentity, TrustLevel, UnixTime, appraise,
    boot_aggregate_pcrs,
};
use ccnode_evidence::{EvidenceKind, Sha256Digest};
use ccnode_protocol::PoolName;
use ccnode_testkit::{Boot, Scene, pcr};

#[test]
fn good_node_is_judged_good() {
    let world = World::new();
    let verdict = world.run().unwrap();
    assert_eq!(verdict.level, TrustLevel::HypervisorVtpm);
    assert_eq!(verdict.node_id, world.identity().unwrap().node_id(EvidenceKind::Tpm));
    let quoted = verdict.tpm.as_ref().unwrap();
    assert_eq!(quoted.ak_name, world.identity().unwrap().ak_name());
    assert_eq!((quoted.platform, verdict.image), (Some(world.pairs[0].0), world.pairs[0].1));
    assert_eq!(verdict.verity_hash, VERITY);
    assert_eq!(verdict.image_name, "worker 1");
    assert_eq!(verdict.csr.as_ref().unwrap().node_name().as_str(), "workers-aaaaaaaaaa");
    assert_eq!(quoted.counters.reset_count, 1);
    assert!(quoted.counters.safe);
    assert_eq!(quoted.pcrs.0.len(), 16);
    assert_eq!(
        serde_json::to_value(&verdict.tee_pubkey).unwrap(),
        serde_json::to_value(world.key.public()).unwrap()
    );
}

#[test]
fn request_may_be_absent() {
    let world = World { csr: None, ..World::new() };
    assert_eq!(world.run().unwrap().csr, None);
}

#[test]
fn ima_may_be_off() {
    let world = World::new();
    let on = world.run().unwrap().tpm.unwrap().pcrs;
    assert_eq!(on.get(pcr(10)), boot_aggregate_pcrs(&on).unwrap().last());
    world.tpm.reboot(Boot::standard().without_ima());
    assert_eq!(world.run().unwrap().tpm.unwrap().pcrs.get(pcr(10)), Some(&Sha256Digest::ZERO));
}

#[test]
fn counters_follow_the_boots() {
    let world = World::new();
    let first = world.run().unwrap().tpm.unwrap().counters;
    world.tpm.reboot(Boot::standard());
    let second = world.run().unwrap().tpm.unwrap().counters;
    assert!(first < second);
    assert_eq!(second.reset_count, 2);
}

#[test]
fn names_derive_from_the_endorsement_key() {
    let world = World::new();
    let pool: PoolName = "workers".parse().unwrap();
    let name = world.identity().unwrap().default_name(EvidenceKind::Tpm, &pool);
    assert_eq!(name.as_str().len(), "workers-".len() + 10);
    assert_eq!(
        World::new().identity().unwrap().default_name(EvidenceKind::Tpm, &pool),
        name,
        "the name is the key's"
    );
    let longest: PoolName = "p".repeat(40).parse().unwrap();
    assert!(world.identity().unwrap().default_name(EvidenceKind::Tpm, &longest).as_str().starts_with("pppp"));
}

#[test]
fn weakest_root_gives_the_level() {
    let mut world = World::new();
    world.roots = roots(&world.maker, TrustLevel::DiscreteTpm);
    assert_eq!(world.run().unwrap().level, TrustLevel::DiscreteTpm);
    world.roots.push(EkRoot::parse(world.maker.intermediate(), TrustLevel::HypervisorVtpm).unwrap());
    assert_eq!(world.run().unwrap().level, TrustLevel::HypervisorVtpm);
}

#[test]
fn pinned_intermediate_is_enough() {
    let mut world = World::new();
    world.roots.remove(0);
    assert!(world.run().is_ok());
}

#[test]
fn scene_of_a_benchmark_is_judged_good() {
    let scene = Scene::new(40 * 1024);
    let identity = TpmIdentity::parse(&scene.ek_cert, &scene.ak_public).unwrap();
    let session = Session::of_tpm(&scene.nonce, &identity, &scene.secret);
    let root = |der: Vec<u8>| EkRoot::parse(der, TrustLevel::DiscreteTpm).unwrap();
    let roots: Vec<EkRoot> = scene.ek_roots.into_iter().map(root).collect();
    let references = References {
        platforms: std::slice::from_ref(&scene.platform),
        images: std::slice::from_ref(&scene.image),
        pairs: &[(scene.platform.id(), scene.image.id())],
        ek_roots: &roots,
        allow_init_data: false,
        hardware: &Hardware::default(),
        collateral: &Shelf::default(),
    };
    for _ in 0..2 {
        let verdict = appraise(&session, &scene.attestation, &references, UnixTime(scene.now)).unwrap();
        assert!(verdict.csr.is_some());
    }
    let log = &scene.attestation.tee_evidence.primary_evidence["ccnode"]["event-log"];
    let size = log.as_str().unwrap().len() / 4 * 3;
    assert!((40 * 1024..44 * 1024).contains(&size), "{size}");
}
