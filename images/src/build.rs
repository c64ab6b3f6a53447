//! The build of an image from a recipe: each part cached by what went into it, the results written to one folder.

use crate::apt::Sources;
use crate::cache::{Cache, Key};
use crate::disk::{self, DiskError};
use crate::empty::{self, EMPTY_MIB, EmptyError};
use crate::initramfs::{self, Contents, InitramfsError};
use crate::kernel::{self, KernelError};
use crate::measure::{MeasureError, SecureBoot, measure_uki};
use crate::modules::ModuleError;
use crate::pe::PeError;
use crate::recipe::{Recipe, RecipeError};
use crate::rootfs::{self, RootfsError};
use crate::source::{self, Source, SourceError};
use crate::uki::Uki;
use crate::{apt::AptError, cmdline};
use ccnode_evidence::{ImageTuple, Layout, Sha256Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What a build takes beside the recipe.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The binary that becomes `/init`.
    pub init: PathBuf,
    /// Certificates (PEM) of the trust service's CAs, one for each path of `[service] ca` in the node's configuration, in
    /// that order.
    pub certificates: Vec<PathBuf>,
    /// Where parts are kept between builds; see [`default_cache`].
    pub cache: PathBuf,
    /// SOURCE_DATE_EPOCH, Unix seconds. Without it: the kernel's date for the tree, and the newest of that date and the
    /// certificates' notBefore for `/etc/ccnode/build-time`.
    pub epoch: Option<u64>,
}

/// What happens during a build.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress<'a> {
    /// A step begins; it may take a minute.
    Begin(&'a str),
    /// It is done.
    End(&'a str, Duration),
}

/// The files of a finished build.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuildReport {
    /// `disk.img`, sparse.
    pub disk: PathBuf,
    /// `uki.efi`.
    pub uki: PathBuf,
    /// `image-tuple.json`.
    pub tuple_path: PathBuf,
    /// The predicted tuple.
    pub tuple: ImageTuple,
    /// `packages.lock`: packages, libraries and binary that the image was made of.
    pub lock: PathBuf,
    /// What `sizes.json` says.
    pub sizes: Sizes,
}

/// Sizes by part, bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sizes {
    /// Parts of the initramfs, unpacked: init, libraries, modules, configuration.
    pub initramfs: BTreeMap<String, u64>,
    /// The initramfs without kernel modules, unpacked.
    pub initramfs_without_modules: u64,
    /// The same as zstd -19.
    pub initramfs_without_modules_packed: u64,
    /// The initramfs as it lies in the UKI.
    pub initramfs_packed: u64,
    /// The kernel.
    pub kernel: u64,
    /// The whole UKI.
    pub uki: u64,
    /// The ext4 image of the root file system.
    pub root: u64,
    /// The whole disk image as it is seen, holes included.
    pub disk: u64,
}

/// Why a build failed. The text names the object and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The recipe is refused.
    #[error(transparent)]
    Recipe(RecipeError),
    /// The machine has no apt sources for the suite.
    #[error(transparent)]
    Sources(AptError),
    /// Kernel or stub.
    #[error("kernel: {0}")]
    Kernel(KernelError),
    /// Kernel modules.
    #[error("kernel modules: {0}")]
    Modules(ModuleError),
    /// The root file system.
    #[error("root file system: {0}")]
    Rootfs(RootfsError),
    /// The empty file system.
    #[error("an empty file system: {0}")]
    Empty(EmptyError),
    /// The verity tree.
    #[error("root source: {0}")]
    Source(SourceError),
    /// The initramfs.
    #[error("{0}")]
    Initramfs(InitramfsError),
    /// The UKI.
    #[error("unified kernel image: {0}")]
    Uki(PeError),
    /// The prediction.
    #[error("prediction: {0}")]
    Measure(MeasureError),
    /// The disk image.
    #[error("disk image: {0}")]
    Disk(DiskError),
    /// A node would not take its configuration.
    #[error("node configuration {path}: {why}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Line and reason.
        why: String,
    },
    /// The number of certificates does not fit the configuration.
    #[error("the node's configuration pins {want} certificates ({paths}) and {given} were given")]
    Certificates {
        /// Paths in the configuration.
        want: usize,
        /// These paths.
        paths: String,
        /// How many were given.
        given: usize,
    },
    /// A file given as a certificate is none.
    #[error("{path}: {what}; give the PEM of a CA certificate and nothing else")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A file can't be read or written.
    #[error("can't access {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn at(path: &Path) -> impl Fn(io::Error) -> BuildError {
    move |source| BuildError::Io { path: path.to_owned(), source }
}

/// `$XDG_CACHE_HOME/ccnode/images`, or below `~/.cache`, or below `out` where there is no home.
pub fn default_cache(out: &Path) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    base.map_or_else(|| out.join("cache"), |base| base.join("ccnode/images"))
}

/// Builds the image of the recipe at `recipe` into `out`, which is made if it isn't there.
pub fn build(
    recipe: &Path,
    out: &Path,
    inputs: &Inputs,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<BuildReport, BuildError> {
    let recipe = Recipe::read(recipe).map_err(BuildError::Recipe)?;
    whole(&recipe)?;
    disk::data_fits(&recipe).map_err(BuildError::Disk)?;
    let certificates = Certificates::read(&recipe, &inputs.certificates)?;
    fs::create_dir_all(out).map_err(at(out))?;
    let cache = Cache::open(&inputs.cache).map_err(at(&inputs.cache))?;
    let sources = Sources::of_machine(&recipe.root.suite).map_err(BuildError::Sources)?;

    let kernel = step(progress, "kernel and stub", || {
        kernel::fetch(&recipe.kernel, &recipe.root.suite, &sources, &cache).map_err(BuildError::Kernel)
    })?;
    let tree = &kernel.modules;
    let node_modules = tree.resolve(&recipe.root.modules).map_err(BuildError::Modules)?;
    let modules = tree.resolve(&recipe.kernel.modules).map_err(BuildError::Modules)?;
    let context = rootfs::Context {
        cache: &cache,
        sources: &sources,
        epoch: inputs.epoch.unwrap_or(kernel.date),
        release: tree.release(),
        modules: &node_modules,
    };
    let base = step(progress, "packages of the root file system", || {
        rootfs::base(&recipe.root, &context).map_err(BuildError::Rootfs)
    })?;
    let source =
        step(progress, "root file system under dm-verity", || root_source(&recipe, &base, &context))?;

    let build_time = inputs.epoch.unwrap_or(kernel.date.max(certificates.newest));
    let copied = recipe.layout != Layout::VerityRoot;
    let empty = if copied && recipe.data.is_empty() {
        None
    } else {
        let work = cache.work().map_err(at(&inputs.cache))?;
        Some(empty::make(work.path(), context.epoch).map_err(BuildError::Empty)?)
    };
    let contents = Contents {
        init: &inputs.init,
        modules: &modules,
        config: &recipe.config,
        certificates: &certificates.files,
        empty: empty.as_deref(),
        build_time,
    };
    let initramfs = step(progress, "initramfs", || Packed::make(&contents, &cache))?;
    let uki_bytes = step(progress, "unified kernel image", || {
        let mut uki = Uki::new(&kernel.stub).map_err(BuildError::Uki)?;
        let cmdline = cmdline::whole(&recipe.kernel.cmdline, &source.root_hash, recipe.layout, &recipe.data);
        uki.set(".osrel", os_release(&recipe).into_bytes());
        uki.set(".cmdline", cmdline.into_bytes());
        uki.set(".linux", kernel.image.clone());
        uki.set(".initrd", initramfs.packed.clone());
        uki.to_bytes().map_err(BuildError::Uki)
    })?;
    let tuple = measure_uki(&uki_bytes, SecureBoot::Off).map_err(BuildError::Measure)?;
    let uki = put(out, "uki.efi", &uki_bytes)?;

    let disk = out.join("disk.img");
    step(progress, "disk image", || {
        let content = if copied { source.mib } else { EMPTY_MIB };
        let fitted =
            disk::Sizes::fit(&recipe, uki_bytes.len() as u64, &source, content).map_err(BuildError::Disk)?;
        let seed = Key::new("disk/1").with("uki", &uki_bytes).with("hash", &source.root_hash.0).digest();
        let work = cache.work().map_err(at(&inputs.cache))?;
        let fresh = out.join("disk.img.new");
        disk::write(&fresh, work.path(), &seed.0, &fitted, &uki, &source, context.epoch)
            .map_err(BuildError::Disk)?;
        fs::rename(&fresh, &disk).map_err(at(&disk))
    })?;

    let lock = kernel.lock.clone() + &root_lines(&base)? + &initramfs.lock;
    let sizes = initramfs.sizes(&kernel.image, &uki_bytes, &source, disk::length(&disk));
    put(out, "sizes.json", &json(&sizes, out)?)?;
    Ok(BuildReport {
        disk,
        uki,
        tuple_path: put(out, "image-tuple.json", &json(&tuple, out)?)?,
        tuple,
        lock: put(out, "packages.lock", lock.as_bytes())?,
        sizes,
    })
}

fn step<T>(
    progress: &mut dyn FnMut(Progress<'_>),
    name: &str,
    work: impl FnOnce() -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    progress(Progress::Begin(name));
    let start = Instant::now();
    let done = work()?;
    progress(Progress::End(name, start.elapsed()));
    Ok(done)
}

fn put(out: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, BuildError> {
    let (path, fresh) = (out.join(name), out.join(format!("{name}.new")));
    fs::write(&fresh, bytes).and_then(|()| fs::rename(&fresh, &path)).map_err(at(&path))?;
    Ok(path)
}

fn json<T: Serialize>(value: &T, out: &Path) -> Result<Vec<u8>, BuildError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| at(out)(error.into()))?;
    text.push(b'\n');
    Ok(text)
}

/// The root source: ext4 image and verity tree in one file, cached.
fn root_source(recipe: &Recipe, base: &Path, context: &rootfs::Context<'_>) -> Result<Source, BuildError> {
    let key = rootfs::key(&recipe.root, base, context).map_err(BuildError::Rootfs)?;
    let dir = context.cache.part("source", &key, at(Path::new("cache")), |dir| {
        let path = dir.join("source.img");
        rootfs::make(&recipe.root, base, context, &key, &path).map_err(BuildError::Rootfs)?;
        let made = source::make(&path, &key).map_err(BuildError::Source)?;
        let path = dir.join("root-hash");
        fs::write(&path, made.root_hash.hex()).map_err(at(&path))
    })?;
    let path = dir.join("source.img");
    let hash = dir.join("root-hash");
    let root_hash = fs::read_to_string(&hash).map_err(at(&hash))?;
    let root_hash = root_hash.parse().map_err(|_| BuildError::Source(SourceError::NoRootHash))?;
    Ok(Source { mib: disk::length(&path).div_ceil(crate::gpt::MIB), path, root_hash })
}

/// os-release(5) of the image; the tuple takes its name from it.
fn os_release(recipe: &Recipe) -> String {
    let (name, version) = (&recipe.name, &recipe.version);
    format!(
        "ID=ccnode\nNAME=\"{name}\"\nPRETTY_NAME=\"{name} {version}\"\nVERSION_ID=\"{version}\"\n\
         IMAGE_ID={name}\nIMAGE_VERSION={version}\n"
    )
}

/// Lock lines of the root file system's packages.
fn root_lines(base: &Path) -> Result<String, BuildError> {
    let path = base.join("packages");
    let text = fs::read_to_string(&path).map_err(at(&path))?;
    Ok(text.lines().map(|line| format!("root {line}\n")).collect())
}

/// The trust service's certificates by their path in the initramfs.
struct Certificates {
    files: BTreeMap<String, Vec<u8>>,
    /// Newest notBefore, Unix seconds.
    newest: u64,
}

impl Certificates {
    fn read(recipe: &Recipe, given: &[PathBuf]) -> Result<Self, BuildError> {
        if given.len() != recipe.certificates.len() {
            return Err(BuildError::Certificates {
                want: recipe.certificates.len(),
                paths: recipe.certificates.join(", "),
                given: given.len(),
            });
        }
        let mut out = Self { files: BTreeMap::new(), newest: 0 };
        for (guest, path) in recipe.certificates.iter().zip(given) {
            let pem = fs::read(path).map_err(at(path))?;
            let date =
                not_before(&pem).map_err(|what| BuildError::Certificate { path: path.clone(), what })?;
            out.newest = out.newest.max(date);
            out.files.insert(guest.clone(), pem);
        }
        Ok(out)
    }
}

/// The newest notBefore of a PEM file that holds CA certificates alone.
fn not_before(pem: &[u8]) -> Result<u64, &'static str> {
    let mut newest = None;
    for block in x509_parser::pem::Pem::iter_from_buffer(pem) {
        let block = block.map_err(|_| "not PEM")?;
        if block.label != "CERTIFICATE" {
            return Err("holds something else than certificates, perhaps a private key");
        }
        let certificate = block.parse_x509().map_err(|_| "holds a certificate that can't be read")?;
        if !certificate.is_ca() {
            return Err("holds a certificate that is no CA's");
        }
        let date = certificate.validity().not_before.timestamp().max(0).unsigned_abs();
        newest = newest.max(Some(date));
    }
    newest.ok_or("holds no certificate")
}

/// An initramfs ready for the UKI.
struct Packed {
    packed: Vec<u8>,
    lean_packed: u64,
    parts: BTreeMap<&'static str, u64>,
    lock: String,
}

impl Packed {
    fn make(contents: &Contents<'_>, cache: &Cache) -> Result<Self, BuildError> {
        let archive = initramfs::assemble(contents).map_err(BuildError::Initramfs)?;
        let lean = initramfs::assemble(&Contents { modules: &[], ..contents.clone() });
        let lean = lean.map_err(BuildError::Initramfs)?;
        let pack = |archive: &crate::cpio::Archive| -> Result<Vec<u8>, BuildError> {
            let raw = archive.to_bytes().map_err(|e| BuildError::Initramfs(InitramfsError::Cpio(e)))?;
            let key = Key::new("initrd/1").with("cpio", &raw);
            let dir = cache.part("initrd", &key, at(Path::new("cache")), |dir| {
                let packed = initramfs::pack(archive).map_err(BuildError::Initramfs)?;
                let path = dir.join("initrd");
                fs::write(&path, packed).map_err(at(&path))
            })?;
            let path = dir.join("initrd");
            fs::read(&path).map_err(at(&path))
        };
        let lock = archive.entries().filter_map(|(path, entry)| match entry {
            crate::cpio::Entry::File(_, content) if path == "init" || path.contains(".so") => {
                Some(format!("initramfs {path} sha256:{}\n", Sha256Digest::of(content)))
            }
            _ => None,
        });
        let lock = lock.collect();
        let parts = initramfs::sizes(&archive);
        // The slowest step of a rebuild: both at once.
        let (packed, lean_packed) = std::thread::scope(|scope| {
            let lean = scope.spawn(|| pack(&lean).map(|packed| packed.len() as u64));
            (pack(&archive), lean.join())
        });
        let lean_packed = lean_packed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(Self { packed: packed?, lean_packed, parts, lock })
    }

    fn sizes(&self, kernel: &[u8], uki: &[u8], source: &Source, disk: u64) -> Sizes {
        Sizes {
            initramfs: self.parts.iter().map(|(part, size)| ((*part).to_owned(), *size)).collect(),
            initramfs_without_modules: self
                .parts
                .iter()
                .filter(|(part, _)| **part != "modules")
                .map(|(_, s)| s)
                .sum(),
            initramfs_without_modules_packed: self.lean_packed,
            initramfs_packed: self.packed.len() as u64,
            kernel: kernel.len() as u64,
            uki: uki.len() as u64,
            root: source.mib * crate::gpt::MIB,
            disk,
        }
    }
}

/// Whether a node takes its configuration: it would refuse its first boot, hours later.
fn whole(recipe: &Recipe) -> Result<(), BuildError> {
    let text = std::str::from_utf8(&recipe.config).map_err(|e| e.to_string());
    match text.and_then(ccnode_node_config::Config::parse) {
        Ok(_) => Ok(()),
        Err(why) => Err(BuildError::Config { path: recipe.config_path.clone(), why }),
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
