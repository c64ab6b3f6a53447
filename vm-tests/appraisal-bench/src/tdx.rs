//! A TDX quote with collateral, beside the `dcap-qvl` crate's verification of the same.

use crate::clock;
use ccnode_evidence::UnixTime;
use ccnode_tdx::{Collateral, CollateralAge, CollateralValid, Quote, Root, TdxPolicy, verify};
use ccnode_testkit::tdx::{self, NOW, Platform, TdQuote};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::verify::QuoteVerifier;
use std::hint::black_box;

/// Milliseconds: quote and collateral, quote with collateral proven before, and the other crate's.
pub(crate) struct Times {
    pub(crate) ours: f64,
    pub(crate) kept: f64,
    pub(crate) theirs: f64,
}

pub(crate) fn times() -> Times {
    let platform = Platform::new();
    let quote = TdQuote::v5(3).sign(&platform);
    let json = tdx::Collateral::default().sign(&platform);
    let root = Root::danger_other_root(&platform.root()).expect("a root");
    let (now, age, policy) = (UnixTime(NOW), CollateralAge::default(), TdxPolicy::default());
    let collateral = Collateral::from_json(json.to_string().as_bytes()).expect("collateral");
    let peer: QuoteCollateralV3 = serde_json::from_value(json).expect("collateral");
    let verifier = QuoteVerifier::new(platform.root());
    let proven_before = collateral.verify(&root, now, &age).expect("good collateral");
    let judge = |collateral: &CollateralValid| {
        let quote = Quote::parse(black_box(&quote)).expect("a quote");
        let proven = verify(&quote, &root, Some(collateral), now).expect("a good quote");
        black_box(policy.check(&proven).expect("an allowed TD"));
    };
    let [ours, kept, theirs] = clock::millis([
        &mut || judge(&black_box(&collateral).verify(&root, now, &age).expect("good collateral")),
        &mut || judge(&proven_before),
        &mut || drop(black_box(verifier.verify(&quote, &peer, now.0).expect("a good quote"))),
    ]);
    Times { ours, kept, theirs }
}
