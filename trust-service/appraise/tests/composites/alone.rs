//! Reports without a TPM: the launch is all that counts, and the boot is all there is.

use crate::world::{PLATFORM, World};
use ccnode_appraise::Rejection;
use ccnode_evidence::transcript::Transcript;
use ccnode_evidence::{Code, Nonce, ReportParts, Secret, Sha256Digest, SnpEvidence};
use ccnode_snp::SnpRejection;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Hardware, Machine};
use serde_json::json;

fn snp() -> Machine {
    Machine::bare(Hardware::snp(TestChip::milan()))
}

#[test]
fn a_launch_that_is_not_listed_is_refused() {
    let world = World::new();
    for hardware in [Hardware::snp(TestChip::milan()), Hardware::tdx(&PLATFORM)] {
        let refused = world.refused(&Machine::bare(hardware));
        assert!(matches!(refused.rejection, Rejection::LaunchUnknown { .. }), "{refused}");
        assert_eq!(refused.rejection.code(), Code::LaunchUnknown);
        assert!(!refused.kept.activation_proven && refused.kept.hardware.is_some());
    }
    // One register that differs is another launch.
    let world = World::with_launches();
    let other = snp().hardware.reporting(|spec| spec.measurement[47] ^= 1);
    let rejection = world.rejection(&Machine::bare(other));
    assert!(matches!(rejection, Rejection::LaunchUnknown { .. }), "{rejection}");
    // Who launched it sees what it is, and what it should be.
    let text = format!(
        "launch measurement {}10 is none of the 1 that the policy lists: {}",
        "11".repeat(47),
        "11".repeat(48)
    );
    assert!(rejection.to_string().contains(&text), "{rejection}");
    for register in 0..3 {
        let other = Hardware::tdx(&PLATFORM).quoting(move |td| td.rtmr[register][0] ^= 1);
        assert!(matches!(world.rejection(&Machine::bare(other)), Rejection::LaunchUnknown { .. }));
    }
    let other = Hardware::tdx(&PLATFORM).quoting(|td| td.mr_td[0] ^= 1);
    assert!(matches!(world.rejection(&Machine::bare(other)), Rejection::LaunchUnknown { .. }));
}

#[test]
fn a_listed_image_must_be_registered() {
    let mut world = World::with_launches();
    world.images.clear();
    world.images.push(ccnode_testkit::Boot::standard().image_tuple(
        "x",
        "1",
        ccnode_evidence::Sha256Digest::ZERO,
    ));
    assert!(world.run(&snp()).is_ok(), "an image is its measurements");
    world.policy.snp_launches[0].image = ccnode_evidence::Sha256Digest([1; 32]);
    assert!(matches!(world.rejection(&snp()), Rejection::LaunchImage { .. }));
}

#[test]
fn t17_a_capped_td_is_refused() {
    let world = World::with_launches();
    let capped = Hardware::tdx(&PLATFORM).quoting(|td| td.rtmr[3][5] = 1);
    let rejection = world.rejection(&Machine::bare(capped));
    assert!(matches!(rejection, Rejection::RtmrCapped { .. }), "{rejection}");
    assert_eq!(rejection.code(), Code::AlreadyCapped);
}

#[test]
fn t17_a_launch_is_one_identity_and_a_td_is_a_sessions() {
    let world = World::with_launches();
    let in_session = |machine: &Machine, nonce: u8| {
        let challenge = crate::world::Challenge {
            nonce: Nonce([nonce; 32]),
            secret: Secret::new([0; 32]),
            ..world.challenge(machine)
        };
        world.judge(&challenge, &challenge.answer(machine)).unwrap().node_id
    };
    assert_eq!(in_session(&snp(), 1), in_session(&snp(), 2), "REPORT_ID stays");
    let next = Machine::bare(snp().hardware.reporting(|spec| spec.report_id = [9; 32]));
    assert_ne!(in_session(&snp(), 1), in_session(&next, 1));
    let td = Machine::bare(Hardware::tdx(&PLATFORM));
    assert_ne!(in_session(&td, 1), in_session(&td, 2));
}

#[test]
fn nothing_measures_init_data_without_a_tpm() {
    let world = World::with_launches();
    let machine = snp();
    let challenge = world.challenge(&machine);
    let mut slipped = challenge.answer(&machine);
    slipped.init_data = serde_json::from_str(r#"{"format":"toml","body":"x = 1"}"#).unwrap();
    let rejection = world.judge(&challenge, &slipped).unwrap_err().rejection;
    assert!(matches!(rejection, Rejection::TranscriptMismatch { .. }), "{rejection}");

    // Bound by the report and all, nothing says that they were measured before they were used.
    let body = "x = 1";
    let mut bound = challenge.answer(&machine);
    bound.init_data = serde_json::from_value(json!({"format": "toml", "body": body})).unwrap();
    let ext = bound.runtime_data.ccnode.as_mut().unwrap();
    ext.bound.init_data = Some(Sha256Digest::of(body.as_bytes()));
    let tee_pubkey = challenge.key.public();
    let transcript =
        Transcript { additional_evidence: Some(""), nonce: &challenge.nonce, tee_pubkey: &tee_pubkey };
    let covered = transcript.cover(ext).unwrap().report_data();
    let ReportParts::Snp { report, certs, .. } = machine.report_over(covered) else { panic!() };
    let snp = serde_json::to_value(SnpEvidence::new(&report, &certs).unwrap()).unwrap();
    bound.tee_evidence.primary_evidence["attestation_report"] = snp["attestation_report"].clone();
    let rejection = world.judge(&challenge, &bound).unwrap_err().rejection;
    assert!(matches!(&rejection, Rejection::MalformedRequest { member: "init-data", .. }), "{rejection}");
}

#[test]
fn t19_the_least_demands_hold_without_a_policy() {
    let world = World::with_launches();
    let refused = |hardware: Hardware| world.rejection(&Machine::bare(hardware));
    let vmpl = refused(snp().hardware.reporting(|spec| spec.vmpl = 2));
    assert!(matches!(vmpl, Rejection::Snp(SnpRejection::Vmpl { .. })), "{vmpl}");
    let debug = refused(snp().hardware.reporting(|spec| spec.policy |= 1 << 19));
    assert!(matches!(debug, Rejection::Snp(SnpRejection::Debug(_))), "{debug}");
}
