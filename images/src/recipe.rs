//! Recipes: what goes into a node image, read from TOML and checked before anything is built.

mod data;
mod error;
mod integrity;

pub use data::DataVolume;
pub use error::RecipeError;

use crate::cmdline;
use crate::recovery;
use ccnode_evidence::Layout;
use ccnode_luks_header::Integrity;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A recipe that was checked. Paths are absolute, or relative to the caller's folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipe {
    /// Name of the image, of letters, digits, `-` and `.`: "debian-12-worker".
    pub name: String,
    /// Version, same characters.
    pub version: String,
    /// How the root file system is kept.
    pub layout: Layout,
    /// The root file system.
    pub root: Root,
    /// Kernel, stub and command line.
    pub kernel: Kernel,
    /// The node's measured configuration, as it will lie at `/etc/ccnode/node.toml`.
    pub config: Vec<u8>,
    /// Where that is.
    pub config_path: PathBuf,
    /// Where the configuration wants the trust service's certificates, in its order.
    pub certificates: Vec<String>,
    /// Sizes of partitions.
    pub disk: Disk,
    /// Volumes for data, by name.
    pub data: Vec<DataVolume>,
    /// The tags of its volumes.
    pub integrity: Integrity,
    /// The virtual machine that the image is made for.
    pub platform: Platform,
}

/// The root file system.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// Debian suite: "bookworm".
    pub suite: String,
    /// Packages beside the essential ones, sorted.
    pub packages: Vec<String>,
    /// Units to enable.
    pub enable: Vec<String>,
    /// Units to mask.
    pub mask: Vec<String>,
    /// Kernel modules to install for the running node, beside those of the initramfs.
    pub modules: Vec<String>,
    /// A folder laid over the tree; owner root, modes 0755 and 0644.
    pub overlay: Option<PathBuf>,
    /// Single files.
    pub files: Vec<ExtraFile>,
}

/// One file to install.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtraFile {
    /// Absolute path in the image.
    pub path: String,
    /// The file to copy.
    pub source: PathBuf,
    /// Permission bits.
    pub mode: u32,
}

/// Kernel, stub and command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Debian suite of the kernel: that of the root, or its backports.
    pub suite: String,
    /// Debian package of the kernel: "linux-image-cloud-amd64", or one of a fixed version.
    pub package: String,
    /// Debian package of the EFI stub.
    pub stub: String,
    /// The checked command line without the root hash.
    pub cmdline: String,
    /// Modules for the initramfs.
    pub modules: Vec<String>,
}

/// Sizes of partitions, MiB.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disk {
    /// EFI system partition; as large as needed where not given.
    pub esp: Option<u64>,
    /// The partition that becomes the LUKS volume; twice the root source where not given.
    pub root: Option<u64>,
    /// The partition for swap; none where not given.
    pub swap: Option<u64>,
}

/// The virtual machine that an image is made for: PCR 0 moves with its processors and memory.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// QEMU machine type: "q35".
    pub machine: String,
    /// Virtual processors.
    #[serde(default = "one")]
    pub cpus: u32,
    /// Memory, MiB.
    #[serde(default = "memory")]
    pub memory: u32,
}

impl Recipe {
    /// Reads the recipe `path`, or `recipe.toml` in the folder `path`; the files that it names lie relative to its folder.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let inside = path.join("recipe.toml");
        let path = if path.is_dir() { inside.as_path() } else { path };
        let text = read("recipe", path)?;
        let raw: Raw = toml::from_str(&String::from_utf8_lossy(&text))
            .map_err(|source| RecipeError::Toml { path: path.to_owned(), source: Box::new(source) })?;
        raw.check(path.parent().unwrap_or(Path::new(".")))
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, RecipeError> {
    std::fs::read(path).map_err(|source| RecipeError::Read { what, path: path.to_owned(), source })
}

fn one() -> u32 {
    1
}

fn memory() -> u32 {
    768
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    version: String,
    #[serde(default)]
    layout: Layout,
    root: RawRoot,
    kernel: RawKernel,
    node: RawNode,
    #[serde(default)]
    disk: RawDisk,
    platform: Platform,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoot {
    suite: String,
    packages: Vec<String>,
    #[serde(default)]
    enable: Vec<String>,
    #[serde(default)]
    mask: Vec<String>,
    #[serde(default)]
    modules: Vec<String>,
    overlay: Option<PathBuf>,
    #[serde(default)]
    files: Vec<RawFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    path: String,
    source: PathBuf,
    #[serde(default = "default_mode")]
    mode: String,
}

fn default_mode() -> String {
    "0644".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKernel {
    suite: Option<String>,
    package: String,
    #[serde(default = "default_stub")]
    stub: String,
    cmdline: Vec<String>,
    modules: Vec<String>,
}

fn default_stub() -> String {
    "systemd-boot-efi".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    config: PathBuf,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawDisk {
    esp: Option<String>,
    root: Option<String>,
    swap: Option<String>,
    #[serde(default)]
    data: BTreeMap<String, String>,
}

impl Raw {
    fn check(self, base: &Path) -> Result<Recipe, RecipeError> {
        let want = "letters, digits, `-`, `_` and `.` only, 64 at most";
        word("name", &self.name, want)?;
        word("version", &self.version, want)?;
        word("root.suite", &self.root.suite, want)?;
        word("platform.machine", &self.platform.machine, want)?;
        for (field, names) in [
            ("root.packages", &self.root.packages),
            ("root.modules", &self.root.modules),
            ("kernel.modules", &self.kernel.modules),
            ("kernel.package", &vec![self.kernel.package.clone()]),
            ("kernel.stub", &vec![self.kernel.stub.clone()]),
        ] {
            names.iter().try_for_each(|name| package(field, name))?;
        }
        for (field, units) in [("root.enable", &self.root.enable), ("root.mask", &self.root.mask)] {
            units.iter().try_for_each(|name| unit(field, name))?;
        }
        let config_path = base.join(&self.node.config);
        let config = read("node configuration", &config_path)?;
        let table = table(&config, &config_path)?;
        let certificates = certificates(&table, &config_path)?;
        init_data(&table, &self.kernel.modules, &config_path)?;
        recovery::check(table.get("recovery"), self.layout)
            .map_err(|why| RecipeError::Recovery { path: config_path.clone(), why })?;
        let integrity = integrity::check(&table, &self.kernel.modules)?;
        let stock = table.get("mode").and_then(|mode| mode.as_str()) == Some("stock");
        refuse_unless(!stock || self.layout.is_default(), "layout", self.layout.as_str(), ONLY_CCNODE)?;
        let label = table.get("disk").and_then(|disk| disk.get("swap")).and_then(|label| label.as_str());
        let goes = label == self.disk.swap.as_ref().map(|_| "swap");
        refuse_unless(goes, "disk.swap", self.disk.swap.as_deref().unwrap_or_default(), SWAP)?;
        let data = data::volumes(&table, &self.disk.data)?;
        let one_boot = self.layout == Layout::Ephemeral && !data.is_empty();
        if one_boot {
            return Err(RecipeError::Data(format!(
                "layout {} keeps nothing: take them out, or choose another layout",
                self.layout
            )));
        }
        let mut packages = self.root.packages;
        packages.sort();
        packages.dedup();
        let files = self.root.files.into_iter().map(|file| file.check(base)).collect::<Result<_, _>>()?;
        let kernel = Kernel {
            cmdline: cmdline::check(&self.kernel.cmdline).map_err(RecipeError::Cmdline)?,
            suite: kernel_suite(self.kernel.suite, &self.root.suite)?,
            package: self.kernel.package,
            stub: self.kernel.stub,
            modules: self.kernel.modules,
        };
        let size = |field, text: Option<String>| text.map(|text| mebibytes(field, &text)).transpose();
        Ok(Recipe {
            name: self.name,
            version: self.version,
            layout: self.layout,
            root: Root {
                suite: self.root.suite,
                packages,
                enable: self.root.enable,
                mask: self.root.mask,
                modules: self.root.modules,
                overlay: self.root.overlay.map(|dir| base.join(dir)),
                files,
            },
            kernel,
            config,
            config_path,
            certificates,
            disk: Disk {
                esp: size("disk.esp", self.disk.esp)?,
                root: size("disk.root", self.disk.root)?,
                swap: size("disk.swap", self.disk.swap)?,
            },
            data,
            integrity,
            platform: self.platform,
        })
    }
}

impl RawFile {
    fn check(self, base: &Path) -> Result<ExtraFile, RecipeError> {
        let plain = self.path.starts_with('/') && self.path.split('/').all(|part| part != "..");
        if !plain || self.path.ends_with('/') {
            let want = "an absolute path of a file, without `..`";
            return Err(RecipeError::Value { field: "root.files.path", value: self.path, want });
        }
        let mode = u32::from_str_radix(&self.mode, 8).ok().filter(|mode| *mode <= 0o7777);
        let Some(mode) = mode else {
            let want = "permission bits as octal text, like \"0644\"";
            return Err(RecipeError::Value { field: "root.files.mode", value: self.mode, want });
        };
        Ok(ExtraFile { path: self.path, source: base.join(self.source), mode })
    }
}

/// The suite of the root itself, or its backports: what Debian makes to go together.
fn kernel_suite(asked: Option<String>, root: &str) -> Result<String, RecipeError> {
    let suite = asked.unwrap_or_else(|| root.to_owned());
    let known = suite == root || suite.strip_prefix(root) == Some("-backports");
    refuse_unless(known, "kernel.suite", &suite, "the suite of [root], or that suite's backports")?;
    Ok(suite)
}

fn refuse_unless(ok: bool, field: &'static str, value: &str, want: &'static str) -> Result<(), RecipeError> {
    if ok { Ok(()) } else { Err(RecipeError::Value { field, value: value.to_owned(), want }) }
}

fn word(field: &'static str, text: &str, want: &'static str) -> Result<(), RecipeError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    refuse_unless(!text.is_empty() && text.len() <= 64 && text.bytes().all(plain), field, text, want)
}

fn package(field: &'static str, name: &str) -> Result<(), RecipeError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
    let ok = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.bytes().all(plain);
    refuse_unless(ok, field, name, "a name of letters, digits, `+`, `-`, `_` and `.`")
}

fn unit(field: &'static str, name: &str) -> Result<(), RecipeError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@:\\".contains(&b);
    let ok = name.contains('.') && name.bytes().all(plain) && !name.starts_with(['-', '.']);
    refuse_unless(ok, field, name, "a systemd unit with its suffix, like \"kubelet.service\"")
}

/// "512M" or "4G" in MiB.
fn mebibytes(field: &'static str, text: &str) -> Result<u64, RecipeError> {
    let number = |unit: char| text.strip_suffix(unit).and_then(|n| n.parse::<u64>().ok());
    let mib = number('M').or_else(|| number('G').and_then(|n| n.checked_mul(1024)));
    mib.filter(|mib| (1..=16 << 20).contains(mib)).ok_or_else(|| RecipeError::Value {
        field,
        value: text.to_owned(),
        want: "a size like \"512M\" or \"4G\", 16384G at most",
    })
}

/// A stock session opens a root that is there, and makes none.
const ONLY_CCNODE: &str = "luks-root, where the node's configuration has mode = \"stock\"";

/// One without the other would be no swap, or a boot that is refused.
const SWAP: &str =
    "a size where the node's configuration has [disk] swap = \"swap\", and none where it has no swap";

type Table = BTreeMap<String, toml::Value>;

fn table(config: &[u8], path: &Path) -> Result<Table, RecipeError> {
    toml::from_str(&String::from_utf8_lossy(config))
        .map_err(|source| RecipeError::Config { path: path.to_owned(), source: Box::new(source) })
}

/// A node that finds no init-data boots without: whoever allows it must not be left to wonder why.
fn init_data(table: &Table, modules: &[String], path: &Path) -> Result<(), RecipeError> {
    let allowed = table.get("init-data").and_then(|rule| rule.as_str()) == Some("allowed");
    let shown = modules.iter().any(|name| name.replace('-', "_") == "qemu_fw_cfg");
    if allowed && !shown { Err(RecipeError::InitData(path.to_owned())) } else { Ok(()) }
}

/// The paths of `[service] ca`: the builder puts the given certificates there, in this order.
fn certificates(table: &Table, path: &Path) -> Result<Vec<String>, RecipeError> {
    let list = table.get("service").and_then(|s| s.get("ca")).and_then(|ca| ca.as_array());
    let paths: Option<Vec<String>> = list
        .map(|l| l.iter().map(|v| v.as_str().filter(|p| is_certificate(p)).map(str::to_owned)).collect())
        .unwrap_or_default();
    paths.filter(|p| !p.is_empty()).ok_or_else(|| RecipeError::NoCertificate(path.to_owned()))
}

fn is_certificate(path: &str) -> bool {
    let name = path.strip_prefix("/etc/ccnode/").and_then(|name| name.strip_suffix(".pem"));
    name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
mod tests;
