//! `make bench`: measures, prints the table, writes `target/bench/summary.json`; with the argument `peers`, without ours.

use anyhow::{Context as _, Result, anyhow, bail};
use ccnode_vm_bench::baseline::{self, Baseline, Peer};
use ccnode_vm_bench::disk;
use ccnode_vm_bench::figures::{self, Figure, Section};
use ccnode_vm_bench::ours::{self, Ours};
use ccnode_vm_bench::program;
use ccnode_vm_bench::sizes;
use ccnode_vm_harness::{relay, run::target_dir};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Boots per figure, unless `CCNODE_BENCH_BOOTS` says otherwise.
const BOOTS: usize = 3;
/// What is left of ours, as a share of `cryptsetup open`.
const OWN_GOAL: f64 = 0.3;
/// Attest-to-unlock as a share of systemd-cryptsetup's local unseal.
const UNLOCK_GOAL: f64 = 0.75;

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

/// Missed goals and gaps are told, and are no failure: a busy machine is slow.
fn bench() -> Result<()> {
    let boots = std::env::var("CCNODE_BENCH_BOOTS").ok().and_then(|n| n.parse().ok()).unwrap_or(BOOTS);
    let dir = target_dir().join("bench");
    let sections = measure(&dir, boots);
    std::io::stdout().write_all(figures::table(&sections).as_bytes())?;
    let summary = dir.join("summary.json");
    figures::write_summary(&sections, &summary)?;
    eprintln!("\nwrote {}", summary.display());
    Ok(())
}

/// Peers and ours take turns, so that a busy host slows all alike.
fn measure(dir: &Path, boots: usize) -> Vec<Section> {
    let baseline = guest().and_then(|init| Baseline::prepare(dir, &init));
    let ours = match std::env::args().nth(1).as_deref() {
        None => Ours::prepare(dir),
        Some("peers") => Err(anyhow!("only the peers were asked for")),
        Some(other) => Err(anyhow!("unknown argument `{other}`")),
    };
    let (mut cryptsetup, mut systemd, mut runs) = (Vec::new(), Vec::new(), Vec::new());
    let mut peer_failures: Vec<String> = baseline.as_ref().err().map(told).into_iter().collect();
    let mut our_failures: Vec<String> = ours.as_ref().err().map(told).into_iter().collect();
    let mut notes = baseline.as_ref().map(|b| b.notes().to_vec()).unwrap_or_default();
    notes.extend(load());
    for round in 1..=boots {
        if let Ok(baseline) = &baseline {
            keep(baseline.run(Peer::Cryptsetup, round), &mut cryptsetup, &mut peer_failures);
            keep(baseline.run(Peer::Systemd, round), &mut systemd, &mut peer_failures);
        }
        if let Ok(ours) = &ours {
            keep(ours.run(round), &mut runs, &mut our_failures);
        }
    }
    notes.extend(load());
    let peers = baseline::section(&cryptsetup, &systemd, &notes, &peer_failures);
    let own = ours::section(&runs, &our_failures);
    let ratios = ratios(&peers.figures, &own.figures);
    let image = ours.as_ref().map(Ours::image).map_err(|error| anyhow!(told(error)));
    let disk = disk::section(&in_one_boot(&baseline, &ours));
    let appraisal = program::section("Verification, on one core", &dir.join("appraisal.json"));
    let load = program::section("The service under load, on one core", &dir.join("load.json"));
    vec![peers, own, ratios, disk, sizes::measure(image), appraisal, load]
}

/// Opening and filling beside the peers, in one boot.
fn in_one_boot(baseline: &Result<Baseline>, ours: &Result<Ours>) -> Result<BTreeMap<String, String>, String> {
    let (baseline, ours) = (baseline.as_ref().map_err(told)?, ours.as_ref().map_err(told)?);
    ours.source().and_then(|(source, hash)| baseline.disk(&source, &hash)).map_err(|error| told(&error))
}

fn ratios(peers: &[Figure], own: &[Figure]) -> Section {
    let find = |name: &str| {
        let found = peers.iter().chain(own).find(|f| f.name == name).cloned();
        found.unwrap_or_else(|| Figure::unmeasured(name, "ms", "no such figure"))
    };
    let (cryptsetup, systemd) = (find(baseline::CRYPTSETUP), find(baseline::SYSTEMD));
    let unlock = find(ours::ATTEST_TO_UNLOCK);
    let figures = vec![
        find(ours::OWN).over(&cryptsetup, "ours-left-over-cryptsetup").at_most(OWN_GOAL),
        unlock.over(&systemd, "attest-to-unlock-over-systemd-cryptsetup").at_most(UNLOCK_GOAL),
        unlock.over(&cryptsetup, "attest-to-unlock-over-cryptsetup"),
    ];
    Section { title: "Ratios, of medians".into(), figures, notes: Vec::new() }
}

fn keep<T>(result: Result<T>, good: &mut Vec<T>, failures: &mut Vec<String>) {
    match result {
        Ok(value) => good.push(value),
        Err(error) => {
            eprintln!("failed: {error:#}");
            failures.push(told(&error));
        }
    }
}

/// The first line alone: an error may carry the end of a console.
fn told(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

/// Says so where others use the host's processors: every figure is then too high, and none of the ratios sure.
fn load() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    let load: f64 = text.split_whitespace().next()?.parse().ok()?;
    let cores = std::thread::available_parallelism().ok()?;
    Some(format!(
        "load average of the host {load:.1}, {cores} cores; above 1.5 others slow the machines down"
    ))
}

/// The guest's init, which lies beside this program once it is built; cargo builds only what it was asked to run.
fn guest() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args([
        "build",
        "--quiet",
        "--profile",
        "node",
        "-p",
        "ccnode-vm-bench",
        "--bin",
        "ccnode-bench-guest",
    ]);
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().context("running cargo")?;
    let guest = target_dir().join("node/ccnode-bench-guest");
    if !status.success() || !guest.is_file() {
        bail!("{} was not built ({status})", guest.display());
    }
    Ok(guest)
}
