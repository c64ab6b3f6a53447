//! The good life of a node, and power cuts in the middle of it.

use anyhow::{Context as _, Result, bail, ensure};
use ccnode_evidence::{ImageTuple, PcrValues};
use ccnode_vm_harness::Story;
use ccnode_vm_scenarios::node::{BOOT, Outcome, ask, ended};
use ccnode_vm_scenarios::{Node, Stage};

/// What the TPM of a refused boot quoted is what the builder predicted.
pub(crate) fn prediction_equals_the_tpm(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let (trust, cluster) = stage.trust(story)?;
    let mut node = Node::new(story, &stage.image, &stage.tpms.template("a")?)?;
    node.boot(story, "boot", &trust, &cluster)?.refused("platform-unknown")?;
    let refusal = trust.last_refusal()?;
    let quoted = refusal.pointer("/kept/pcrs").context("the refusal keeps the quoted PCRs")?;
    let quoted: PcrValues = serde_json::from_value(quoted.clone())?;
    let tuple = ImageTuple::from_json(&std::fs::read(stage.image.tuple())?)?;
    for (pcr, predicted) in &tuple.pcrs.0 {
        ensure!(
            quoted.get(*pcr) == Some(predicted),
            "{pcr:?}: predicted {predicted}, quoted {:?}",
            quoted.get(*pcr)
        );
    }
    Ok(())
}

/// The second boot opens the root of the first, under the same name, without writing its header.
pub(crate) fn second_boot_opens_the_same_root(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, name) = Stage::get()?.ready(story)?;
    let root = node.disk.partition("root")?;
    let header = node.disk.read_at(&root, 0, 1 << 20)?;
    let outcome = node.boot(story, "second", &trust, &cluster)?;
    outcome.joined(&name)?;
    outcome.shows("ccnode-demo: boot 2 of this root")?;
    ensure!(
        node.disk.read_at(&root, 0, 1 << 20)? == header,
        "a boot of a ready volume wrote into its header"
    );
    Ok(())
}

pub(crate) fn power_cut_mid_format(story: &Story) -> Result<()> {
    cut_at(story, "format  ..")
}

pub(crate) fn power_cut_mid_copy(story: &Story) -> Result<()> {
    cut_at(story, "fill  ..")
}

pub(crate) fn power_cut_before_ready(story: &Story) -> Result<()> {
    cut_at(story, "fill  ok")
}

/// Cuts the power of a first boot at a mark of the console; the next boot must start again and join.
fn cut_at(story: &Story, mark: &str) -> Result<()> {
    let stage = Stage::get()?;
    let (trust, cluster) = stage.trust(story)?;
    let mut node = Node::new(story, &stage.image, &stage.tpms.template("a")?)?;
    stage.know_platform(story, &trust, &node)?;
    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "cut")?;
    vm.kill_at(mark, BOOT)?;
    drop(vm);
    let outcome = node.boot(story, "next", &trust, &cluster)?;
    outcome.shows("ccnode-demo: boot 1 of this root")?;
    let nodes = trust.cli(&["node", "list"])?;
    let state = nodes.pointer("/0/volumes/0/state").and_then(|s| s.as_str());
    ensure!(state == Some("ready"), "the volume is {state:?}");
    Ok(())
}

/// The service crashes between the grants and `formatted`, and is started again once the node has missed it: the boot goes on.
pub(crate) fn service_killed_after_grants(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let (mut trust, cluster) = stage.trust(story)?;
    let mut node = Node::new(story, &stage.image, &stage.tpms.template("a")?)?;
    stage.know_platform(story, &trust, &node)?;
    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "first")?;
    vm.wait_for("format  ..", BOOT)?;
    trust.kill();
    vm.wait_for("format  retry", BOOT)?;
    trust.start_again()?;
    let Outcome::Joined { name, console } = ended(&mut vm)? else {
        bail!("it did not join:\n{}", vm.console())
    };
    ensure!(console.contains("ccnode-demo: boot 1 of this root"), "{console}");
    drop(vm);
    let nodes = trust.cli(&["node", "list"])?;
    let volume = nodes.pointer("/0/volumes/0").context("it has no volume")?;
    ensure!(volume["state"] == "ready" && volume["generation"] == 1, "{volume}");
    let outcome = node.boot(story, "second", &trust, &cluster)?;
    outcome.joined(&name)?;
    outcome.shows("ccnode-demo: boot 2 of this root")
}

/// A refusal that the node decides itself is on record at the service, under the id that the console shows.
pub(crate) fn refusal_reaches_the_service(story: &Story) -> Result<()> {
    let (node, trust, cluster, _) = Stage::get()?.ready(story)?;
    let root = node.disk.partition("root")?;
    // In both copies of the header: one alone is made good by the other.
    for copy in [0, 0x4000] {
        node.disk.flip(&root, copy + 0x100)?;
    }
    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "boot")?;
    let outcome = ended(&mut vm)?;
    let refusal = trust.last_refusal()?;
    let field = |name: &str| refusal.get(name).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    ensure!(field("by") == "node" && Some(field("code").as_str()) == outcome.code(), "{refusal}");
    outcome.shows(&format!("id: {}", field("correlation-id")))
}

/// What ccnode-init needed for itself does not reach the root's init, and what it locked stays locked.
pub(crate) fn hygiene_after_hand_over(story: &Story) -> Result<()> {
    let (node, trust, cluster, name) = Stage::get()?.ready(story)?;
    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "boot")?;
    ended(&mut vm)?.joined(&name)?;
    let said = ask(&mut vm, "hygiene")?;
    ensure!(said.contains("kexec_load_disabled: 1"), "{said}");
    ensure!(said.contains("environ: ") && said.contains("fd: 0 -> "), "the guest says nothing:\n{said}");
    for sign in ["TSS2_LOG", "DM_DISABLE_UDEV"] {
        ensure!(!said.contains(sign), "`{sign}` is in the environment of the root's init:\n{said}");
    }
    // Descriptors of ours end with the exec.
    ensure!(!said.contains("/dev/tpm"), "a TPM is open in the root's init:\n{said}");
    Ok(())
}
