//! An SVSM: the report covers the manifest, the manifest is the endorsement key, activation proves the attestation key.

use crate::world::World;
use ccnode_appraise::{Rejection, TrustLevel};
use ccnode_evidence::{Code, Secret};
use ccnode_snp::SnpRejection;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Hardware, Lies, Machine, Seat, SoftTpm};

fn with_manifest(world: &World, manifest: Vec<u8>) -> Machine {
    Machine::with(world.tpm().without_certificate(), Hardware::svsm(TestChip::milan(), manifest))
}

#[test]
fn the_identity_is_the_endorsement_keys_with_and_without_a_certificate() {
    let world = World::new();
    let bare = world.run(&world.svsm()).unwrap();
    let tpm = world.tpm();
    let hardware = Hardware::svsm(TestChip::milan(), tpm.ek_public());
    let certified = world.run(&Machine::with(tpm, hardware)).unwrap();
    assert_eq!(bare.node_id, certified.node_id);
    assert_eq!(certified.level, TrustLevel::TeeBoundVtpm, "a foreign root's word is not asked for");
}

#[test]
fn t06_the_svsm_must_vouch_for_this_very_key() {
    let world = World::new();
    let other = SoftTpm::new(&world.maker, Seat::B);
    let rejection = world.rejection(&with_manifest(&world, other.ek_public()));
    assert!(matches!(rejection, Rejection::SvsmOtherEk { .. }), "{rejection}");
    assert_eq!(rejection.code(), Code::SnpSvsm);
    let rejection = world.rejection(&with_manifest(&world, b"no key".to_vec()));
    assert!(matches!(rejection, Rejection::Snp(SnpRejection::SvsmManifest(6))), "{rejection}");
}

#[test]
fn t06_without_activation_the_manifest_is_worth_nothing() {
    let world = World::new();
    let machine = world.svsm();
    let challenge = world.challenge(&machine);
    machine.tpm.as_ref().unwrap().lie(Lies { activated: Some([3; 32]), ..Lies::default() });
    let refused = world.judge(&challenge, &challenge.answer(&machine)).unwrap_err();
    assert!(matches!(refused.rejection, Rejection::ActivationFailed), "{refused}");
    // An attestation key of another TPM beside the vouched endorsement key.
    let machine = world.svsm();
    machine.tpm.as_ref().unwrap().lie(Lies { signer: Some(Seat::B), ..Lies::default() });
    assert!(matches!(world.rejection(&machine), Rejection::QuoteSignature));
    let _: Secret<32> = challenge.secret;
}

#[test]
fn t19_only_vmpl_0_speaks_for_the_svsm() {
    let world = World::new();
    let tpm = world.tpm().without_certificate();
    let hardware = Hardware::svsm(TestChip::milan(), tpm.ek_public()).reporting(|spec| spec.vmpl = 1);
    let rejection = world.rejection(&Machine::with(tpm, hardware));
    assert!(matches!(rejection, Rejection::Snp(SnpRejection::SvsmVmpl(1))), "{rejection}");
}

#[test]
fn t08_the_manifest_is_of_this_session() {
    let world = World::new();
    let machine = world.svsm();
    let challenge = world.challenge(&machine);
    let good = challenge.answer(&machine);
    let change = |f: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = good.clone();
        f(&mut changed.tee_evidence.primary_evidence["ccnode"]["svsm"]);
        world.judge(&challenge, &changed).unwrap_err().rejection
    };
    let service = change(&|svsm| svsm["service"] = "63da758d-e664-4564-adc5-f4b93be8accd".into());
    assert!(matches!(service, Rejection::Snp(SnpRejection::SvsmService(_))), "{service}");
    let version = change(&|svsm| svsm["version"] = 1.into());
    assert!(matches!(version, Rejection::Snp(SnpRejection::SvsmVersion(1))), "{version}");
    // Left out, the report is one over the plain report data, which it is not.
    let mut without = good.clone();
    without.tee_evidence.primary_evidence["ccnode"].as_object_mut().unwrap().remove("svsm");
    let rejection = world.judge(&challenge, &without).unwrap_err().rejection;
    assert!(matches!(rejection, Rejection::Snp(SnpRejection::ReportData { .. })), "{rejection}");
    // And a plain report covers no manifest.
    let plain = Machine::with(world.tpm(), Hardware::snp(TestChip::milan()));
    let challenge = world.challenge(&plain);
    let mut slipped = challenge.answer(&plain);
    slipped.tee_evidence.primary_evidence["ccnode"]["svsm"] =
        good.tee_evidence.primary_evidence["ccnode"]["svsm"].clone();
    let rejection = world.judge(&challenge, &slipped).unwrap_err().rejection;
    assert!(matches!(rejection, Rejection::Snp(SnpRejection::SvsmBinding { .. })), "{rejection}");
}

#[test]
fn a_pool_may_know_that_its_vtpms_forget() {
    let mut world = World::new();
    world.policy.ephemeral_vtpm = true;
    assert!(world.run(&world.svsm()).unwrap().ephemeral);
    let unrelated = Machine::with(world.tpm(), Hardware::snp(TestChip::milan()));
    assert!(!world.run(&unrelated).unwrap().ephemeral);
}
