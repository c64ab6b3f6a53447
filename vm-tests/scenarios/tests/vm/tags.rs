//! Volumes with authenticated encryption: changed ciphertext is an error and never content.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::Story;
use ccnode_vm_scenarios::layouts::tagged;
use ccnode_vm_scenarios::node::{BOOT, ask, ended};
use ccnode_vm_scenarios::{Node, Stage};

/// Less than the file that the guest writes leaves of it, and more than its file system needs for itself.
const VOLUME: &str = "64M";
/// Before the data of the volume lie header and mark, and the journal of the tags; there are tags before each 16 MiB of it.
const BEFORE: u64 = 2;
/// What is flipped, in MiB.
const FLIPPED: u64 = 1;
const PAGE: usize = 4096;

/// The power is cut while tags are first written: the next boot goes on, and both the volume and its tags are good.
pub(crate) fn t05_flipped_ciphertext_is_an_io_error(story: &Story) -> Result<()> {
    flipped(story, "hmac-sha256", &["dm-integrity", "authenc"], true)
}

pub(crate) fn t05_flipped_ciphertext_under_aes_gcm(story: &Story) -> Result<()> {
    flipped(story, "aes-gcm", &["dm-integrity", "algif_aead", "gcm", "ctr", "ghash-generic"], false)
}

pub(crate) fn t05_flipped_ciphertext_under_aegis128(story: &Story) -> Result<()> {
    flipped(story, "aegis128", &["dm-integrity", "algif_aead", "aegis128"], false)
}

fn flipped(story: &Story, integrity: &str, modules: &[&str], cut: bool) -> Result<()> {
    let stage = Stage::get()?;
    let image = tagged(story, integrity, VOLUME, modules)?;
    let (trust, cluster) = stage.service(story, &image, &["--rule", "danger-host-is-trusted"])?;
    let node = Node::new(story, &image, &stage.tpms.template("a")?)?;
    stage.know_platform(story, &trust, &node)?;
    let machine = || node.machine(trust.port(), cluster.api.port());
    if cut {
        let mut vm = story.boot(&machine(), "cut")?;
        vm.kill_at(" of 62 MiB", BOOT)?;
    }
    let mut vm = story.boot(&machine(), "first")?;
    let outcome = ended(&mut vm)?;
    outcome.shows(&format!("wipe  ok  tags of {integrity}, from MiB "))?;
    let resumed = !outcome.console().contains(", from MiB 0 on");
    ensure!(resumed == cut, "gone on with: {resumed}, on the console:\n{}", outcome.console());
    outcome.shows("ccnode-demo: boot 1 of this root")?;
    let said = ask(&mut vm, "keep")?;
    vm.kill();
    let line = said.lines().find_map(|line| line.strip_prefix("kept: ")).context("an answer")?;
    let part: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [start, end] = part.as_slice() else { anyhow::bail!("{line}") };
    ensure!(end - start >= FLIPPED + 2 * BEFORE, "no part of the file is long enough: {line}");

    let root = node.disk.partition("root")?;
    let from = (start + end) / 2 + BEFORE;
    for at in (from << 20..(from + FLIPPED) << 20).step_by(PAGE) {
        node.disk.flip(&root, at)?;
    }
    let mut vm = story.boot(&machine(), "second")?;
    ended(&mut vm)?.shows("ccnode-demo: boot 2 of this root")?;
    let said = ask(&mut vm, "kept")?;
    let line = said.lines().find(|line| line.starts_with("kept: ")).context("an answer")?;
    ensure!(line.starts_with("kept: 0 of "), "garbage was read: {line}");
    // Tags lie between the pages, so that not quite all that was flipped is the file.
    let errors = line.split_once("(os error 84)\": ").and_then(|(_, rest)| rest.split(['}', ',']).next());
    let errors: u64 = errors.context("no errors")?.parse()?;
    let all = (FLIPPED << 20) / PAGE as u64;
    ensure!((all / 2..=all).contains(&errors), "{errors} errors of {all}: {line}");
    Ok(())
}
