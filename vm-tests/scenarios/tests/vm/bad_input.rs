//! Machines that lack something or lie about it: a code, a sentence, power-off, nothing lost.

use anyhow::Result;
use ccnode_vm_harness::{Net, Story, TpmMaker};
use ccnode_vm_scenarios::node::ended;
use ccnode_vm_scenarios::{Node, Stage, TrustDir};

pub(crate) fn no_tpm(story: &Story) -> Result<()> {
    let (node, trust, cluster, _) = Stage::get()?.ready(story)?;
    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()).no_tpm(), "boot")?;
    ended(&mut vm)?.refused("tpm-missing")
}

pub(crate) fn tpm_without_certificate(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let (mut node, trust, cluster, _) = stage.ready(story)?;
    node.tpm = Some(stage.tpms.template_without_ek_cert("bare")?.copy_to(story.path("bare"))?);
    node.boot(story, "boot", &trust, &cluster)?.refused("ek-cert-missing")
}

pub(crate) fn tpm_of_another_maker(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, _) = Stage::get()?.ready(story)?;
    node.tpm = Some(TpmMaker::open(story.path("other-maker"))?.template("x")?);
    node.boot(story, "boot", &trust, &cluster)?.refused("ek-untrusted")
}

/// No network card at all.
pub(crate) fn no_network(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let (trust, cluster) = stage.trust(story)?;
    let node = Node::new(story, &stage.image, &stage.tpms.template("a")?)?;
    let machine = node.machine(trust.port(), cluster.api.port()).net(Net::None);
    let mut vm = story.boot(&machine, "boot")?;
    ended(&mut vm)?.refused("network-missing")
}

pub(crate) fn no_lease(story: &Story) -> Result<()> {
    let (node, trust, cluster, _) = Stage::get()?.ready(story)?;
    let machine = node.machine(trust.port(), cluster.api.port()).net(Net::Silent);
    let mut vm = story.boot(&machine, "boot")?;
    ended(&mut vm)?.refused("network-no-lease")
}

/// Another trust service, with a CA of its own, at the pinned address.
pub(crate) fn wrong_ca(story: &Story) -> Result<()> {
    let (node, _trust, cluster, _) = Stage::get()?.ready(story)?;
    let impostor = TrustDir::init(story.path("impostor"))?.serve()?;
    let mut vm = story.boot(&node.machine(impostor.port(), cluster.api.port()), "boot")?;
    ended(&mut vm)?.refused("service-untrusted")
}

pub(crate) fn no_root_partition(story: &Story) -> Result<()> {
    let (mut node, trust, cluster, _) = Stage::get()?.ready(story)?;
    node.disk.set_label(&node.disk.partition("root")?, "other")?;
    node.boot(story, "boot", &trust, &cluster)?.refused("root-missing")
}

pub(crate) fn disk_write_error(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let (trust, cluster) = stage.trust(story)?;
    let node = Node::new(story, &stage.image, &stage.tpms.template("a")?)?;
    stage.know_platform(story, &trust, &node)?;
    let root = node.disk.partition("root")?;
    let mut machine = node.machine(trust.port(), cluster.api.port());
    for disk in &mut machine.disks {
        disk.bad_sector = Some(root.start / 512 + (32 << 11));
    }
    let mut vm = story.boot(&machine, "boot")?;
    ended(&mut vm)?.refused("disk-failed")
}
