//! Kernel and EFI stub out of Debian's packages, unpacked and never installed.

use crate::apt::{Apt, AptError, Package, Sources};
use crate::cache::{Cache, Key};
use crate::modules::{ModuleError, Tree};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where the stub lies in its package.
const STUB: &str = "usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// Why there is no kernel to build with.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Packages can't be had.
    #[error(transparent)]
    Apt(AptError),
    /// The modules can't be read.
    #[error(transparent)]
    Modules(ModuleError),
    /// The package holds no file of that kind.
    #[error("package {package} holds no {what}: correct [kernel] of the recipe")]
    Missing {
        /// The package.
        package: String,
        /// What is missing.
        what: &'static str,
    },
    /// A file can't be read or written.
    #[error("can't access {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// A kernel and a stub, ready to be put into a UKI.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The bzImage.
    pub(crate) image: Vec<u8>,
    /// The EFI stub.
    pub(crate) stub: Vec<u8>,
    /// Its modules.
    pub(crate) modules: Tree,
    /// When the kernel was built, Unix seconds.
    pub(crate) date: u64,
    /// Lines for the lock file.
    pub(crate) lock: String,
}

/// Fetches the packages of a recipe's `[kernel]`, cached.
pub(crate) fn fetch(
    recipe: &crate::recipe::Kernel,
    suite: &str,
    sources: &Sources,
    cache: &Cache,
) -> Result<Kernel, KernelError> {
    let own = match recipe.suite == suite {
        true => sources.clone(),
        false => Sources::of_machine(&recipe.suite).map_err(KernelError::Apt)?,
    };
    let key = Key::new("kernel/2")
        .with("suite", suite.as_bytes())
        .with("sources", sources.0.as_bytes())
        .with("kernel suite", recipe.suite.as_bytes())
        .with("kernel sources", own.0.as_bytes())
        .with("kernel", recipe.package.as_bytes())
        .with("stub", recipe.stub.as_bytes());
    let dir = cache.part("kernel", &key, at(Path::new("cache")), |dir| {
        let work = cache.work().map_err(at(Path::new("cache")))?;
        // The stub stays with the root's suite: the prediction knows that one.
        let open = |part: &str, suite: &str, sources| {
            Apt::open(&work.path().join(part), suite, sources).map_err(KernelError::Apt)
        };
        let of_root = open("root", suite, sources)?;
        let of_kernel = open("kernel", &recipe.suite, &own)?;
        let kernel = of_kernel.kernel(&recipe.package).map_err(KernelError::Apt)?;
        let stub = of_root.package(&recipe.stub).map_err(KernelError::Apt)?;
        of_kernel.unpack(&kernel, &dir.join("kernel")).map_err(KernelError::Apt)?;
        of_root.unpack(&stub, &dir.join("stub")).map_err(KernelError::Apt)?;
        let line = |kind: &str, p: &Package| format!("{kind} {} {} {}\n", p.name, p.version, p.architecture);
        let lock = dir.join("lock");
        fs::write(&lock, line("kernel", &kernel) + &line("stub", &stub)).map_err(at(&lock))
    })?;
    let boot = dir.join("kernel/boot");
    let missing = |package: &str, what| KernelError::Missing { package: package.to_owned(), what };
    let image = fs::read_dir(&boot).ok().and_then(|mut entries| {
        entries.find_map(|e| e.ok().filter(|e| e.file_name().as_encoded_bytes().starts_with(b"vmlinuz")))
    });
    let image = image.ok_or_else(|| missing(&recipe.package, "kernel image in /boot"))?.path();
    let stub = dir.join("stub").join(STUB);
    if !stub.is_file() {
        return Err(missing(&recipe.stub, "EFI stub"));
    }
    let lock = dir.join("lock");
    Ok(Kernel {
        date: fs::metadata(&image).map_err(at(&image))?.mtime().max(0).unsigned_abs(),
        image: fs::read(&image).map_err(at(&image))?,
        stub: fs::read(&stub).map_err(at(&stub))?,
        modules: Tree::open(&dir.join("kernel")).map_err(KernelError::Modules)?,
        lock: fs::read_to_string(&lock).map_err(at(&lock))?,
    })
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> KernelError {
    move |source| KernelError::Io { path: path.to_owned(), source }
}
