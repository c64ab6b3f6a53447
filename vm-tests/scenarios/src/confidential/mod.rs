//! Nodes on emulated SEV-SNP guests: kernel and QEMU of Debian's backports, one image, and in it below the shipped ccnode-init the
//! emulator of configfs-tsm.

pub mod policy;

use anyhow::{Context as _, Result, ensure};
use ccnode_images::cpio::Archive;
use ccnode_images::uki::Uki;
use ccnode_images::{SecureBoot, elf, initramfs, measure_uki};
use ccnode_testkit::snp::TestChip;
use ccnode_tsm_emulator::says;
use ccnode_vm_harness::machine::{Qemu, Start};
use ccnode_vm_harness::{Story, TpmState};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, OnceLock};

use crate::node::{Node, Outcome};
use crate::stage::{Built, Cluster, Stage, build_recipe, dir, platform_of, program, test_recipe};
use crate::tamper;
use crate::trust::{Trust, TrustDir};
use policy::{Measurement, Policy};

/// What the host says of an emulated guest.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    /// The manifest of its SVSM's vTPM; without one it has no SVSM.
    pub manifest: Option<Vec<u8>>,
    /// Its launch measurement; the test chip's own where there is none.
    pub measurement: Option<Measurement>,
}

/// The image whose kernel has configfs-tsm, and the QEMU for it.
#[derive(Debug)]
pub struct Confidential {
    /// The image with the emulator in it.
    pub image: Built,
    qemu: Qemu,
    joined: Mutex<Option<Joined>>,
}

/// A guest under an SVSM that has joined, and its service, both switched off.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The node.
    pub node: Node,
    /// The name that the service chose.
    pub name: String,
    /// The console of the boot that was refused for its platform; that guest's TPM had no certificate.
    pub unknown: String,
    /// The console of its first boot.
    pub first: String,
    trust: TrustDir,
}

impl Guest {
    /// A guest whose SVSM vouches for the vTPM of that endorsement key.
    #[must_use]
    pub fn of_an_svsm(manifest: Vec<u8>) -> Self {
        Self { manifest: Some(manifest), measurement: None }
    }

    /// The same guest, launched otherwise.
    #[must_use]
    pub fn launched(self, measurement: Measurement) -> Self {
        Self { measurement: Some(measurement), ..self }
    }

    /// The host's words.
    fn smbios(&self) -> Vec<String> {
        let manifest = self.manifest.as_ref().map(|manifest| says("manifest", manifest));
        let measurement = self.measurement.map(|measurement| says("measurement", &measurement));
        manifest.into_iter().chain(measurement).collect()
    }
}

impl Confidential {
    /// The image of this process; built at the first call.
    ///
    /// # Errors
    /// When programs are missing or the build fails.
    pub fn get() -> Result<&'static Self> {
        static MADE: OnceLock<Result<Confidential, String>> = OnceLock::new();
        let made = MADE.get_or_init(|| Self::make().map_err(|error| format!("{error:#}")));
        made.as_ref().map_err(|text| anyhow::anyhow!("{text}"))
    }

    fn make() -> Result<Self> {
        let qemu = Qemu::backports()?;
        let stage = Stage::get()?;
        let recipe = test_recipe("1", &stage.keys)?;
        let file = recipe.with_file_name("confidential.toml");
        let mut table: toml::Table = fs::read_to_string(&recipe)?.parse()?;
        let kernel =
            table.get_mut("kernel").and_then(|k| k.as_table_mut()).context("a recipe has [kernel]")?;
        kernel.insert("suite".into(), "bookworm-backports".into());
        let modules = kernel.get_mut("modules").and_then(|m| m.as_array_mut()).context("it has modules")?;
        modules.push("sev-guest".into());
        // Under emulation on a busy machine this kernel takes the timer for broken, and goes on without interrupts of devices.
        let cmdline = kernel.get_mut("cmdline").and_then(|c| c.as_array_mut()).context("it has a cmdline")?;
        cmdline.push("no_timer_check".into());
        fs::write(&file, toml::to_string(&table)?)?;
        // The tree has the date of the other image's: it is the same tree, and need not be made twice.
        let shipped =
            build_recipe(&file, dir().join("confidential"), &stage.keys, Some(tree_date(&stage.image)?))?;
        Ok(Self { image: with_emulator(&shipped)?, qemu, joined: Mutex::new(None) })
    }

    /// A new machine with a fresh copy of the image and of the TPM.
    ///
    /// # Errors
    /// When files can't be copied.
    pub fn node(&self, story: &Story, guest: &Guest, tpm: &TpmState) -> Result<Node> {
        let node = Node::new(story, &self.image, tpm)?;
        Ok(Node { qemu: self.qemu.clone(), smbios: guest.smbios(), ..node })
    }

    /// A new machine without a TPM, whose kernel, initramfs and command line are launched with it: nothing else measures them.
    ///
    /// # Errors
    /// When files can't be copied.
    pub fn launched(&self, story: &Story, guest: &Guest) -> Result<Node> {
        let file = |name| self.image.dir.join(name);
        let start = Start::Kernel {
            kernel: file("linux"),
            initrd: file("initrd"),
            append: fs::read_to_string(file("cmdline"))?,
        };
        let disk = self.image.disk().copy_to(story.path("disk.img"))?;
        let (qemu, smbios) = (self.qemu.clone(), guest.smbios());
        Ok(Node { disk, tpm: None, extra: Vec::new(), qemu, start, smbios })
    }

    /// The same node on another guest.
    #[must_use]
    pub fn moved(&self, node: Node, guest: &Guest) -> Node {
        Node { smbios: guest.smbios(), ..node }
    }

    /// A service with a pool of this policy, which lets no machine enrol whose host must be trusted.
    ///
    /// # Errors
    /// When the service or the tool fails.
    pub fn trust(&self, story: &Story, policy: &Policy) -> Result<(Trust, Cluster)> {
        let (trust, cluster) = Stage::get()?.service(story, &self.image, &[])?;
        policy.set(story, &trust)?;
        Ok((trust, cluster))
    }

    /// A guest under an SVSM that has joined, with its service running: a copy of one first boot that all scenarios share.
    ///
    /// # Errors
    /// When that first boot fails.
    pub fn joined(&self, story: &Story) -> Result<(Joined, Trust, Cluster)> {
        let joined = self.first()?;
        let trust = joined.trust.copy_to(story.path("trust"))?.serve()?;
        let cluster = Cluster::start(trust.dir(), story.dir())?;
        let node = joined.node.copy_to(story.dir())?;
        Ok((Joined { node, ..joined }, trust, cluster))
    }

    /// Lets a pool take the platform, which the shared first boot got known.
    ///
    /// # Errors
    /// When that first boot fails, or the tool.
    pub fn know_platform(&self, trust: &Trust) -> Result<()> {
        self.first()?;
        crate::stage::allow_platform(trust, &platform_file())
    }

    fn first(&self) -> Result<Joined> {
        let mut made = self.joined.lock().map_err(|_| anyhow::anyhow!("the first boot panicked"))?;
        if made.is_none() {
            *made = Some(self.first_boot()?);
        }
        made.clone().context("no node")
    }

    fn first_boot(&self) -> Result<Joined> {
        let tpms = &Stage::get()?.tpms;
        let story = Story::begin("joined", dir().join("joined"))?;
        let (trust, cluster) = self.trust(&story, &Policy::of_an_svsm())?;
        // As the vTPMs of SVSMs are: without a certificate of its maker.
        let tpm = tpms.template_without_ek_cert("bare")?;
        let guest = Guest::of_an_svsm(endorsement_key(&tpm, story.dir())?);
        let mut probe = self.node(&story, &guest, &tpm)?;
        let unknown = platform_of(&story, &mut probe, &trust, &cluster, &platform_file())?;
        crate::stage::allow_platform(&trust, &platform_file())?;

        let tpm = tpms.template("a")?;
        let guest = Guest::of_an_svsm(endorsement_key(&tpm, story.dir())?);
        let mut node = self.node(&story, &guest, &tpm)?;
        let outcome = node.boot(&story, "first", &trust, &cluster)?;
        let Outcome::Joined { name, console } = outcome else {
            anyhow::bail!("the shared first boot did not join: {outcome:?}");
        };
        let (dir, unknown) = (trust.dir().clone(), unknown.console().to_owned());
        drop(trust);
        Ok(Joined { node, name, unknown, first: console, trust: dir })
    }
}

fn platform_file() -> std::path::PathBuf {
    dir().join("confidential-platform-tuple.json")
}

/// The image whose first process is the emulator, which becomes ccnode-init; beside it what a host launches directly.
fn with_emulator(shipped: &Built) -> Result<Built> {
    let out = Built { dir: dir().join("confidential-guest") };
    fs::create_dir_all(&out.dir)?;
    let mut uki = Uki::parse(&shipped.uki()?)?;
    let mut archive = initramfs::unpack(uki.section(".initrd").context("a UKI without .initrd")?)?;
    lay_over(&mut archive, &out.dir.join("ccnode-tsm-init"))?;
    uki.set(".initrd", zstd::encode_all(archive.to_bytes()?.as_slice(), 3)?);
    let bytes = uki.to_bytes()?;
    fs::write(out.dir.join("uki.efi"), &bytes)?;
    fs::write(out.tuple(), serde_json::to_vec(&measure_uki(&bytes, SecureBoot::Off)?)?)?;
    tamper::replace(&shipped.disk().copy_to(out.dir.join("disk.img"))?, &bytes)?;
    for name in ["linux", "initrd", "cmdline"] {
        let section = uki.section(&format!(".{name}")).with_context(|| format!("a UKI without .{name}"))?;
        let text = section.strip_suffix(b"\0").filter(|_| name == "cmdline").unwrap_or(section);
        fs::write(out.dir.join(name), text)?;
    }
    Ok(out)
}

fn lay_over(archive: &mut Archive, wrapper: &Path) -> Result<()> {
    let early = archive.content("etc/ccnode/modules-early").context("no list of modules")?;
    let wanted = ["/configfs.ko", "/tsm.ko"];
    let modules = String::from_utf8_lossy(early)
        .lines()
        .filter(|path| wanted.iter().any(|w| path.ends_with(w)))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    ensure!(modules.len() == wanted.len(), "the image holds {modules:?} of {wanted:?}");
    let shipped = archive.content("init").context("an initramfs without /init")?.to_vec();
    archive.file("ccnode-init", 0o755, shipped);
    ensure!(
        Command::new("strip").arg("-o").arg(wrapper).arg(program("ccnode-tsm-init")?).status()?.success(),
        "strip failed"
    );
    archive.file("init", 0o755, fs::read(wrapper)?);
    for (path, host) in elf::closure(wrapper, &[])? {
        archive.file(&path, 0o755, fs::read(host)?);
    }
    archive.file("tsm/certificates", 0o644, TestChip::milan().certs_table());
    archive.file("tsm/modules", 0o644, modules.join("\n").into_bytes());
    Ok(())
}

/// TPMT_PUBLIC of a TPM's RSA endorsement key.
///
/// # Errors
/// When the TPM does not run or has no such key.
pub fn endorsement_key(tpm: &TpmState, work: &Path) -> Result<Vec<u8>> {
    let running = tpm.copy_to(work.join("tpm-twin"))?.serve()?;
    let file = work.join("ek.pub");
    let output = Command::new("tpm2_readpublic")
        .args(["-T", &running.tcti(), "-c", "0x81010001", "-o"])
        .arg(&file)
        .output()
        .context("running tpm2_readpublic (Debian package tpm2-tools)")?;
    ensure!(output.status.success(), "tpm2_readpublic: {}", String::from_utf8_lossy(&output.stderr));
    let whole = fs::read(&file)?;
    // TPM2B_PUBLIC: the size comes first.
    Ok(whole.get(2..).context("an empty public area")?.to_vec())
}

/// When the tree of an image was made, Unix seconds: s_mkfs_time of its ext4 file system.
fn tree_date(image: &Built) -> Result<u32> {
    let disk = image.disk();
    let bytes = disk.read_at(&disk.partition("root-source")?, 1024 + 0x108, 4)?;
    let bytes: [u8; 4] = bytes.as_slice().try_into().context("four bytes")?;
    Ok(u32::from_le_bytes(bytes))
}
