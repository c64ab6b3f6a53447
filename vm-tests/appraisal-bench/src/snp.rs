//! An SEV-SNP report with its chain, beside the `sev` crate's verification of the same.

use crate::clock;
use ccnode_evidence::UnixTime;
use ccnode_snp::{Certificates, Endorsement, Product, ReportParsed, Roots};
use ccnode_testkit::snp::TestChip;
use sev::certs::snp::{Certificate, Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use std::hint::black_box;

/// A time within all validities.
pub(crate) const NOW: UnixTime = UnixTime(1_780_272_000);

/// Milliseconds: report and chain, report with the chain proven before, and the other crate's.
pub(crate) struct Times {
    pub(crate) ours: f64,
    pub(crate) kept: f64,
    pub(crate) theirs: f64,
}

pub(crate) fn roots(chip: &TestChip) -> Roots {
    Roots::amd().clone().danger_with(Product::Milan, &chip.ark_der()).expect("a root")
}

pub(crate) fn times() -> Times {
    let chip = TestChip::milan();
    let (report, table, roots) = (chip.report([7; 64], 0), chip.certs_table(), roots(&chip));
    let certificates = Certificates::from_table(&table).expect("certificates");
    let parsed = ReportParsed::parse(&report).expect("a report");
    let endorsement =
        Endorsement::of_report(parsed.report(), &certificates, &roots, NOW).expect("an endorsement");
    let [ark, ask, vek] = [chip.ark_der(), chip.ask_der(), chip.vek_der()];
    let [ours, kept, theirs] = clock::millis([
        &mut || {
            let certificates = Certificates::from_table(black_box(&table)).expect("certificates");
            let parsed = ReportParsed::parse(black_box(&report)).expect("a report");
            black_box(parsed.verify(&certificates, &roots, NOW).expect("a good report"));
        },
        &mut || {
            let parsed = ReportParsed::parse(black_box(&report)).expect("a report");
            black_box(parsed.prove(&endorsement, NOW).expect("a good report"));
        },
        &mut || {
            let cert = |der: &[u8]| Certificate::from_der(black_box(der)).expect("a certificate");
            let chain = Chain { ca: ca::Chain { ark: cert(&ark), ask: cert(&ask) }, vek: cert(&vek) };
            let report = AttestationReport::from_bytes(black_box(&report)).expect("a report");
            (&chain, &report).verify().expect("a good report");
        },
    ]);
    Times { ours, kept, theirs }
}
