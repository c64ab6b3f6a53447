//! The last step: the kernel locked, the mounts moved, the initramfs emptied, and the root's init in our place.

use crate::refusal::Coded;
use ccnode_evidence::Code;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::fstat;
use nix::unistd::{chdir, chroot, execve};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Where the root is mounted.
pub const SYSROOT: &str = "/sysroot";
/// Where the kernel's settings are.
pub const SETTINGS: &str = "/proc/sys/kernel";
const INIT: &CStr = c"/sbin/init";
const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// Why the root's init does not run.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The root holds no init.
    #[error("the root has no {init}: {0}", init = INIT.to_string_lossy())]
    NoInit(#[source] io::Error),
    /// A step failed.
    #[error("{what}: {source}")]
    Failed {
        /// The step.
        what: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl Coded for HandoverError {
    fn code(&self) -> Code {
        match self {
            Self::NoInit(_) => Code::RootUnusable,
            Self::Failed { .. } => Code::HandoverFailed,
        }
    }
}

/// Whether `root` has an init that can be executed; links are followed as they will be after the change of root.
pub fn check_init(root: &Path) -> Result<(), HandoverError> {
    let dir = File::open(root).map_err(HandoverError::NoInit)?;
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let init = openat2(&dir, INIT, how).map_err(|e| HandoverError::NoInit(e.into()))?;
    let stat = fstat(&init).map_err(|e| HandoverError::NoInit(e.into()))?;
    let regular = stat.st_mode & nix::libc::S_IFMT == nix::libc::S_IFREG;
    match regular && stat.st_mode & 0o111 != 0 {
        true => Ok(()),
        false => Err(HandoverError::NoInit(io::ErrorKind::PermissionDenied.into())),
    }
}

/// Shuts what the running system may not open again, by the kernel's settings in `settings`: [`SETTINGS`].
pub fn lock_kernel(settings: &Path, modules_disabled: bool) -> Result<(), HandoverError> {
    let set = |name: &str, what| fs::write(settings.join(name), "1").map_err(failed(what));
    match set("kexec_load_disabled", "turning kexec off") {
        // A kernel without kexec has nothing to turn off.
        Err(HandoverError::Failed { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        done => done?,
    }
    if modules_disabled {
        set("modules_disabled", "turning module loading off")?;
    }
    Ok(())
}

/// Moves the mounts, empties the initramfs and becomes the root's init. Comes back only with an error.
pub fn switch_root() -> HandoverError {
    match switch() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn switch() -> Result<std::convert::Infallible, HandoverError> {
    let none: Option<&str> = None;
    let errno = |what| move |e: nix::Error| HandoverError::Failed { what, source: e.into() };
    for dir in MOVED {
        let target = format!("{SYSROOT}{dir}");
        mount(Some(dir), target.as_str(), none, MsFlags::MS_MOVE, none).map_err(errno("moving a mount"))?;
    }
    empty(Path::new("/"));
    chdir(SYSROOT).map_err(errno("entering the root"))?;
    mount(Some("."), "/", none, MsFlags::MS_MOVE, none).map_err(errno("moving the root"))?;
    chroot(".").map_err(errno("changing the root"))?;
    chdir("/").map_err(errno("entering the root"))?;
    crate::pid1::default_signals().map_err(errno("resetting signals"))?;
    nix::sys::stat::umask(nix::sys::stat::Mode::S_IWGRP | nix::sys::stat::Mode::S_IWOTH);
    close_on_exec().map_err(errno("marking descriptors to be closed"))?;
    // A clean environment: what ours held was for our libraries.
    let environment =
        [c"HOME=/", c"TERM=linux", c"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];
    execve(INIT, &[INIT], &environment).map_err(errno("starting /sbin/init"))
}

/// Removes what lies on the file system of `dir` itself; mounts on it are left alone, and so are errors: this is memory
/// given back, nothing depends on it.
fn empty(dir: &Path) {
    let Ok(device) = fs::symlink_metadata(dir).map(|m| m.dev()) else { return };
    remove(dir, device);
}

fn remove(dir: &Path, device: u64) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.dev() != device {
            continue;
        }
        if meta.is_dir() {
            remove(&path, device);
            let _ = fs::remove_dir(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Libraries may have opened descriptors that would outlive us.
#[expect(unsafe_code, reason = "close_range(2) has no safe form")]
fn close_on_exec() -> nix::Result<()> {
    let flags = nix::libc::CLOSE_RANGE_CLOEXEC as nix::libc::c_int;
    // SAFETY: marks descriptors and closes none, so no owner of one is deceived.
    nix::Error::result(unsafe { nix::libc::close_range(3, nix::libc::c_uint::MAX, flags) }).map(drop)
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> HandoverError {
    move |source| HandoverError::Failed { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn init_is_looked_up_as_the_root_will_see_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        assert_eq!(check_init(root).unwrap_err().code(), Code::RootUnusable);
        fs::create_dir_all(root.join("usr/sbin")).unwrap();
        fs::create_dir_all(root.join("lib/systemd")).unwrap();
        symlink("usr/sbin", root.join("sbin")).unwrap();
        symlink("/lib/systemd/systemd", root.join("usr/sbin/init")).unwrap();
        assert!(check_init(root).is_err(), "a link to nothing");
        let init = root.join("lib/systemd/systemd");
        fs::write(&init, "").unwrap();
        fs::set_permissions(&init, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(check_init(root).is_err(), "not executable");
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
        check_init(root).unwrap();
    }

    #[test]
    fn a_kernel_that_can_not_be_locked_is_not_handed_over() {
        let dir = tempfile::tempdir().unwrap();
        let setting = |name: &str| dir.path().join(name);
        // Neither setting is there: kexec needs none, and whoever wants modules off must get them off.
        lock_kernel(&dir.path().join("none"), false).unwrap();
        let none = lock_kernel(&dir.path().join("none"), true).unwrap_err();
        assert_eq!(
            (none.code(), none.to_string().contains("module loading")),
            (Code::HandoverFailed, true),
            "{none}"
        );
        lock_kernel(dir.path(), true).unwrap();
        for name in ["kexec_load_disabled", "modules_disabled"] {
            assert_eq!(fs::read_to_string(setting(name)).unwrap(), "1");
            fs::remove_file(setting(name)).unwrap();
        }
        // One that is there and can't be written.
        fs::create_dir(setting("kexec_load_disabled")).unwrap();
        let stuck = lock_kernel(dir.path(), false).unwrap_err();
        assert_eq!(
            (stuck.code(), stuck.to_string().contains("kexec")),
            (Code::HandoverFailed, true),
            "{stuck}"
        );
    }

    #[test]
    fn no_descriptor_outlives_the_hand_over() {
        use nix::fcntl::{FcntlArg, FdFlag, fcntl};
        let file = tempfile::tempfile().unwrap();
        let kept = || fcntl(&file, FcntlArg::F_GETFD).unwrap() & FdFlag::FD_CLOEXEC.bits() == 0;
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        assert!(kept());
        close_on_exec().unwrap();
        assert!(!kept());
    }

    #[test]
    fn only_one_file_system_is_emptied() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), "").unwrap();
        symlink("/", dir.path().join("link")).unwrap();
        empty(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        remove(Path::new("/proc/self"), 0);
    }
}
