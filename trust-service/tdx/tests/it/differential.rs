//! Another implementation beside ours: what ours proves, dcap-qvl verifies, with the same status; what ours refuses, so does that.

use crate::world::{NOW, forms, platform, prove_bytes, valid_json};
use ccnode_tdx::{Rejection, TdxPolicy};
use ccnode_testkit::tdx::{Collateral, TdQuote};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use serde_json::json;

/// What is changed, whether the outcome is good, and the change.
type Case<T> = (&'static str, bool, fn(&mut T));

/// dcap-qvl's status and advisories.
fn theirs(quote: &[u8], collateral: &serde_json::Value) -> Option<(String, Vec<String>)> {
    let collateral: QuoteCollateralV3 = serde_json::from_value(collateral.clone()).unwrap();
    let report = QuoteVerifier::new(platform().root()).verify(quote, &collateral, NOW.0).ok()?;
    let mut advisories = report.advisory_ids;
    advisories.sort();
    Some((report.status, advisories))
}

/// Ours in the same form: a debug TD and a revoked TCB are no matter of verification here, but refused there.
fn ours(quote: &[u8], collateral: &serde_json::Value) -> Option<(String, Vec<String>)> {
    let proven = prove_bytes(quote, Some(&valid_json(collateral, platform()).ok()?)).ok()?;
    let tcb = proven.tcb().unwrap();
    let mut policy = TdxPolicy::default();
    match policy.check(&proven) {
        Ok(_) => {}
        Err(Rejection::TcbStatus { seen, shortfall: None, .. }) => {
            policy.tcb_statuses.insert(seen);
            policy.check(&proven).ok()?;
        }
        Err(_) => return None,
    }
    Some((tcb.status.to_string(), tcb.advisories.clone()))
}

fn agree(quote: &[u8], collateral: &serde_json::Value, what: &str) -> bool {
    let ours = ours(quote, collateral);
    assert_eq!(ours, theirs(quote, collateral), "{what}");
    ours.is_some()
}

#[test]
fn statuses_agree() {
    let statuses = [
        "UpToDate",
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
        "Revoked",
    ];
    for status in statuses {
        let collateral = Collateral::with_status(status).sign(platform());
        for quote in forms() {
            for (minor, now, isv_svn) in [
                (5, 5, 6),
                (4, 4, 6),
                (4, 5, 6),
                (3, 5, 6),
                (1, 5, 6),
                (5, 5, 5),
                (5, 5, 4),
                (5, 5, 3),
                (4, 5, 5),
            ] {
                let mut quote = quote.clone();
                quote.td.tee_tcb_svn[0] = minor;
                quote.td.tee_tcb_svn2[0] = now;
                quote.qe.isv_svn = isv_svn;
                let bytes = quote.sign(platform());
                agree(&bytes, &collateral, &format!("{status} {} {minor} {now} {isv_svn}", quote.body_type));
            }
        }
    }
}

#[test]
fn changed_quotes_agree() {
    let collateral = Collateral::default().sign(platform());
    let cases: [Case<TdQuote>; 14] = [
        ("good", true, |_| ()),
        ("version", false, |q| q.version = 3),
        ("key type", false, |q| q.key_type = 3),
        ("tee", false, |q| q.tee = 0),
        ("vendor", false, |q| q.vendor[0] = 0),
        ("debug", false, |q| q.td.td_attributes |= 1),
        ("no SEPT_VE_DISABLE", false, |q| q.td.td_attributes = 0),
        ("migratable", false, |q| q.td.td_attributes |= 1 << 29),
        ("seam attributes", false, |q| q.td.seam_attributes = 1),
        ("seam signer", false, |q| q.td.mr_signer_seam[0] = 1),
        ("module version 0", true, |q| q.td.tee_tcb_svn[1] = 0),
        ("module version 9", false, |q| q.td.tee_tcb_svn[1] = 9),
        ("QE signer", false, |q| q.qe.mr_signer[0] = 1),
        ("QE attributes", false, |q| q.qe.attributes[1] = 1),
    ];
    for (what, good, change) in cases {
        let mut quote = TdQuote::v4();
        change(&mut quote);
        assert_eq!(agree(&quote.sign(platform()), &collateral, what), good, "{what}");
    }
}

#[test]
fn changed_collateral_agrees() {
    let bytes = TdQuote::v5(3).sign(platform());
    let cases: [Case<Collateral>; 9] = [
        ("good", true, |_| ()),
        ("PCK revoked", false, |c| c.revoked_by_ca = vec![4]),
        ("PCK CA revoked", false, |c| c.revoked_by_root = vec![2]),
        ("TCB signer revoked", false, |c| c.revoked_by_root = vec![3]),
        ("others revoked", true, |c| c.revoked_by_ca = vec![5, 6]),
        ("FMSPC", false, |c| c.tcb_info["fmspc"] = json!("000000000000")),
        ("SGX", false, |c| c.tcb_info["id"] = json!("SGX")),
        ("expired", false, |c| c.tcb_info["nextUpdate"] = json!("2025-06-14T00:00:00Z")),
        ("expired CRL", false, |c| c.pck_crl_dates.1 = NOW.0 - 1),
    ];
    for (what, good, change) in cases {
        let mut collateral = Collateral::default();
        change(&mut collateral);
        assert_eq!(agree(&bytes, &collateral.sign(platform()), what), good, "{what}");
    }
}
