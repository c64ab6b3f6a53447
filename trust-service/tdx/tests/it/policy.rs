//! The policy: each thing that it demands of a TD, and its text form.

use crate::world::{prove, prove_with};
use ccnode_evidence::Code;
use ccnode_tdx::{
    Flags, Measurement, MeasurementField, Rejection, Rtmr, TcbStatus, TcbSvn, TdxPolicy, attributes,
};
use ccnode_testkit::tdx::{TdFields, TdQuote};
use std::collections::BTreeSet;

fn refused(policy: &TdxPolicy, change: impl FnOnce(&mut TdFields)) -> Rejection {
    let mut quote = TdQuote::v5(4);
    change(&mut quote.td);
    policy.check(&prove(&quote).unwrap()).unwrap_err()
}

fn default_refuses(change: impl FnOnce(&mut TdFields)) -> Rejection {
    refused(&TdxPolicy::default(), change)
}

#[test]
fn t19_debug_and_profiling_are_refused_but_for_danger() {
    for bit in 0..8 {
        let bits = 1 << 28 | 1 << bit;
        let error = default_refuses(|td| td.td_attributes = bits);
        assert_eq!(error, Rejection::Debug { seen: Flags(bits) });
        assert_eq!(error.code(), Code::TdxDebug);
        let danger = TdxPolicy { danger_debug: true, ..Default::default() };
        let mut quote = TdQuote::v4();
        quote.td.td_attributes = bits;
        danger.check(&prove(&quote).unwrap()).unwrap();
    }
    assert!(default_refuses(|td| td.td_attributes = 1 << 28 | 1).to_string().contains("DEBUG"));
}

#[test]
fn attributes_that_are_missing_or_too_many() {
    let error = default_refuses(|td| td.td_attributes = 0);
    assert_eq!(error.code(), Code::TdxAttributes);
    assert!(error.to_string().contains("lacks SEPT_VE_DISABLE"), "{error}");
    let allowed = attributes::ICSSD | attributes::LASS | attributes::PKS | attributes::SEPT_VE_DISABLE;
    for bit in 8..64 {
        let bits = 1 << 28 | 1 << bit;
        let mut quote = TdQuote::v4();
        quote.td.td_attributes = bits;
        let proven = prove(&quote).unwrap();
        if allowed & 1 << bit != 0 {
            TdxPolicy::default().check(&proven).unwrap();
            continue;
        }
        let error = TdxPolicy::default().check(&proven).unwrap_err();
        let Rejection::Attributes { seen, .. } = &error else { panic!("{error}") };
        assert_eq!(*seen, Flags(bits));
        assert!(error.to_string().contains(&format!("has {}", attributes::names(1 << bit)[0])), "{error}");
        let policy = TdxPolicy { attributes_allowed: Flags(1 << bit), ..Default::default() };
        policy.check(&proven).unwrap();
    }
    // No allowance lifts the debug bits.
    let policy = TdxPolicy { attributes_allowed: Flags(u64::MAX), ..Default::default() };
    assert_eq!(refused(&policy, |td| td.td_attributes |= 1).code(), Code::TdxDebug);
}

#[test]
fn t19_sept_ve_disable_is_dropped_by_danger_alone() {
    for required in ["0x0", "0x10000", "0x10000000"] {
        let policy: TdxPolicy = toml::from_str(&format!("attributes-required = \"{required}\"")).unwrap();
        let error = refused(&policy, |td| td.td_attributes = attributes::ICSSD);
        assert_eq!(error.code(), Code::TdxAttributes);
        assert!(error.to_string().contains("lacks SEPT_VE_DISABLE"), "{required}: {error}");
    }
    let danger: TdxPolicy =
        toml::from_str("danger-sept-ve = true\nattributes-required = \"0x10000\"").unwrap();
    for bits in [attributes::ICSSD, attributes::ICSSD | attributes::SEPT_VE_DISABLE] {
        let mut quote = TdQuote::v4();
        quote.td.td_attributes = bits;
        danger.check(&prove(&quote).unwrap()).unwrap();
    }
    let error = refused(&danger, |td| td.td_attributes = 0);
    assert!(error.to_string().contains("lacks ICSSD"), "{error}");
}

#[test]
fn extended_features_that_are_missing_or_too_many() {
    for (xfam, part) in
        [(0x602e6, "lacks bit 0"), (0x602e5, "lacks bit 1"), (0x602e7 | 1 << 10, "has bit 10")]
    {
        let error = default_refuses(|td| td.xfam = xfam);
        assert_eq!(error.code(), Code::TdxXfam);
        assert!(matches!(error, Rejection::Xfam { seen, .. } if seen == Flags(xfam)));
        assert!(error.to_string().contains(part), "{error}");
    }
    let policy = TdxPolicy { xfam_allowed: Flags(0xe7), ..Default::default() };
    let error = refused(&policy, |_| ());
    assert!(error.to_string().contains("has bit 9, bit 17, bit 18"), "{error}");
}

#[test]
fn every_measurement_that_is_not_listed() {
    type Set = Option<BTreeSet<Measurement>>;
    type Case = (MeasurementField, Code, fn(&mut TdxPolicy) -> &mut Set, fn(&TdFields) -> [u8; 48]);
    let cases: [Case; 10] = [
        (MeasurementField::MrSeam, Code::TdxModule, |p| &mut p.mr_seam, |t| t.mr_seam),
        (MeasurementField::MrSignerSeam, Code::TdxModule, |p| &mut p.mr_signer_seam, |t| t.mr_signer_seam),
        (MeasurementField::MrTd, Code::TdxMeasurement, |p| &mut p.mr_td, |t| t.mr_td),
        (MeasurementField::Rtmr(Rtmr::Rtmr0), Code::TdxRtmr, |p| &mut p.rtmr0, |t| t.rtmr[0]),
        (MeasurementField::Rtmr(Rtmr::Rtmr1), Code::TdxRtmr, |p| &mut p.rtmr1, |t| t.rtmr[1]),
        (MeasurementField::Rtmr(Rtmr::Rtmr2), Code::TdxRtmr, |p| &mut p.rtmr2, |t| t.rtmr[2]),
        (MeasurementField::Rtmr(Rtmr::Rtmr3), Code::TdxRtmr, |p| &mut p.rtmr3, |t| t.rtmr[3]),
        (MeasurementField::MrConfigId, Code::TdxConfigId, |p| &mut p.mr_config_id, |t| t.mr_config_id),
        (MeasurementField::MrOwner, Code::TdxConfigId, |p| &mut p.mr_owner, |t| t.mr_owner),
        (
            MeasurementField::MrOwnerConfig,
            Code::TdxConfigId,
            |p| &mut p.mr_owner_config,
            |t| t.mr_owner_config,
        ),
    ];
    let quote = TdQuote::v4();
    let proven = prove(&quote).unwrap();
    let other = Measurement([0xee; 48]);
    for (field, code, list, value) in cases {
        let own = Measurement(value(&quote.td));
        for good in [None, Some([own].into()), Some([own, other].into())] {
            let mut policy = TdxPolicy::default();
            *list(&mut policy) = good;
            policy.check(&proven).unwrap();
        }
        for wanted in [BTreeSet::new(), [other].into()] {
            let mut policy = TdxPolicy::default();
            *list(&mut policy) = Some(wanted.clone());
            let error = policy.check(&proven).unwrap_err();
            assert_eq!(error.code(), code, "{field}");
            assert_eq!(error, Rejection::Measurement { field, seen: own, wanted });
            assert!(
                error.to_string().contains(&own.to_string())
                    && error.to_string().contains(&field.to_string())
            );
        }
    }
}

#[test]
fn service_tds_are_refused_unless_listed() {
    let service = [5; 48];
    for (bound, current) in [(service, [0; 48]), ([0; 48], service), (service, service)] {
        let mut quote = TdQuote::v5(4);
        (quote.td.mr_service_td, quote.td.current_service_td) = (bound, current);
        let proven = prove(&quote).unwrap();
        let error = TdxPolicy::default().check(&proven).unwrap_err();
        assert_eq!(error.code(), Code::TdxServiceTd);
        let seen = Measurement(service);
        assert!(matches!(error, Rejection::Measurement { seen: s, .. } if s == seen));
        let policy = TdxPolicy { mr_service_td: [Measurement::ZERO, seen].into(), ..Default::default() };
        policy.check(&proven).unwrap();
    }
    let mut quote = TdQuote::v5(3);
    quote.td.mr_service_td = service;
    assert_eq!(TdxPolicy::default().check(&prove(&quote).unwrap()).unwrap_err().code(), Code::TdxServiceTd);
    // A body of TDX 1.0 has no service TDs; a policy that demands one refuses it.
    let policy = TdxPolicy { mr_service_td: [Measurement(service)].into(), ..Default::default() };
    assert_eq!(policy.check(&prove(&TdQuote::v4()).unwrap()).unwrap_err().code(), Code::TdxServiceTd);
}

#[test]
fn t19_least_security_version_numbers() {
    let quote = TdQuote::v5(3);
    let policy = |n: usize, svn: u8| {
        let mut least = TcbSvn(quote.td.tee_tcb_svn);
        least.0[n] = svn;
        TdxPolicy { minimum_tee_tcb_svn: Some(least), ..Default::default() }
    };
    let proven = prove(&quote).unwrap();
    for n in 0..16 {
        let own = quote.td.tee_tcb_svn[n];
        policy(n, own).check(&proven).unwrap();
        let policy = policy(n, own + 1);
        let error = policy.check(&proven).unwrap_err();
        assert_eq!(error.code(), Code::TdxTcbSvn);
        let wanted = policy.minimum_tee_tcb_svn.unwrap();
        assert_eq!(error, Rejection::TeeTcbSvn { seen: TcbSvn(quote.td.tee_tcb_svn), wanted });
    }
    let mut older = quote.clone();
    older.td.tee_tcb_svn2[2] = 1;
    older.td.tee_tcb_svn2[0] = 6;
    let error = policy(2, 2).check(&prove_with(&older, None).unwrap()).unwrap_err();
    assert!(matches!(error, Rejection::TeeTcbSvn { seen, .. } if seen.0 == older.td.tee_tcb_svn2));
}

#[test]
fn policies_are_read_strictly() {
    let text = r#"
        tcb-statuses = ["up-to-date", "sw-hardening-needed", "danger-no-matching-level"]
        minimum-tcb-evaluation = 17
        minimum-tee-tcb-svn = "05010200000000000000000000000000"
        danger-debug = true
        attributes-required = "0x10000000"
        mr-td = ["222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222"]
        rtmr3 = []
        [collateral]
        max-age-days = 30
        danger-grace-days = 1
    "#;
    let policy: TdxPolicy = toml::from_str(text).unwrap();
    assert_eq!(policy.tcb_statuses.len(), 3);
    assert!(policy.tcb_statuses.contains(&TcbStatus::NoMatchingLevel) && policy.danger_debug);
    assert_eq!(policy.attributes_required, Flags(attributes::SEPT_VE_DISABLE));
    assert_eq!(policy.rtmr3, Some(BTreeSet::new()));
    assert_eq!(policy.rtmr0, None);
    assert_eq!(policy.collateral.max_age_days, Some(30));
    let again: TdxPolicy = toml::from_str(&toml::to_string(&policy).unwrap()).unwrap();
    assert_eq!(again, policy);
    assert_eq!(toml::from_str::<TdxPolicy>("").unwrap(), TdxPolicy::default());
    for bad in [
        "debug = true",
        "danger_debug = true",
        "tcb-statuses = [\"UpToDate\"]",
        "tcb-statuses = [\"no-matching-level\"]",
        "attributes-required = \"10000000\"",
        "attributes-required = 268435456",
        "mr-td = [\"22\"]",
        "mr-td = \"22\"",
        "minimum-tee-tcb-svn = \"05\"",
        "collateral = { grace-days = 1 }",
    ] {
        assert!(toml::from_str::<TdxPolicy>(bad).is_err(), "{bad}");
    }
}
