//! Levels are derived in their order, from proofs, and never higher than these go.

use crate::world::{MEASUREMENT, PLATFORM, World};
use ccnode_appraise::{Rejection, TrustLevel, Unbound};
use ccnode_evidence::{Code, EvidenceKind};
use ccnode_protocol::admin::HardwareClaims;
use ccnode_snp::Hex;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Boot, Hardware, Machine};

fn of(world: &World, hardware: Hardware) -> Machine {
    Machine::with(world.tpm(), hardware)
}

#[test]
fn t12_each_kind_has_the_level_that_it_proves() {
    let world = World::new();
    let cases = [
        (world.svsm(), TrustLevel::TeeBoundVtpm, true),
        (of(&world, Hardware::az_snp(TestChip::milan())), TrustLevel::TeeBoundVtpm, true),
        (of(&world, Hardware::az_tdx(&PLATFORM)), TrustLevel::TeeBoundVtpm, true),
        (of(&world, Hardware::snp(TestChip::milan())), TrustLevel::HypervisorVtpm, false),
        (of(&world, Hardware::snp(TestChip::turin())), TrustLevel::HypervisorVtpm, false),
        (of(&world, Hardware::tdx(&PLATFORM)), TrustLevel::HypervisorVtpm, false),
    ];
    for (machine, level, covers) in cases {
        let verdict = world.run(&machine).unwrap_or_else(|refused| panic!("{machine:?}: {refused}"));
        let hardware = verdict.hardware.unwrap();
        assert_eq!((verdict.level, hardware.covers_tpm), (level, covers), "{machine:?}");
        assert_eq!((hardware.kind, verdict.kind), (verdict.kind, hardware.kind));
        assert!(!verdict.ephemeral && verdict.tpm.is_some(), "{machine:?}");
        match hardware.claims {
            HardwareClaims::Snp(snp) => {
                assert_eq!(snp.measurement, hex::encode(MEASUREMENT));
                assert!(snp.danger_root && snp.chip_id.is_some() && snp.tcb.microcode == 219, "{snp:?}");
            }
            HardwareClaims::Tdx(tdx) => {
                assert_eq!(tdx.tcb_status.as_deref(), Some("UpToDate"));
                assert!(tdx.danger_root && tdx.fmspc == "b0c06f000000", "{tdx:?}");
            }
        }
    }
}

#[test]
fn t12_a_report_alone_is_a_tee_where_its_launch_is_listed() {
    let world = World::with_launches();
    for hardware in [Hardware::snp(TestChip::milan()), Hardware::tdx(&PLATFORM)] {
        let verdict = world.run(&Machine::bare(hardware)).unwrap();
        assert_eq!((verdict.level, verdict.ephemeral), (TrustLevel::Tee, true));
        assert!(verdict.tpm.is_none() && verdict.csr.is_some());
        assert_eq!(verdict.image, world.images[0].id());
        assert_eq!(verdict.verity_hash, world.images[0].verity_hash);
    }
    // A vTPM beside the same launch makes it no better than that vTPM.
    let beside = world.run(&of(&world, Hardware::snp(TestChip::milan()))).unwrap();
    assert_eq!(beside.level, TrustLevel::HypervisorVtpm);
}

#[test]
fn t12_what_may_keep_a_vtpm_is_the_pools_to_say() {
    let mut world = World::new();
    world.policy.vtpm_keepers.snp_measurements = vec![Hex([0x99; 48])];
    // Listed for other purposes, plain firmware vouches for nothing: what boots on it could put any key into a report.
    world.policy.snp.measurements = Some(vec![Hex(MEASUREMENT)]);
    let refused = world.refused(&world.svsm());
    assert!(matches!(refused.rejection, Rejection::EkUncertified(Unbound::NotKeeper)), "{refused}");
    assert!(!refused.kept.activation_proven && refused.kept.hardware.is_some());

    // With a certificate it has its TPM's own level.
    let tpm = world.tpm();
    let hardware = Hardware::svsm(TestChip::milan(), tpm.ek_public());
    assert_eq!(world.run(&Machine::with(tpm, hardware)).unwrap().level, TrustLevel::HypervisorVtpm);
    let azure = of(&world, Hardware::az_snp(TestChip::milan()));
    assert_eq!(world.run(&azure).unwrap().level, TrustLevel::HypervisorVtpm);
    world.policy.vtpm_keepers.tdx_mr_td.clear();
    assert_eq!(
        world.run(&of(&world, Hardware::az_tdx(&PLATFORM))).unwrap().level,
        TrustLevel::HypervisorVtpm
    );

    // By who signed the launch, too; a launch that nobody signed is nobody's.
    world.policy.vtpm_keepers.snp_id_key_digests = vec![Hex([0; 48]), Hex([0x1d; 48])];
    assert!(world.run(&world.svsm()).is_err(), "no ID block");
    let signed = |digest: [u8; 48]| {
        let tpm = world.tpm().without_certificate();
        let hardware = Hardware::svsm(TestChip::milan(), tpm.ek_public());
        Machine::with(tpm, hardware.reporting(move |spec| spec.id_key_digest = digest))
    };
    assert_eq!(world.run(&signed([0x1d; 48])).unwrap().level, TrustLevel::TeeBoundVtpm);
    assert!(world.run(&signed([0x2d; 48])).is_err());

    // By who certified whoever signed it; a digest without the bit that says so is nobody's word.
    world.policy.vtpm_keepers.snp_author_key_digests = vec![Hex([0xad; 48])];
    let certified = |digest: [u8; 48], key_info: u32| {
        let tpm = world.tpm().without_certificate();
        let hardware = Hardware::svsm(TestChip::milan(), tpm.ek_public()).reporting(move |spec| {
            spec.author_key_digest = digest;
            spec.key_info |= key_info;
        });
        world.run(&Machine::with(tpm, hardware))
    };
    assert_eq!(certified([0xad; 48], 1).unwrap().level, TrustLevel::TeeBoundVtpm);
    assert!(certified([0xae; 48], 1).is_err());
    assert!(certified([0xad; 48], 0).is_err());
}

#[test]
fn t12_no_maker_of_tpms_makes_one_more_than_a_tpm() {
    let mut world = World::new();
    let machine = of(&world, Hardware::snp(TestChip::milan()));
    for said in [TrustLevel::TeeBoundVtpm, TrustLevel::Tee, TrustLevel::DiscreteTpm] {
        world.ek_level = said;
        assert_eq!(world.run(&machine).unwrap().level, TrustLevel::DiscreteTpm, "said to be {said}");
    }
}

#[test]
fn t12_a_pool_may_want_a_level() {
    let mut world = World::with_launches();
    let azure = of(&world, Hardware::az_snp(TestChip::milan()));
    let beside = of(&world, Hardware::snp(TestChip::milan()));
    let bare = Machine::bare(Hardware::snp(TestChip::milan()));
    world.policy.least_level = Some(TrustLevel::Tee);
    assert!(world.run(&azure).is_ok() && world.run(&bare).is_ok());
    let refused = world.refused(&beside);
    let Rejection::LevelTooLow { level, least, unbound } = refused.rejection else { panic!("{refused}") };
    assert_eq!((level, least), (TrustLevel::HypervisorVtpm, TrustLevel::Tee));
    assert_eq!(unbound, Some(Unbound::NotCovered));
    assert_eq!(refused.rejection.code(), Code::LevelTooLow);
    assert!(refused.kept.activation_proven, "whose TPM it is was proven");
    world.policy.least_level = Some(TrustLevel::TeeBoundVtpm);
    assert!(world.run(&azure).is_ok());
    let refused = world.refused(&bare);
    assert!(matches!(
        refused.rejection,
        Rejection::LevelTooLow { level: TrustLevel::Tee, unbound: None, .. }
    ));
    let text = refused.to_string();
    assert!(text.contains("level tee, and the pool wants tee-bound-vtpm"), "{text}");
}

#[test]
fn a_pool_may_want_a_kind() {
    let mut world = World::new();
    world.policy.kinds = Some([EvidenceKind::Snp, EvidenceKind::AzTdxVtpm].into());
    assert!(world.run(&of(&world, Hardware::snp(TestChip::milan()))).is_ok());
    let refused = world.refused(&of(&world, Hardware::az_snp(TestChip::milan())));
    assert!(matches!(refused.rejection, Rejection::KindNotAllowed { kind: EvidenceKind::AzSnpVtpm, .. }));
    assert_eq!(refused.rejection.code(), Code::KindNotAllowed);
    assert!(refused.to_string().contains("the pool takes snp, az-tdx-vtpm"), "{refused}");
}

#[test]
fn measurements_are_judged_below_every_report() {
    let world = World::new();
    for hardware in
        [Hardware::snp(TestChip::milan()), Hardware::az_snp(TestChip::milan()), Hardware::tdx(&PLATFORM)]
    {
        let machine = of(&world, hardware);
        machine.tpm.as_ref().unwrap().reboot(Boot::new("2022.11", "init=/bin/sh", b"initrd"));
        let refused = world.refused(&machine);
        assert!(matches!(refused.rejection, Rejection::ImageUnknown(_)), "{refused}");
        assert!(refused.kept.quote_proven && refused.kept.log_proven && refused.kept.hardware.is_some());
        machine.tpm.as_ref().unwrap().reboot(Boot::standard());
        machine.tpm.as_ref().unwrap().cap();
        assert!(matches!(world.rejection(&machine), Rejection::AlreadyCapped { .. }));
    }
}
