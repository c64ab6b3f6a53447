//! One platform for all tests, and the way from its quotes and collateral to a proof or a refusal.

use ccnode_evidence::UnixTime;
use ccnode_tdx::{Collateral, CollateralAge, CollateralValid, Quote, Rejection, Root, TdxProven, verify};
use ccnode_testkit::tdx::{self, Platform, TdQuote};
use std::sync::OnceLock;

pub(crate) const NOW: UnixTime = UnixTime(tdx::NOW);
pub(crate) const DAY: u64 = 24 * 60 * 60;

pub(crate) fn platform() -> &'static Platform {
    static PLATFORM: OnceLock<Platform> = OnceLock::new();
    PLATFORM.get_or_init(Platform::new)
}

pub(crate) fn root_of(platform: &Platform) -> Root {
    Root::danger_other_root(&platform.root()).unwrap()
}

pub(crate) fn root() -> Root {
    root_of(platform())
}

/// Reads and verifies collateral at [`NOW`].
pub(crate) fn valid(collateral: &tdx::Collateral, platform: &Platform) -> Result<CollateralValid, Rejection> {
    valid_json(&collateral.sign(platform), platform)
}

pub(crate) fn valid_json(
    json: &serde_json::Value,
    platform: &Platform,
) -> Result<CollateralValid, Rejection> {
    let collateral = Collateral::from_json(json.to_string().as_bytes())?;
    collateral.verify(&root_of(platform), NOW, &CollateralAge::default())
}

/// Reads and verifies a quote of the platform, with its collateral up to date.
pub(crate) fn prove(quote: &TdQuote) -> Result<TdxProven, Rejection> {
    static VALID: OnceLock<CollateralValid> = OnceLock::new();
    let valid = VALID.get_or_init(|| valid(&tdx::Collateral::default(), platform()).unwrap());
    prove_with(quote, Some(valid))
}

pub(crate) fn prove_with(
    quote: &TdQuote,
    collateral: Option<&CollateralValid>,
) -> Result<TdxProven, Rejection> {
    prove_bytes(&quote.sign(platform()), collateral)
}

pub(crate) fn prove_bytes(
    bytes: &[u8],
    collateral: Option<&CollateralValid>,
) -> Result<TdxProven, Rejection> {
    verify(&Quote::parse(bytes).map_err(Rejection::Malformed)?, &root(), collateral, NOW)
}

/// Every form of quote.
pub(crate) fn forms() -> [TdQuote; 4] {
    [TdQuote::v4(), TdQuote::v5(2), TdQuote::v5(3), TdQuote::v5(4)]
}
