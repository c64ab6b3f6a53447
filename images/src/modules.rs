//! Kernel modules in the order in which they can be loaded, from what the modules say of themselves (`.modinfo`).

use crate::elf;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Why a module can't go into an initramfs.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// Neither a module nor built into the kernel.
    #[error("the kernel {release} has no module `{name}`{}: correct [kernel] modules", needed(.needed_by))]
    Unknown {
        /// The name as it was asked for.
        name: String,
        /// The module that depends on it, if that is why.
        needed_by: Option<String>,
        /// The kernel's release.
        release: String,
    },
    /// Modules depend on each other in a circle.
    #[error("module `{0}` depends on itself")]
    Circle(String),
    /// A file or folder can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No ELF file, or without `.modinfo`.
    #[error("{0} is no kernel module")]
    Malformed(PathBuf),
    /// The folder holds no modules of one kernel.
    #[error("{0} holds no kernel's modules")]
    NoKernel(PathBuf),
}

fn needed(by: &Option<String>) -> String {
    by.as_ref().map(|by| format!(" (needed by `{by}`)")).unwrap_or_default()
}

/// A module with its content, decompressed and with its signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// Name with underscores: "dm_crypt".
    pub name: String,
    /// Path in the initramfs: "/lib/modules/6.1.0-1-cloud-amd64/kernel/drivers/md/dm-crypt.ko".
    pub path: String,
    /// The file's content.
    pub content: Vec<u8>,
    /// Loaded only after the cap: block drivers, device-mapper, their ciphers.
    pub late: bool,
}

/// The modules of one unpacked kernel package.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    release: String,
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
}

impl Tree {
    /// Opens the one kernel under `root`/lib/modules.
    pub fn open(root: &Path) -> Result<Self, ModuleError> {
        let modules = root.join("lib/modules");
        let none = || ModuleError::NoKernel(modules.clone());
        let [release] = list(&modules)?.try_into().map_err(|_| none())?;
        let base = modules.join(&release);
        let mut files = BTreeMap::new();
        walk(&base.join("kernel"), &mut files)?;
        if files.is_empty() {
            return Err(none());
        }
        let path = base.join("modules.builtin");
        let text = fs::read_to_string(&path).map_err(|source| ModuleError::Read { path, source })?;
        let builtin = text.lines().filter_map(|line| module_name(Path::new(line))).collect();
        Ok(Self { root: root.to_owned(), release, files, builtin })
    }

    /// The kernel's release: "6.1.0-1-cloud-amd64".
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The modules that `names` need, each behind what it depends on; what is built in is left out.
    ///
    /// A module is late unless its file lies among network, TPM or randomness drivers or is that of init-data, or one of those needs it.
    pub fn resolve(&self, names: &[String]) -> Result<Vec<Module>, ModuleError> {
        let mut walk = Walk { tree: self, done: BTreeSet::new(), out: Vec::new(), stack: Vec::new() };
        let (late, early): (Vec<_>, Vec<_>) = names.iter().partition(|name| self.is_late(name));
        for name in early {
            walk.visit(name, None, false)?;
        }
        for name in late {
            walk.visit(name, None, true)?;
        }
        Ok(walk.out)
    }

    /// Early is what networking, the TPM, randomness and init-data need; whatever else there is could be a block driver.
    fn is_late(&self, name: &str) -> bool {
        const EARLY: [&str; 7] = [
            "drivers/net/",
            "net/",
            "drivers/virtio/",
            "drivers/char/tpm/",
            "drivers/char/hw_random/",
            "drivers/firmware/efi/",
            "drivers/virt/coco/",
        ];
        // What the host hands in is measured before the network is up.
        const INIT_DATA: &str = "qemu_fw_cfg";
        let base = self.root.join("lib/modules").join(&self.release).join("kernel");
        let path = self.files.get(&canonical(name)).and_then(|p| p.strip_prefix(base).ok());
        canonical(name) != INIT_DATA
            && path.is_some_and(|path| !EARLY.iter().any(|prefix| path.starts_with(prefix)))
    }
}

/// The state of one resolution.
struct Walk<'a> {
    tree: &'a Tree,
    done: BTreeSet<String>,
    out: Vec<Module>,
    stack: Vec<String>,
}

impl Walk<'_> {
    fn visit(&mut self, name: &str, needed_by: Option<&str>, late: bool) -> Result<(), ModuleError> {
        let name = canonical(name);
        if self.done.contains(&name) || self.tree.builtin.contains(&name) {
            return Ok(());
        }
        if self.stack.contains(&name) {
            return Err(ModuleError::Circle(name));
        }
        let Some(file) = self.tree.files.get(&name) else {
            return Err(ModuleError::Unknown {
                name,
                needed_by: needed_by.map(str::to_owned),
                release: self.tree.release.clone(),
            });
        };
        let content = read_module(file)?;
        let info = Info::read(&content).ok_or_else(|| ModuleError::Malformed(file.clone()))?;
        self.stack.push(name.clone());
        for dependency in &info.depends {
            self.visit(dependency, Some(&name), late)?;
        }
        for dependency in &info.before {
            // A soft dependency names modules that this kernel may not have.
            if self.tree.files.contains_key(&canonical(dependency)) {
                self.visit(dependency, Some(&name), late)?;
            }
        }
        self.stack.pop();
        let inside = file.strip_prefix(&self.tree.root).unwrap_or(file);
        let path = format!("/{}", inside.with_extension("").with_extension("ko").display());
        self.done.insert(name.clone());
        self.out.push(Module { name, path, content, late });
        Ok(())
    }
}

/// What a module says about others.
#[derive(Default)]
struct Info {
    depends: Vec<String>,
    before: Vec<String>,
}

impl Info {
    fn read(content: &[u8]) -> Option<Self> {
        let mut info = Self::default();
        for entry in elf::section(content, ".modinfo").ok()??.split(|b| *b == 0) {
            let entry = String::from_utf8_lossy(entry);
            if let Some(list) = entry.strip_prefix("depends=") {
                info.depends = list.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect();
            } else if let Some(soft) = entry.strip_prefix("softdep=") {
                let before = soft.split_whitespace().skip_while(|w| *w != "pre:").skip(1);
                info.before.extend(before.take_while(|w| !w.ends_with(':')).map(str::to_owned));
            }
        }
        Some(info)
    }
}

/// Module names are compared with underscores.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// "dm_crypt" of ".../dm-crypt.ko.xz".
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (stem, end) = name.split_once(".ko")?;
    matches!(end, "" | ".xz" | ".zst").then(|| canonical(stem))
}

fn read_module(path: &Path) -> Result<Vec<u8>, ModuleError> {
    let failed = |source| ModuleError::Read { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(failed)?;
    match path.extension().and_then(|e| e.to_str()) {
        Some("zst") => zstd::decode_all(bytes.as_slice()).map_err(failed),
        Some("xz") => crate::tool::Tool::new("xz", "xz-utils")
            .args(["--decompress", "--stdout"])
            .arg(path)
            .output()
            .map_err(|error| failed(std::io::Error::other(error))),
        _ => Ok(bytes),
    }
}

fn list(dir: &Path) -> Result<Vec<String>, ModuleError> {
    let failed = |source| ModuleError::Read { path: dir.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn walk(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<(), ModuleError> {
    for name in list(dir)? {
        let path = dir.join(name);
        if path.is_dir() {
            walk(&path, files)?;
        } else if let Some(module) = module_name(&path) {
            files.insert(module, path);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "modules_tests.rs"]
mod tests;
