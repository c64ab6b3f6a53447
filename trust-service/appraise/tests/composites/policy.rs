//! t19: old, debugged and denied hardware, in every kind, each with a code of its own; roots and collateral.

use crate::world::{PLATFORM, World, pem};
use ccnode_appraise::{CollateralError, Rejection, Shelf};
use ccnode_evidence::{Code, HashAlg};
use ccnode_snp::{ChipId, DangerRoot, Product, SnpRejection, TcbFloor};
use ccnode_tdx::{Rejection as TdxRejection, TcbStatus};
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::tdx::{self, Platform};
use ccnode_testkit::{Hardware, Machine};
use std::sync::Arc;

fn on(world: &World, hardware: Hardware) -> Machine {
    Machine::with(world.tpm(), hardware)
}

#[test]
fn t19_old_firmware_and_denied_chips_are_refused_in_every_kind() {
    let kinds: [fn(TestChip) -> Hardware; 2] = [Hardware::snp, Hardware::az_snp];
    for kind in kinds {
        let mut world = World::new();
        let machine = |world: &World| on(world, kind(TestChip::milan()));
        let floor = TcbFloor { microcode: Some(220), ..TcbFloor::default() };
        world.policy.snp.minimum_tcb.insert(Product::Milan, floor);
        let rejection = world.rejection(&machine(&world));
        assert!(matches!(rejection, Rejection::Snp(SnpRejection::TcbTooOld { seen: 219, wanted: 220, .. })));
        assert_eq!(rejection.code(), Code::SnpTcbTooOld);

        let mut world = World::new();
        world.policy.snp.chip_ids_denied = vec![ChipId(TestChip::milan().chip_id())];
        let rejection = world.rejection(&machine(&world));
        assert_eq!(rejection.code(), Code::SnpChip);

        let mut world = World::new();
        world.policy.snp.danger_debug = true;
        let debug = on(&world, kind(TestChip::milan()).reporting(|spec| spec.policy |= 1 << 19));
        assert!(world.run(&debug).is_ok());
        world.policy.snp.danger_debug = false;
        assert_eq!(world.rejection(&debug).code(), Code::SnpDebug);
        let vmpl = on(&world, kind(TestChip::milan()).reporting(|spec| spec.vmpl = 1));
        assert_eq!(world.rejection(&vmpl).code(), Code::SnpVmpl);
    }
}

#[test]
fn t19_old_and_debugged_tds_are_refused_in_every_kind() {
    let kinds: [fn(&Arc<Platform>) -> Hardware; 2] = [Hardware::tdx, Hardware::az_tdx];
    for kind in kinds {
        let mut world = World::new();
        world.shelf = Shelf::default();
        let rejection = world.rejection(&on(&world, kind(&PLATFORM)));
        assert!(matches!(rejection, Rejection::Tdx(TdxRejection::CollateralMissing { fmspc: tdx::FMSPC })));
        assert_eq!(rejection.code(), Code::TdxCollateralMissing);
        let old = tdx::Collateral::with_status("OutOfDate").sign(&PLATFORM).to_string();
        world.shelf.add_tdx(&old).unwrap();
        let rejection = world.rejection(&on(&world, kind(&PLATFORM)));
        assert_eq!(rejection.code(), Code::TdxTcbStatus, "{rejection}");
        world.policy.tdx.tcb_statuses.insert(TcbStatus::OutOfDate);
        assert!(world.run(&on(&world, kind(&PLATFORM))).is_ok());
        let debug = on(&world, kind(&PLATFORM).quoting(|td| td.td_attributes |= 1));
        assert_eq!(world.rejection(&debug).code(), Code::TdxDebug);
    }
}

#[test]
fn roots_are_the_vendors_own_unless_a_pool_says_otherwise() {
    let mut world = World::new();
    world.policy.snp.danger_roots.clear();
    let rejection = world.rejection(&on(&world, Hardware::snp(TestChip::milan())));
    assert_eq!(rejection.code(), Code::SnpChain, "{rejection}");
    world.policy.tdx.danger_roots.clear();
    let rejection = world.rejection(&on(&world, Hardware::tdx(&PLATFORM)));
    assert_eq!(rejection.code(), Code::TdxChain, "{rejection}");
    // Another's root does not help.
    let stranger = pem(&Platform::new().root());
    world.policy.tdx.danger_roots.push(stranger.clone());
    assert_eq!(world.rejection(&on(&world, Hardware::tdx(&PLATFORM))).code(), Code::TdxChain);
    world.policy.snp.danger_roots.push(DangerRoot { product: Product::Milan, certificates: stranger });
    assert!(ccnode_appraise::Hardware::new(world.policy).is_err(), "no root of SEV-SNP");
}

#[test]
fn t11_a_ccel_is_the_log_of_the_quote_or_refused() {
    let world = World::new();
    let with = |ccel: Vec<u8>| {
        let hardware =
            Hardware::Tdx { platform: PLATFORM.clone(), ccel: Some(ccel), change: Arc::new(|_| ()) };
        world.rejection(&on(&world, hardware))
    };
    let log = world.tpm().boot().logs().event_log.0;
    let rejection = with(log);
    assert_eq!(rejection.code(), Code::EventLogMalformed, "a TPM's log is no CCEL: {rejection}");
    assert!(matches!(rejection, Rejection::TdxLog(_)), "{rejection}");
    let rejection = with(vec![1, 2, 3]);
    assert!(matches!(rejection, Rejection::EventLogMalformed { .. }), "{rejection}");
    assert_eq!(HashAlg::Sha384.size(), 48);
}

#[test]
fn what_is_no_collateral_is_not_put_on_the_shelf() {
    let mut shelf = Shelf::default();
    assert!(shelf.is_empty());
    assert!(matches!(shelf.add_snp(b"x"), Err(CollateralError::Snp(_))));
    assert!(matches!(shelf.add_tdx("{}"), Err(CollateralError::Tdx(_))));
    let mut none = tdx::Collateral::default();
    none.tcb_info.as_object_mut().unwrap().remove("fmspc");
    let text = none.sign(&PLATFORM).to_string();
    assert!(matches!(shelf.add_tdx(&text), Err(CollateralError::NoFmspc)));
    assert!(shelf.is_empty());
}
