//! The kernel of the baseline: Debian's cloud kernel, downloaded and unpacked once, never installed.

use anyhow::{Context as _, Result, bail, ensure};
use ccnode_images::modules::{Module, Tree};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package that stands for the newest cloud kernel of the machine's Debian.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel image and the modules that go with it.
#[derive(Debug)]
pub struct Kernel {
    /// The bzImage.
    pub image: PathBuf,
    /// Its release: "6.1.0-1-cloud-amd64".
    pub release: String,
    tree: Tree,
}

impl Kernel {
    /// The kernel unpacked in `dir`; downloaded there at the first call.
    ///
    /// # Errors
    /// When apt's sources have no such package or can't be reached.
    pub fn fetch(dir: &Path) -> Result<Self> {
        if !dir.join("boot").is_dir() {
            unpack(&depends(PACKAGE)?, dir)?;
        }
        let tree = Tree::open(dir)?;
        let release = tree.release().to_owned();
        let image = dir.join("boot").join(format!("vmlinuz-{release}"));
        ensure!(image.is_file(), "{PACKAGE} holds no {}", image.display());
        Ok(Self { image, release, tree })
    }

    /// The modules that `names` need, in load order.
    ///
    /// # Errors
    /// When the kernel has no such module.
    pub fn modules(&self, names: &[&str]) -> Result<Vec<Module>> {
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        Ok(self.tree.resolve(&names)?)
    }
}

/// The kernel package behind the one that only names it.
fn depends(package: &str) -> Result<String> {
    let out = Command::new("apt-cache").args(["show", "--no-all-versions", package]).output()?;
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("Depends:")).unwrap_or_default();
    let names = line.split([',', '|']).filter_map(|part| part.split_whitespace().next());
    let found = names.into_iter().find(|name| name.starts_with("linux-image-"));
    let found = found.with_context(|| format!("apt knows no {package}: run apt-get update"))?;
    Ok(found.to_owned())
}

/// Downloads a package by apt, which checks its digest, and unpacks it into `dir`, which appears whole or not at all.
///
/// # Errors
/// When apt or dpkg fails, with their words.
pub fn unpack(package: &str, dir: &Path) -> Result<()> {
    let part = dir.with_extension("part");
    let _none = fs::remove_dir_all(&part);
    fs::create_dir_all(&part)?;
    run(Command::new("apt-get").args(["-q", "download", package]).current_dir(&part))?;
    let deb = fs::read_dir(&part)?.flatten().map(|entry| entry.path()).next();
    let deb = deb.with_context(|| format!("apt-get download {package} left no file"))?;
    run(Command::new("dpkg").arg("-x").arg(&deb).arg(&part))?;
    fs::remove_file(deb)?;
    let _none = fs::remove_dir_all(dir);
    fs::rename(&part, dir).with_context(|| format!("making {}", dir.display()))
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let out = command.output().with_context(|| format!("running {shown}"))?;
    if !out.status.success() {
        bail!("{shown}: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(())
}
