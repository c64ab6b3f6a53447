//! Our own times: a second boot of a node that has joined, told by the guest's own clock.

use anyhow::{Context as _, Result};
use ccnode_vm_harness::{Story, Vm};
use ccnode_vm_scenarios::node::{Node, Outcome, ended};
use ccnode_vm_scenarios::stage::{Cluster, Stage};
use ccnode_vm_scenarios::trust::TrustDir;
use serde::Deserialize;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::figures::{Figure, Section};

/// Name of the figure of what is left when the TPM, modules, network and LUKS are taken off.
pub const OWN: &str = "ours-left";
/// Name of the figure from the exec of `/init` to the mapping, less modules and lease.
pub const ATTEST_TO_UNLOCK: &str = "attest-to-unlock";
/// Name of the figure of reading and judging the header and opening the volume from it.
pub const LUKS: &str = "ours-sum-luks";
/// How often the guest's helper is asked before it is given up; it may not have been started yet.
const ASKED: usize = 12;
/// How long a node may take to stop its services and switch itself off.
const SWITCHED_OFF: Duration = Duration::from_secs(120);

/// `/run/ccnode/status.json`, version 1, as far as it tells times: milliseconds, of CLOCK_MONOTONIC where absolute.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    steps: Vec<StepTime>,
    sums: Sums,
    started: u64,
    mapped: u64,
    finished: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct StepTime {
    name: String,
    ms: u64,
}

#[derive(Clone, Debug, Deserialize)]
struct Sums {
    tpm_ms: u64,
    report_ms: u64,
    modules_ms: u64,
    lease_ms: u64,
    luks_ms: u64,
    #[serde(default)]
    random_ms: u64,
}

/// One second boot.
#[derive(Clone, Debug)]
pub struct Run {
    status: Status,
    /// When the kernel started `/init`, milliseconds of CLOCK_MONOTONIC.
    exec: f64,
}

/// A node that has joined and was switched off as machines are, its service beside it.
#[derive(Debug)]
pub struct Ours {
    stage: &'static Stage,
    dir: PathBuf,
    node: Node,
    trust: TrustDir,
}

impl Ours {
    /// Builds what is missing, lets a node join, and switches it off by its init: a file system that lost its power would
    /// be recovered in each boot that is measured.
    ///
    /// # Errors
    /// When a program is not built, the node does not join, or it stays on.
    pub fn prepare(dir: &Path) -> Result<Self> {
        let stage = Stage::get()?;
        let dir = dir.join("ours");
        let story = Story::begin("ours", dir.join("first"))?;
        let (node, trust, cluster, _name) = stage.ready(&story)?;
        let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "switched-off")?;
        joined(&mut vm)?;
        // The helper is there once it answers; what it says while it is stopped may get lost.
        ask(&mut vm, "status")?;
        vm.type_line("power-off")?;
        vm.wait_off(SWITCHED_OFF)?;
        let trust = trust.dir().clone();
        Ok(Self { stage, dir, node, trust })
    }

    /// The folder of the image that boots.
    #[must_use]
    pub fn image(&self) -> &Path {
        &self.stage.image.dir
    }

    /// A copy of the image's root source, and its root hash.
    ///
    /// # Errors
    /// When the image is not whole.
    pub fn source(&self) -> Result<(PathBuf, String)> {
        let image = &self.stage.image;
        let file = self.dir.join("source.img");
        image.disk().dump(&image.disk().partition("root-source")?, &file)?;
        let tuple: Value = serde_json::from_slice(&std::fs::read(image.dir.join("image-tuple.json"))?)?;
        let hash = tuple.get("verity_hash").and_then(Value::as_str).context("a tuple has a root hash")?;
        Ok((file, hash.to_owned()))
    }

    /// Boots a copy of that node, its TPM and its service until it has joined, and asks it for its times: each run is a
    /// second boot.
    ///
    /// # Errors
    /// When the node does not join, or its helper does not answer.
    pub fn run(&self, round: usize) -> Result<Run> {
        let name = format!("ours-{round}");
        let story = Story::begin(&name, self.dir.join(&name))?;
        let node = self.node.copy_to(story.dir())?;
        // Else the guest's first flush waits until the host has written the whole copy.
        File::open(node.disk.path())?.sync_all().context("writing the copy of the disk")?;
        let trust = self.trust.copy_to(story.path("trust"))?.serve()?;
        let cluster = Cluster::start(trust.dir(), story.dir())?;
        let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "boot")?;
        joined(&mut vm)?;
        let status = ask(&mut vm, "status")?;
        let exec = ask(&mut vm, "exec")?;
        vm.kill();
        let run = Run::parse(&status, &exec)?;
        story.step(&format!("handed over {:.0} ms after the exec of /init", run.whole()));
        std::fs::remove_file(node.disk.path()).context("removing the copy of the disk")?;
        Ok(run)
    }
}

/// Waits until the node has joined.
fn joined(vm: &mut Vm) -> Result<()> {
    match ended(vm)? {
        Outcome::Joined { .. } => Ok(()),
        Outcome::Refused { code, console } => anyhow::bail!("the boot was refused: {code}\n{console}"),
    }
}

impl Run {
    /// Reads the helper's answers.
    fn parse(status: &str, exec: &str) -> Result<Self> {
        let status: Status =
            serde_json::from_str(status.trim()).with_context(|| format!("status `{status}`"))?;
        let exec = exec.trim().strip_prefix("exec: ").and_then(|t| t.strip_suffix(" ms"));
        let exec: f64 =
            exec.and_then(|t| t.parse().ok()).context("the guest does not tell when /init was started")?;
        Ok(Self { status, exec })
    }

    /// From the exec of `/init` to switch_root.
    fn whole(&self) -> f64 {
        ms(self.status.finished) - self.exec
    }

    /// From the exec of `/init` to its first own look at the clock: mapping, linking and relocating its libraries.
    fn before(&self) -> f64 {
        ms(self.status.started) - self.exec
    }

    /// What is left when the waits that are not ours are taken off.
    fn own(&self) -> f64 {
        let Sums { tpm_ms, report_ms, modules_ms, lease_ms, luks_ms, .. } = self.status.sums;
        self.whole() - ms(tpm_ms + report_ms + modules_ms + lease_ms + luks_ms)
    }

    /// From the exec of `/init` to /dev/mapper/NAME, less modules and lease, which all come before it.
    fn attest_to_unlock(&self) -> f64 {
        ms(self.status.mapped) - self.exec - ms(self.status.sums.modules_ms + self.status.sums.lease_ms)
    }
}

/// The figures of several runs: the whole, each step, each sum, what is left, and attest-to-unlock.
#[must_use]
pub fn section(runs: &[Run], failures: &[String]) -> Section {
    let median = |name: &str, of: &dyn Fn(&Run) -> f64| {
        let values: Vec<f64> = runs.iter().map(of).collect();
        match (runs, failures.first()) {
            ([], Some(failure)) => Figure::unmeasured(name, "ms", failure),
            _ => Figure::median(name, &values, "ms"),
        }
    };
    let mut figures = vec![median("ours-init-to-switch-root", &Run::whole)];
    if let Some(first) = runs.first() {
        figures.push(median("ours-step-start", &Run::before));
        for step in &first.status.steps {
            let of =
                |run: &Run| ms(run.status.steps.iter().filter(|s| s.name == step.name).map(|s| s.ms).sum());
            figures.push(median(&format!("ours-step-{}", step.name), &of));
        }
        figures.push(median("ours-sum-tpm", &|run| ms(run.status.sums.tpm_ms)));
        figures.push(median("ours-sum-reports", &|run| ms(run.status.sums.report_ms)));
        figures.push(median("ours-sum-modules", &|run| ms(run.status.sums.modules_ms)));
        figures.push(median("ours-sum-lease", &|run| ms(run.status.sums.lease_ms)));
        figures.push(median(LUKS, &|run| ms(run.status.sums.luks_ms)));
        figures.push(median("ours-sum-random", &|run| ms(run.status.sums.random_ms)));
    }
    figures.push(median(OWN, &Run::own));
    figures.push(median(ATTEST_TO_UNLOCK, &Run::attest_to_unlock));
    let mut notes = vec![
        "the node boots by OVMF and its UKI, the peers by direct kernel boot: same kernel, processor, memory and TPM".to_owned(),
        "ours-left includes the exchanges with the service, the service's own work on the host, and the wait for the kernel's random numbers".to_owned(),
    ];
    if !failures.is_empty() && !runs.is_empty() {
        notes.push(format!("{} boots failed: {}", failures.len(), failures.join("; ")));
    }
    let title = "Ours: second boot of a node that has joined, from the exec of /init to switch_root";
    Section { title: title.into(), figures, notes }
}

/// Asks the dev-only helper in the guest, and returns its answer.
fn ask(vm: &mut Vm, command: &str) -> Result<String> {
    let (begin, end) = (format!("guest: {command} begin"), format!("guest: {command} end"));
    let mut answer = Ok(());
    for _ in 0..ASKED {
        vm.type_line(command)?;
        answer = vm.wait_for(&end, Duration::from_secs(10));
        if answer.is_ok() {
            break;
        }
    }
    answer?;
    let console = vm.console();
    Ok(between(&console, &begin, &end).context("an end without a beginning")?.to_owned())
}

fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(begin)?.1.split_once(end)?.0)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since a boot are far below 2^52")]
fn ms(ms: u64) -> f64 {
    ms as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = r#"
{"version":1,"node":"workers-a","service":"https://10.0.2.100","pool":"workers","image":"00","level":"hypervisor-vtpm",
"steps":[{"name":"discover","ms":200},{"name":"network","ms":310},{"name":"attest","ms":180},{"name":"cap","ms":10},
{"name":"unlock","ms":200},{"name":"provision","ms":60},{"name":"handover","ms":15}],
"sums":{"tpm_ms":150,"report_ms":10,"modules_ms":220,"lease_ms":300,"luks_ms":90},"started":2050,"mapped":2900,
"finished":3040}
"#;

    fn run() -> Run {
        Run::parse(STATUS, "\nexec: 2000.0 ms\n").unwrap()
    }

    #[test]
    fn shares_add_up() {
        assert_eq!(run().whole(), 1040.0);
        assert_eq!(run().before(), 50.0);
        assert_eq!(run().own(), 1040.0 - 150.0 - 10.0 - 220.0 - 300.0 - 90.0);
        assert_eq!(run().attest_to_unlock(), 900.0 - 220.0 - 300.0);
    }

    #[test]
    fn every_step_and_sum_is_a_figure() {
        let section = section(&[run(), run()], &[]);
        let value =
            |name: &str| section.figures.iter().find(|f| f.name == name).map(|f| f.value.clone().unwrap());
        for step in ["start", "discover", "network", "attest", "cap", "unlock", "provision", "handover"] {
            assert!(value(&format!("ours-step-{step}")).is_some(), "{step}");
        }
        assert_eq!(value("ours-sum-luks"), Some(90.0));
        assert_eq!(value(OWN), Some(270.0));
    }

    #[test]
    fn no_run_is_a_gap_with_its_reason() {
        let section = section(&[], &["not joined".to_owned()]);
        let names: Vec<_> = section.figures.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["ours-init-to-switch-root", OWN, ATTEST_TO_UNLOCK]);
        assert!(section.figures.iter().all(|f| f.value == Err("not joined".into())));
    }

    #[test]
    fn answers_that_are_none_are_errors() {
        assert!(Run::parse("", "exec: 1.0 ms").is_err());
        assert!(Run::parse(STATUS, "error: no `Run /init` in the kernel's log").is_err());
    }

    #[test]
    fn the_answer_lies_between_its_marks() {
        let console = "x\nguest: status begin\n{}\nguest: status end\n";
        assert_eq!(between(console, "guest: status begin", "guest: status end"), Some("\n{}\n"));
        assert_eq!(between(console, "guest: exec begin", "guest: exec end"), None);
    }
}
