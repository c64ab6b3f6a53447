//! Times of verification and of judging a disk's header on one core, beside the crates that do part of it: JSON figures on standard output, for `make bench`.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "dev-only: a fixture that can't be made must fail loudly, and the figures are the output"
)]

mod azure;
mod clock;
mod luks;
mod snp;
mod tdx;
mod tpm;

use serde_json::{Value, json};

/// At most so many milliseconds for a TPM's evidence with a log of 40 KiB.
const TPM_GOAL: f64 = 0.25;
/// Reading and replay over SHA-256 of the same bytes: 80 % of its speed.
const REPLAY_GOAL: f64 = 1.25;
/// A kind's verification over the other crate's part of it.
const PEER_GOAL: f64 = 1.2;
/// At most so many milliseconds for a volume's header: read, judged, and compared with its digest.
const HEADER_GOAL: f64 = 1.0;

fn figure(name: &str, value: f64, unit: &str, goal: Option<f64>) -> Value {
    json!({"name": name, "value": value, "unit": unit, "goal": goal, "holds": goal.map(|goal| value <= goal)})
}

fn main() {
    let tpm = tpm::times();
    let (snp, tdx, azure) = (snp::times(), tdx::times(), azure::millis());
    let header = luks::times();
    let figures = [
        figure("tpm-appraisal-40k-log", tpm.appraisal, "ms", Some(TPM_GOAL)),
        figure("log-read-and-replay", tpm.megabytes(tpm.replay), "MB/s", None),
        figure("sha256-of-the-log", tpm.megabytes(tpm.sha256), "MB/s", None),
        figure("log-replay-over-sha256", tpm.replay / tpm.sha256, "ratio", Some(REPLAY_GOAL)),
        figure("snp-report-and-chain", snp.ours, "ms", None),
        figure("snp-report-chain-kept", snp.kept, "ms", None),
        figure("snp-sev-crate", snp.theirs, "ms", None),
        figure("snp-over-sev-crate", snp.ours / snp.theirs, "ratio", Some(PEER_GOAL)),
        figure("tdx-quote-and-collateral", tdx.ours, "ms", None),
        figure("tdx-quote-collateral-kept", tdx.kept, "ms", None),
        figure("tdx-dcap-qvl-crate", tdx.theirs, "ms", None),
        figure("tdx-over-dcap-qvl-crate", tdx.ours / tdx.theirs, "ratio", Some(PEER_GOAL)),
        figure("azure-snp-report-and-runtime", azure, "ms", None),
        figure("azure-over-sev-crate", azure / snp.theirs, "ratio", Some(PEER_GOAL)),
        figure("luks-header-judged", header.own, "ms", Some(HEADER_GOAL)),
        figure("luks-header-hostile-refused", header.hostile, "ms", Some(HEADER_GOAL)),
    ];
    println!("{}", json!({ "figures": figures }));
}
