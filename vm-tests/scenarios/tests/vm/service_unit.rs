//! The trust service as it is shipped, program and unit, under a real systemd.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::{Disk, Story};
use ccnode_vm_scenarios::node::{ask, ended};
use ccnode_vm_scenarios::stage::{Stage, program, project};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// What the guest's helper runs, from the second disk.
const SCRIPT: &str = include_str!("service_unit.sh");

/// The machine is a joined node's, for that has a whole Debian with systemd; it lends nothing else.
pub(crate) fn trust_service_under_systemd(story: &Story) -> Result<()> {
    let (node, trust, cluster, name) = Stage::get()?.ready(story)?;
    let machine = node.machine(trust.port(), cluster.api.port());
    let machine = machine.disk(Disk::data(second_disk(story)?, "second").read_only());
    let mut vm = story.boot(&machine, "boot")?;
    ended(&mut vm)?.joined(&name)?;
    let said = ask(&mut vm, "second")?;
    for line in [
        "started: is-active: active",
        "started: readyz: ok",
        "process: CapEff: 0000000000000400",
        "process: NoNewPrivs: 1",
        "process: Seccomp: 2",
        "reloaded: is-active: active",
        "reloaded: readyz: ok",
        "reloaded: same process: yes",
        "killed: is-active: active",
        "killed: readyz: ok",
        "stopped: is-active: inactive success",
        "security: within",
    ] {
        ensure!(said.lines().any(|said| said.trim_end() == line), "no `{line}`:\n{said}");
    }
    ensure!(!said.contains("process: Uid: 0"), "it runs as root:\n{said}");
    let refused = said.contains("stranger: ") && said.contains("certificate signed by unknown authority");
    ensure!(refused && !said.contains("stranger: trusted"), "/readyz was read without its CA:\n{said}");
    let exposed =
        said.lines().find_map(|line| line.split("Overall exposure level for ccnode-trust.service: ").nth(1));
    let exposed = exposed.with_context(|| format!("systemd-analyze says nothing:\n{said}"))?;
    let level: f32 = exposed.split(' ').next().unwrap_or_default().parse()?;
    ensure!(level <= 2.0, "exposed by {level}:\n{said}");
    story.step(&format!("systemd-analyze security: {}", exposed.trim_end()));
    Ok(())
}

/// A file system with the program, its unit and the script.
fn second_disk(story: &Story) -> Result<PathBuf> {
    let (tree, image) = (story.path("second"), story.path("second.img"));
    fs::create_dir(&tree)?;
    let program = program("ccnode-trust")?;
    run(Command::new("strip").arg("-o").arg(tree.join("ccnode-trust")).arg(program))?;
    fs::copy(project().join("trust-service/ccnode-trust.service"), tree.join("ccnode-trust.service"))?;
    fs::write(tree.join("run"), SCRIPT)?;
    run(Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&tree).arg(&image).arg("64M"))?;
    Ok(image)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {:?}", command.get_program()))?;
    ensure!(status.success(), "{:?} failed", command.get_program());
    Ok(())
}
