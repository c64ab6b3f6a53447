//! Azure: report → runtime data → attestation key → quote, each link of its own.

use crate::world::{PLATFORM, World};
use ccnode_appraise::{Rejection, TrustLevel};
use ccnode_evidence::{Code, Sha256Digest};
use ccnode_hcl::HclRejection;
use ccnode_snp::SnpRejection;
use ccnode_tdx::Rejection as TdxRejection;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{AkKind, Hardware, Lies, Machine, Seat, SoftTpm};
use serde_json::{Value, json};

fn both(world: &World) -> [Machine; 2] {
    [Hardware::az_snp(TestChip::milan()), Hardware::az_tdx(&PLATFORM)]
        .map(|hardware| Machine::with(world.tpm(), hardware))
}

fn saying(world: &World, lie: fn(&mut Value)) -> [Rejection; 2] {
    let machines = [Hardware::az_snp(TestChip::milan()), Hardware::az_tdx(&PLATFORM)];
    machines.map(|hardware| world.rejection(&Machine::with(world.tpm(), hardware.saying(lie))))
}

/// The key of this name in runtime data, as another seat's TPM has it.
fn foreign(kid: &str) -> Value {
    let world = World::new();
    let other = Machine::with(SoftTpm::new(&world.maker, Seat::B), Hardware::az_snp(TestChip::milan()));
    let ccnode_evidence::ReportParts::AzSnp { hcl_report, .. } = other.report_over([0; 64]) else { panic!() };
    let hcl = ccnode_hcl::HclReport::parse(&hcl_report).unwrap();
    let runtime: Value = serde_json::from_slice(hcl.unproven_runtime()).unwrap();
    runtime["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone()
}

#[test]
fn the_identity_is_the_attestation_keys() {
    let world = World::new();
    for machine in both(&world) {
        let verdict = world.run(&machine).unwrap();
        let tpm = verdict.tpm.unwrap();
        assert_eq!(verdict.node_id, Sha256Digest::of(&tpm.ak_name));
    }
}

#[test]
fn t06_the_runtime_data_name_this_very_tpm() {
    let world = World::new();
    for rejection in saying(&world, |runtime| runtime["keys"][0] = foreign("HCLAkPub")) {
        assert!(
            matches!(rejection, Rejection::Hcl(HclRejection::OtherKey { kid: "HCLAkPub" })),
            "{rejection}"
        );
        assert_eq!(rejection.code(), Code::HclKey);
    }
    for rejection in saying(&world, |runtime| runtime["keys"][1] = foreign("HCLEkPub")) {
        assert!(
            matches!(rejection, Rejection::Hcl(HclRejection::OtherKey { kid: "HCLEkPub" })),
            "{rejection}"
        );
    }
    // Older paravisors name no endorsement key: the attestation key is enough, and activation proves the other.
    let older = |runtime: &mut Value| drop(runtime["keys"].as_array_mut().unwrap().pop());
    let machine = Machine::with(world.tpm(), Hardware::az_snp(TestChip::milan()).saying(older));
    assert_eq!(world.run(&machine).unwrap().level, TrustLevel::TeeBoundVtpm);
}

#[test]
fn t06_a_quote_of_another_tpm_is_refused() {
    let world = World::new();
    for machine in both(&world) {
        machine.tpm.as_ref().unwrap().lie(Lies { signer: Some(Seat::B), ..Lies::default() });
        assert!(matches!(world.rejection(&machine), Rejection::QuoteSignature));
        machine.tpm.as_ref().unwrap().lie(Lies { qualifying: Some(vec![0; 48]), ..Lies::default() });
        assert!(matches!(world.rejection(&machine), Rejection::QuoteNonce { .. }));
        // The first 32 bytes are another kind's.
        let challenge = world.challenge(&machine);
        machine.tpm.as_ref().unwrap().lie(Lies::default());
        let full = challenge.answer(&machine);
        let message = full.tee_evidence.primary_evidence["tpm_quote"]["message"].as_str().unwrap().to_owned();
        assert!(message.len() > 2 * 48);
    }
    let curve = Machine::with(world.tpm().with_ak(AkKind::EcdsaP256), Hardware::az_snp(TestChip::milan()));
    let challenge = world.challenge(&curve);
    let rejection = world.judge(&challenge, &challenge.answer(&curve)).unwrap_err().rejection;
    assert!(matches!(rejection, Rejection::AzureKey), "{rejection}");
    assert_eq!(rejection.code(), Code::HclKey);
}

#[test]
fn t08_the_report_covers_the_runtime_data() {
    let world = World::new();
    let [snp, tdx] = both(&world);
    for machine in [&snp, &tdx] {
        let challenge = world.challenge(machine);
        let good = challenge.answer(machine);
        let mut changed = good.clone();
        let hcl = changed.tee_evidence.primary_evidence["hcl_report"].as_str().unwrap().to_owned();
        // A letter of the JSON, 1300 bytes in.
        let mut bytes = decode(&hcl);
        let at = bytes.windows(8).position(|w| w == b"HCLAkPub").unwrap();
        bytes[at - 1] = b' ';
        changed.tee_evidence.primary_evidence["hcl_report"] = encode(&bytes).into();
        let rejection = world.judge(&challenge, &changed).unwrap_err().rejection;
        assert!(matches!(rejection, Rejection::Hcl(HclRejection::Binding { .. })), "{rejection}");
        let mut cut = good.clone();
        cut.tee_evidence.primary_evidence["hcl_report"] = "".into();
        let rejection = world.judge(&challenge, &cut).unwrap_err().rejection;
        assert!(matches!(rejection, Rejection::Hcl(HclRejection::Length(0))), "{rejection}");
    }
    // A TD report of one VM with the quote of another.
    let challenge = world.challenge(&tdx);
    let mut mixed = challenge.answer(&tdx);
    let other = Machine::with(world.tpm(), Hardware::az_tdx(&PLATFORM).quoting(|td| td.mr_owner = [1; 48]));
    mixed.tee_evidence.primary_evidence["td_quote"] =
        challenge.answer(&other).tee_evidence.primary_evidence["td_quote"].clone();
    let rejection = world.judge(&challenge, &mixed).unwrap_err().rejection;
    assert!(matches!(rejection, Rejection::Tdx(TdxRejection::TdReport(_))), "{rejection}");
    assert_eq!(rejection.code(), Code::TdxReport);
    // Kinds with each other's reports.
    let challenge = world.challenge(&snp);
    let mut swapped = challenge.answer(&snp);
    swapped.tee_evidence.primary_evidence["hcl_report"] =
        world.challenge(&tdx).answer(&tdx).tee_evidence.primary_evidence["hcl_report"].clone();
    let rejection = world.judge(&challenge, &swapped).unwrap_err().rejection;
    assert!(matches!(rejection, Rejection::HclKind { sent: "TDX", due: "SEV-SNP" }), "{rejection}");
    assert_eq!(rejection.code(), Code::HclMalformed);
    let challenge = world.challenge(&tdx);
    let mut swapped = challenge.answer(&tdx);
    swapped.tee_evidence.primary_evidence["hcl_report"] =
        world.challenge(&snp).answer(&snp).tee_evidence.primary_evidence["hcl_report"].clone();
    let rejection = world.judge(&challenge, &swapped).unwrap_err().rejection;
    assert!(matches!(rejection, Rejection::HclKind { sent: "SEV-SNP", due: "TDX" }), "{rejection}");
}

#[test]
fn t09_the_report_is_of_this_session() {
    let mut world = World::new();
    for rejection in saying(&world, |runtime| runtime["user-data"] = "00".repeat(64).into()) {
        assert!(matches!(rejection, Rejection::Hcl(HclRejection::UserData { .. })), "{rejection}");
        assert_eq!(rejection.code(), Code::HclUserData);
    }
    world.policy.azure.danger_stale_report = true;
    let old =
        Hardware::az_snp(TestChip::milan()).saying(|runtime| runtime["user-data"] = "00".repeat(64).into());
    assert!(world.run(&Machine::with(world.tpm(), old)).is_ok());
}

#[test]
fn t19_the_reports_inside_are_judged_like_others() {
    let world = World::new();
    let debug = Hardware::az_snp(TestChip::milan()).reporting(|spec| spec.policy |= 1 << 19);
    let rejection = world.rejection(&Machine::with(world.tpm(), debug));
    assert!(matches!(rejection, Rejection::Snp(SnpRejection::Debug(_))), "{rejection}");
    let debug = Hardware::az_tdx(&PLATFORM).quoting(|td| td.td_attributes |= 1);
    let rejection = world.rejection(&Machine::with(world.tpm(), debug));
    assert!(matches!(rejection, Rejection::Tdx(TdxRejection::Debug { .. })), "{rejection}");
}

#[test]
fn a_vtpm_without_memory_is_nobody_at_the_next_boot() {
    let world = World::new();
    let forgets = |runtime: &mut Value| runtime["vm-configuration"]["tpm-persisted"] = json!(false);
    let machine = Machine::with(world.tpm(), Hardware::az_snp(TestChip::milan()).saying(forgets));
    let verdict = world.run(&machine).unwrap();
    assert!(verdict.ephemeral && verdict.tpm.is_some());
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE.decode(text).unwrap()
}

fn encode(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE.encode(bytes)
}
