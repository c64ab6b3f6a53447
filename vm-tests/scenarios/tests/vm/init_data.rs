//! What a host hands in: followed where image and pool allow it, and not a step further.

use anyhow::{Result, bail, ensure};
use ccnode_vm_harness::Story;
use ccnode_vm_scenarios::init_data::{ADDRESS, ConnectProxy, MOTD, handed, image};
use ccnode_vm_scenarios::node::{Outcome, ask, ended};
use ccnode_vm_scenarios::{Node, Stage};

/// One node, its host and its hints: a pool that does not allow them refuses it, one that does has it join by them.
pub(crate) fn init_data_is_followed_where_allowed(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let image = image(story, r#"["address", "proxy", "files"]"#)?;
    let (trust, cluster) = stage.service(story, &image, &["--rule", "danger-host-is-trusted"])?;
    let node = Node::new(story, &image, &stage.tpms.template("a")?)?;
    stage.know_platform(story, &trust, &node)?;
    let proxy = ConnectProxy::start(trust.port())?;
    let machine = handed(node.machine(trust.port(), cluster.api.port()), story.dir(), &proxy)?;

    let mut vm = story.boot(&machine, "pool-refuses")?;
    let outcome = ended(&mut vm)?;
    outcome.refused("init-data-not-allowed")?;
    outcome.shows(&format!("network  ok  eth0 {ADDRESS}"))?;
    outcome.shows("pcr: 8")?;
    ensure!(proxy.carried() > 0, "the refusal came by another way than the proxy");
    drop(vm);

    trust.cli(&["pool", "edit", "workers", "--init-data", "allow"])?;
    let mut vm = story.boot(&machine, "pool-allows")?;
    let before = proxy.carried();
    let Outcome::Joined { console, .. } = ended(&mut vm)? else {
        bail!("it did not join:\n{}", vm.console())
    };
    ensure!(
        console.contains(&format!("init-data measured into PCR 8: address {ADDRESS}, proxy")),
        "{console}"
    );
    ensure!(console.contains(&format!("network  ok  eth0 {ADDRESS}")), "{console}");
    ensure!(proxy.carried() > before, "it joined by another way than the proxy");
    let said = ask(&mut vm, "user")?;
    ensure!(said.contains(&format!("user: motd 600 {MOTD}")), "{said}");
    ensure!(said.contains("user: 700 of 0"), "{said}");
    Ok(())
}
