//! Runs a machine: QEMU, its TPM, its console, and the marks of its life in a directory.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use crate::machine::{Machine, Net, Paths, Start, Tpm, qemu_args};
use crate::qmp::Qmp;
use crate::relay;
use crate::serial::{Console, WaitError};
use crate::swtpm::Swtpm;
use crate::tpm_log;

/// Lines of the console that an error shows.
const TAIL: usize = 40;

/// How a machine went off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// The guest switched itself off.
    PoweredOff,
    /// The guest reset itself, which ends the machine too; a panic with `panic=-1` looks the same.
    Reset,
    /// The power was cut, or QEMU ended without saying why.
    Cut,
}

/// A running machine; dropping it cuts its power.
#[derive(Debug)]
pub struct Vm {
    dir: PathBuf,
    name: String,
    qemu: Child,
    tpm: Option<Swtpm>,
    console: Console,
    typing: UnixStream,
    qmp: Qmp,
    started: Instant,
    cut: bool,
    marked: bool,
    _short: ShortDir,
}

impl Vm {
    /// Starts a machine. `dir` is made, and gets `serial.log`, `qemu.args`, `qemu.stderr`, the copy of the firmware's
    /// variables, and the marks `started` and `result`. Use another directory for each boot.
    ///
    /// # Errors
    /// When a file or program is missing, or QEMU refuses the machine; its words are in the error.
    pub fn boot(machine: &Machine, dir: impl Into<PathBuf>) -> Result<Self> {
        let dir: PathBuf = dir.into();
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let _none = fs::remove_file(dir.join("result"));
        let short = ShortDir::new()?;
        let paths = Paths {
            vars: dir.join("vars.fd"),
            tpm: short.0.join("tpm"),
            serial: short.0.join("serial"),
            qmp: short.0.join("qmp"),
            log: dir.join("serial.log"),
            relay: match machine.net {
                Net::User(_) => relay_command(&short)?,
                Net::None | Net::Silent => String::new(),
            },
        };
        if let Start::Uefi(firmware) = &machine.start {
            let template = &firmware.vars;
            fs::copy(template, &paths.vars)
                .with_context(|| format!("copying {} (Debian package ovmf)", template.display()))?;
        }
        for disk in &machine.disks {
            ensure!(disk.path.is_file(), "no disk image {}", disk.path.display());
            ensure!(disk.serial.len() <= 20, "{}: a disk's serial has 20 characters at most", disk.serial);
            if let Some(log) = &disk.write_log {
                File::create(log).with_context(|| format!("making {}", log.display()))?;
            }
        }
        let serial = UnixListener::bind(&paths.serial)?;
        let monitor = UnixListener::bind(&paths.qmp)?;
        let tpm = match &machine.tpm {
            Tpm::None => None,
            Tpm::Swtpm(state) => Some(state.serve_qemu(&short.0)?),
        };
        let args = qemu_args(machine, &paths);
        fs::write(dir.join("qemu.args"), args.join("\n") + "\n")?;
        fs::write(dir.join("started"), "")?;
        let qemu = machine
            .qemu
            .command()
            .args(&args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(dir.join("qemu.stderr"))?)
            .spawn()
            .context("running qemu-system-x86_64 (Debian package qemu-system-x86)")?;
        let mut qemu = Guard(Some(qemu));
        let typing = accept(&serial, &mut qemu, &dir)?;
        let monitor = accept(&monitor, &mut qemu, &dir)?;
        let name = story_name(&dir);
        let echo = std::env::var_os("CCNODE_VM_CONSOLE").map(|_| name.clone());
        let console = Console::follow(typing.try_clone()?, echo);
        // QEMU connects before it opens disks and devices, so a refusal may come only now.
        let qmp = Qmp::new(monitor).map_err(|error| error.context(early_end(&mut qemu, &dir)))?;
        let qemu = qemu.0.take().context("QEMU is gone")?;
        let started = Instant::now();
        Ok(Self {
            dir,
            name,
            qemu,
            tpm,
            console,
            typing,
            qmp,
            started,
            cut: false,
            marked: false,
            _short: short,
        })
    }

    /// Waits until the console has shown `text` since the boot. A kernel panic, or the machine going off, ends the wait.
    ///
    /// # Errors
    /// With the end of the console and the directory of the logs.
    pub fn wait_for(&mut self, text: &str, timeout: Duration) -> Result<()> {
        self.wait_for_any(&[text], timeout).map(drop)
    }

    /// Waits until the console has shown one of `texts` since the boot, and tells which.
    ///
    /// # Errors
    /// As [`Vm::wait_for`].
    pub fn wait_for_any(&mut self, texts: &[&str], timeout: Duration) -> Result<usize> {
        let found = self.console.wait_any(texts, patience(timeout));
        found.map_err(|why| self.failure(&why, &format!("awaiting {texts:?}")))
    }

    /// Waits until the console shows `text` after the place where the last call of this function found its text.
    ///
    /// # Errors
    /// As [`Vm::wait_for`].
    pub fn wait_for_next(&mut self, text: &str, timeout: Duration) -> Result<()> {
        let found = self.console.wait_next(text, patience(timeout));
        found.map_err(|why| self.failure(&why, &format!("awaiting another {text:?}")))
    }

    /// Waits until the machine is off.
    ///
    /// # Errors
    /// When it stays on, with the end of the console and the directory of the logs.
    pub fn wait_off(&mut self, timeout: Duration) -> Result<Off> {
        let closed = self.console.wait_closed(patience(timeout));
        closed.map_err(|why| self.failure(&why, "awaiting the end"))?;
        reap(&mut self.qemu, Duration::from_secs(10));
        if let Some(tpm) = &mut self.tpm {
            tpm.wait_end();
        }
        // The monitor's last event may still be on its way to us.
        let until = Instant::now() + Duration::from_millis(if self.cut { 0 } else { 500 });
        while self.qmp.shutdown().is_none() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        let off = match self.qmp.shutdown().as_deref() {
            Some("guest-shutdown") => Off::PoweredOff,
            Some("guest-reset" | "guest-panic") => Off::Reset,
            _ => Off::Cut,
        };
        self.mark(&format!("off: {off:?}"));
        Ok(off)
    }

    /// Cuts the power.
    pub fn kill(&mut self) {
        self.cut = true;
        let _gone = self.qemu.kill();
        let _gone = self.qemu.wait();
        if let Some(tpm) = &mut self.tpm {
            tpm.wait_end();
        }
        self.mark("power cut");
    }

    /// Cuts the power as soon as the console shows `text`.
    ///
    /// # Errors
    /// As [`Vm::wait_for`].
    pub fn kill_at(&mut self, text: &str, timeout: Duration) -> Result<()> {
        self.wait_for(text, timeout)?;
        self.kill();
        Ok(())
    }

    /// Types a line on the serial console.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn type_line(&mut self, line: &str) -> Result<()> {
        let typed = self.typing.write_all(format!("{line}\r").as_bytes());
        typed.with_context(|| format!("typing on the console of {}", self.name))
    }

    /// Runs a monitor command (`set_link`, `stop`, `cont`, …).
    ///
    /// # Errors
    /// When QEMU refuses it.
    pub fn monitor(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.qmp.command(command, arguments)
    }

    /// Plugs or unplugs the network cable.
    ///
    /// # Errors
    /// When the machine has no network card or is off.
    pub fn set_carrier(&mut self, up: bool) -> Result<()> {
        self.monitor("set_link", json!({ "name": "net", "up": up })).map(drop)
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// When the machine is off.
    pub fn press_power(&mut self) -> Result<()> {
        self.monitor("system_powerdown", json!({})).map(drop)
    }

    /// The console so far, without terminal control sequences.
    #[must_use]
    pub fn console(&self) -> String {
        self.console.text()
    }

    /// Whether the console has shown `text`.
    #[must_use]
    pub fn saw(&self, text: &str) -> bool {
        self.console().contains(text)
    }

    /// Every byte of the console, as the guest wrote it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn raw_console(&self) -> Result<Vec<u8>> {
        fs::read(self.dir.join("serial.log")).context("reading serial.log")
    }

    /// SHA-256 digests that this boot has extended into a PCR, in their order; `None` where there is no TPM.
    #[must_use]
    pub fn pcr_extensions(&self, pcr: u32) -> Option<Vec<[u8; 32]>> {
        self.tpm.as_ref().map(|tpm| tpm_log::extensions(&tpm.log(), pcr))
    }

    /// This boot's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Time since QEMU's start.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    fn failure(&mut self, why: &WaitError, doing: &str) -> Error {
        let status = match (why, self.qmp.command("query-status", json!({}))) {
            (WaitError::Off, _) => "off".to_owned(),
            (_, Ok(status)) => status.get("status").map(Value::to_string).unwrap_or_default(),
            (_, Err(error)) => error.to_string(),
        };
        self.mark(&format!("failed: {why}, {doing}"));
        let said = fs::read_to_string(self.dir.join("qemu.stderr")).unwrap_or_default();
        anyhow!(
            "{}: {why}, {doing}\nmachine {status}, {:.1} s old; logs in {}\n{said}--- end of the console ---\n{}\n---",
            self.name,
            self.age().as_secs_f32(),
            self.dir.display(),
            self.console.tail(TAIL),
        )
    }

    /// Writes the first of the results that a boot comes to.
    fn mark(&mut self, result: &str) {
        if !self.marked {
            self.marked = true;
            let text = format!("{result}\n{:.1} s\n", self.age().as_secs_f32());
            let _best_effort = fs::write(self.dir.join("result"), text);
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.mark("dropped");
        let _gone = self.qemu.kill();
        let _gone = self.qemu.wait();
    }
}

/// Stretches a timeout by the environment's `CCNODE_VM_PATIENCE` (a factor), for slow or busy hosts.
#[must_use]
pub fn patience(timeout: Duration) -> Duration {
    let factor = std::env::var("CCNODE_VM_PATIENCE").ok().and_then(|f| f.parse::<f64>().ok());
    timeout.mul_f64(factor.filter(|f| (0.1..=100.0).contains(f)).unwrap_or(1.0))
}

/// Waits for a child's end, and makes it end after `grace`.
pub(crate) fn reap(child: &mut Child, grace: Duration) {
    let until = Instant::now() + grace;
    while let Ok(None) = child.try_wait() {
        if Instant::now() >= until {
            let _gone = child.kill();
            let _gone = child.wait();
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Ends the child unless it was taken out.
struct Guard(Option<Child>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _gone = child.kill();
            let _gone = child.wait();
        }
    }
}

/// A directory whose path is short and plain enough for socket addresses and option lists.
#[derive(Debug)]
struct ShortDir(PathBuf);

impl ShortDir {
    fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        for _ in 0..1000 {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = PathBuf::from(format!("/tmp/ccvm-{}-{number}", std::process::id()));
            // Another user may hold a name in /tmp; only one that we made ourselves will do.
            if fs::DirBuilder::new().mode(0o700).create(&path).is_ok() {
                return Ok(Self(path));
            }
        }
        bail!("no directory for sockets in /tmp")
    }
}

impl Drop for ShortDir {
    fn drop(&mut self) {
        let _best_effort = fs::remove_dir_all(&self.0);
    }
}

fn relay_command(short: &ShortDir) -> Result<String> {
    let (program, flag) = relay::program()?;
    let link = short.0.join("relay");
    symlink(program, &link)?;
    Ok(format!("{} {flag}", link.display()).trim_end().to_owned())
}

/// The two last parts of a boot's directory: test and boot.
fn story_name(dir: &Path) -> String {
    let parts: Vec<_> = dir.iter().rev().take(2).map(|p| p.to_string_lossy()).collect();
    parts.iter().rev().map(AsRef::as_ref).collect::<Vec<_>>().join("/")
}

/// Says what became of a QEMU that does not answer, in its own words.
fn early_end(qemu: &mut Guard, dir: &Path) -> String {
    let status = qemu.0.as_mut().map(|q| {
        reap(q, Duration::from_secs(1));
        q.try_wait().ok().flatten()
    });
    let said = fs::read_to_string(dir.join("qemu.stderr")).unwrap_or_default();
    match status.flatten() {
        Some(status) => format!("QEMU ended at once ({status}): {said}"),
        None => format!("QEMU does not start: {said}"),
    }
}

/// Awaits QEMU's connection, or its early end.
fn accept(listener: &UnixListener, qemu: &mut Guard, dir: &Path) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    let until = Instant::now() + patience(Duration::from_secs(30));
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false)?;
            return Ok(stream);
        }
        let running = qemu.0.as_mut().is_some_and(|q| matches!(q.try_wait(), Ok(None)));
        if !running || Instant::now() >= until {
            bail!(early_end(qemu, dir));
        }
        thread::sleep(Duration::from_millis(5));
    }
}
