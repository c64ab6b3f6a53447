//! The last acts of a boot that may not go on: PCR 15 closed, the reason said, the machine off. None holds up the next.

use crate::config::{Action, DIR};
use crate::console::{Console, Step};
use crate::modules;
use crate::prover::Reports;
use crate::refusal::Refusal;
use ccnode_cvm::cap_digest;
use ccnode_evidence::Code;
use ccnode_tpm_device::{Device, DeviceError, DeviceHandle, Tcti};
use nix::sys::reboot::{RebootMode, reboot};
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The cap waits behind what the TPM was asked before: a discrete one makes an RSA key for many seconds.
const CAP: Duration = Duration::from_secs(30);
/// A serial port may stand still, and so may a disk.
const SAY: Duration = Duration::from_secs(2);
const SYNC: Duration = Duration::from_secs(5);
/// What the thread that owns a TPM is called.
const TPM_THREAD: &str = "tpm";

/// What whoever ends the boot needs: a panic can't be handed anything.
static LAST: Mutex<Last> =
    Mutex::new(Last { tpm: None, without_tpm: None, capped: false, action: Action::Poweroff });

struct Last {
    tpm: Option<DeviceHandle>,
    /// The reports of a machine that has no TPM.
    without_tpm: Option<Arc<dyn Reports>>,
    capped: bool,
    action: Action,
}

fn last() -> MutexGuard<'static, Last> {
    LAST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells how the boot is to end.
pub fn set_action(action: Action) {
    last().action = action;
}

/// Tells which TPM to cap.
pub fn set_tpm(tpm: DeviceHandle) {
    let before = last().tpm.replace(tpm);
    // Out of the lock: the last handle of a TPM waits for it.
    drop(before);
}

/// Tells that there is no TPM, and who reports in its place: what there is to close is a register of theirs, or nothing.
pub fn set_without_tpm(reports: Arc<dyn Reports>) {
    last().without_tpm = Some(reports);
}

/// Tells that PCR 15 is closed: nothing is left to be capped, and the TPM is let go.
pub fn set_capped() {
    last().capped = true;
    let before = last().tpm.take();
    drop(before);
}

/// How the boot is to end.
pub fn action() -> Action {
    last().action
}

/// Closes PCR 15, or RTMR 3 where there is no TPM, so that nothing that runs after us in this boot can ask for a key; whether it is closed now.
///
/// The handle of the boot does it, or one that is opened for this: where there is none yet, and where it does not work.
pub fn close_pcr() -> bool {
    let (tpm, without_tpm, capped) = {
        let last = last();
        (last.tpm.clone(), last.without_tpm.clone(), last.capped)
    };
    if capped {
        return true;
    }
    if let Some(reports) = without_tpm {
        let closed = within(CAP, move || {
            // One that has no register is closed by the service, which releases once.
            reports.supports_runtime_register().is_none_or(|register| register.extend(&cap_digest()).is_ok())
        });
        let closed = closed.unwrap_or_default();
        if closed {
            set_capped();
        }
        return closed;
    }
    // The thread that owns the TPM can't serve itself.
    let tpm = tpm.filter(|_| thread::current().name() != Some(TPM_THREAD));
    let closed = tpm.is_some_and(|tpm| tpm.cap_blocking(CAP).is_ok())
        || within(CAP, || cap_afresh().is_ok()).unwrap_or_default();
    if closed {
        set_capped();
    }
    closed
}

fn cap_afresh() -> Result<(), DeviceError> {
    if Tcti::machine().is_err() {
        // The TPM's driver may be an early module, and the refusal earlier.
        for module in modules::list(&Path::new(DIR).join("modules-early")).unwrap_or_default() {
            // One that does not load need not be the one.
            let _ = modules::load(&[module]);
        }
    }
    Device::open(Tcti::machine()?)?.cap_blocking(CAP)
}

/// Ends the boot from any thread, with or without a runtime.
pub fn refuse(refusal: Refusal) -> ! {
    let closed = close_pcr();
    say(refusal, closed);
    end(action())
}

/// A panic is a refusal: capped, said, and over. Memory is the kernel's to wipe (`init_on_free=1`).
pub fn hook_panics() {
    std::panic::set_hook(Box::new(|info| {
        // The place, not the message: a message may hold what the code was handling.
        let place = info.location().map_or_else(String::new, |l| format!("{}:{}", l.file(), l.line()));
        panicked(&place, say, |action| end(action));
    }));
}

/// The hook's work. The first panic ends the boot; threads that panic after it wait for that end, since one of them
/// could otherwise bring it about before the cap.
pub fn panicked(place: &str, say: impl FnOnce(Refusal, bool), end: impl FnOnce(Action)) {
    static ENDING: AtomicBool = AtomicBool::new(false);
    if ENDING.swap(true, Ordering::SeqCst) {
        loop {
            thread::park();
        }
    }
    let closed = close_pcr();
    say(Refusal::new(Code::NodeInternal, format!("panic at {place}")), closed);
    end(action());
}

/// On a console of its own: whoever has the boot's may be stuck with it.
fn say(refusal: Refusal, closed: bool) {
    let said = move || {
        let Ok(out) = File::options().write(true).open("/dev/console") else { return };
        let console = Console::new(Box::new(out), false);
        console.refused(&refusal);
        if !closed {
            console.note(Step::Cap, NOT_CLOSED);
        }
    };
    // Unsaid is better than unended.
    let _ = within(SAY, said);
}

/// What is said where the cap failed.
pub const NOT_CLOSED: &str = "the boot could not be capped: PCR 15 or RTMR 3 is as it was";

/// Ends the machine. Never returns: where the kernel refuses, this process waits, and does nothing else.
pub fn end(action: Action) -> ! {
    let _ = within(SYNC, nix::unistd::sync);
    let mode = match action {
        Action::Poweroff => RebootMode::RB_POWER_OFF,
        Action::Reboot => RebootMode::RB_AUTOBOOT,
    };
    let _ = reboot(mode);
    loop {
        nix::unistd::pause();
    }
}

/// Does `work` on a thread of its own, and waits for it no longer than `limit`.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = channel();
    let body = move || {
        // Nobody waits for it any more: that is all.
        let _ = tell.send(work());
    };
    thread::Builder::new().spawn(body).ok()?;
    told.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn nothing_is_waited_for_longer_than_its_limit() {
        let since = Instant::now();
        assert_eq!(within(Duration::from_millis(50), || thread::sleep(Duration::from_secs(20))), None);
        assert_eq!(within(Duration::from_secs(20), || 7), Some(7));
        assert!(since.elapsed() < Duration::from_secs(10));
    }
}
