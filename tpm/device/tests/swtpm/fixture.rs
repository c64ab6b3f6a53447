//! A software TPM per test, copied from one template, and the tools that look at it from outside.

use ccnode_tpm_device::{Device, DeviceHandle, Tcti};
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const INSTALL: &str = "apt-get install -y swtpm swtpm-tools tpm2-tools openssl";
/// The shell's status for a program that is not there.
const NOT_FOUND: i32 = 127;

/// State of a TPM as it left the factory, made once for all runs and copied for each test.
fn template(name: &str, options: &[&str]) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    let all = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let done = all.join(name);
    if !done.exists() {
        // Renamed when it is whole; another process that was quicker wins, and what it made is as good.
        let draft = tempfile::tempdir_in(all).unwrap();
        manufacture(draft.path(), options);
        fs::rename(draft.path().join("state"), &done).ok();
        assert!(done.exists());
    }
    done
}

fn manufacture(dir: &Path, options: &[&str]) {
    let at = dir.display();
    let setup = format!(
        "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {at}/ca.conf\n\
         create_certs_tool_options = {at}/ca.options\nactive_pcr_banks = sha256\n"
    );
    let ca = format!(
        "statedir = {at}/ca\nsigningkey = {at}/ca/key.pem\nissuercert = {at}/ca/cert.pem\n\
         certserial = {at}/ca/serial\n"
    );
    let maker = "--platform-manufacturer M\n--platform-version 1\n--platform-model T\n";
    for (name, text) in [("setup.conf", setup.as_str()), ("ca.conf", &ca), ("ca.options", maker)] {
        fs::write(dir.join(name), text).unwrap();
    }
    for sub in ["ca", "state"] {
        fs::create_dir(dir.join(sub)).unwrap();
    }
    run(program("swtpm_setup")
        .args(["--tpm2", "--lock-nvram", "--tpm-state"])
        .arg(dir.join("state"))
        .arg("--config")
        .arg(dir.join("setup.conf"))
        .arg("--logfile")
        .arg(dir.join("log"))
        .args(options));
}

/// A command whose process inherits nothing but its standard streams. The TSS opens its sockets without close-on-exec;
/// a tool or TPM that held the connection of a test beside would keep that test's TPM busy.
pub(crate) fn program(name: &str) -> Command {
    const CLOSE_AND_EXEC: &str = r#"for fd in /proc/self/fd/*; do
        fd=${fd##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"
    done; exec "$@""#;
    let mut command = Command::new("bash");
    command.args(["-c", CLOSE_AND_EXEC, "bash", name]).stdin(Stdio::null());
    command
}

/// Runs a program to its end and returns its standard output; a missing one fails with the command that installs it.
pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert_ne!(status.code(), Some(NOT_FOUND), "{stderr}install it: {INSTALL}");
    assert!(status.success(), "{command:?}: {status}\n{stderr}");
    stdout
}

/// A running software TPM; it dies with this value.
pub(crate) struct Swtpm {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Swtpm {
    /// With RSA-2048 and P-384 endorsement keys and their certificates.
    pub(crate) fn new() -> Self {
        let options = ["--create-ek-cert", "--create-platform-cert", "--pcr-banks", "sha256"];
        Self::start(&template("tpm-with-certificates", &options))
    }

    /// Without keys and certificates, with a SHA-1 and a SHA-384 bank beside the SHA-256 one.
    pub(crate) fn bare() -> Self {
        Self::start(&template("tpm-bare", &["--pcr-banks", "sha1,sha256,sha384"]))
    }

    fn start(state: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("ccnode-tpm-run").tempdir().unwrap();
        copy_files(state, dir.path());
        // Another process may take a port between choosing and binding it: then swtpm ends and the next pair is tried.
        for _ in 0..20 {
            let port = free_pair();
            let child = spawn(dir.path(), port);
            if let Some(child) = ready(child, port) {
                return Self { child, port, dir };
            }
        }
        panic!("no free pair of ports for swtpm")
    }

    /// The data port; the control port is the next one.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn tcti_text(&self) -> String {
        tcti_text(self.port)
    }

    pub(crate) fn open(&self) -> DeviceHandle {
        Device::open(self.tcti_text().parse().unwrap()).unwrap()
    }

    /// A directory for what a test's tools read and write.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs one of tpm2-tools on this TPM, which must have no other client at the time.
    pub(crate) fn tool(&self, tool: &str, args: &[&str]) -> String {
        let mut command = program(tool);
        command.args(args).args(["-T", &self.tcti_text()]).current_dir(self.dir());
        String::from_utf8(run(&mut command)).unwrap()
    }

    /// Every transient object and session in the TPM, as TPM2_GetCapability lists them.
    pub(crate) fn volatile_handles(&self) -> String {
        ["handles-transient", "handles-loaded-session", "handles-saved-session"]
            .map(|kind| self.tool("tpm2_getcap", &[kind]))
            .concat()
    }

    /// Power off and on: volatile state is gone, PCRs are zero.
    pub(crate) fn restart(self) -> Self {
        self.tool("tpm2_shutdown", &["-c"]);
        self.cut()
    }

    /// Power cut and on again: the TPM was told nothing.
    pub(crate) fn cut(self) -> Self {
        let twin = tempfile::Builder::new().prefix("ccnode-tpm-twin").tempdir().unwrap();
        copy_files(self.dir.path(), twin.path());
        drop(self);
        Self::start(twin.path())
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

pub(crate) fn tcti_text(port: u16) -> String {
    format!("swtpm:host=127.0.0.1,port={port}")
}

pub(crate) fn tcti(port: u16) -> Tcti {
    tcti_text(port).parse().unwrap()
}

/// A port whose successor is free too, never given out before by this process. Processes use ranges of their own, below
/// the ephemeral ports: a pair that is chosen stays free until it is bound.
pub(crate) fn free_pair() -> u16 {
    const FIRST: u32 = 10_000;
    const RANGES: u32 = 80;
    const PAIRS: u32 = 128;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let range = FIRST + std::process::id() % RANGES * PAIRS * 2;
    loop {
        let pair = GIVEN.fetch_add(1, Ordering::Relaxed);
        assert!(pair < PAIRS, "no free pair of ports");
        let port = u16::try_from(range + pair * 2).unwrap();
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free(port) && free(port + 1) {
            return port;
        }
    }
}

fn spawn(state: &Path, port: u16) -> Child {
    program("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear", "--tpmstate"])
        .arg(format!("dir={}", state.display()))
        .args(["--server", &format!("type=tcp,port={port},bindaddr=127.0.0.1")])
        .args(["--ctrl", &format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1)])
        .args(["--log", &format!("file={}/swtpm.log", state.display())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The child once it listens on both ports; `None` if it ended, a port being taken.
fn ready(mut child: Child, port: u16) -> Option<Child> {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            assert_ne!(status.code(), Some(NOT_FOUND), "swtpm is missing; install it: {INSTALL}");
            return None;
        }
        if listens(port) && listens(port + 1) {
            return Some(child);
        }
        sleep(Duration::from_millis(2));
    }
    child.kill().ok();
    child.wait().ok();
    None
}

/// Asks the kernel, not the port: swtpm takes one connection at a time.
fn listens(port: u16) -> bool {
    let listening = format!(": 0100007F:{port:04X} 00000000:0000 0A ");
    fs::read_to_string("/proc/net/tcp").unwrap().lines().any(|line| line.contains(&listening))
}

/// Runs a future to its end on a runtime of its own.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
