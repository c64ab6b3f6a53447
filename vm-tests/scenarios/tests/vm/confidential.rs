//! The shipped ccnode-init on emulated SEV-SNP guests: what its evidence is worth, and what is refused.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::{Image, Story};
use ccnode_vm_scenarios::confidential::policy::{Measurement, Policy, hex, launch};
use ccnode_vm_scenarios::confidential::{Confidential, Guest, endorsement_key};
use ccnode_vm_scenarios::node::{ask, ended};
use ccnode_vm_scenarios::{Outcome, Stage, Trust};
use serde_json::Value;
use std::process::Command;

/// What the node says of its evidence.
const OF_AN_SVSM: &str = "attest  ..  evidence snp of an SVSM, tpm beside it";
const ALONE: &str = "attest  ..  evidence snp, no TPM";
/// A launch that no pool lists.
const OTHER: Measurement = [0x22; 48];
/// Header and mark of a volume have one; then comes content.
const MIB: usize = 1 << 20;

/// A guest whose SVSM vouches for its vTPM joins a pool that wants no less, twice, with one root.
pub(crate) fn snp_tee_bound_vtpm_joins(story: &Story) -> Result<()> {
    let (joined, trust, cluster) = Confidential::get()?.joined(story)?;
    // Whose vTPM has no certificate is let in by the report alone, as far as to its platform.
    for console in [&joined.unknown, &joined.first] {
        shows(console, "TPM, snp reports of an SVSM")?;
        shows(console, OF_AN_SVSM)?;
    }
    shows(&joined.first, "format  ok  generation 1; the partition was blank")?;
    shows(&joined.first, ", level tee-bound-vtpm")?;
    shows(&joined.first, "ccnode-demo: boot 1 of this root")?;
    let before = record(&trust, &joined.name)?;

    let mut vm = story.boot(&joined.node.machine(trust.port(), cluster.api.port()), "second")?;
    let outcome = ended(&mut vm)?;
    outcome.joined(&joined.name)?;
    for text in [OF_AN_SVSM, ", level tee-bound-vtpm", "cap  ok  PCR 15 closed", "boot 2 of this root"] {
        outcome.shows(text)?;
    }
    let status = ask(&mut vm, "status")?;
    ensure!(status.contains(r#""level":"tee-bound-vtpm""#), "{status}");
    ensure!(status.contains(r#""evidence":{"kind":"snp","tpm":true,"svsm":true}"#), "{status}");
    vm.kill();

    let after = record(&trust, &joined.name)?;
    for record in [&before, &after] {
        is(record, "/level", "tee-bound-vtpm")?;
        is(record, "/kind", "snp")?;
        is(record, "/volumes/0/state", "ready")?;
        is(record, "/hardware/snp/measurement", &hex(&launch()))?;
        ensure!(record.pointer("/hardware/covers-tpm") == Some(&Value::Bool(true)), "{record}");
    }
    ensure!(before.get("volumes") == after.get("volumes"), "the volume moved: {before}, then {after}");
    let evidence = trust.cli(&["node", "last-evidence", &joined.name])?;
    is(&evidence, "/verdict/level", "tee-bound-vtpm")
}

/// The same disk and vTPM on a guest that was launched otherwise: its genuine report gives it away.
pub(crate) fn t06_snp_another_launch(story: &Story) -> Result<()> {
    let confidential = Confidential::get()?;
    let (joined, trust, cluster) = confidential.joined(story)?;
    let disk = joined.node.disk.copy_to(story.path("before.img"))?;
    let tpm = joined.node.tpm.as_ref().context("it has a TPM")?;
    let guest = Guest::of_an_svsm(endorsement_key(tpm, story.dir())?).launched(OTHER);
    let mut node = confidential.moved(joined.node.clone(), &guest);
    let outcome = node.boot(story, "boot", &trust, &cluster)?;
    refused_with(&outcome, &trust, "snp-measurement", &[&hex(&OTHER), &hex(&launch())])?;
    unchanged(&disk, &node.disk)?;
    let record = record(&trust, &joined.name)?;
    is(&record, "/state", "active")?;
    is(&record, "/level", "tee-bound-vtpm")
}

/// Any guest can put a vTPM's key into its report: a launch that is not known to keep vTPMs raises no level.
pub(crate) fn t12_snp_no_keeper_of_vtpms(story: &Story) -> Result<()> {
    let confidential = Confidential::get()?;
    let policy = Policy { keepers: Vec::new(), ..Policy::of_an_svsm() };
    let (trust, cluster) = confidential.trust(story, &policy)?;
    confidential.know_platform(&trust)?;
    let tpm = Stage::get()?.tpms.template("a")?;
    let guest = Guest::of_an_svsm(endorsement_key(&tpm, story.dir())?);
    let mut node = confidential.node(story, &guest, &tpm)?;
    let disk = node.disk.copy_to(story.path("before.img"))?;

    let outcome = node.boot(story, "least-level", &trust, &cluster)?;
    outcome.shows(OF_AN_SVSM)?;
    let values = ["level hypervisor-vtpm", "tee-bound-vtpm or more", "do not list its launch"];
    refused_with(&outcome, &trust, "level-too-low", &values)?;
    ensure!(nodes(&trust)?.is_empty(), "it is on record");

    // Where the pool takes less, it is taken for what it is: a vTPM of its host's.
    Policy { least_level: None, ..policy }.set(story, &trust)?;
    let outcome = node.boot(story, "any-level", &trust, &cluster)?;
    refused_with(&outcome, &trust, "enrolment-needs-trust", &["level hypervisor-vtpm"])?;
    let [record] = nodes(&trust)?.try_into().map_err(|all| anyhow::anyhow!("on record: {all:?}"))?;
    is(&record, "/state", "pending")?;
    is(&record, "/level", "hypervisor-vtpm")?;
    unchanged(&disk, &node.disk)
}

/// The host attaches another vTPM than the one that the SVSM vouches for: nothing of it is sent.
pub(crate) fn t06_snp_svsm_of_another_vtpm(story: &Story) -> Result<()> {
    let confidential = Confidential::get()?;
    let tpms = &Stage::get()?.tpms;
    let (trust, cluster) = confidential.trust(story, &Policy::of_an_svsm())?;
    let guest = Guest::of_an_svsm(endorsement_key(&tpms.template("a")?, story.dir())?);
    let mut node = confidential.node(story, &guest, &tpms.template_without_ek_cert("bare")?)?;
    node.boot(story, "boot", &trust, &cluster)?.refused("svsm-manifest-foreign")
}

/// A report alone: the launch is all there is, and so is the boot. Its root is gone with it.
pub(crate) fn t17_snp_root_of_one_boot(story: &Story) -> Result<()> {
    let confidential = Confidential::get()?;
    let policy =
        Policy { least_level: Some("tee"), measurements: vec![launch(), OTHER], ..Policy::default() };
    let (trust, cluster) = confidential.trust(story, &policy)?;
    let image = trust.cli(&["image", "list"])?;
    let image = image.pointer("/0/id").and_then(Value::as_str).context("an image has an id")?.to_owned();
    Policy { launches: vec![(image, launch())], ..policy }.set(story, &trust)?;
    let mut node = confidential.launched(story, &Guest::default())?;
    let disk = node.disk.copy_to(story.path("before.img"))?;

    let mut other = confidential.moved(node.clone(), &Guest::default().launched(OTHER));
    let outcome = other.boot(story, "other-launch", &trust, &cluster)?;
    refused_with(&outcome, &trust, "launch-unknown", &[&hex(&OTHER), &hex(&launch())])?;
    unchanged(&disk, &node.disk)?;

    let root = node.disk.partition("root")?;
    let head = |disk: &Image| disk.read_at(&root, 0, MIB);
    let blank = head(&disk)?;
    let mut boots = Vec::new();
    for boot in ["first", "second"] {
        let outcome = node.boot(story, boot, &trust, &cluster)?;
        let name = joined_for_one_boot(&outcome, &trust)?;
        // Key and header were in memory alone: the partition begins as it did when it was new.
        ensure!(head(&node.disk)? == blank, "there is a header on the disk");
        boots.push((name, node.disk.read_at(&root, MIB as u64, MIB)?));
    }
    let [(one, content), (other, same)] = boots.as_slice() else { anyhow::bail!("two boots") };
    ensure!(one != other, "both boots were {one}");
    ensure!(content != same, "the same source under the same key");
    Ok(())
}

/// With a root that nobody has seen before; the node's name.
fn joined_for_one_boot(outcome: &Outcome, trust: &Trust) -> Result<String> {
    for text in [
        "snp reports",
        ALONE,
        ", level tee",
        "cap  ok  by the service: one release for this REPORT_ID",
        "format  ok  in memory, for this boot alone",
        "unlock  ok  a root that ends with this boot",
        "ccnode-demo: boot 1 of this root",
    ] {
        outcome.shows(text)?;
    }
    let Outcome::Joined { name, .. } = outcome else { anyhow::bail!("{outcome:?}") };
    let record = record(trust, name)?;
    is(&record, "/level", "tee")?;
    is(&record, "/kind", "snp")?;
    ensure!(record.get("expires").is_some_and(Value::is_u64), "it stays on record: {record}");
    ensure!(record.pointer("/volumes").and_then(Value::as_array).is_some_and(Vec::is_empty), "{record}");
    Ok(name.clone())
}

fn shows(console: &str, text: &str) -> Result<()> {
    ensure!(console.contains(text), "no `{text}` on the console:\n{console}");
    Ok(())
}

/// The code and what it is about, on the console and in the service's record.
fn refused_with(outcome: &Outcome, trust: &Trust, code: &str, values: &[&str]) -> Result<()> {
    outcome.refused(code)?;
    let refusal = trust.last_refusal()?;
    is(&refusal, "/code", code)?;
    let detail = refusal.get("detail").and_then(Value::as_str).unwrap_or_default();
    for value in values {
        outcome.shows(value)?;
        ensure!(detail.contains(value), "no `{value}` in {refusal}");
    }
    outcome.shows(&format!("id: {}", refusal.get("correlation-id").and_then(Value::as_str).unwrap_or("?")))
}

fn nodes(trust: &Trust) -> Result<Vec<Value>> {
    Ok(serde_json::from_value(trust.cli(&["node", "list"])?)?)
}

fn record(trust: &Trust, name: &str) -> Result<Value> {
    trust.cli(&["node", "show", name])
}

fn is(value: &Value, pointer: &str, want: &str) -> Result<()> {
    let got = value.pointer(pointer).and_then(Value::as_str);
    ensure!(got == Some(want), "{pointer} is {got:?}, not {want}, in {value}");
    Ok(())
}

fn unchanged(before: &Image, after: &Image) -> Result<()> {
    let same = Command::new("cmp").arg(before.path()).arg(after.path()).status()?.success();
    ensure!(same, "the disk changed");
    Ok(())
}
