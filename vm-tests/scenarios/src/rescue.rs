//! A volume without its node: custodians of a small image, what the service gives out for them, and a machine that opens the disk.

use anyhow::{Context as _, Result, ensure};
use ccnode_images::elf;
use ccnode_vm_harness::{Disk, Image, Machine, Story, Vm};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::node::{BOOT, SERIAL};
use crate::small::Small;
use crate::stage::{Stage, program};
use crate::trust::{Trust, TrustDir};

/// Two of these three are needed.
const CUSTODIANS: [&str; 3] = ["ada", "bob", "eve"];

/// A small image whose configuration names custodians; their keys lie in the story's folder.
///
/// # Errors
/// When a program fails.
pub fn image(story: &Story, stage: &Stage, tool: &TrustDir) -> Result<Small> {
    let mut keys = String::new();
    for name in CUSTODIANS {
        tool.cli(&["recover", "keygen", "-o", &text(&story.path(name))])?;
        let public = fs::read_to_string(story.path(&format!("{name}.pub")))?;
        keys.push_str(&format!("\"\"\"{public}\"\"\","));
    }
    Small::with(stage, "small-recovery", |archive| {
        let config = archive.content("etc/ccnode/node.toml").context("an image without node.toml")?;
        let config = String::from_utf8(config.to_vec())?;
        let config = format!("{config}\n[recovery]\nthreshold = 2\ncustodians = [{keys}]\n");
        archive.file("etc/ccnode/node.toml", 0o644, config.into_bytes());
        Ok(())
    })
}

/// The key that the first two custodians put together of what the service gives out.
///
/// # Errors
/// When the tool fails.
pub fn recover(story: &Story, trust: &Trust, node: &str) -> Result<PathBuf> {
    let (sealed, key) = (story.path("sealed"), story.path("key"));
    trust.cli(&["recover", "fetch", node, "-o", &text(&sealed), "--reason", "the machine is gone"])?;
    let mut combine = vec!["recover".to_owned(), "combine".to_owned()];
    for name in &CUSTODIANS[..2] {
        let share = text(&story.path(&format!("{name}.share")));
        let own = text(&story.path(name));
        trust.cli(&["recover", "open-share", &text(&sealed), "--key", &own, "-o", &share])?;
        combine.push(share);
    }
    combine.extend(["-o".to_owned(), text(&key)]);
    trust.cli(&combine)?;
    Ok(key)
}

/// Boots a machine without a TPM that opens a copy of the disk by the key; what its init said.
///
/// # Errors
/// When it does not boot, or did not find what the root was filled from.
pub fn open(story: &Story, small: &Small, disk: &Image, key: &Path) -> Result<String> {
    let start = small.rescue(story.path("rescue.initrd"), |archive| {
        for (to, name) in [("init", "ccnode-vm-rescue"), ("bin/ccnode", "ccnode")] {
            let stripped = story.path(name);
            let done = Command::new("strip").arg("-o").arg(&stripped).arg(program(name)?).status()?;
            ensure!(done.success(), "strip failed");
            for (guest, host) in elf::closure(&stripped, &["libgcc_s.so.1"])? {
                archive.file(&guest, 0o755, fs::read(&host)?);
            }
            archive.file(to, 0o755, fs::read(&stripped)?);
        }
        archive.file("key", 0o600, fs::read(key)?);
        Ok(())
    })?;
    let copy = disk.copy_to(story.path("rescued.img"))?;
    let machine = Machine::start(start).disk(Disk::boot(copy.path(), SERIAL)).no_tpm();
    let mut vm = story.boot(&machine, "rescue")?;
    let said = said(&mut vm)?;
    vm.kill();
    Ok(said)
}

fn said(vm: &mut Vm) -> Result<String> {
    let which = vm.wait_for_any(&["rescue: good", "rescue: bad"], BOOT)?;
    vm.wait_for("rescue: end", Duration::from_secs(10))?;
    let console = vm.console();
    ensure!(which == 0, "the disk was not rescued:\n{console}");
    let said = console.split("rescue: good ").nth(1).and_then(|rest| rest.lines().next());
    Ok(said.context("nothing was said")?.trim().to_owned())
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
