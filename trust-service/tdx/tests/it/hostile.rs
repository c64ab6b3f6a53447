//! Bytes of any kind: no panic, no unbounded work, and never a proof.

use crate::world::{NOW, platform, prove_bytes, root};
use ccnode_tdx::{Collateral, CollateralAge, Quote, TdReport};
use ccnode_testkit::tdx::{self, TdQuote};
use proptest::prelude::*;
use std::sync::OnceLock;

fn quotes() -> &'static [Vec<u8>] {
    static QUOTES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    QUOTES.get_or_init(|| crate::world::forms().map(|quote| quote.sign(platform())).to_vec())
}

fn collateral() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| tdx::Collateral::default().sign(platform()).to_string())
}

proptest! {
    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = Quote::parse(&bytes);
        let _ = TdReport::parse(&bytes);
        let _ = Collateral::from_json(&bytes);
    }

    #[test]
    fn a_quote_with_some_bytes_changed(
        form in 0usize..4,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        len in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = quotes()[form].clone();
        let good = bytes.clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(len.index(bytes.len()));
        }
        let quote = Quote::parse(&bytes).ok();
        let _ = quote.as_ref().and_then(Quote::unproven_platform);
        // What is proven was signed: only the certification data may differ.
        if let Ok(proven) = prove_bytes(&bytes, None) {
            let original = prove_bytes(&good, None).unwrap();
            prop_assert_eq!(proven.body(), original.body());
            prop_assert_eq!(proven.pck(), original.pck());
        }
    }

    #[test]
    fn collateral_with_some_characters_changed(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 32u8..127), 1..4),
    ) {
        let mut text = collateral().as_bytes().to_vec();
        for (at, value) in changes {
            let at = at.index(text.len());
            text[at] = value;
        }
        if let Ok(collateral) = Collateral::from_json(&text) {
            let _ = collateral.verify(&root(), NOW, &CollateralAge::default());
        }
    }
}

#[test]
fn lengths_that_lie_cost_nothing() {
    let bytes = TdQuote::v4().sign(platform());
    for at in [48 + 584, 48 + 584 + 4 + 130, 48 + 584 + 4 + 134 + 448 + 2 + 32 + 2] {
        for len in [0, 1, u32::MAX / 2, u32::MAX] {
            let mut changed = bytes.clone();
            changed[at..at + 4].copy_from_slice(&len.to_le_bytes());
            Quote::parse(&changed).unwrap_err();
        }
    }
}
