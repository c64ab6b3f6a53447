//! Recorded reports: what the node takes out of them is what was recorded.

use ccnode_cvm::{HclKind, HclReport};
use ccnode_vectors::read;

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
