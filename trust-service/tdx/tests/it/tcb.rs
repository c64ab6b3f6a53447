//! TCB levels: each status, each number that is too low, the module's and the quoting enclave's levels.

use crate::world::{forms, platform, prove, prove_with, valid};
use ccnode_evidence::Code;
use ccnode_tdx::{ModuleError, QeIdentityError, Rejection, Shortfall, Svn, TcbStatus, TdxPolicy, TdxProven};
use ccnode_testkit::tdx::{Collateral, SGX_SVN, TdQuote};
use serde_json::json;

fn judged(collateral: &Collateral, quote: &TdQuote) -> Result<TdxProven, Rejection> {
    prove_with(quote, Some(&valid(collateral, platform()).unwrap()))
}

fn status(collateral: &Collateral, quote: &TdQuote) -> TcbStatus {
    judged(collateral, quote).unwrap().tcb().unwrap().status
}

#[test]
fn t19_every_status_is_what_the_level_says_and_the_policys_to_take() {
    let cases = [
        ("UpToDate", TcbStatus::UpToDate),
        ("SWHardeningNeeded", TcbStatus::SwHardeningNeeded),
        ("ConfigurationNeeded", TcbStatus::ConfigurationNeeded),
        ("ConfigurationAndSWHardeningNeeded", TcbStatus::ConfigurationAndSwHardeningNeeded),
        ("OutOfDate", TcbStatus::OutOfDate),
        ("OutOfDateConfigurationNeeded", TcbStatus::OutOfDateConfigurationNeeded),
        ("Revoked", TcbStatus::Revoked),
    ];
    for (text, due) in cases {
        for quote in forms() {
            let proven = judged(&Collateral::with_status(text), &quote).unwrap();
            let tcb = proven.tcb().unwrap();
            assert_eq!((tcb.status, tcb.platform, tcb.qe), (due, due, TcbStatus::UpToDate));
            assert_eq!(tcb.module, Some(TcbStatus::UpToDate));
            assert_eq!(tcb.current.is_some(), quote.body_type > 2);
            assert_eq!(tcb.evaluation_number, 17);
            let mut policy = TdxPolicy::default();
            if due == TcbStatus::UpToDate {
                assert!(tcb.advisories.is_empty());
                policy.check(&proven).unwrap();
                continue;
            }
            assert_eq!(tcb.advisories, ["INTEL-SA-00001"]);
            let error = policy.check(&proven).unwrap_err();
            assert_eq!(error.code(), Code::TdxTcbStatus);
            let Rejection::TcbStatus { seen, wanted, advisories, .. } = &error else { panic!("{error}") };
            assert_eq!((*seen, wanted, advisories), (due, &policy.tcb_statuses, &tcb.advisories));
            assert!(
                error.to_string().contains(text) && error.to_string().contains("INTEL-SA-00001"),
                "{error}"
            );
            policy.tcb_statuses.insert(due);
            assert_eq!(policy.check(&proven).is_ok(), due != TcbStatus::Revoked, "{text}");
        }
    }
}

#[test]
fn a_status_that_nobody_knows_is_refused() {
    let error = valid(&Collateral::with_status("Excellent"), platform()).unwrap_err();
    assert_eq!(error.code(), Code::TdxCollateralMalformed);
}

/// Collateral with one level only, which the platform just reaches.
fn one_level() -> Collateral {
    let mut collateral = Collateral::default();
    let level = collateral.tcb_info["tcbLevels"][1].clone();
    collateral.tcb_info["tcbLevels"] = json!([level]);
    collateral
}

fn missed(collateral: &Collateral, quote: &TdQuote) -> Shortfall {
    let proven = judged(collateral, quote).unwrap();
    let tcb = proven.tcb().unwrap();
    assert_eq!((tcb.status, tcb.date), (TcbStatus::NoMatchingLevel, None));
    let error = TdxPolicy::default().check(&proven).unwrap_err();
    assert_eq!(error.code(), Code::TdxTcbStatus);
    assert!(error.to_string().contains("no matching TCB level"), "{error}");
    tcb.shortfall.unwrap()
}

#[test]
fn each_component_that_is_too_low_misses_the_level() {
    let quote = TdQuote::v4();
    assert_eq!(status(&one_level(), &quote), TcbStatus::UpToDate);
    for n in 0..16u8 {
        let mut collateral = one_level();
        let tcb = &mut collateral.tcb_info["tcbLevels"][0]["tcb"];
        tcb["sgxtcbcomponents"][usize::from(n)]["svn"] = json!(SGX_SVN + 1);
        let due = Shortfall { svn: Svn::Sgx(n + 1), seen: SGX_SVN.into(), wanted: (SGX_SVN + 1).into() };
        assert_eq!(missed(&collateral, &quote), due);
    }
    let mut collateral = one_level();
    collateral.tcb_info["tcbLevels"][0]["tcb"]["pcesvn"] = json!(12);
    assert_eq!(missed(&collateral, &quote), Shortfall { svn: Svn::Pce, seen: 11, wanted: 12 });
    // The first two TDX components are the module's, which has an identity of its own from version 1 on.
    for n in 0..16u8 {
        let mut collateral = one_level();
        collateral.tcb_info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][usize::from(n)]["svn"] = json!(9);
        if n < 2 {
            assert_eq!(status(&collateral, &quote), TcbStatus::UpToDate);
            continue;
        }
        let seen = quote.td.tee_tcb_svn[usize::from(n)].into();
        assert_eq!(missed(&collateral, &quote), Shortfall { svn: Svn::Tdx(n + 1), seen, wanted: 9 });
    }
}

#[test]
fn a_module_of_version_0_is_judged_by_the_platforms_levels() {
    let mut quote = TdQuote::v4();
    quote.td.tee_tcb_svn[1] = 0;
    let proven = judged(&one_level(), &quote).unwrap();
    assert_eq!((proven.tcb().unwrap().module, proven.tcb().unwrap().status), (None, TcbStatus::UpToDate));
    let mut collateral = one_level();
    collateral.tcb_info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][0]["svn"] = json!(6);
    assert_eq!(missed(&collateral, &quote), Shortfall { svn: Svn::Tdx(1), seen: 5, wanted: 6 });
}

#[test]
fn the_order_of_levels_in_the_text_does_not_matter() {
    let mut collateral = Collateral::with_status("SWHardeningNeeded");
    collateral.tcb_info["tcbLevels"].as_array_mut().unwrap().reverse();
    collateral.tcb_info["tdxModuleIdentities"][1]["tcbLevels"].as_array_mut().unwrap().reverse();
    collateral.qe_identity["tcbLevels"].as_array_mut().unwrap().reverse();
    assert_eq!(status(&collateral, &TdQuote::v4()), TcbStatus::SwHardeningNeeded);
}

#[test]
fn levels_of_the_module() {
    let with = |minor: u8, version: u8| {
        let mut quote = TdQuote::v4();
        quote.td.tee_tcb_svn[..2].copy_from_slice(&[minor, version]);
        quote
    };
    let good = Collateral::default();
    for (minor, due, advisory) in [
        (9, TcbStatus::UpToDate, None),
        (5, TcbStatus::UpToDate, None),
        (4, TcbStatus::OutOfDate, Some("INTEL-SA-00002")),
        (3, TcbStatus::Revoked, Some("INTEL-SA-00003")),
        (1, TcbStatus::NoMatchingLevel, None),
    ] {
        let proven = judged(&good, &with(minor, 1)).unwrap();
        let tcb = proven.tcb().unwrap();
        assert_eq!((tcb.status, tcb.module), (due, Some(due)), "{minor}");
        assert_eq!(tcb.advisories.first().map(String::as_str), advisory);
        assert_eq!(tcb.platform, TcbStatus::UpToDate);
    }
    let shortfall = missed(&good, &with(1, 1));
    assert_eq!(shortfall, Shortfall { svn: Svn::Module, seen: 1, wanted: 2 });
    let error = judged(&good, &with(5, 2)).unwrap_err();
    assert_eq!(error, Rejection::Module(ModuleError::Unknown { version: 2 }));
    assert_eq!(error.code(), Code::TdxModule);
    let worse = Collateral::with_status("ConfigurationNeeded");
    assert_eq!(status(&worse, &with(4, 1)), TcbStatus::OutOfDateConfigurationNeeded);
}

#[test]
fn signer_and_attributes_of_the_module() {
    let mut quote = TdQuote::v4();
    quote.td.mr_signer_seam[0] = 1;
    let error = prove(&quote).unwrap_err();
    assert_eq!(error.code(), Code::TdxModule);
    assert!(matches!(error, Rejection::Module(ModuleError::MrSigner { seen, .. }) if seen.0[0] == 1));
    let mut quote = TdQuote::v4();
    quote.td.seam_attributes = 1;
    let error = prove(&quote).unwrap_err();
    assert!(matches!(error, Rejection::Module(ModuleError::Attributes { seen, .. }) if seen.0 == 1));
    // Bits outside the mask must be zero all the same.
    let mut collateral = Collateral::default();
    collateral.tcb_info["tdxModuleIdentities"][1]["attributesMask"] = json!("0000000000000000");
    assert!(matches!(
        judged(&collateral, &quote).unwrap_err(),
        Rejection::Module(ModuleError::Attributes { .. })
    ));
    // The identity of its version counts, not what the info says of modules of before.
    let mut collateral = Collateral::default();
    collateral.tcb_info["tdxModule"]["mrsigner"] = json!("11".repeat(48));
    judged(&collateral, &TdQuote::v4()).unwrap();
    collateral.tcb_info["tdxModuleIdentities"][1]["mrsigner"] = json!("11".repeat(48));
    assert!(judged(&collateral, &TdQuote::v4()).is_err());
}

#[test]
fn levels_of_the_quoting_enclave() {
    for (isv_svn, due) in [(7, TcbStatus::UpToDate), (5, TcbStatus::OutOfDate), (4, TcbStatus::Revoked)] {
        let mut quote = TdQuote::v4();
        quote.qe.isv_svn = isv_svn;
        let proven = prove(&quote).unwrap();
        assert_eq!((proven.tcb().unwrap().qe, proven.tcb().unwrap().status), (due, due));
    }
    let mut quote = TdQuote::v4();
    quote.qe.isv_svn = 3;
    let error = prove(&quote).unwrap_err();
    assert_eq!(error, Rejection::QeIdentity(QeIdentityError::IsvSvn { seen: 3, lowest: Some(4) }));
    assert_eq!(error.code(), Code::TdxQeIdentity);
    quote.qe.isv_svn = 5;
    let worse = Collateral::with_status("ConfigurationAndSWHardeningNeeded");
    assert_eq!(status(&worse, &quote), TcbStatus::OutOfDateConfigurationNeeded);
    assert_eq!(status(&Collateral::with_status("Revoked"), &quote), TcbStatus::Revoked);
}

#[test]
fn every_member_of_the_qe_identity() {
    let mut quote = TdQuote::v4();
    quote.qe.misc_select = 1;
    let error = prove(&quote).unwrap_err();
    let due = QeIdentityError::MiscSelect { seen: 1, wanted: 0, mask: u32::MAX };
    assert_eq!(error, Rejection::QeIdentity(due));
    let mut collateral = Collateral::default();
    collateral.qe_identity["miscselectMask"] = json!("FEFFFFFF");
    judged(&collateral, &quote).unwrap();

    let mut quote = TdQuote::v4();
    quote.qe.attributes[1] = 1;
    let error = prove(&quote).unwrap_err();
    let Rejection::QeIdentity(QeIdentityError::Attributes { seen, .. }) = error else { panic!("{error}") };
    assert_eq!(seen, quote.qe.attributes);
    // XFRM is under no mask.
    let mut quote = TdQuote::v4();
    quote.qe.attributes[9] = 0xff;
    prove(&quote).unwrap();

    for (member, value) in [("mrsigner", json!("11".repeat(32))), ("isvprodid", json!(3))] {
        let mut collateral = Collateral::default();
        collateral.qe_identity[member] = value;
        assert_eq!(judged(&collateral, &TdQuote::v4()).unwrap_err().code(), Code::TdxQeIdentity);
    }
}

#[test]
fn the_module_that_runs_now_counts_beside_the_one_at_launch() {
    let with = |launch: u8, now: u8| {
        let mut quote = TdQuote::v5(3);
        quote.td.tee_tcb_svn[0] = launch;
        quote.td.tee_tcb_svn2[0] = now;
        quote
    };
    let good = Collateral::default();
    assert_eq!(status(&good, &with(5, 6)), TcbStatus::UpToDate);
    // Out of date at launch, replaced since.
    assert_eq!(status(&good, &with(4, 5)), TcbStatus::TdRelaunchAdvised);
    assert_eq!(status(&good, &with(4, 4)), TcbStatus::OutOfDate);
    let configuration = Collateral::with_status("ConfigurationNeeded");
    assert_eq!(status(&configuration, &with(4, 5)), TcbStatus::TdRelaunchAdvisedConfigurationNeeded);
    // A module that is revoked or below all levels now is never fine.
    assert_eq!(status(&good, &with(5, 3)), TcbStatus::Revoked);
    assert_eq!(status(&good, &with(5, 1)), TcbStatus::NoMatchingLevel);
    assert_eq!(status(&good, &with(3, 5)), TcbStatus::Revoked);
    let advised = judged(&good, &with(4, 5)).unwrap();
    let error = TdxPolicy::default().check(&advised).unwrap_err();
    assert!(matches!(error, Rejection::TcbStatus { seen: TcbStatus::TdRelaunchAdvised, .. }));
    let mut unknown = with(5, 5);
    unknown.td.tee_tcb_svn2[1] = 7;
    assert!(matches!(
        judged(&good, &unknown).unwrap_err(),
        Rejection::Module(ModuleError::Unknown { version: 7 })
    ));
    // An old quoting enclave makes both out of date: nothing is to be gained by a new launch.
    let mut quote = with(4, 5);
    quote.qe.isv_svn = 5;
    assert_eq!(status(&good, &quote), TcbStatus::OutOfDate);
}

#[test]
fn dates_and_evaluation_number() {
    let mut collateral = Collateral::default();
    collateral.tcb_info["tdxModuleIdentities"][1]["tcbLevels"][0]["tcbDate"] = json!("2023-01-01T00:00:00Z");
    collateral.qe_identity["tcbEvaluationDataNumber"] = json!(16);
    let proven = judged(&collateral, &TdQuote::v4()).unwrap();
    let tcb = proven.tcb().unwrap();
    assert_eq!((tcb.date.unwrap().0, tcb.evaluation_number), (1_672_531_200, 16));
    let policy = TdxPolicy { minimum_tcb_evaluation: 17, ..Default::default() };
    let error = policy.check(&proven).unwrap_err();
    assert_eq!(error, Rejection::EvaluationNumber { seen: 16, wanted: 17 });
    assert_eq!(error.code(), Code::TdxCollateralExpired);
    policy.check(&prove(&TdQuote::v4()).unwrap()).unwrap();
}
