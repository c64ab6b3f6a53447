//! The peers' programs and libraries, from the machine's own packages or downloaded ones, laid out as a merged `/usr`.

use anyhow::{Context as _, Result, bail};
use ccnode_images::cpio::Archive;
use ccnode_images::elf;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::kernel;

/// `cryptsetup` in the guest.
pub const CRYPTSETUP: &str = "/usr/sbin/cryptsetup";
/// systemd-cryptsetup in the guest.
pub const ATTACH: &str = "/usr/lib/systemd/systemd-cryptsetup";
/// systemd-cryptenroll in the guest.
pub const ENROLL: &str = "/usr/bin/systemd-cryptenroll";

/// Where Debian keeps libraries.
const LIB: &str = "/usr/lib/x86_64-linux-gnu";

/// Programs and plug-ins: path and Debian package.
const FILES: [(&str, &str); 5] = [
    ("/usr/bin/dd", "coreutils"),
    (CRYPTSETUP, "cryptsetup-bin"),
    (ATTACH, "systemd"),
    (ENROLL, "systemd"),
    ("/usr/lib/x86_64-linux-gnu/cryptsetup/libcryptsetup-token-systemd-tpm2.so", "systemd"),
];

/// Libraries that they open at run time: the TPM's, and the unwinder of threads that end.
const OPENED: [&str; 5] =
    ["libtss2-esys.so.0", "libtss2-mu.so.0", "libtss2-rc.so.0", "libtss2-tcti-device.so.0", "libgcc_s.so.1"];

/// Packages that hold a library where the machine lacks it.
const LIBRARY_PACKAGES: [(&str, &str); 2] =
    [("libsystemd-shared-", "libsystemd-shared"), ("libtss2-tcti-device.so.0", "libtss2-tcti-device0")];

/// Lays `init`, the peers and all that they need into an archive.
///
/// # Errors
/// When a file is neither on this machine nor in a package that can be downloaded into `dir`.
pub fn archive(init: &Path, dir: &Path) -> Result<Archive> {
    let mut archive = Archive::default();
    for name in ["bin", "sbin", "lib", "lib64"] {
        archive.symlink(name, &format!("usr/{name}"));
    }
    for name in ["dev", "proc", "sys", "run", "tmp", "etc"] {
        archive.directory(name);
    }
    archive.file("init", 0o755, fs::read(init).with_context(|| format!("reading {}", init.display()))?);
    let mut queue = vec![init.to_owned()];
    for (path, package) in FILES {
        let file = find(&[path.to_owned()], package, dir)?;
        archive.file(path, 0o755, fs::read(&file)?);
        queue.push(file);
    }
    let mut seen = BTreeSet::new();
    let mut wanted: Vec<String> = OPENED.map(str::to_owned).to_vec();
    loop {
        while let Some(name) = wanted.pop() {
            if seen.insert(name.clone()) {
                let (path, file) = library(&name, dir)?;
                archive.file(&path, 0o755, fs::read(&file)?);
                queue.push(file);
            }
        }
        let Some(file) = queue.pop() else { return Ok(archive) };
        let needs = elf::needs(&fs::read(&file)?).with_context(|| format!("reading {}", file.display()))?;
        wanted.extend(needs.libraries);
    }
}

/// A library's path in the guest, and its file here.
fn library(name: &str, dir: &Path) -> Result<(String, PathBuf)> {
    if name.starts_with("ld-linux") {
        return Ok((format!("/usr/lib64/{name}"), Path::new("/lib64").join(name)));
    }
    let (plain, private) = (format!("{LIB}/{name}"), format!("{LIB}/systemd/{name}"));
    let package =
        LIBRARY_PACKAGES.iter().find(|(start, _)| name.starts_with(start)).map(|(_, package)| *package);
    let file = find(&[plain.clone(), private.clone()], package.unwrap_or_default(), dir)?;
    let in_private = file.parent().is_some_and(|p| p.ends_with("systemd"));
    Ok((if in_private { private } else { plain }, file))
}

/// The first of `paths` on this machine, or in its package, which is then unpacked in `dir`.
fn find(paths: &[String], package: &str, dir: &Path) -> Result<PathBuf> {
    let unpacked = dir.join(package);
    // Packages of before the merge of /usr name paths without it.
    let look = |root: &Path| {
        let both = paths.iter().flat_map(|p| [p.as_str(), p.strip_prefix("/usr").unwrap_or(p)]);
        both.map(|p| root.join(p.trim_start_matches('/'))).find(|p| p.is_file())
    };
    if let Some(file) = look(Path::new("/")) {
        return Ok(file);
    }
    if package.is_empty() {
        bail!("{} is not installed", paths.join(" or "));
    }
    if !unpacked.is_dir() {
        kernel::unpack(package, &unpacked)?;
    }
    look(&unpacked).with_context(|| format!("package {package} holds no {}", paths.join(" or ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_with_and_without_usr() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("some-package");
        fs::create_dir_all(root.join("lib/ccnode-bench")).unwrap();
        fs::write(root.join("lib/ccnode-bench/x"), "").unwrap();
        let found = find(&["/usr/lib/ccnode-bench/x".into()], "some-package", dir.path()).unwrap();
        assert_eq!(found, root.join("lib/ccnode-bench/x"));
        let error = find(&["/usr/lib/ccnode-bench/y".into()], "some-package", dir.path()).unwrap_err();
        assert_eq!(error.to_string(), "package some-package holds no /usr/lib/ccnode-bench/y");
        let error = find(&["/usr/lib/ccnode-bench/y".into()], "", dir.path()).unwrap_err();
        assert_eq!(error.to_string(), "/usr/lib/ccnode-bench/y is not installed");
    }
}
