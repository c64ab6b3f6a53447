//! What the tests share: the vectors, a time, and a verifier that trusts the test chain.

use ccnode_evidence::UnixTime;
use ccnode_snp::{Certificates, Product, ReportParsed, Roots, SnpProven, SnpRejection};
use ccnode_testkit::snp::{ChipModel, TestChip};
pub(crate) use ccnode_vectors::read as vector;

/// Within the validity of everything that the testkit makes.
pub(crate) const NOW: UnixTime = UnixTime(ccnode_testkit::NOW);

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
