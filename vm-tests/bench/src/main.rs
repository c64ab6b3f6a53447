//! `make bench`: measures, prints the table, writes `target/bench/summary.json`.

use anyhow::{Context as _, Result, bail};
use ccnode_vm_bench::{baseline, figures};
use ccnode_vm_harness::{relay, run::target_dir};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Boots per figure, unless `CCNODE_BENCH_BOOTS` says otherwise.
const BOOTS: usize = 3;

fn main() -> ExitCode {
    if let Some(code) = relay::serve_if_asked() {
        return code;
    }
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Missed goals are told, and are no failure: a busy machine is slow.
fn bench() -> Result<()> {
    let boots = std::env::var("CCNODE_BENCH_BOOTS").ok().and_then(|n| n.parse().ok()).unwrap_or(BOOTS);
    let dir = target_dir().join("bench");
    let sections = [baseline::measure(&dir, guest(), boots)];
    std::io::stdout().write_all(figures::table(&sections).as_bytes())?;
    let summary = dir.join("summary.json");
    figures::write_summary(&sections, &summary)?;
    eprintln!("\nwrote {}", summary.display());
    Ok(())
}

/// The guest's init, which lies beside this program once it is built; cargo builds only what it was asked to run.
fn guest() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "-p", "ccnode-vm-bench", "--bin", "ccnode-bench-guest"]);
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().context("running cargo")?;
    let guest = this.with_file_name("ccnode-bench-guest");
    if !status.success() || !guest.is_file() {
        bail!("{} was not built ({status})", guest.display());
    }
    Ok(guest)
}
