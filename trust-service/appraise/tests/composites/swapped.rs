//! t06, t08: genuine parts that don't belong together are refused, each by what gives it away.

use crate::world::{Challenge, PLATFORM, World};
use ccnode_appraise::{Rejection, TpmIdentity};
use ccnode_evidence::{Code, EvidenceKind, Nonce, Secret};
use ccnode_protocol::Attestation;
use ccnode_snp::SnpRejection;
use ccnode_tdx::Rejection as TdxRejection;
use ccnode_testkit::snp::{ChipModel, TestChip};
use ccnode_testkit::{Hardware, Lies, Machine, Seat, SoftTpm};

fn machines(world: &World) -> [Machine; 2] {
    [Hardware::snp(TestChip::milan()), Hardware::tdx(&PLATFORM)]
        .map(|hardware| Machine::with(world.tpm(), hardware))
}

fn report_data(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::Snp(SnpRejection::ReportData { .. }) | Rejection::Tdx(TdxRejection::ReportData { .. })
    )
}

fn other_session(world: &World, machine: &Machine) -> Challenge {
    Challenge { nonce: Nonce([0x44; 32]), secret: Secret::new([0x55; 32]), ..world.challenge(machine) }
}

fn judge(world: &World, challenge: &Challenge, attestation: &Attestation) -> Rejection {
    world.judge(challenge, attestation).unwrap_err().rejection
}

#[test]
fn t08_the_quote_of_another_session_beside_a_report() {
    let world = World::new();
    for machine in machines(&world) {
        let (here, there) = (world.challenge(&machine), other_session(&world, &machine));
        let mut mixed = here.answer(&machine);
        mixed.tee_evidence.additional_evidence = there.answer(&machine).tee_evidence.additional_evidence;
        assert!(report_data(&judge(&world, &here, &mixed)));
    }
}

#[test]
fn t08_the_report_of_another_session() {
    let world = World::new();
    for machine in machines(&world) {
        let (here, there) = (world.challenge(&machine), other_session(&world, &machine));
        let mut mixed = here.answer(&machine);
        let member = if machine_is_snp(&here) { "attestation_report" } else { "quote" };
        mixed.tee_evidence.primary_evidence[member] =
            there.answer(&machine).tee_evidence.primary_evidence[member].clone();
        let rejection = judge(&world, &here, &mixed);
        assert!(report_data(&rejection), "{rejection}");
        let code = if machine_is_snp(&here) { Code::SnpReportData } else { Code::TdxReportData };
        assert_eq!(rejection.code(), code);
        // As a whole, by the nonce; with the nonce exchanged, by the activation that covers it.
        let foreign = there.answer(&machine);
        assert!(matches!(judge(&world, &here, &foreign), Rejection::NonceMismatch { .. }));
        let mut renamed = foreign;
        renamed.runtime_data.stock.nonce = here.nonce.text();
        assert!(matches!(judge(&world, &here, &renamed), Rejection::ActivationFailed));
    }
}

fn machine_is_snp(challenge: &Challenge) -> bool {
    challenge.kind == EvidenceKind::Snp
}

#[test]
fn t08_a_key_in_the_middle_is_refused() {
    let world = World::with_launches();
    for machine in machines(&world) {
        let challenge = world.challenge(&machine);
        let mut diverted = challenge.answer(&machine);
        diverted.runtime_data.stock.tee_pubkey = ccnode_protocol::jwe::EphemeralKey::generate().public();
        assert!(matches!(judge(&world, &challenge, &diverted), Rejection::ActivationFailed));
        // Without a TPM the report alone tells.
        let bare = Machine::bare(machine.hardware);
        let challenge = world.challenge(&bare);
        let mut diverted = challenge.answer(&bare);
        diverted.runtime_data.stock.tee_pubkey = ccnode_protocol::jwe::EphemeralKey::generate().public();
        assert!(report_data(&judge(&world, &challenge, &diverted)));
    }
}

#[test]
fn t06_the_quote_of_another_vtpm_beside_a_report() {
    let world = World::new();
    for machine in machines(&world) {
        machine.tpm.as_ref().unwrap().lie(Lies { signer: Some(Seat::B), ..Lies::default() });
        assert!(matches!(world.rejection(&machine), Rejection::QuoteSignature));
        machine.tpm.as_ref().unwrap().lie(Lies { sent_ak: Some(Seat::B), ..Lies::default() });
        assert!(matches!(world.rejection(&machine), Rejection::TranscriptMismatch { .. }));
        machine.tpm.as_ref().unwrap().lie(Lies { qualifying: Some(vec![1; 32]), ..Lies::default() });
        assert!(matches!(world.rejection(&machine), Rejection::QuoteNonce { .. }));
    }
}

#[test]
fn t06_another_tpms_activation_beside_a_report() {
    let world = World::new();
    let mine = Machine::with(world.tpm(), Hardware::snp(TestChip::milan()));
    let victim = SoftTpm::new(&world.maker, Seat::B);
    let offer = victim.offer();
    let challenge = Challenge { identity: Some(TpmIdentity::of(&offer).unwrap()), ..world.challenge(&mine) };
    // The credential does not open here; a guess proves nothing.
    let guess = Secret::new([1; 32]);
    let reply = ccnode_testkit::Reply {
        nonce: &challenge.nonce,
        secret: Some(&guess),
        key: &challenge.key,
        csr: None,
    };
    assert!(matches!(judge(&world, &challenge, &mine.attest(&reply)), Rejection::ActivationFailed));
}

#[test]
fn t19_the_report_of_another_chip() {
    let world = World::new();
    let machine = Machine::with(world.tpm(), Hardware::snp(TestChip::milan()));
    let challenge = world.challenge(&machine);
    let good = challenge.answer(&machine);
    // The certificates of another chip of the same line.
    let other = Machine::with(world.tpm(), Hardware::snp(TestChip::new(ChipModel::Milan, 2)));
    let mut mixed = good.clone();
    mixed.tee_evidence.primary_evidence["cert_chain"] =
        challenge.answer(&other).tee_evidence.primary_evidence["cert_chain"].clone();
    let rejection = judge(&world, &challenge, &mixed);
    assert!(matches!(rejection, Rejection::Snp(SnpRejection::ChipMismatch { .. })), "{rejection}");
    // No certificates, and none at hand.
    let mut without = good.clone();
    without.tee_evidence.primary_evidence["cert_chain"] = serde_json::Value::Null;
    let rejection = judge(&world, &challenge, &without);
    assert!(matches!(rejection, Rejection::Snp(SnpRejection::CertificateMissing { .. })), "{rejection}");
    // At hand they serve as well as sent along, among those of other chips.
    let mut shelf = world;
    for chip in [TestChip::new(ChipModel::Milan, 2), TestChip::milan(), TestChip::turin()] {
        for der in [chip.vek_der(), chip.ask_der(), chip.crl(&[])] {
            shelf.shelf.add_snp(&der).unwrap();
        }
    }
    shelf.judge(&challenge, &without).unwrap();
}

#[test]
fn evidence_has_the_form_of_its_kind() {
    let world = World::with_launches();
    let malformed = |challenge: &Challenge, attestation: &Attestation, due: &str| {
        let rejection = judge(&world, challenge, attestation);
        assert!(
            matches!(&rejection, Rejection::MalformedRequest { member, .. } if *member == due),
            "{rejection}"
        );
    };
    let machine = Machine::with(world.tpm(), Hardware::snp(TestChip::milan()));
    let challenge = world.challenge(&machine);
    let good = challenge.answer(&machine);
    let additional = |text: &str| {
        let mut changed = good.clone();
        changed.tee_evidence.additional_evidence = text.into();
        changed
    };
    for text in ["", "{}", "[]", "{\"tpm\":1}", "{\"snp\":{}}"] {
        malformed(&challenge, &additional(text), "tee-evidence.additional_evidence");
    }
    let twice = good.tee_evidence.additional_evidence.trim_end_matches("}}").to_owned()
        + "},\"ccnode\":{\"version\":1,\"event-log\":\"\",\"own-log\":\"\",\"cmdline\":\"\",\"csr\":null}}}";
    malformed(&challenge, &additional(&twice), "tee-evidence.additional_evidence");
    let mut other = good.clone();
    other.tee_evidence.primary_evidence["attestation_report"]["version"] = 9.into();
    malformed(&challenge, &other, "tee-evidence.primary_evidence.attestation_report");
    other.tee_evidence.primary_evidence["attestation_report"] = serde_json::Value::Null;
    malformed(&challenge, &other, "tee-evidence.primary_evidence");

    // A machine that offered no TPM has nothing to activate, to quote or to have vouched for.
    let bare = Machine::bare(Hardware::snp(TestChip::milan()));
    let challenge = world.challenge(&bare);
    let good = challenge.answer(&bare);
    world.judge(&challenge, &good).unwrap();
    let mut beside = good.clone();
    beside.tee_evidence.additional_evidence = "{}".into();
    malformed(&challenge, &beside, "tee-evidence.additional_evidence");
    let mut activated = good.clone();
    activated.runtime_data.ccnode.as_mut().unwrap().activation = Some(ccnode_evidence::Sha256Digest::ZERO);
    malformed(&challenge, &activated, "runtime-data.ccnode.activation");
    let mut svsm = good.clone();
    svsm.tee_evidence.primary_evidence["ccnode"]["svsm"] =
        serde_json::json!({"service": "", "version": 0, "manifest": ""});
    malformed(&challenge, &svsm, "tee-evidence.primary_evidence.ccnode.svsm");
    let azure = Challenge { kind: EvidenceKind::AzSnpVtpm, ..world.challenge(&bare) };
    malformed(&azure, &good, "extra-params.ccnode");
}
