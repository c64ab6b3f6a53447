//! Nodes on an emulated SEV-SNP guest: kernel and QEMU of Debian's backports, and below the shipped ccnode-init the emulator
//! of configfs-tsm.

use anyhow::{Context as _, Result, ensure};
use ccnode_images::cpio::Archive;
use ccnode_images::uki::Uki;
use ccnode_images::{SecureBoot, elf, initramfs, measure_uki};
use ccnode_testkit::snp::TestChip;
use ccnode_vm_harness::machine::Qemu;
use ccnode_vm_harness::{Story, TpmState};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::node::Node;
use crate::stage::{Built, Stage, build_recipe, dir, program, test_recipe};
use crate::tamper;

/// What the emulated guest says of itself.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    /// The manifest of its SVSM's vTPM; without one it has no SVSM.
    pub manifest: Option<Vec<u8>>,
    /// Its launch measurement; the test chip's own where there is none.
    pub measurement: Option<[u8; 48]>,
}

/// The image whose kernel has configfs-tsm, and the QEMU for it.
#[derive(Debug)]
pub struct Confidential {
    image: Built,
    qemu: Qemu,
    /// Paths of the modules below the emulator.
    modules: Vec<String>,
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
        fs::write(&file, toml::to_string(&table)?)?;
        // The tree has the date of the other image's: it is the same tree, and need not be made twice.
        let image =
            build_recipe(&file, dir().join("confidential"), &stage.keys, Some(tree_date(&stage.image)?))?;
        let uki = Uki::parse(&image.uki()?)?;
        let archive = initramfs::unpack(uki.section(".initrd").context("a UKI without .initrd")?)?;
        let early = archive.content("etc/ccnode/modules-early").context("no list of modules")?;
        let wanted = ["/configfs.ko", "/tsm.ko"];
        let modules = String::from_utf8_lossy(early)
            .lines()
            .filter(|path| wanted.iter().any(|w| path.ends_with(w)))
            .map(str::to_owned)
            .collect::<Vec<_>>();
        ensure!(modules.len() == wanted.len(), "the image holds {modules:?} of {wanted:?}");
        Ok(Self { image, qemu, modules })
    }

    /// The image for one guest: the emulator is the first process, and becomes ccnode-init.
    ///
    /// # Errors
    /// When files can't be read or written.
    pub fn image(&self, name: &str, guest: &Guest) -> Result<Built> {
        let out = Built { dir: dir().join(format!("confidential-{name}")) };
        fs::create_dir_all(&out.dir)?;
        let mut uki = Uki::parse(&self.image.uki()?)?;
        let mut archive = initramfs::unpack(uki.section(".initrd").context("a UKI without .initrd")?)?;
        self.lay_over(&mut archive, guest, &out.dir.join("ccnode-tsm-init"))?;
        uki.set(".initrd", zstd::encode_all(archive.to_bytes()?.as_slice(), 3)?);
        let bytes = uki.to_bytes()?;
        fs::write(out.dir.join("uki.efi"), &bytes)?;
        fs::write(out.tuple(), serde_json::to_vec(&measure_uki(&bytes, SecureBoot::Off)?)?)?;
        tamper::replace(&self.image.disk().copy_to(out.dir.join("disk.img"))?, &bytes)?;
        Ok(out)
    }

    fn lay_over(&self, archive: &mut Archive, guest: &Guest, wrapper: &Path) -> Result<()> {
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
        let optional = [
            ("tsm/manifest", guest.manifest.clone()),
            ("tsm/measurement", guest.measurement.map(|m| m.to_vec())),
        ];
        for (path, content) in optional {
            if let Some(content) = content {
                archive.file(path, 0o644, content);
            }
        }
        archive.file("tsm/certificates", 0o644, TestChip::milan().certs_table());
        archive.file("tsm/modules", 0o644, self.modules.join("\n").into_bytes());
        Ok(())
    }

    /// A new machine with a fresh copy of a guest's image and of the TPM.
    ///
    /// # Errors
    /// When files can't be copied.
    pub fn node(&self, story: &Story, image: &Built, tpm: &TpmState) -> Result<Node> {
        Ok(Node { qemu: self.qemu.clone(), ..Node::new(story, image, tpm)? })
    }
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
