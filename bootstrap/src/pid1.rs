//! What a process 1 owes: file descriptors, environment, mounts, children, signals, limits.

use crate::refusal::Coded;
use ccnode_evidence::Code;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use nix::sys::reboot::set_cad_enabled;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::ffi::CStr;
use std::fs;
use std::os::fd::{AsRawFd as _, IntoRawFd as _, OwnedFd};
use std::path::Path;

/// A service of the kernel that a process 1 can't do without failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct Pid1Error {
    what: &'static str,
    #[source]
    source: std::io::Error,
}

impl Coded for Pid1Error {
    fn code(&self) -> Code {
        Code::NodeInternal
    }
}

/// The kernel's own file systems: source, target, type, flags, options.
const MOUNTS: &[(&str, &str, MsFlags, &str)] = &[
    ("devtmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755"),
    ("proc", "/proc", NO_CODE, ""),
    ("sysfs", "/sys", NO_CODE, ""),
    ("tmpfs", "/run", NO_DEV, "mode=0755"),
    ("securityfs", "/sys/kernel/security", NO_CODE, ""),
];
const NO_DEV: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const NO_CODE: MsFlags = NO_DEV.union(MsFlags::MS_NOEXEC);

/// Opens descriptors 0 to 2 before anything else can get one of these numbers: nothing is ever read from the console.
///
/// The kernel has opened the console where its initramfs has the node; here the device file system comes first, since
/// ours has an empty `/dev`.
pub fn open_console() {
    let _ = mount_one(0);
    open_standard(Path::new("/dev/console"));
}

/// `/dev/null` becomes descriptor 0, `console` 1 and 2; where only one of the two can be opened, it becomes all three.
fn open_standard(console: &Path) {
    let null = open("/dev/null", OFlag::O_RDWR, Mode::empty()).ok();
    let console = open(console, OFlag::O_WRONLY | OFlag::O_NOCTTY, Mode::empty()).ok();
    if let Some(input) = null.as_ref().or(console.as_ref()) {
        let _ = dup2_stdin(input);
    }
    if let Some(output) = console.as_ref().or(null.as_ref()) {
        let _ = dup2_stdout(output);
        let _ = dup2_stderr(output);
    }
    null.into_iter().chain(console).for_each(keep_standard);
}

/// What was opened as one of 0 to 2 stays: closing it would close what it was opened for.
fn keep_standard(fd: OwnedFd) {
    if fd.as_raw_fd() <= nix::libc::STDERR_FILENO {
        let _ = fd.into_raw_fd();
    }
}

/// Everything else that must be in place before the first step.
pub fn begin() -> Result<(), Pid1Error> {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    for i in 1..MOUNTS.len() {
        mount_one(i)?;
    }
    for dir in ["/run/ccnode", "/run/ccnode/kubelet", "/run/cryptsetup"] {
        fs::create_dir_all(dir).map_err(failed("making directories below /run"))?;
    }
    // Later readers of the status file and of the log need no privilege.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions("/run/ccnode", open).map_err(failed("making directories below /run"))?;
    let errno = |what| move |e: nix::Error| Pid1Error { what, source: e.into() };
    set_cad_enabled(false).map_err(errno("turning Ctrl-Alt-Del off"))?;
    // The soft limit alone: the root's init inherits the hard one.
    getrlimit(Resource::RLIMIT_CORE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_CORE, 0, hard))
        .map_err(errno("forbidding core dumps"))?;
    prctl::set_dumpable(false).map_err(errno("becoming undumpable"))?;
    // On fault: locking whole thread stacks beforehand would only cost memory.
    let on_fault = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
        .map_err(errno("locking memory"))?;
    reap().map_err(errno("reaping children"))
}

fn mount_one(i: usize) -> Result<(), Pid1Error> {
    let Some((kind, target, flags, options)) = MOUNTS.get(i) else { return Ok(()) };
    let failed = |source: std::io::Error| Pid1Error { what: target, source };
    if !Path::new(target).exists() {
        fs::create_dir_all(target).map_err(failed)?;
    }
    match mount(Some(*kind), *target, Some(*kind), *flags, Some(*options)) {
        Ok(()) | Err(nix::Error::EBUSY) => Ok(()),
        Err(e) => Err(failed(e.into())),
    }
}

/// Nothing here starts children; those that the kernel hands us are reaped by the kernel itself.
fn reap() -> nix::Result<()> {
    set_handler(Signal::SIGCHLD, SigHandler::SigIgn)?;
    set_handler(Signal::SIGPIPE, SigHandler::SigIgn)
}

/// The root's init starts with the dispositions that it expects.
pub fn default_signals() -> nix::Result<()> {
    set_handler(Signal::SIGCHLD, SigHandler::SigDfl)?;
    set_handler(Signal::SIGPIPE, SigHandler::SigDfl)
}

#[expect(unsafe_code, reason = "sigaction(2) has no safe form")]
fn set_handler(signal: Signal, handler: SigHandler) -> nix::Result<()> {
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler is one of the two constants, no function of ours.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// What the libraries below read from the environment. Nothing else stays in it: the kernel puts there whatever it does
/// not know of its command line.
const ENVIRONMENT: [(&CStr, &CStr); 2] = [(c"TSS2_LOG", c"all+NONE"), (c"DM_DISABLE_UDEV", c"1")];

/// Sets what our libraries need, and leaves nothing else: call it before the first thread.
#[expect(unsafe_code, reason = "the environment can only be changed while there is one thread")]
pub fn set_environment() {
    // SAFETY: called by `main` before any thread is started; the strings are copied.
    unsafe {
        nix::libc::clearenv();
        for (name, value) in ENVIRONMENT {
            nix::libc::setenv(name.as_ptr(), value.as_ptr(), 1);
        }
    }
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> Pid1Error {
    move |source| Pid1Error { what, source }
}

#[cfg(test)]
mod tests;
