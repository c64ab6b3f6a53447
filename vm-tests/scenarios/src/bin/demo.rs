//! The main job, narrated: a node attests, unlocks and joins; tampered ones are refused and say why.

use anyhow::{Context as _, Result};
use ccnode_vm_harness::run::target_dir;
use ccnode_vm_harness::{Story, relay};
use ccnode_vm_scenarios::stage::Cluster;
use ccnode_vm_scenarios::{Node, Outcome, Stage, Trust, tamper};
use serde::Serialize;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    if let Some(code) = relay::serve_if_asked() {
        return code;
    }
    match Demo::run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A row of the summary.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    expected: &'static str,
    outcome: &'static str,
    code: Option<String>,
    seconds: f32,
    #[serde(skip)]
    as_expected: bool,
}

struct Demo {
    story: Story,
    trust: Trust,
    cluster: Cluster,
    rows: Vec<Row>,
}

impl Demo {
    fn run() -> Result<bool> {
        say("preparing: keys of the service, TPMs, the node image (built once, then reused)");
        let stage = Stage::get()?;
        let story = Story::begin("demo", target_dir().join("demo"))?;
        say(
            "1. the trust service starts; pool `workers` enrols by itself, for its rule is danger-host-is-trusted",
        );
        note(
            "swtpm is a vTPM that the host keeps (hypervisor-vtpm): it protects against disk thieves, other",
        );
        note("tenants and tampered images, NOT against the host's administrators, who can forge every PCR");
        let (trust, cluster) = stage.trust(&story)?;
        let mut demo = Self { story, trust, cluster, rows: Vec::new() };
        let mut node = Node::new(&demo.story, &stage.image, &stage.tpms.template("a")?)?;

        note("the service knows the image, but not this platform (firmware and its settings)");
        let outcome = demo.boot("unknown-platform", &mut node, Some("platform-unknown"))?;
        demo.explain(&outcome)?;
        let id = demo.trust.last_refusal()?.get("id").context("a refusal has an id")?.to_string();
        note(&format!("as an administrator: ccnode platform record --refusal {id}"));
        demo.trust.cli(&["platform", "record", "--refusal", &id, "--name", "qemu-q35-ovmf"])?;

        say(
            "2. node A boots the first time: enrols, formats and fills its LUKS root, gets its certificate, joins",
        );
        let first = demo.boot("first-boot", &mut node, None)?;
        say("3. node A boots again: the same root, the same name");
        let second = demo.boot("second-boot", &mut node, None)?;
        demo.same_root(&first, &second)?;

        say("4. the same disk, `init=/bin/sh` added to the command line inside the UKI");
        let mut tampered = node.copy_to(&demo.story.path("tampered-cmdline-disk"))?;
        tamper::cmdline(&tampered.disk, "init=/bin/sh")?;
        let outcome = demo.boot("tampered-cmdline", &mut tampered, Some("image-unknown"))?;
        demo.explain(&outcome)?;

        say("5. the same disk, one byte changed in a data file of the initramfs");
        let mut tampered = node.copy_to(&demo.story.path("tampered-initramfs-disk"))?;
        tamper::initramfs(&tampered.disk)?;
        let outcome = demo.boot("tampered-initramfs", &mut tampered, Some("image-unknown"))?;
        demo.explain(&outcome)?;

        say("6. the disk, moved to a machine with another TPM");
        let mut foreign = node.copy_to(&demo.story.path("foreign-tpm-disk"))?;
        foreign.tpm = Some(stage.tpms.template("b")?.copy_to(demo.story.path("tpm-b"))?);
        let before = std::fs::read(foreign.disk.path())?;
        demo.boot("foreign-tpm", &mut foreign, Some("disk-not-blank"))?;
        demo.unchanged(before == std::fs::read(foreign.disk.path())?);

        say("7. the trust service is down: the node retries until its deadline and powers off");
        demo.trust.kill();
        let outcome = demo.boot("service-down", &mut node, Some("service-unreachable"))?;
        demo.explain(&outcome)?;
        demo.summary()
    }

    /// Boots, narrates and records; `want` is the code of the expected refusal.
    fn boot(&mut self, name: &'static str, node: &mut Node, want: Option<&str>) -> Result<Outcome> {
        let started = Instant::now();
        let outcome = node.boot(&self.story, name, &self.trust, &self.cluster)?;
        let as_expected = outcome.code() == want;
        self.rows.push(Row {
            name,
            expected: if want.is_some() { "refused" } else { "joined" },
            outcome: if outcome.code().is_some() { "refused" } else { "joined" },
            code: outcome.code().map(str::to_owned),
            seconds: started.elapsed().as_secs_f32(),
            as_expected,
        });
        Ok(outcome)
    }

    /// Shows the console's last words, as a person at the machine reads them.
    fn explain(&self, outcome: &Outcome) -> Result<()> {
        let console = outcome.console();
        let start = console.find("refused ").and_then(|at| console.get(..at)?.rfind('\n')).unwrap_or(0);
        note("the node's console:");
        for line in console.get(start..).unwrap_or_default().lines().filter(|l| !l.trim().is_empty()).take(8)
        {
            note(&format!("  | {}", line.trim_end()));
        }
        Ok(())
    }

    fn same_root(&mut self, first: &Outcome, second: &Outcome) -> Result<()> {
        let name = |outcome: &Outcome| match outcome {
            Outcome::Joined { name, .. } => name.clone(),
            Outcome::Refused { .. } => String::new(),
        };
        let kept = second.console().contains("ccnode-demo: boot 2 of this root");
        let same = kept && !name(first).is_empty() && name(first) == name(second);
        note(if same {
            "a file of the first boot is there, the name is the same"
        } else {
            "NOT the same root or name"
        });
        self.fail_last_unless(same);
        Ok(())
    }

    fn unchanged(&mut self, same: bool) {
        note(if same { "nothing on the disk changed" } else { "the disk CHANGED" });
        self.fail_last_unless(same);
    }

    fn fail_last_unless(&mut self, good: bool) {
        if let Some(row) = self.rows.last_mut() {
            row.as_expected &= good;
        }
    }

    fn summary(&self) -> Result<bool> {
        let ok = self.rows.len() == 7 && self.rows.iter().all(|row| row.as_expected);
        let path = target_dir().join("demo/summary.json");
        std::fs::write(
            &path,
            serde_json::to_vec_pretty(&serde_json::json!({ "scenarios": self.rows, "ok": ok }))?,
        )?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{:<20} {:<9} {:<22} {:>8}", "scenario", "outcome", "code", "seconds")?;
        for row in &self.rows {
            let mark = if row.as_expected { "" } else { "  <- NOT as expected" };
            let code = row.code.as_deref().unwrap_or("-");
            writeln!(out, "{:<20} {:<9} {:<22} {:>8.1}{mark}", row.name, row.outcome, code, row.seconds)?;
        }
        writeln!(
            out,
            "\n{}; summary in {}",
            if ok { "all as expected" } else { "NOT as expected" },
            path.display()
        )?;
        Ok(ok)
    }
}

fn say(text: &str) {
    eprintln!("\n==> {text}");
}

fn note(text: &str) {
    eprintln!("    {text}");
}
