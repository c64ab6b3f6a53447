//! Attacks of the threat model that need a whole machine.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::{Disk, Image, Story};
use ccnode_vm_scenarios::node::{BOOT, Outcome, REFUSED, ask, cap, ended};
use ccnode_vm_scenarios::{Node, Stage, console, tamper};

/// Length of one copy of the LUKS2 header, and where the second begins, in bytes of the partition.
const COPY: u64 = 0x4000;

pub(crate) fn t01_patched_primary_header(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, _) = Stage::get()?.ready(story)?;
    tamper::header_copy(&node.disk, 0)?;
    is_refused(&node.boot(story, "boot", &trust, &cluster)?)
}

/// Patched with a right checksum it is refused; damaged it is written anew from the primary, and says so.
pub(crate) fn t01_patched_secondary_header(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, name) = Stage::get()?.ready(story)?;
    let root = node.disk.partition("root")?;
    let good = node.disk.read_at(&root, 0, 2 * COPY as usize)?;
    tamper::header_copy(&node.disk, COPY)?;
    is_refused(&node.boot(story, "patched", &trust, &cluster)?)?;
    node.disk.patch(&root, 0, &good)?;
    node.disk.flip(&root, COPY + 0x1000)?;
    let outcome = node.boot(story, "damaged", &trust, &cluster)?;
    outcome.joined(&name)?;
    outcome.shows("the secondary copy of the header was damaged: written anew")?;
    ensure!(node.disk.read_at(&root, 0, good.len())? == good, "the copy is not what it was");
    Ok(())
}

fn is_refused(outcome: &Outcome) -> Result<()> {
    let code = outcome.code().unwrap_or_default();
    ensure!(code.starts_with("header-"), "{code}: {}", outcome.console());
    Ok(())
}

pub(crate) fn t02_second_disk_with_the_same_labels(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, _) = Stage::get()?.ready(story)?;
    let twin = node.disk.copy_to(story.path("twin.img"))?;
    node.extra.push(Disk::data(twin.path(), "twin"));
    node.boot(story, "boot", &trust, &cluster)?.refused("duplicate-partition")
}

pub(crate) fn t02_plain_ext4_in_place_of_luks(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, _) = Stage::get()?.ready(story)?;
    let (root, source) = (node.disk.partition("root")?, node.disk.partition("root-source")?);
    let file = story.path("source.ext4");
    node.disk.dump(&source, &file)?;
    node.disk.load(&root, &file)?;
    node.boot(story, "boot", &trust, &cluster)?.refused("header-malformed")
}

pub(crate) fn t03_formatted_by_somebody_else(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let theirs = {
        let (ready, ..) = stage.ready(story)?;
        ready.disk.copy_to(story.path("theirs.img"))?
    };
    let (trust, cluster) = stage.trust(story)?;
    let mut node = Node::new(story, &stage.image, &stage.tpms.template("b")?)?;
    stage.know_platform(story, &trust, &node)?;
    node.disk.copy_partition("root", &theirs)?;
    node.boot(story, "boot", &trust, &cluster)?.refused("disk-not-blank")
}

/// The unlock key is changed by one boot; the header of before is refused from then on, and the new one opens the same root.
pub(crate) fn t05_old_header_restored(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, name) = Stage::get()?.ready(story)?;
    let root = node.disk.partition("root")?;
    let header = |node: &Node| node.disk.read_at(&root, 0, 2 * COPY as usize);
    let old = header(&node)?;
    let asked = trust.cli(&["node", "rotate-key", &name])?;
    ensure!(asked.pointer("/volumes/0/rotation").and_then(|r| r.as_str()) == Some("asked"), "{asked}");
    let outcome = node.boot(story, "rotates", &trust, &cluster)?;
    outcome.joined(&name)?;
    outcome.shows("another unlock key, generation 2")?;
    let after = trust.cli(&["node", "show", &name])?;
    let volume = after.pointer("/volumes/0").context("no volume")?;
    ensure!(volume.get("rotation").is_none(), "the change is not over: {volume}");
    ensure!(volume.get("generation").and_then(|g| g.as_u64()) == Some(2), "{volume}");
    let new = header(&node)?;
    ensure!(new != old, "the header is the one of before");
    node.disk.patch(&root, 0, &old)?;
    node.boot(story, "old", &trust, &cluster)?.refused("header-digest")?;
    ensure!(header(&node)? == old, "a refused header was written over");
    node.disk.patch(&root, 0, &new)?;
    node.boot(story, "new", &trust, &cluster)?.joined(&name)
}

/// No network, and somebody who types, before the refusal and after it: nobody answers, nobody waits, and the machine is off.
pub(crate) fn t13_no_shell_ever(story: &Story) -> Result<()> {
    const TYPED: [&str; 7] = ["", "root", "id", "\u{3}", "\u{4}", "b", "reboot"];
    let (node, trust, cluster, _) = Stage::get()?.ready(story)?;
    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "boot")?;
    vm.set_carrier(false)?;
    vm.wait_for("ccnode ", BOOT)?;
    TYPED.iter().try_for_each(|line| vm.type_line(line))?;
    vm.wait_for(REFUSED, BOOT)?;
    // It may be off by now.
    let _ = TYPED.iter().try_for_each(|line| vm.type_line(line));
    let outcome = ended(&mut vm)?;
    outcome.refused("network-no-carrier")?;
    let console = outcome.console();
    let answers = console::answers(console, &TYPED);
    ensure!(answers.is_empty(), "somebody answers: {answers:?}, on the console:\n{console}");
    let waited = console::from_refusal_to_off(console)?;
    ensure!(waited < 10.0, "the machine was on for {waited} s after its refusal:\n{console}");
    Ok(())
}

pub(crate) fn t13_corrupt_source(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let (trust, cluster) = stage.trust(story)?;
    let mut node = Node::new(story, &stage.image, &stage.tpms.template("a")?)?;
    stage.know_platform(story, &trust, &node)?;
    node.disk.flip(&node.disk.partition("root-source")?, 64 << 20)?;
    node.boot(story, "boot", &trust, &cluster)?.refused("verity-mismatch")
}

pub(crate) fn t14_init_in_the_uki(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, _) = Stage::get()?.ready(story)?;
    tamper::cmdline(&node.disk, "init=/bin/sh")?;
    let outcome = node.boot(story, "boot", &trust, &cluster)?;
    outcome.refused("image-unknown")?;
    outcome.shows("`init=/bin/sh` added")
}

pub(crate) fn t14_credential_beside_the_uki(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, _) = Stage::get()?.ready(story)?;
    let esp = node.disk.partition("esp")?;
    node.disk.fat_write(&esp, &format!("{}.extra.d/x.cred", tamper::UKI), b"secret")?;
    let outcome = node.boot(story, "boot", &trust, &cluster)?;
    outcome.refused("image-unknown")?;
    outcome.shows("pcr: 12")
}

/// What nothing measures must have no effect: SMBIOS and fw_cfg credentials, swap and mounts by partition type.
pub(crate) fn t14_unmeasured_channels(story: &Story) -> Result<()> {
    const SWAP: &str = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";
    const SRV: &str = "3b8f8425-20e0-4f3b-907f-1a25a76f98e8";
    let (mut node, trust, cluster, name) = Stage::get()?.ready(story)?;
    let extra = Image::create(story.path("extra.img"), &[("swap", SWAP, 8), ("srv", SRV, 8)])?;
    node.extra.push(Disk::data(extra.path(), "extra"));
    let machine = node
        .machine(trust.port(), cluster.api.port())
        .smbios("io.systemd.credential:ccnode.smbios=1")
        .fw_cfg("opt/io.systemd.credentials/ccnode.fwcfg", "1");
    let mut vm = story.boot(&machine, "boot")?;
    ended(&mut vm)?.joined(&name)?;
    let said = ask(&mut vm, "effects")?;
    for sign in ["ccnode.smbios", "ccnode.fwcfg", "/srv", "swap: /dev"] {
        ensure!(!said.contains(sign), "`{sign}` has an effect:\n{said}");
    }
    ensure!(said.contains("mount: /dev/mapper/root /"), "the guest says nothing:\n{said}");
    Ok(())
}

pub(crate) fn t16_one_label_twice(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, _) = Stage::get()?.ready(story)?;
    let other =
        Image::create(story.path("other.img"), &[("root", "0fc63daf-8483-4772-8e79-3d69d8477de4", 8)])?;
    node.extra.push(Disk::data(other.path(), "other"));
    node.boot(story, "boot", &trust, &cluster)?.refused("duplicate-partition")
}

/// Root on the booted node runs the client again, with the same TPM and the same logs.
pub(crate) fn t17_fetch_again_after_boot(story: &Story) -> Result<()> {
    let (node, trust, cluster, name) = Stage::get()?.ready(story)?;
    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "boot")?;
    ended(&mut vm)?.joined(&name)?;
    let said = ask(&mut vm, "attest")?;
    ensure!(said.contains("denied already-capped"), "{said}");
    Ok(())
}

/// The service is down and the node decides by itself: its PCR 15 is closed before it goes off, and by nothing else.
pub(crate) fn t17_a_refusal_closes_pcr_15(story: &Story) -> Result<()> {
    let (node, mut trust, cluster, _) = Stage::get()?.ready(story)?;
    let machine = node.machine(trust.port(), cluster.api.port());
    trust.kill();
    let mut vm = story.boot(&machine, "boot")?;
    ended(&mut vm)?.refused("service-unreachable")?;
    let extended = vm.pcr_extensions(15);
    ensure!(extended == Some(vec![cap()]), "PCR 15 was extended by {extended:?}");
    Ok(())
}

/// The unlock key, raw, hex and base64, is neither on the console nor in the journal.
pub(crate) fn t21_secrets_are_nowhere(story: &Story) -> Result<()> {
    let (node, trust, cluster, name) = Stage::get()?.ready(story)?;
    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "boot")?;
    ended(&mut vm)?.joined(&name)?;
    let journal = ask(&mut vm, "journal")?;
    ensure!(journal.contains("ccnode"), "the journal is empty:\n{journal}");
    let mut seen = vm.raw_console()?;
    seen.extend(std::fs::read(trust.dir().path().join("serve.log"))?);
    let keys = ccnode_vm_scenarios::secrets::unlock_keys(trust.dir())?;
    ensure!(!keys.is_empty(), "the store holds no unlock key");
    for key in keys {
        for form in ccnode_vm_scenarios::secrets::forms(&key) {
            ensure!(!seen.windows(form.len()).any(|w| w == form), "the unlock key is in the logs");
        }
    }
    Ok(())
}

/// Version 2's UKI is registered and allowed, but the root on disk was copied from version 1.
pub(crate) fn t27_new_uki_over_old_root(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let v2 = stage.image_v2()?;
    let (mut node, trust, cluster, _) = stage.ready(story)?;
    let image = trust.cli(&["image", "register", &v2.tuple().to_string_lossy()])?;
    let image = image.get("id").and_then(|id| id.as_str()).context("an image has an id")?.to_owned();
    let platform = trust.cli(&["platform", "list"])?;
    let platform = platform.pointer("/0/id").and_then(|id| id.as_str()).context("no platform")?.to_owned();
    trust.cli(&["pool", "allow", "workers", "--platform", &platform, "--image", &image])?;
    tamper::replace(&node.disk, &v2.uki()?)?;
    node.boot(story, "boot", &trust, &cluster)?.refused("populated-from-other")
}

/// A clock in the past does no harm, and is set from the attested reply.
pub(crate) fn t28_clock_behind(story: &Story) -> Result<()> {
    let (node, trust, cluster, name) = Stage::get()?.ready(story)?;
    let machine = node.machine(trust.port(), cluster.api.port()).rtc("2001-01-01T00:00:00");
    let mut vm = story.boot(&machine, "boot")?;
    ended(&mut vm)?.joined(&name)?;
    let said = ask(&mut vm, "clock")?;
    let guest: u64 = said
        .split("clock: ")
        .nth(1)
        .and_then(|t| t.split_whitespace().next())
        .context("no clock")?
        .parse()?;
    let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    ensure!(guest.abs_diff(here) < 120, "the guest's clock is {guest}, here it is {here}");
    Ok(())
}

pub(crate) fn t28_clock_far_ahead(story: &Story) -> Result<()> {
    let (node, trust, cluster, _) = Stage::get()?.ready(story)?;
    let machine = node.machine(trust.port(), cluster.api.port()).rtc("2090-01-01T00:00:00");
    let mut vm = story.boot(&machine, "boot")?;
    let outcome = ended(&mut vm)?;
    outcome.refused("clock-after-certificate")?;
    outcome.shows("2090")
}
