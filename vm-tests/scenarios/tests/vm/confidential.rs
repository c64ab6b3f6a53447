//! The shipped ccnode-init on an emulated SEV-SNP guest under an SVSM: what it sends, and what it refuses to send.

use anyhow::Result;
use ccnode_vm_harness::{Story, TpmState};
use ccnode_vm_scenarios::confidential::{Confidential, Guest, endorsement_key};
use ccnode_vm_scenarios::node::{BOOT, ended};
use ccnode_vm_scenarios::{Node, Stage};

/// A node whose TPM has no certificate, on a guest whose SVSM names the endorsement key of `named`.
fn node(story: &Story, name: &str, named: &TpmState) -> Result<Node> {
    let stage = Stage::get()?;
    let confidential = Confidential::get()?;
    let manifest = Some(endorsement_key(named, story.dir())?);
    let image = confidential.image(name, &Guest { manifest, measurement: None })?;
    confidential.node(story, &image, &stage.tpms.template_without_ek_cert("bare")?)
}

/// The SVSM's report leads, and the vTPM that it vouches for proves itself beside it; what they are worth is the service's to say.
pub(crate) fn snp_and_vtpm_are_sent(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let (trust, cluster) = stage.trust(story)?;
    let node = node(story, "own", &stage.tpms.template_without_ek_cert("bare")?)?;
    let mut vm = story.boot(&node.machine(trust.port(), cluster.api.port()), "boot")?;
    vm.wait_for("attest  ..  evidence snp of an SVSM, tpm beside it", BOOT)?;
    ended(&mut vm)?.shows("TPM, snp reports of an SVSM")
}

/// The host attaches another vTPM than the one that the SVSM vouches for: nothing of it is sent.
pub(crate) fn t06_svsm_of_another_vtpm(story: &Story) -> Result<()> {
    let stage = Stage::get()?;
    let (trust, cluster) = stage.trust(story)?;
    let mut node = node(story, "foreign", &stage.tpms.template_without_ek_cert("other")?)?;
    node.boot(story, "boot", &trust, &cluster)?.refused("svsm-manifest-foreign")
}
