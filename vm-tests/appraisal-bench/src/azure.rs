//! An Azure HCL report: hardware report, chain, and the runtime data that it covers.

use crate::clock;
use crate::snp::{NOW, roots};
use ccnode_hcl::{HardwareReport, HclReport};
use ccnode_snp::{Certificates, ReportParsed};
use ccnode_testkit::hcl::{HclSpec, runtime_data};
use ccnode_testkit::snp::TestChip;
use rsa::RsaPrivateKey;
use std::hint::black_box;

/// Milliseconds.
pub(crate) fn millis() -> f64 {
    let chip = TestChip::milan();
    let (table, roots) = (chip.certs_table(), roots(&chip));
    let key = RsaPrivateKey::new(&mut rand_core::OsRng, 2048).expect("a key").to_public_key();
    let runtime = runtime_data(&key, &key, &[0; 64]);
    let bytes = HclSpec::snp(&chip, &runtime).bytes();
    let [millis] = clock::millis([&mut || {
        let hcl = HclReport::parse(black_box(&bytes)).expect("an HCL report");
        let HardwareReport::Snp(report) = hcl.hardware() else { return };
        let certificates = Certificates::from_table(black_box(&table)).expect("certificates");
        let parsed = ReportParsed::parse(report).expect("a report");
        let proven = parsed.verify(&certificates, &roots, NOW).expect("a good report");
        black_box(hcl.bound_to(&proven.report().report_data).expect("bound runtime data"));
    }]);
    millis
}
