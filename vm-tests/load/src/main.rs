//! Many nodes at once against the release of the trust service: JSON figures on standard output, for `make bench`; `make release` counts
//! under it what the service does.
//!
//! The service has one core, the nodes another. Each session is a boot of a registered node: a connection of its own, a challenge with
//! a credential, an attestation with a firmware log of 40 KiB, the grants with the volume's key, and a certificate.
#![expect(clippy::print_stdout, reason = "dev-only: the figures are the output")]

mod connection;
mod figures;
mod nodes;
mod process;
mod registered;
mod trust;

use anyhow::{Context as _, Result};
use figures::Report;
use nodes::Nodes;
use std::path::PathBuf;
use std::process::ExitCode;
use trust::Trust;

/// Distinct TPMs, each with keys of its own.
const TPMS: usize = 1_000;
/// Nodes on record in the second half.
const REGISTERED: usize = 100_000;
/// The core of the nodes, and the service's.
const CORES: [usize; 2] = [0, 1];
/// Sessions per figure at 1, 100 and 1,000 nodes at once.
const PHASES: [(usize, usize); 3] = [(1, 500), (100, 2_000), (1_000, 3_000)];

fn main() -> ExitCode {
    match measure() {
        Ok(report) => {
            println!("{}", report.json());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<Report> {
    let program = std::env::args_os().nth(1).map(PathBuf::from);
    let program = program.context("usage: ccnode-load PATH-OF-ccnode-trust")?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    process::allow_open_files()?;
    process::pin_self(CORES[0])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(program))
}

async fn run(program: PathBuf) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    eprintln!("==> {TPMS} TPMs");
    let mut nodes = Nodes::new(TPMS);
    let mut trust = Trust::make(&folder.path().join("trust"), program, CORES[1]).await?;
    trust.start().await?;
    trust.allow(&nodes).await?;
    eprintln!("==> first boots of {TPMS} nodes");
    nodes.enrol(&trust).await?;
    let mut report = Report::default();
    for (at_once, sessions) in PHASES {
        eprintln!("==> {sessions} sessions, {at_once} nodes at once");
        report.phase(at_once, trust.measured(nodes.sessions(&trust, at_once, sessions)).await?);
    }
    report.memory(TPMS, trust.resident()?);
    trust.stop().await?;
    eprintln!("==> {REGISTERED} registered nodes");
    registered::fill(trust.folder(), REGISTERED - TPMS).await?;
    trust.start().await?;
    let (at_once, sessions) = PHASES[1];
    // Caches are warm in the other figures, too.
    nodes.sessions(&trust, at_once, sessions / 4).await?;
    report.registered(REGISTERED, trust.measured(nodes.sessions(&trust, at_once, sessions)).await?);
    report.memory(REGISTERED, trust.resident()?);
    trust.stop().await?;
    Ok(report)
}
