//! Nodes in stock mode, with a stock key broker in place of our service.

use anyhow::{Context as _, Result, bail, ensure};
use ccnode_vm_harness::Story;
use ccnode_vm_harness::Vm;
use ccnode_vm_scenarios::node::{BOOT, cap, ended};
use ccnode_vm_scenarios::stock::{PATH, Stock};
use std::time::Duration;

/// The broker is asked once for each resource, what is not proven is said, and the root runs.
pub(crate) fn stock_root_opens(story: &Story) -> Result<()> {
    let Stock { broker, node } = Stock::new(story, "require = []", PATH)?;
    let mut vm = story.boot(&node.machine(broker.port(), 1), "boot")?;
    vm.wait_for("handover  ok", BOOT)?;
    let console = vm.console();
    for name in ["activation", "header-digest", "grant"] {
        ensure!(console.contains(&format!("not proven: {name}.")), "{name} is not said:\n{console}");
    }
    ensure!(
        broker.paths()
            == [
                "/kbs/v0/auth",
                "/kbs/v0/attest",
                &format!("/kbs/v0/resource/{PATH}"),
                "/kbs/v0/resource/default/node-1/kubeconfig",
            ],
        "{:?}",
        broker.paths()
    );
    let extended = vm.pcr_extensions(15).unwrap_or_default();
    ensure!(extended.len() == 2 && extended.first() == Some(&cap()), "PCR 15 was extended by {extended:?}");
    // The running system has the file, and the record of what was not proven.
    let status = ask_once_it_listens(&mut vm, "status")?;
    ensure!(status.contains("not proven: grant"), "{status}");
    Ok(())
}

/// No kubelet says when this system is up: what is typed before the helper runs is lost, so it is typed again.
fn ask_once_it_listens(vm: &mut Vm, command: &str) -> Result<String> {
    let end = format!("guest: {command} end");
    for _ in 0..12 {
        vm.type_line(command)?;
        if vm.wait_for(&end, Duration::from_secs(10)).is_ok() {
            let console = vm.console();
            let answer = console.split(&format!("guest: {command} begin")).nth(1);
            return answer.map(str::to_owned).context("an end without a beginning");
        }
    }
    bail!("no answer to `{command}`:\n{}", vm.console())
}

/// Stock mode by itself is refused, before the network is up.
pub(crate) fn stock_mode_alone_is_refused(story: &Story) -> Result<()> {
    let Stock { broker, node } = Stock::new(story, "", PATH)?;
    let mut vm = story.boot(&node.machine(broker.port(), 1), "boot")?;
    ended(&mut vm)?.refused("stock-not-enough")?;
    ensure!(broker.paths().is_empty(), "{:?}", broker.paths());
    Ok(())
}

/// A token for another resource of the broker is refused, whatever it would open.
pub(crate) fn t07_stock_token_for_another_resource(story: &Story) -> Result<()> {
    let Stock { broker, node } = Stock::new(story, "require = []", "default/other/root")?;
    let mut vm = story.boot(&node.machine(broker.port(), 1), "boot")?;
    ended(&mut vm)?.refused("clevis-foreign")
}
