//! The peers' times: a first run in a fresh boot each, in the machine shape of a node, everything in memory.

use anyhow::{Context as _, Result, bail, ensure};
use ccnode_images::cpio::Archive;
use ccnode_vm_harness::{Disk, Machine, Story, TpmMaker, Vm};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::figures::{Figure, Section};
use crate::kernel::Kernel;
use crate::peers;

/// Name of the figure of `cryptsetup open`.
pub const CRYPTSETUP: &str = "cryptsetup-open";
/// Name of the figure of systemd-cryptsetup.
pub const SYSTEMD: &str = "systemd-cryptsetup-attach";

/// Size of the LUKS volume with its header, bytes.
const VOLUME: u64 = 64 << 20;
/// Modules of the guest: its disk, its randomness, and what the peers ask the kernel for. AES is built in.
const MODULES: [&str; 10] = [
    "virtio_pci",
    "virtio_blk",
    "virtio-rng",
    "loop",
    "dm-mod",
    "dm-crypt",
    "dm-verity",
    "xts",
    "ecb",
    "algif_skcipher",
];
/// How long one boot may take under emulation on a busy machine.
const BOOT: Duration = Duration::from_secs(400);

/// What the boots share.
#[derive(Debug)]
pub struct Baseline {
    story: Story,
    machine: Machine,
    volumes: [PathBuf; 2],
    tpm: ccnode_vm_harness::TpmState,
    notes: Vec<String>,
}

impl Baseline {
    /// Makes the guest and, in a boot of its own, two volumes: LUKS2, aes-xts of 512 bits, PBKDF2 of 1000 iterations, one
    /// keyslot, for a key file on the first and bound to PCR 7 of the TPM on the second.
    ///
    /// # Errors
    /// When a package, a program or that boot fails.
    pub fn prepare(dir: &Path, init: &Path) -> Result<Self> {
        let kernel = Kernel::fetch(&dir.join("kernel"))?;
        let initrd = dir.join("baseline.cpio");
        fs::write(&initrd, guest(&kernel, init, &dir.join("packages"))?.to_bytes()?)?;
        let story = Story::begin("baseline", dir.join("baseline"))?;
        let tpm = TpmMaker::open(dir.join("tpms"))?.template("bench")?.copy_to(story.path("tpm"))?;
        let volumes = ["key.img", "tpm.img"].map(|name| story.path(name));
        for volume in &volumes {
            fs::File::create(volume)?.set_len(VOLUME)?;
        }
        let machine = Machine::kernel(&kernel.image, &initrd, "");
        let mut this = Self { story, machine, volumes, tpm, notes: Vec::new() };
        let said = this.boot("prepare", "prepare")?;
        this.notes.push(format!(
            "kernel {}, QEMU {}, cryptsetup {}, systemd {}",
            kernel.release,
            version("qemu-system-x86"),
            version("cryptsetup-bin"),
            version("systemd"),
        ));
        let [key, tpm] = this.volumes.each_ref().map(|volume| header(volume));
        this.notes.push(format!("{} MiB in memory; key file: {}; TPM: {}", VOLUME >> 20, key?, tpm?));
        ensure!(said.contains_key("enrolled"), "the guest did not say that it enrolled");
        Ok(this)
    }

    /// Times one peer in a fresh boot: milliseconds from the start of the command to /dev/mapper/x, 4 ms at most too few.
    ///
    /// # Errors
    /// When the boot or the peer fails.
    pub fn run(&self, peer: Peer, round: usize) -> Result<f64> {
        let said = self.boot(peer.word(), &format!("{}-{round}", peer.word()))?;
        let number = |key: &str| said.get(key).and_then(|v| v.parse::<f64>().ok());
        let (mapped, exit) = (number("mapped_ms"), number("exit_ms"));
        let (mapped, exit) =
            mapped.zip(exit).with_context(|| format!("the guest told no times: {said:?}"))?;
        self.story.step(&format!("{}: mapped after {mapped:.0} ms, ended after {exit:.0} ms", peer.word()));
        Ok(mapped)
    }

    /// One boot for opening and filling, ours and the peers': what the guest said. `source` is the root source of an image.
    ///
    /// # Errors
    /// When the boot fails.
    pub fn disk(&self, source: &Path, hash: &str) -> Result<BTreeMap<String, String>> {
        let ours = self.story.path("ours.img");
        // Header and room behind it.
        fs::File::create(&ours)?.set_len(fs::metadata(source)?.len() + (8 << 20))?;
        let more = [ours.as_path(), source];
        self.boot_with(&format!("disk roothash={hash}"), "disk", &more)
    }

    /// How the figures came about.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn boot(&self, task: &str, name: &str) -> Result<BTreeMap<String, String>> {
        self.boot_with(task, name, &[])
    }

    fn boot_with(&self, task: &str, name: &str, more: &[&Path]) -> Result<BTreeMap<String, String>> {
        let mut machine = self.machine.clone().tpm(&self.tpm);
        for volume in self.volumes.iter().map(PathBuf::as_path).chain(more.iter().copied()) {
            machine = machine.disk(Disk::data(volume, "volume"));
        }
        if let ccnode_vm_harness::machine::Start::Kernel { append, .. } = &mut machine.start {
            *append = format!("console=ttyS0 quiet panic=-1 bench={task}");
        }
        let mut vm = self.story.boot(&machine, name)?;
        ended(&mut vm)
    }
}

/// A peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    /// `cryptsetup open --key-file`.
    Cryptsetup,
    /// `systemd-cryptsetup attach` with a TPM2 token.
    Systemd,
}

impl Peer {
    fn word(self) -> &'static str {
        match self {
            Self::Cryptsetup => "cryptsetup",
            Self::Systemd => "systemd",
        }
    }
}

/// The figures of both peers.
#[must_use]
pub fn section(cryptsetup: &[f64], systemd: &[f64], notes: &[String], failures: &[String]) -> Section {
    let figure = |name, times: &[f64]| match (times, failures.first()) {
        ([], Some(failure)) => Figure::unmeasured(name, "ms", failure),
        _ => Figure::median(name, times, "ms"),
    };
    let figures = vec![figure(CRYPTSETUP, cryptsetup), figure(SYSTEMD, systemd)];
    let mut notes = notes.to_vec();
    if !failures.is_empty() && figures.iter().any(|f| f.value.is_ok()) {
        notes.push(format!("{} boots failed: {}", failures.len(), failures.join("; ")));
    }
    let title = "Peers: start of the command to /dev/mapper/x, first run in a fresh boot";
    Section { title: title.to_owned(), figures, notes }
}

/// Waits for the guest's end, and returns what it said in lines of `bench: key=value`.
fn ended(vm: &mut Vm) -> Result<BTreeMap<String, String>> {
    let which = vm.wait_for_any(&["bench: done", "bench: failed"], BOOT)?;
    let _off = vm.wait_off(Duration::from_secs(30))?;
    let console = vm.console();
    if which == 1 {
        bail!("the guest failed; logs in {}\n{console}", vm.dir().display());
    }
    Ok(said(&console))
}

fn said(console: &str) -> BTreeMap<String, String> {
    let lines = console.lines().filter_map(|line| line.split_once("bench: ")?.1.split_once('='));
    lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
}

fn guest(kernel: &Kernel, init: &Path, packages: &Path) -> Result<Archive> {
    let mut archive = peers::archive(init, packages)?;
    let mut list = String::new();
    for module in kernel.modules(&MODULES)? {
        // /lib is a link in this archive.
        let path = format!("/usr{}", module.path);
        list.push_str(&path);
        list.push('\n');
        archive.file(&path, 0o644, module.content);
    }
    archive.file("etc/modules", 0o644, list.into_bytes());
    archive.file("etc/passphrase", 0o600, b"the volume of the benchmark holds nothing".to_vec());
    Ok(archive)
}

/// What a LUKS2 header asks of whoever opens it: keyslots, and iterations, which cryptsetup chose in the guest.
fn header(volume: &Path) -> Result<String> {
    let out = Command::new("cryptsetup").args(["luksDump", "--dump-json-metadata"]).arg(volume).output();
    let out = out.context("running cryptsetup (Debian package cryptsetup-bin)")?;
    describe(&serde_json::from_slice(&out.stdout).context("reading the LUKS2 header")?)
}

fn describe(json: &Value) -> Result<String> {
    let keyslots =
        json.get("keyslots").and_then(Value::as_object).context("the LUKS2 header has no keyslots")?;
    let [slot] = keyslots.values().collect::<Vec<_>>().try_into().ok().context("not one keyslot")?;
    let iterations = |pointer: &str, of: &Value| of.pointer(pointer).and_then(Value::as_u64);
    let kdf = iterations("/kdf/iterations", slot).context("the keyslot has no iterations")?;
    let digest = iterations("/digests/0/iterations", json).context("the LUKS2 header has no digest")?;
    let tokens = json.get("tokens").and_then(Value::as_object).map_or(0, serde_json::Map::len);
    Ok(format!("1 keyslot of {kdf} iterations, {digest} in the digest, {tokens} tokens"))
}

/// The installed version of a Debian package.
fn version(package: &str) -> String {
    let out = Command::new("dpkg-query").args(["-W", "-f=${Version}", package]).output();
    let text = out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default();
    if text.is_empty() { "of another source".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_guest_says_is_read_whatever_is_around_it() {
        let console =
            "SeaBIOS\n[    1.2] x\nbench: mapped_ms=371.5\nbench: exit_ms=380 \n[ 2.0] bench: done\n";
        let said = said(console);
        assert_eq!(said.get("mapped_ms").map(String::as_str), Some("371.5"));
        assert_eq!(said.get("exit_ms").map(String::as_str), Some("380"));
        assert_eq!(said.len(), 2);
    }

    #[test]
    fn a_header_is_told_in_words_and_more_keyslots_are_refused() {
        let slot = serde_json::json!({"kdf": {"iterations": 1000}});
        let header = |keyslots: Value| {
            describe(
                &serde_json::json!({"keyslots": keyslots, "digests": {"0": {"iterations": 1500}}, "tokens": {"0": {}}}),
            )
        };
        let one = header(serde_json::json!({"1": slot})).unwrap();
        assert_eq!(one, "1 keyslot of 1000 iterations, 1500 in the digest, 1 tokens");
        assert!(header(serde_json::json!({"0": slot, "1": slot})).is_err());
    }

    #[test]
    fn a_guest_that_was_not_built_leaves_gaps_and_no_numbers() {
        let section = section(&[], &[], &[], &["no guest".to_owned()]);
        let names: Vec<_> = section.figures.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, [CRYPTSETUP, SYSTEMD]);
        assert!(section.figures.iter().all(|f| f.value == Err("no guest".into())));
    }

    #[test]
    fn a_failure_beside_a_figure_is_told() {
        let section = section(&[372.0], &[], &["a".to_owned()], &["went off".to_owned()]);
        assert_eq!(section.figures[0].value, Ok(372.0));
        assert_eq!(section.figures[1].value, Err("went off".into()));
        assert_eq!(section.notes, ["a", "1 boots failed: went off"]);
    }
}
