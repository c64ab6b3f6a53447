//! The root file system: packages by mmdebstrap, the recipe's overlay, the gate's units, as a reproducible ext4 image.

use crate::apt::{self, AptError, Package, Sources};
use crate::cache::{self, Cache, Key};
use crate::ext4;
use crate::gpt::Guid;
use crate::modules::Module;
use crate::recipe::Root;
use crate::tool::{Tool, ToolError};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Units that every image holds: the gate before the kubelet.
const UNITS: [(&str, &str); 2] = [
    ("ccnode-joined.target", include_str!("../units/ccnode-joined.target")),
    ("kubelet.service.d/10-ccnode.conf", include_str!("../units/kubelet.service.d/10-ccnode.conf")),
];
const ASSEMBLE: &str = include_str!("assemble.sh");
/// Left out of each package: what no node reads.
const EXCLUDED: [&str; 7] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/i18n/*",
    "path-exclude=/usr/lib/x86_64-linux-gnu/gconv/*",
];

/// Why no root file system can be made.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// Packages can't be had.
    #[error(transparent)]
    Apt(AptError),
    /// A tool failed.
    #[error(transparent)]
    Tool(ToolError),
    /// A file can't be read or written.
    #[error("can't access {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The tree has no list of its packages.
    #[error("the tree that mmdebstrap made has no /var/lib/dpkg/status")]
    NoStatus,
}

fn at(path: &Path) -> impl Fn(io::Error) -> RootfsError {
    move |source| RootfsError::Io { path: path.to_owned(), source }
}

/// What the root file system is made of beside the recipe.
pub(crate) struct Context<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) sources: &'a Sources,
    /// Unix seconds: no file of the tree is younger.
    pub(crate) epoch: u64,
    /// The kernel's release and the modules for the running node.
    pub(crate) release: &'a str,
    pub(crate) modules: &'a [Module],
}

/// The packages of a recipe, unpacked: `tree.tar` and `packages`, cached.
pub(crate) fn base(root: &Root, context: &Context<'_>) -> Result<PathBuf, RootfsError> {
    let epoch = context.epoch.to_string();
    let mut key = Key::new("tree/1")
        .with("suite", root.suite.as_bytes())
        .with("sources", context.sources.0.as_bytes())
        .with("epoch", epoch.as_bytes());
    for text in root.packages.iter().map(String::as_str).chain(EXCLUDED) {
        key = key.with("package", text.as_bytes());
    }
    context.cache.part("tree", &key, at(Path::new("cache")), |dir| {
        let tar = dir.join("tree.tar");
        let options = apt::proxies().into_iter().map(|p| format!("--aptopt={p}"));
        Tool::new("mmdebstrap", "mmdebstrap")
            .env("SOURCE_DATE_EPOCH", &epoch)
            .arg(if is_root() { "--mode=root" } else { "--mode=unshare" })
            .args(["--variant=essential", "--format=tar", "--quiet"])
            .args(["--aptopt=Acquire::Languages \"none\"", "--architectures=amd64"])
            .args(options)
            .args(EXCLUDED.map(|e| format!("--dpkgopt={e}")))
            .arg(format!("--include={}", root.packages.join(",")))
            .args([root.suite.as_str(), "-", "-"])
            .stdin(context.sources.0.clone().into_bytes())
            .output_to(&tar)
            .map_err(RootfsError::Tool)?;
        let status = Tool::new("tar", "tar").arg("-xOf").arg(&tar).arg("./var/lib/dpkg/status");
        let packages = installed(&status.text().map_err(RootfsError::Tool)?);
        if packages.is_empty() {
            return Err(RootfsError::NoStatus);
        }
        let lines = packages.iter().map(|p| format!("{} {} {}\n", p.name, p.version, p.architecture));
        let list = dir.join("packages");
        fs::write(&list, lines.collect::<String>()).map_err(at(&list))
    })
}

/// What the ext4 image of a recipe over its packages is made of.
pub(crate) fn key(root: &Root, base: &Path, context: &Context<'_>) -> Result<Key, RootfsError> {
    let packages = base.join("packages");
    let mut key = Key::new("ext4/2")
        .with("base", cache::name(base).as_bytes())
        .with("packages", &fs::read(&packages).map_err(at(&packages))?)
        .with("script", ASSEMBLE.as_bytes())
        .with("release", release(context).as_bytes());
    for (name, text) in UNITS {
        key = key.with(name, text.as_bytes());
    }
    for unit in &root.enable {
        key = key.with("enable", unit.as_bytes());
    }
    for unit in &root.mask {
        key = key.with("mask", unit.as_bytes());
    }
    if let Some(overlay) = &root.overlay {
        key = key.with_path("overlay", overlay).map_err(at(overlay))?;
    }
    for file in &root.files {
        key = key.with(&file.path, &file.mode.to_le_bytes());
        key = key.with_path("file", &file.source).map_err(at(&file.source))?;
    }
    for module in context.modules {
        key = key.with(&module.path, &module.content);
    }
    Ok(key)
}

/// Makes the ext4 image at `image`; its identifiers follow from `key`.
pub(crate) fn make(
    root: &Root,
    base: &Path,
    context: &Context<'_>,
    key: &Key,
    image: &Path,
) -> Result<(), RootfsError> {
    let work = context.cache.work().map_err(at(Path::new("cache")))?;
    let overlay = overlay(root, context, work.path())?;
    let script = if is_root() {
        Tool::new("sh", "dash")
    } else {
        let map = ["--user", "--map-root-user", "--map-auto", "sh"];
        Tool::new("unshare", "util-linux and uidmap").args(map)
    };
    script
        .args(["-c", ASSEMBLE])
        .env("TREE", work.path().join("tree"))
        .env("BASE", base.join("tree.tar"))
        .env("OVERLAY", overlay)
        .env("IMAGE", image)
        .env("EPOCH", context.epoch.to_string())
        .env("E2FSPROGS_FAKE_TIME", context.epoch.to_string())
        .env("ENABLE", enabled(root).join(" "))
        .env("MASK", root.mask.join(" "))
        .env("RELEASE", release(context))
        .env("UUID", Guid::derived(&key.digest().0, "ext4").to_string())
        .run()
        .map_err(RootfsError::Tool)?;
    let file = fs::File::options().read(true).write(true).open(image).map_err(at(image))?;
    ext4::settle_times(&file).map_err(at(image))
}

/// The kernel's release, where the tree holds modules of it: without any, all kernels have the same tree.
fn release<'a>(context: &Context<'a>) -> &'a str {
    if context.modules.is_empty() { "" } else { context.release }
}

/// The gate is enabled in every image.
fn enabled(root: &Root) -> Vec<String> {
    let mut units = vec!["ccnode-joined.target".to_owned()];
    units.extend(root.enable.iter().cloned());
    units
}

/// Overlay, single files, units and modules as one archive whose owner is root.
fn overlay(root: &Root, context: &Context<'_>, work: &Path) -> Result<PathBuf, RootfsError> {
    let stage = work.join("overlay");
    fs::create_dir(&stage).map_err(at(&stage))?;
    if let Some(overlay) = &root.overlay {
        copy_folder(overlay, &stage)?;
    }
    for (name, text) in UNITS {
        install(&stage.join("usr/lib/systemd/system").join(name), text.as_bytes(), 0o644)?;
    }
    for file in &root.files {
        let content = fs::read(&file.source).map_err(at(&file.source))?;
        install(&stage.join(file.path.trim_start_matches('/')), &content, file.mode)?;
    }
    for module in context.modules {
        install(&stage.join("usr").join(module.path.trim_start_matches('/')), &module.content, 0o644)?;
    }
    settle_folders(&stage)?;
    let tar = work.join("overlay.tar");
    Tool::new("tar", "tar")
        .args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--format=pax"])
        .arg(format!("--mtime=@{}", context.epoch))
        .arg("-C")
        .arg(&stage)
        .arg("-cf")
        .arg(&tar)
        .arg(".")
        .run()
        .map_err(RootfsError::Tool)?;
    Ok(tar)
}

fn install(path: &Path, content: &[u8], mode: u32) -> Result<(), RootfsError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    fs::write(path, content).map_err(at(path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at(path))
}

/// The umask of whoever builds must not show.
fn settle_folders(dir: &Path) -> Result<(), RootfsError> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(at(dir))?;
    for entry in fs::read_dir(dir).map_err(at(dir))?.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            settle_folders(&entry.path())?;
        }
    }
    Ok(())
}

/// Modes become 0755 and 0644 (by the executable bit), so that the checkout's umask does not show.
fn copy_folder(from: &Path, to: &Path) -> Result<(), RootfsError> {
    fs::create_dir_all(to).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let entry = entry.map_err(at(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(&source).map_err(at(&source))?;
        if meta.is_dir() {
            copy_folder(&source, &target)?;
        } else if meta.is_symlink() {
            let link = fs::read_link(&source).map_err(at(&source))?;
            std::os::unix::fs::symlink(link, &target).map_err(at(&target))?;
        } else {
            fs::copy(&source, &target).map_err(at(&source))?;
            let mode = if meta.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
            fs::set_permissions(&target, fs::Permissions::from_mode(mode)).map_err(at(&target))?;
        }
    }
    Ok(())
}

/// The packages of a dpkg status file, sorted.
fn installed(status: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = status
        .split("\n\n")
        .filter_map(|stanza| {
            let field = |key: &str| {
                stanza
                    .lines()
                    .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))
                    .map(|v| v.trim().to_owned())
            };
            field("Status").filter(|s| s.ends_with(" installed"))?;
            Some(Package {
                name: field("Package")?,
                version: field("Version")?,
                architecture: field("Architecture")?,
            })
        })
        .collect();
    packages.sort();
    packages
}

fn is_root() -> bool {
    // The owner of /proc/self is the effective user.
    fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_gives_what_is_installed() {
        let status = "Package: zlib\nStatus: install ok installed\nVersion: 1:2\nArchitecture: amd64\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n\n\
                      Package: base\nStatus: install ok installed\nVersion: 3\nArchitecture: all\n";
        let names: Vec<_> = installed(status).into_iter().map(|p| (p.name, p.version)).collect();
        assert_eq!(names, [("base".into(), "3".into()), ("zlib".into(), "1:2".into())]);
    }

    #[test]
    fn overlay_modes_do_not_follow_the_checkout() {
        let work = tempfile::tempdir().unwrap();
        let (from, to) = (work.path().join("from"), work.path().join("to"));
        fs::create_dir_all(from.join("etc")).unwrap();
        for (name, mode) in [("etc/a", 0o600), ("etc/b", 0o775)] {
            fs::write(from.join(name), "x").unwrap();
            fs::set_permissions(from.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("a", from.join("etc/l")).unwrap();
        copy_folder(&from, &to).unwrap();
        settle_folders(&to).unwrap();
        let mode = |name: &str| fs::symlink_metadata(to.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("etc"), mode("etc/a"), mode("etc/b")), (0o755, 0o644, 0o755));
        assert_eq!(fs::read_link(to.join("etc/l")).unwrap(), Path::new("a"));
    }
}
