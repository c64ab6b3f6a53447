//! Many nodes at once against the release of the trust service: JSON figures on standard output, for `make bench`; `make release` counts
//! under it what the service does. A second argument says how many turns there are, 0 for the first service alone.
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
use figures::{Report, Turns};
use nodes::Nodes;
use std::path::PathBuf;
use std::process::ExitCode;
use trust::Trust;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Distinct TPMs, each with keys of its own.
const TPMS: usize = 1_000;
/// Nodes on record at the second service.
const REGISTERED: usize = 100_000;
/// The core of the nodes, and the service's.
const CORES: [usize; 2] = [0, 1];
/// Sessions per figure of one node alone, and of all at once.
const PHASES: [(usize, usize); 2] = [(1, 500), (TPMS, 3_000)];
/// Sessions a turn with a hundred nodes at once, at the service with the fleet alone on record and at the one with all those nodes.
const TURN: (usize, usize) = (100, 2_000);
/// Turns of each: the machine's neighbours are not there in all of them.
const TURNS: usize = 7;

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
    let usage = "usage: ccnode-load PATH-OF-ccnode-trust [TURNS]";
    let mut arguments = std::env::args_os().skip(1);
    let program = arguments.next().map(PathBuf::from).context(usage)?;
    let turns = arguments
        .next()
        .map(|turns| turns.to_str().and_then(|turns| turns.parse().ok()).context(usage))
        .transpose()?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    process::allow_open_files()?;
    process::pin_self(CORES[0])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(program, turns.unwrap_or(TURNS)))
}

async fn run(program: PathBuf, turns: usize) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    eprintln!("==> {TPMS} TPMs");
    let mut nodes = Nodes::new(TPMS);
    let mut few = Trust::make(&folder.path().join("few"), program, CORES[1]).await?;
    few.start().await?;
    few.allow(&nodes).await?;
    eprintln!("==> first boots of {TPMS} nodes");
    nodes.enrol(&few).await?;
    let mut report = Report::default();
    for (at_once, sessions) in PHASES {
        eprintln!("==> {sessions} sessions, {at_once} nodes at once");
        report.phase(at_once, few.measured(nodes.sessions(&few, at_once, sessions)).await?);
    }
    report.memory(TPMS, few.resident()?);
    few.stop().await?;
    if turns == 0 {
        return Ok(report);
    }
    eprintln!("==> a second service, with {REGISTERED} nodes on record");
    let mut many = few.copy(&folder.path().join("many"))?;
    registered::fill(many.folder(), REGISTERED - TPMS).await?;
    few.start().await?;
    many.start().await?;
    let (at_once, sessions) = TURN;
    eprintln!("==> {turns} turns of {sessions} sessions at each, {at_once} nodes at once");
    let mut taken = Turns::default();
    // Caches are warm in what is measured.
    nodes.sessions(&few, at_once, sessions / 4).await?;
    nodes.sessions(&many, at_once, sessions / 4).await?;
    for _ in 0..turns {
        let fleet = few.measured(nodes.sessions(&few, at_once, sessions)).await?;
        taken.add(fleet, many.measured(nodes.sessions(&many, at_once, sessions)).await?);
    }
    report.turns(at_once, REGISTERED, taken);
    report.memory(REGISTERED, many.resident()?);
    few.stop().await?;
    many.stop().await?;
    Ok(report)
}
