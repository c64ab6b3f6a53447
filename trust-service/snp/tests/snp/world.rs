//! What the tests share: the vectors, a time, and a verifier that trusts the test chain.

use ccnode_evidence::UnixTime;
use ccnode_snp::{Certificates, Product, ReportParsed, Roots, SnpProven, SnpRejection};
use ccnode_testkit::snp::{ChipModel, TestChip};
use std::path::PathBuf;

/// Within the validity of everything that the testkit makes.
pub(crate) const NOW: UnixTime = UnixTime(ccnode_testkit::NOW);

/// A file of the shared vectors; `None` (after saying so) where there are none.
pub(crate) fn vector(path: &str) -> Option<Vec<u8>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors");
    let dir = std::env::var_os("CCNODE_VECTORS").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    if !dir.is_dir() {
        let required = std::env::var_os("CCNODE_REQUIRE_VECTORS").is_some_and(|v| v == "1");
        assert!(!required, "vectors not found in {}", dir.display());
        eprintln!("skipped: vectors not found");
        return None;
    }
    Some(std::fs::read(dir.join(path)).unwrap_or_else(|e| panic!("{path}: {e}")))
}

pub(crate) fn product(model: ChipModel) -> Product {
    match model {
        ChipModel::Milan => Product::Milan,
        ChipModel::Genoa => Product::Genoa,
        ChipModel::Turin => Product::Turin,
    }
}

/// AMD's roots and the test chain's.
pub(crate) fn roots(chip: &TestChip) -> Roots {
    Roots::amd().clone().danger_with(product(chip.model()), &chip.ark_der()).unwrap()
}

/// What comes with the chip's reports.
pub(crate) fn sent(chip: &TestChip) -> Certificates {
    Certificates::from_table(&chip.certs_table()).unwrap()
}

/// The whole verification of one report of a test chip.
pub(crate) fn verify(chip: &TestChip, raw: &[u8]) -> Result<SnpProven, SnpRejection> {
    ReportParsed::parse(raw)?.verify(&sent(chip), &roots(chip), NOW)
}

/// An honest report of this chip, proven.
pub(crate) fn proven(chip: &TestChip) -> SnpProven {
    verify(chip, &chip.report([7; 64], 0)).unwrap()
}
