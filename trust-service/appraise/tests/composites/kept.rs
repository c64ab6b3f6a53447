//! Collateral is verified once and kept, and what is kept never says more than a look at it now would.

use crate::world::{PLATFORM, World};
use ccnode_appraise::{Collateral as _, Rejection, Shelf, UnixTime};
use ccnode_evidence::Code;
use ccnode_tdx::{CollateralAge, CollateralValid, Rejection as TdxRejection, Root};
use ccnode_testkit::tdx::{self, Platform};
use ccnode_testkit::{Hardware, Machine, NOW};
use std::sync::Arc;

const DAY: u64 = 24 * 60 * 60;

fn root_of(platform: &Platform) -> Root {
    Root::danger_other_root(&platform.root()).unwrap()
}

fn ask(
    shelf: &Shelf,
    root: &Root,
    age: &CollateralAge,
    now: u64,
) -> Result<Arc<CollateralValid>, TdxRejection> {
    shelf.tdx_valid(&tdx::FMSPC, root, age, UnixTime(now)).unwrap()
}

#[test]
fn what_was_verified_is_kept_for_its_root_and_age() {
    let (world, root, any) = (World::new(), root_of(&PLATFORM), CollateralAge::default());
    let first = ask(&world.shelf, &root, &any, NOW).unwrap();
    assert!(Arc::ptr_eq(&first, &ask(&world.shelf, &root, &any, NOW + DAY).unwrap()));
    let weeks = CollateralAge { max_age_days: Some(14), danger_grace_days: 0 };
    let other = ask(&world.shelf, &root, &weeks, NOW).unwrap();
    assert!(!Arc::ptr_eq(&first, &other));
    assert!(Arc::ptr_eq(&other, &ask(&world.shelf, &root, &weeks, NOW).unwrap()));
    // Another root's word on it is not this one's, and stays a refusal.
    for _ in 0..2 {
        assert!(ask(&world.shelf, &root_of(&Platform::new()), &any, NOW).is_err());
        assert!(ask(&world.shelf, &Root::intel(), &any, NOW).is_err());
    }
    // As many as there are; an older one is verified anew.
    for days in 100..120 {
        let age = CollateralAge { max_age_days: Some(days), danger_grace_days: 0 };
        ask(&world.shelf, &root, &age, NOW).unwrap();
    }
    assert!(!Arc::ptr_eq(&first, &ask(&world.shelf, &root, &any, NOW).unwrap()));
    assert!(world.shelf.tdx_valid(&[0; 6], &root, &any, UnixTime(NOW)).is_none());
}

#[test]
fn t19_what_is_kept_ends_on_its_day() {
    let mut world = World::new();
    let machine = Machine::with(world.tpm(), Hardware::tdx(&PLATFORM));
    let mut code_after = |days: u64| {
        world.now = UnixTime(NOW + days * DAY);
        world.run(&machine).map_or_else(|refused| Some(refused.rejection.code()), |_| None)
    };
    assert_eq!([0, 19, 21].map(&mut code_after), [None, None, Some(Code::TdxCollateralExpired)]);

    let (world, root) = (World::new(), root_of(&PLATFORM));
    let any = CollateralAge::default();
    ask(&world.shelf, &root, &any, NOW).unwrap();
    let late = ask(&world.shelf, &root, &any, NOW + 21 * DAY).unwrap_err();
    assert!(matches!(late, TdxRejection::CollateralExpired { .. }), "{late}");
    let early = ask(&world.shelf, &root, &any, NOW - 11 * DAY).unwrap_err();
    assert!(matches!(early, TdxRejection::CollateralNotYetValid { .. }), "{early}");
    let strict = CollateralAge { max_age_days: Some(12), danger_grace_days: 0 };
    ask(&world.shelf, &root, &strict, NOW).unwrap();
    let old = ask(&world.shelf, &root, &strict, NOW + 3 * DAY).unwrap_err();
    assert!(matches!(old, TdxRejection::CollateralTooOld { .. }), "{old}");
    let lenient = CollateralAge { max_age_days: None, danger_grace_days: 2 };
    assert!(ask(&world.shelf, &root, &lenient, NOW + 21 * DAY).is_ok());
    assert!(ask(&world.shelf, &root, &any, NOW + 21 * DAY).is_err(), "another pool's leniency is its own");
}

#[test]
fn t19_new_collateral_takes_the_place_of_what_is_kept() {
    let mut world = World::new();
    let machine = Machine::with(world.tpm(), Hardware::tdx(&PLATFORM));
    assert!(world.run(&machine).is_ok());
    let old = tdx::Collateral::with_status("OutOfDate").sign(&PLATFORM).to_string();
    world.shelf.add_tdx(&old).unwrap();
    let rejection = world.rejection(&machine);
    assert_eq!(rejection.code(), Code::TdxTcbStatus, "{rejection}");
    // Forged, it is refused, although the true one was verified before.
    world.shelf.add_tdx(&old.replace("OutOfDate", "UpToDate")).unwrap();
    let rejection = world.rejection(&machine);
    assert!(matches!(rejection, Rejection::Tdx(TdxRejection::CollateralSignature(_))), "{rejection}");
}
