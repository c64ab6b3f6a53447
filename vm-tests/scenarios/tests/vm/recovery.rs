//! A disk that is read without its node.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::Story;
use ccnode_vm_scenarios::small::{Found, Small, looked};
use ccnode_vm_scenarios::{Stage, rescue};

/// Two custodians open what a node wrote, on a machine that has neither its TPM nor the service; and the node goes on with its disk.
pub(crate) fn custodians_open_the_disk_of_a_node(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let (trust, cluster) = stage.trust(story)?;
    let small = rescue::image(story, stage, trust.dir())?;
    small.make_known(stage, story, &trust, &cluster)?;
    let tpm = stage.tpms.template("a")?.copy_to(story.path("tpm"))?;
    let node = small.direct(small.disk().copy_to(story.path("disk.img"))?, tpm);
    let boot = |name: &str| -> Result<(Found, String)> {
        let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), name)?;
        let found = looked(&mut vm)?;
        let console = vm.console();
        vm.kill();
        Ok((found, console))
    };
    let (found, console) = boot("first")?;
    ensure!(found == Found { boots: 0, blocks: Small::BLOCKS }, "{found:?}; console:\n{console}");

    let nodes = trust.cli(&["node", "list"])?;
    let name = nodes.pointer("/0/name").and_then(|name| name.as_str()).context("no node")?;
    let key = rescue::recover(story, &trust, name)?;
    let said = rescue::open(story, &small, &node.disk, &key)?;
    ensure!(said == "boots=1 files=200", "the rescue machine found {said}");

    let (found, console) = boot("second")?;
    ensure!(found.boots == 1 && console.contains("the volume as it is on record"), "{found:?}:\n{console}");
    Ok(())
}
