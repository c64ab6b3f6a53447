//! A process's core, time and memory, as Linux counts them.

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use std::time::Duration;

/// Connections that a thousand nodes at once have open, with room to spare.
const OPEN_FILES: u64 = 8_192;

/// Lets this process, and what it starts, have that many files open, as far as it may.
pub(crate) fn allow_open_files() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most.min(OPEN_FILES), most).context("the limit of open files")
}

/// Keeps this process, and what it starts, on `core` as far as the machine has it.
pub(crate) fn pin_self(core: usize) -> Result<()> {
    pin(Pid::from_raw(0), core)
}

/// Keeps a process that has just started on `core`: its threads inherit it.
pub(crate) fn pin_other(pid: u32, core: usize) -> Result<()> {
    pin(Pid::from_raw(i32::try_from(pid)?), core)
}

fn pin(pid: Pid, core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(pid, &set).with_context(|| format!("no core {core}: two cores are needed"))
}

/// Time that all threads of a process have had on a core; threads that ended are not in it.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split_whitespace().next().context("an empty schedstat")?;
        nanos += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// Resident memory of a process in MiB.
pub(crate) fn resident(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u32 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(f64::from(kib) / 1024.0)
}
