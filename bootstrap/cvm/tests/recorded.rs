//! Recorded reports: what the node takes out of them is what was recorded.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use ccnode_cvm::{HclKind, HclReport};
use std::path::PathBuf;

/// The file's bytes; `None` (after saying so) where there are no vectors.
fn read(path: &str) -> Option<Vec<u8>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors");
    let dir = std::env::var_os("CCNODE_VECTORS").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    if !dir.is_dir() {
        let required = std::env::var_os("CCNODE_REQUIRE_VECTORS").is_some_and(|v| v == "1");
        assert!(!required, "vectors not found in {}", dir.display());
        eprintln!("skipped: vectors not found");
        return None;
    }
    Some(std::fs::read(dir.join(path)).unwrap())
}

#[test]
fn hcl_reports_of_both_kinds() {
    for (path, kind) in [
        ("azure-hcl/snp/hcl-report.bin", HclKind::Snp),
        ("azure-hcl/tdx/hcl-report.bin", HclKind::Tdx),
        ("azure-hcl/tdx/kinvolk-hcl-report-tdx.bin", HclKind::Tdx),
    ] {
        let Some(bytes) = read(path) else { return };
        let report = HclReport::parse(bytes).unwrap();
        assert_eq!(report.kind, kind, "{path}");
        assert_eq!(report.td_report().map(|report| report.len()), (kind == HclKind::Tdx).then_some(1024));
        let modulus = report.ek_modulus().unwrap();
        assert_eq!(modulus.len(), 256, "{path}");
        // The hosts of these had been given no user data.
        assert!(report.names(&[0; 64]), "{path}");
        assert!(!report.names(&[1; 64]), "{path}");
    }
}
