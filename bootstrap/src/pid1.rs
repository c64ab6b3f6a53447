//! What a process 1 owes: file descriptors, mounts, children, signals, limits, and a panic that ends in darkness.

use crate::config::Action;
use crate::console::Console;
use crate::refusal::{Coded, Refusal};
use ccnode_evidence::Code;
use ccnode_tpm_device::DeviceHandle;
use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::fs::{self, File};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a cap may keep a panic from its end.
const CAP: Duration = Duration::from_secs(2);

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
    let console = || open("/dev/console", OFlag::O_WRONLY | OFlag::O_NOCTTY, Mode::empty());
    if let Ok(null) = open("/dev/null", OFlag::O_RDWR, Mode::empty()) {
        let _ = dup2_stdin(&null);
    }
    if let Ok(out) = console() {
        let _ = dup2_stdout(&out);
        let _ = dup2_stderr(&out);
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

/// Sets what the libraries below read from the environment.
#[expect(unsafe_code, reason = "the environment can only be changed while there is one thread")]
pub fn set_environment() {
    for (name, value) in [("TSS2_LOG", "all+NONE"), ("DM_DISABLE_UDEV", "1")] {
        // SAFETY: called by `main` before any thread is started.
        unsafe { std::env::set_var(name, value) };
    }
}

/// What a panic needs: it can't be handed anything.
static LAST: Mutex<Last> = Mutex::new(Last { tpm: None, action: Action::Poweroff });

struct Last {
    tpm: Option<DeviceHandle>,
    action: Action,
}

/// Tells the panic hook how to end.
pub fn set_last_action(action: Action) {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).action = action;
}

/// Tells the panic hook which TPM to cap.
pub fn set_last_tpm(tpm: Option<DeviceHandle>) {
    LAST.lock().unwrap_or_else(PoisonError::into_inner).tpm = tpm;
}

/// A panic is a refusal: capped, said, and over. Memory is the kernel's to wipe (`init_on_free=1`).
pub fn hook_panics() {
    std::panic::set_hook(Box::new(|info| {
        let (tpm, action) = match LAST.try_lock() {
            Ok(mut last) => (last.tpm.take(), last.action),
            Err(_) => (None, Action::Poweroff),
        };
        if let Some(tpm) = tpm {
            let _ = tpm.cap_blocking(CAP);
            // The thread that owns the TPM may be the one that panics: nobody waits for it.
            std::mem::forget(tpm);
        }
        // The place, not the message: a message may hold what the code was handling.
        let place =
            info.location().map_or_else(String::new, |l| format!("panic at {}:{}", l.file(), l.line()));
        if let Ok(out) = File::options().write(true).open("/dev/console") {
            Console::new(Box::new(out), false).refused(&Refusal::new(Code::NodeInternal, place));
        }
        end(action);
    }));
}

/// Ends the machine. Never returns: where the kernel refuses, this process waits, and does nothing else.
pub fn end(action: Action) -> ! {
    nix::unistd::sync();
    let mode = match action {
        Action::Poweroff => RebootMode::RB_POWER_OFF,
        Action::Reboot => RebootMode::RB_AUTOBOOT,
    };
    let _ = reboot(mode);
    loop {
        nix::unistd::pause();
    }
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> Pid1Error {
    move |source| Pid1Error { what, source }
}
