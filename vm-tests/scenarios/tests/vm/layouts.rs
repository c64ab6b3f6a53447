//! Images that keep their root otherwise than in a LUKS volume that persists.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::{Story, Vm};
use ccnode_vm_scenarios::layouts::image;
use ccnode_vm_scenarios::node::{Outcome, ask, ended};
use ccnode_vm_scenarios::trust::Trust;
use ccnode_vm_scenarios::{Node, Stage};
use serde_json::Value;

/// Header and mark of a volume have one; then comes content.
const MIB: usize = 1 << 20;

/// A node of one name joins twice, each time with a root that nobody has seen before.
pub(crate) fn ephemeral_root_is_gone_with_its_boot(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let image = image(story, "ephemeral", "640M", None)?;
    let (trust, cluster) = stage.service(story, &image, &["--rule", "danger-host-is-trusted"])?;
    let mut node = Node::new(story, &image, &stage.tpms.template("a")?)?;
    stage.know_platform(story, &trust, &node)?;
    let root = node.disk.partition("root")?;
    let blank = node.disk.read_at(&root, 0, MIB)?;
    let mut boots = Vec::new();
    for boot in ["first", "second"] {
        let outcome = node.boot(story, boot, &trust, &cluster)?;
        for text in [
            "cap  ok  PCR 15 closed",
            "format  ok  in memory, for this boot alone",
            "ccnode-demo: boot 1 of this root",
        ] {
            outcome.shows(text)?;
        }
        let Outcome::Joined { name, .. } = outcome else { anyhow::bail!("{outcome:?}") };
        ensure!(node.disk.read_at(&root, 0, MIB)? == blank, "there is a header on the disk");
        let record = trust.cli(&["node", "show", &name])?;
        let volumes = record.get("volumes").and_then(Value::as_array).context("it has volumes")?;
        ensure!(volumes.is_empty() && record.get("expires") == Some(&Value::Null), "{record}");
        boots.push((name, node.disk.read_at(&root, MIB as u64, MIB)?));
    }
    let [(one, content), (other, same)] = boots.as_slice() else { anyhow::bail!("two boots") };
    ensure!(one == other, "one node was {one}, then {other}");
    ensure!(content != same, "the same source under the same key");
    Ok(())
}

/// Both boots have the image's own root, which nobody can write, one /var, and two volumes for data, of which the second boot changes
/// the keys. None of them is taken for the other.
pub(crate) fn verity_root_keeps_its_state(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let image = image(story, "verity-root", "96M", Some("17M"))?;
    let (trust, cluster) = stage.service(story, &image, &["--rule", "danger-host-is-trusted"])?;
    let mut node = Node::new(story, &image, &stage.tpms.template("a")?)?;
    stage.know_platform(story, &trust, &node)?;
    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "first")?;
    let outcome = ended(&mut vm)?;
    outcome.shows("ccnode-demo: boot 1 of this root")?;
    outcome.shows("entries of /var copied, grown to 95 MiB")?;
    outcome.shows("empty, grown to 33 MiB")?;
    outcome.shows("empty, grown to 39 MiB")?;
    asked(&mut vm, 1)?;
    drop(vm);
    let Outcome::Joined { name, .. } = outcome else { anyhow::bail!("{outcome:?}") };
    let (source, swap) = (node.disk.partition("root-source")?, node.disk.partition("swap")?);
    let heads = |node: &Node| -> Result<_> {
        Ok((node.disk.read_at(&source, 0, MIB)?, node.disk.read_at(&swap, 0, MIB)?))
    };
    let before = heads(&node)?;
    let signature = node.disk.read_at(&swap, MIB as u64, 4096)?;
    states(&trust, &name, 1)?;
    trust.cli(&["node", "rotate-key", &name])?;

    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "second")?;
    let outcome = ended(&mut vm)?;
    outcome.joined(&name)?;
    outcome.shows("the root is the root source, read-only under dm-verity")?;
    outcome.shows("ccnode-demo: boot 2 of this root")?;
    asked(&mut vm, 2)?;
    let said = ask(&mut vm, "effects")?;
    for mount in [
        "/dev/mapper/root-source / ext4 ro,",
        "/dev/mapper/root /var ext4 rw,",
        "/dev/mapper/data-logs /mnt ext4 rw,nosuid,nodev,",
        "/dev/mapper/data-work /srv ext4 rw,nosuid,nodev,",
        "tmpfs /tmp tmpfs rw,",
    ] {
        ensure!(said.contains(&format!("mount: {mount}")), "no `{mount}` in:\n{said}");
    }
    // The one that is named, sixteen MiB but for the page of the signature.
    let swaps: Vec<&str> = said.lines().filter(|line| line.contains("swap: ")).collect();
    let one = matches!(swaps.as_slice(), [swap] if swap.contains("partition") && swap.contains("16380"));
    ensure!(one, "{swaps:?}");
    drop(vm);
    ensure!(heads(&node)? == before, "somebody wrote to the root, or a header for swap");
    ensure!(node.disk.read_at(&swap, MIB as u64, 4096)? != signature, "swap has the key of the boot before");
    ensure!(!signature.ends_with(b"SWAPSPACE2"), "swap is not encrypted");
    states(&trust, &name, 2)?;

    let (logs, work) = (node.disk.partition("logs")?, node.disk.partition("work")?);
    let (of_logs, of_work) = (node.disk.read_at(&logs, 0, MIB)?, node.disk.read_at(&work, 0, MIB)?);
    node.disk.patch(&logs, 0, &of_work)?;
    node.disk.patch(&work, 0, &of_logs)?;
    node.boot(story, "swapped", &trust, &cluster)?.refused("header-digest")
}

/// Each volume for data has what the boots before left there.
fn asked(vm: &mut Vm, times: u32) -> Result<()> {
    let said = ask(vm, "data")?;
    for name in ["logs", "work"] {
        ensure!(said.contains(&format!("data: {name} {times}")), "not {name} {times} in:\n{said}");
    }
    Ok(())
}

/// All volumes are ready, each at this generation.
fn states(trust: &Trust, name: &str, generation: u64) -> Result<()> {
    let record = trust.cli(&["node", "show", name])?;
    let volumes = record.get("volumes").and_then(Value::as_array).context("it has volumes")?;
    let ids: Vec<_> = volumes.iter().filter_map(|volume| volume["id"].as_str()).collect();
    ensure!(ids == ["data/logs", "data/work", "root"].map(|id| format!("{name}/{id}")), "{record}");
    for volume in volumes {
        ensure!(volume["state"] == "ready" && volume["generation"] == generation, "{record}");
        ensure!(volume.get("rotation").is_none(), "{record}");
    }
    Ok(())
}
