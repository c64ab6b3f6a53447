//! Power cuts of a first boot: recorded once, write by write, and played back up to any point onto other disks.
//!
//! Killing a machine loses no write that QEMU has taken, so it can't show that a flush is missing. Here QEMU logs each write and
//! flush of one first boot. A power cut leaves what was flushed and an accidental part of the rest.
//!
//! What the service knows must fit the cut. All that passes between node and service passes a tap: before bytes of the node go
//! on, it counts the entries that the log has; before bytes of the service go on, it looks at the volume's state, and copies
//! the service where that has changed. While it looks nothing passes, and a node that has told a step waits for the answer, so
//! the copy is of that moment, and every write that the node had seen finished when it spoke is among those counted: QEMU logs a
//! write before the guest hears of its end. A cut after so many entries or more may come after the service was told; the
//! latest such state is taken, since it claims the most.

mod cuts;

pub use cuts::{Cut, Luck, Phase, Steps};

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::{Passing, Story, Tap, TpmState, WriteLog};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::node::{Outcome, ended};
use crate::small::{Found, Small, looked};
use crate::stage::Stage;
use crate::trust::TrustDir;

/// A first boot, write by write.
#[derive(Debug)]
pub struct Recorded {
    /// What was written.
    pub log: WriteLog,
    /// Where its steps are in the log.
    pub steps: Steps,
    heard: Vec<Heard>,
    tpm: TpmState,
}

/// The service as it was from so many entries of the log on.
#[derive(Clone, Debug)]
struct Heard {
    at: usize,
    state: String,
    trust: TrustDir,
}

/// What the next boot after a cut came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aftermath {
    /// The volume's state when the power went, as the service had it.
    pub knew: String,
    /// Whether that boot made the root anew.
    pub anew: bool,
    /// How long it took until the root's init had looked.
    pub took: Duration,
}

impl Recorded {
    /// Boots a new node of the small image against a service that knows it, and records that.
    ///
    /// # Errors
    /// When the boot fails, or what it wrote is no first boot.
    pub fn make(stage: &Stage, small: &Small, story: &Story, trust: &TrustDir, api: u16) -> Result<Self> {
        let service = trust.serve()?;
        let file = story.path("writes.log");
        fs::write(&file, "")?;
        let seen = Arc::new(Mutex::new(Ok(Vec::new())));
        let watch = watch(trust.clone(), file.clone(), story.dir().to_owned(), Arc::clone(&seen));
        let tap = Tap::start(service.port(), watch)?;
        let tpm = stage.tpms.template("a")?.copy_to(story.path("tpm"))?;
        let node = small.direct(small.disk().copy_to(story.path("first.img"))?, tpm.clone());
        let root = node.disk.partition("root")?;
        let mut machine = node.machine(tap.port(), api);
        machine.disks = machine.disks.into_iter().map(|disk| disk.log_writes(&file)).collect();
        let mut vm = story.boot(&machine, "recorded")?;
        let found = looked(&mut vm)?;
        vm.kill();
        drop(tap);
        ensure!(found == Found { boots: 0, blocks: Small::BLOCKS }, "the first boot left {found:?}");
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = std::mem::replace(&mut *seen, Ok(Vec::new()))?;
        let at = |state: &str| {
            let found = heard.iter().find(|heard: &&Heard| heard.state == state);
            found.map(|heard| heard.at).with_context(|| format!("the service never was told {state}"))
        };
        let log = WriteLog::open(&file)?;
        let (formatted, ready) = (at("formatted")?, at("ready")?);
        let steps = Steps::find(&log, &root, Small::SOURCE, formatted, ready)?;
        Ok(Self { log, steps, heard, tpm })
    }

    /// Boots the node after a power cut: by firmware, or directly.
    ///
    /// # Errors
    /// When it does not end with the root that it should have.
    pub fn boot_after(
        &self,
        cut: &Cut,
        stage: &Stage,
        small: &Small,
        story: &Story,
        name: &str,
        way: (bool, u16),
    ) -> Result<Aftermath> {
        let dir = story.path(name);
        fs::create_dir_all(&dir)?;
        let disk = small.disk().copy_to(dir.join("disk.img"))?;
        self.log.replay(&disk, cut.at, |write, place| {
            cut.luck.survives(write, self.steps.block(place, cut.at))
        })?;
        let heard = self.heard.iter().rev().find(|heard| heard.at <= cut.at).context("no service")?;
        let trust = heard.trust.copy_to(dir.join("trust"))?.serve()?;
        let tpm = self.tpm.copy_to(dir.join("tpm"))?;
        let (by_firmware, api) = way;
        let node = if by_firmware { small.by_firmware(stage, disk, tpm)? } else { small.direct(disk, tpm) };
        let mut vm = story.boot(&node.machine(trust.port(), api), &format!("{name}/boot"))?;
        let found = looked(&mut vm)?;
        let (took, console) = (vm.age(), vm.console());
        vm.kill();
        let anew = console.contains("generation 2 begins");
        let volume = volume(trust.dir())?.context("the volume is gone")?;
        fs::remove_file(node.disk.path())?;
        let after = || format!("knew {}, {volume}, {found:?}; console:\n{console}", heard.state);
        ensure!(found.blocks == Small::BLOCKS, "the root was not grown: {}", after());
        let is = |member: &str, value: serde_json::Value| volume.get(member) == Some(&value);
        ensure!(is("state", "ready".into()), "the volume is not ready: {}", after());
        let opened = console.contains("as it is on record");
        ensure!(anew != opened && anew == (heard.state != "ready"), "the wrong way: {}", after());
        ensure!(is("generation", if anew { 2 } else { 1 }.into()), "the wrong generation: {}", after());
        ensure!(!(anew && found.boots > 0), "a root made anew had booted before: {}", after());
        Ok(Aftermath { knew: heard.state.clone(), anew, took })
    }
}

/// Bytes from the start of the data to where an ext4 file system has its superblock.
const SUPERBLOCK: u64 = 1024;

impl Recorded {
    /// Boots the node as its first boot left it, but for sixteen bytes of its file system's superblock.
    ///
    /// # Errors
    /// When the service or the machine fails, or neither end of a boot comes.
    pub fn boot_damaged(&self, small: &Small, story: &Story, api: u16) -> Result<Outcome> {
        let disk = small.disk().copy_to(story.path("damaged.img"))?;
        self.log.replay(&disk, self.steps.end, |_, _| true)?;
        disk.patch_raw(self.steps.data + SUPERBLOCK, &[0x5a; 16])?;
        let heard = self.heard.last().context("no service")?;
        let trust = heard.trust.copy_to(story.path("damaged-trust"))?.serve()?;
        let node = small.direct(disk, self.tpm.copy_to(story.path("damaged-tpm"))?);
        ended(&mut story.boot(&node.machine(trust.port(), api), "damaged")?)
    }
}

/// What the tap does with what passes.
fn watch(
    trust: TrustDir,
    log: std::path::PathBuf,
    dir: std::path::PathBuf,
    seen: Arc<Mutex<Result<Vec<Heard>>>>,
) -> impl FnMut(Passing) + Send + 'static {
    let mut at = 0;
    move |what| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(heard) = seen.as_mut() else { return };
        match what {
            // Before the first write there is no log.
            Passing::Up => at = WriteLog::open(&log).map_or(0, |log| log.len()),
            Passing::Down => {
                if let Err(error) = look(&trust, at, &dir, heard) {
                    *seen = Err(error);
                }
            }
        }
    }
}

fn look(trust: &TrustDir, at: usize, dir: &Path, heard: &mut Vec<Heard>) -> Result<()> {
    let state = volume(trust)?.and_then(|volume| Some(volume.get("state")?.as_str()?.to_owned()));
    let state = state.unwrap_or_else(|| "none".to_owned());
    if heard.last().is_none_or(|last| last.state != state) {
        let trust = trust.copy_to(dir.join(format!("trust-{}-{state}", heard.len())))?;
        heard.push(Heard { at, state, trust });
    }
    Ok(())
}

/// The node's root volume, as the service has it.
fn volume(trust: &TrustDir) -> Result<Option<serde_json::Value>> {
    Ok(trust.cli(&["node", "list"])?.pointer("/0/volumes/0").cloned())
}
