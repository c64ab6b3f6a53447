//! A node whose root is small and checks itself: kernel and initramfs of the stage's image, and a root of some MiB that says at once
//! whether it holds what it was filled from.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use ccnode_evidence::{EventLogs, IMAGE_PCRS, ImageTuple, PcrIndex, PcrValues, Sha256Digest, TupleEvent};
use ccnode_images::uki::Uki;
use ccnode_images::{SecureBoot, cmdline, cpio, elf, initramfs, measure_uki, root_source};
use ccnode_luks_header::{MARK_OFFSET, mark};
use ccnode_tpm_eventlog::EventLog;
use ccnode_vm_harness::image::{TYPE_ESP, TYPE_LINUX};
use ccnode_vm_harness::machine::{Firmware, Qemu, Start};
use ccnode_vm_harness::{Image, Story, TpmState, Vm};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::node::{BOOT, Node, REFUSED};
use crate::stage::{Cluster, Stage, dir, platform_of, program, project};
use crate::trust::Trust;

/// MiB of the file system that the root is filled from.
const SOURCE: u64 = 24;
/// MiB of the root partition, which the file system grows to fill but for the header's MiB.
const ROOT: u64 = 64;
/// Files that fill the file system: count and bytes.
const LARGE: (usize, usize) = (12, 1 << 20);
const SMALL: (usize, usize) = (200, 3000);
/// What the root's init says once it has looked, before "good" or "bad".
const SAYS: &str = "small root: ";

/// What the root's init found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Boots of this root before.
    pub boots: u64,
    /// Blocks of its file system.
    pub blocks: u64,
}

/// The small image and what direct boots of it take.
#[derive(Clone, Debug)]
pub struct Small {
    dir: PathBuf,
    append: String,
    /// The root hash of its root.
    pub hash: Sha256Digest,
}

impl Small {
    /// Bytes that are copied at the first boot.
    pub const SOURCE: u64 = SOURCE << 20;
    /// Blocks of 4096 bytes that the grown file system has.
    pub const BLOCKS: u64 = ((ROOT - 1) << 20) / 4096;

    /// Makes it anew of the stage's image.
    ///
    /// # Errors
    /// When a program is missing or fails.
    pub fn make(stage: &Stage) -> Result<Self> {
        Self::with(stage, "small", |_| Ok(()))
    }

    /// The same with another initramfs, in a folder of that name.
    ///
    /// # Errors
    /// As [`Small::make`], or as `edit`.
    pub fn with(
        stage: &Stage,
        name: &str,
        edit: impl FnOnce(&mut cpio::Archive) -> Result<()>,
    ) -> Result<Self> {
        let dir = dir().join(name);
        let _old = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        tree(&dir.join("tree"))?;
        let source = dir.join("source.img");
        let hash = source_of(&dir.join("tree"), &source)?;

        let mut uki = Uki::parse(&stage.image.uki()?)?;
        let section = |name: &str| uki.section(name).with_context(|| format!("a UKI without {name}"));
        fs::write(dir.join("linux"), section(".linux")?)?;
        // Unpacked already: what the kernel has to unpack takes seconds under emulation.
        let mut archive = initramfs::unpack(section(".initrd")?)?;
        edit(&mut archive)?;
        fs::write(dir.join("initrd"), archive.to_bytes()?)?;
        let line = String::from_utf8(section(".cmdline")?.to_vec())?;
        let line = line.trim_end_matches(['\0', '\n']);
        let kept: Vec<&str> = line.split(' ').filter(|word| !word.starts_with(cmdline::ROOT_HASH)).collect();
        let append = format!("{} {}={hash}", kept.join(" "), cmdline::ROOT_HASH);
        uki.set(".cmdline", append.clone().into_bytes());
        let bytes = uki.to_bytes()?;
        fs::write(dir.join("uki.efi"), &bytes)?;
        fs::write(dir.join("image-tuple.json"), serde_json::to_vec(&measure_uki(&bytes, SecureBoot::Off)?)?)?;

        let esp = stage.image.disk().partition("esp")?.len >> 20;
        let mib = fs::metadata(&source)?.len() >> 20;
        let partitions =
            [("esp", TYPE_ESP, esp), ("root-source", TYPE_LINUX, mib), ("root", TYPE_LINUX, ROOT)];
        let disk = Image::create(dir.join("disk.img"), &partitions)?;
        disk.load(&disk.partition("root-source")?, &source)?;
        disk.patch(&disk.partition("root")?, MARK_OFFSET, &mark::blank())?;
        Ok(Self { dir, append, hash })
    }

    /// The disk as it is before the first boot, without anything on its ESP.
    #[must_use]
    pub fn disk(&self) -> Image {
        Image::at(self.dir.join("disk.img"))
    }

    /// A node with this disk whose kernel QEMU loads.
    #[must_use]
    pub fn direct(&self, disk: Image, tpm: TpmState) -> Node {
        let file = |name| self.dir.join(name);
        let start =
            Start::Kernel { kernel: file("linux"), initrd: file("initrd"), append: self.append.clone() };
        Node { disk, tpm: Some(tpm), extra: Vec::new(), qemu: Qemu::default(), start, smbios: Vec::new() }
    }

    /// A machine of another owner: this kernel and its modules, with another init.
    ///
    /// # Errors
    /// When the initramfs can't be read or written.
    pub fn rescue(&self, to: PathBuf, edit: impl FnOnce(&mut cpio::Archive) -> Result<()>) -> Result<Start> {
        let mut archive = cpio::Archive::parse(&fs::read(self.dir.join("initrd"))?)?;
        edit(&mut archive)?;
        fs::write(&to, archive.to_bytes()?)?;
        Ok(Start::Kernel { kernel: self.dir.join("linux"), initrd: to, append: self.append.clone() })
    }

    /// A node with this disk that firmware boots: the UKI is put on its ESP.
    ///
    /// # Errors
    /// When the ESP can't be written.
    pub fn by_firmware(&self, stage: &Stage, disk: Image, tpm: TpmState) -> Result<Node> {
        let (from, file) = (stage.image.disk(), self.dir.join("esp.img"));
        from.dump(&from.partition("esp")?, &file)?;
        disk.load(&disk.partition("esp")?, &file)?;
        crate::tamper::replace(&disk, &fs::read(self.dir.join("uki.efi"))?)?;
        let start = Start::Uefi(Firmware::plain());
        Ok(Node { disk, tpm: Some(tpm), extra: Vec::new(), qemu: Qemu::default(), start, smbios: Vec::new() })
    }

    /// Makes both ways to boot it known to the pool, each with its platform.
    ///
    /// # Errors
    /// When a boot of an unknown platform is not refused for that, or the tool fails.
    pub fn make_known(&self, stage: &Stage, story: &Story, trust: &Trust, cluster: &Cluster) -> Result<()> {
        let tpm = |name: &str| stage.tpms.template("a")?.copy_to(story.path(name));
        let disk = self.disk().copy_to(story.path("unknown.img"))?;
        let (platform, image) = (story.path("direct-platform.json"), story.path("direct-image.json"));
        let mut node = self.direct(disk, tpm("unknown-tpm")?);
        platform_of(story, &mut node, trust, cluster, &platform)?;
        fs::write(&image, serde_json::to_vec(&self.direct_tuple(trust)?)?)?;
        for tuple in [&image, &self.dir.join("image-tuple.json")] {
            trust.cli(&["image", "register", &tuple.to_string_lossy()])?;
        }
        crate::stage::allow_platform(trust, &platform)
    }

    /// What a direct boot leaves where an image is measured: SeaBIOS measures into PCR 4 that it boots, and nothing of what.
    fn direct_tuple(&self, trust: &Trust) -> Result<ImageTuple> {
        let refusal = trust.last_refusal()?;
        let logs = refusal.pointer("/kept/logs").context("the refusal keeps the logs")?;
        let logs: EventLogs = serde_json::from_value(logs.clone())?;
        let log = EventLog::parse(&logs.event_log.0)?;
        let (mut pcrs, mut events) = (PcrValues::default(), BTreeMap::new());
        for index in IMAGE_PCRS {
            let pcr = PcrIndex::new(index.into())?;
            let list: Vec<TupleEvent> = log
                .events
                .iter()
                .filter(|event| event.extends() && event.register == u32::from(index))
                .filter_map(|event| {
                    let component = event.describe().component;
                    Some(TupleEvent { event_type: event.event_type, digest: event.sha256()?, component })
                })
                .collect();
            pcrs.0.insert(pcr, list.iter().fold(Sha256Digest::ZERO, |acc, event| acc.extend(&event.digest)));
            events.insert(pcr, list);
        }
        let by_firmware = ImageTuple::from_json(&fs::read(self.dir.join("image-tuple.json"))?)?;
        Ok(ImageTuple { version: "direct".into(), pcrs, events, ..by_firmware })
    }
}

/// The root: its init, e2fsck, what both need, and files of noise.
fn tree(tree: &Path) -> Result<()> {
    for name in ["dev", "proc", "sys", "run", "var", "sbin", "data/small"] {
        fs::create_dir_all(tree.join(name))?;
    }
    let init = tree.join("sbin/init");
    run(Command::new("strip").arg("-o").arg(&init).arg(program("ccnode-vm-root")?))?;
    let check = Path::new("/sbin/e2fsck");
    fs::copy(check, tree.join("sbin/e2fsck")).context("copying e2fsck (Debian package e2fsprogs)")?;
    for (guest, host) in elf::closure(&init, &[])?.into_iter().chain(elf::closure(check, &[])?) {
        let to = tree.join(guest.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("a library in no folder")?)?;
        fs::copy(host, to)?;
    }
    let mut noise = fastrand::Rng::with_seed(24);
    let mut bytes = |len| (0..len).map(|_| noise.u8(..)).collect::<Vec<u8>>();
    for n in 0..LARGE.0 {
        fs::write(tree.join(format!("data/{n}")), bytes(LARGE.1))?;
    }
    for n in 0..SMALL.0 {
        fs::write(tree.join(format!("data/small/{n}")), bytes(SMALL.1))?;
    }
    Ok(())
}

/// Makes the root source of a folder as the image builder does, and returns its root hash.
fn source_of(tree: &Path, source: &Path) -> Result<Sha256Digest> {
    let file = File::create(source)?;
    file.set_len(Small::SOURCE)?;
    run(Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "1", "-J", "size=4", "-E"])
        .arg("lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard")
        .arg("-d")
        .args([tree, source]))?;
    Ok(root_source(source, "small")?.root_hash)
}

fn run(command: &mut Command) -> Result<()> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let output = command.env("PATH", path).current_dir(project()).output();
    let output = output.with_context(|| format!("running {:?}", command.get_program()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{:?}: {said}", command.get_program());
    Ok(())
}

/// Waits until the root's init has looked at its root.
///
/// # Errors
/// When the boot is refused, or the root is not what it was filled from.
pub fn looked(vm: &mut Vm) -> Result<Found> {
    let (good, bad) = (format!("{SAYS}good"), format!("{SAYS}bad"));
    let which = vm.wait_for_any(&[&good, &bad, REFUSED], BOOT)?;
    if which == 2 {
        let _off = vm.wait_off(Duration::from_secs(60))?;
        bail!("the boot was refused; console:\n{}", vm.console());
    }
    vm.wait_for(&format!("{SAYS}end"), Duration::from_secs(10))?;
    let console = vm.console();
    ensure!(which == 0, "the root is not what it was filled from; console:\n{console}");
    let said = console.split(&good).nth(1).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let number = |key: &str| {
        let found = said.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        found.and_then(|n| n.parse().ok()).ok_or_else(|| anyhow!("no {key} in `{said}`"))
    };
    Ok(Found { boots: number("boots")?, blocks: number("blocks")? })
}
