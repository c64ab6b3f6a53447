//! Makes software TPMs with endorsement certificates of a private maker, and runs them.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::vm::{patience, reap};

/// Starts a program without the sockets of the TSS, which opens them to be inherited: swtpm serves one connection at a time, and one that
/// another TPM's process inherited would not end before that process does.
const LAUNCH: &str = r#"for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done
exec "$0" "$@""#;

/// A maker of TPMs: a directory with a certificate authority of its own and one subdirectory per TPM made. Another
/// directory is another maker, unknown to whoever trusts this one.
#[derive(Clone, Debug)]
pub struct TpmMaker {
    dir: PathBuf,
}

/// The persistent state of one TPM: a directory. A clone names the same TPM; [`TpmState::copy_to`] makes a twin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmState {
    dir: PathBuf,
}

impl TpmMaker {
    /// Opens the maker in `dir`, which is created if need be. What was made there before is used again.
    ///
    /// # Errors
    /// When the directory cannot be written, or its path holds a comma or blank, which swtpm's tools do not take.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir: PathBuf = dir.into();
        fs::create_dir_all(dir.join("ca")).with_context(|| format!("making {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let name = dir.to_string_lossy();
        ensure!(!name.contains([',', ' ']), "{name}: swtpm's tools take no comma or blank in a path");
        let maker = Self { dir };
        let _lock = maker.lock()?;
        maker.write_config()?;
        Ok(maker)
    }

    /// The TPM called `name`, with EK certificates (RSA-2048, ECC P-384) and a platform certificate. Made at the first
    /// call, which takes about a second; copy it before use.
    ///
    /// # Errors
    /// When `swtpm_setup` is missing or fails.
    pub fn template(&self, name: &str) -> Result<TpmState> {
        self.make(name, &["--create-ek-cert", "--create-platform-cert"])
    }

    /// A TPM with endorsement keys and no certificate for them.
    ///
    /// # Errors
    /// As [`TpmMaker::template`].
    pub fn template_without_ek_cert(&self, name: &str) -> Result<TpmState> {
        self.make(name, &["--createek"])
    }

    /// The maker's root certificate, PEM.
    ///
    /// # Errors
    /// Before the first TPM with a certificate has been made.
    pub fn root_ca_pem(&self) -> Result<String> {
        self.ca_file("swtpm-localca-rootca-cert.pem")
    }

    /// The certificate under the root that issues endorsement certificates, PEM.
    ///
    /// # Errors
    /// Before the first TPM with a certificate has been made.
    pub fn issuer_ca_pem(&self) -> Result<String> {
        self.ca_file("issuercert.pem")
    }

    /// Issuer and root in one PEM text.
    ///
    /// # Errors
    /// Before the first TPM with a certificate has been made.
    pub fn ca_bundle_pem(&self) -> Result<String> {
        Ok(self.issuer_ca_pem()? + &self.root_ca_pem()?)
    }

    fn ca_file(&self, name: &str) -> Result<String> {
        let path = self.dir.join("ca").join(name);
        let text = fs::read_to_string(&path);
        text.with_context(|| {
            format!("reading {}, which the first TPM with a certificate makes", path.display())
        })
    }

    fn make(&self, name: &str, certificates: &[&str]) -> Result<TpmState> {
        let _lock = self.lock()?;
        let state = TpmState::at(self.dir.join(name));
        if state.file().is_file() {
            return Ok(state);
        }
        // Half-made state of an interrupted run must not pass for a TPM, so it is made elsewhere and renamed.
        let draft = self.dir.join(format!("{name}.draft"));
        let _none = fs::remove_dir_all(&draft);
        fs::create_dir_all(&draft)?;
        let log = self.dir.join(format!("{name}.log"));
        let _none = fs::remove_file(&log);
        let status = Command::new("swtpm_setup")
            .args(["--tpm2", "--lock-nvram", "--overwrite", "--pcr-banks", "sha256", "--tpmstate"])
            .arg(&draft)
            .args(certificates)
            .arg("--config")
            .arg(self.dir.join("swtpm_setup.conf"))
            .arg("--logfile")
            .arg(&log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .context("running swtpm_setup (Debian package swtpm-tools)")?;
        ensure!(status.success(), "swtpm_setup: {status}; {}", fs::read_to_string(&log).unwrap_or_default());
        fs::rename(&draft, state.dir())?;
        Ok(state)
    }

    fn write_config(&self) -> Result<()> {
        let dir = self.dir.display();
        let tool = ["/usr/bin/swtpm_localca", "/usr/share/swtpm/swtpm-localca"];
        let tool = tool.into_iter().find(|t| Path::new(t).exists()).unwrap_or("swtpm_localca");
        let setup = format!(
            "create_certs_tool = {tool}\ncreate_certs_tool_config = {dir}/localca.conf\n\
             create_certs_tool_options = {dir}/localca.options\nactive_pcr_banks = sha256\n"
        );
        let ca = format!(
            "statedir = {dir}/ca\nsigningkey = {dir}/ca/signkey.pem\nissuercert = {dir}/ca/issuercert.pem\n\
             certserial = {dir}/ca/certserial\n"
        );
        let options = "--platform-manufacturer Tests\n--platform-version 1\n--platform-model QEMU\n";
        fs::write(self.dir.join("swtpm_setup.conf"), setup)?;
        fs::write(self.dir.join("localca.conf"), ca)?;
        fs::write(self.dir.join("localca.options"), options)?;
        Ok(())
    }

    fn lock(&self) -> Result<File> {
        let file = File::create(self.dir.join("lock"))?;
        file.lock().context("waiting for another maker of TPMs")?;
        Ok(file)
    }
}

impl TpmState {
    /// The TPM whose state lies in `dir`.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The state's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies the state, replacing what `dir` held. The copy is a clone of the TPM: same keys, counters and clock. Copy
    /// only while the TPM is not running.
    ///
    /// # Errors
    /// When there is no state here, or the copy cannot be written.
    pub fn copy_to(&self, dir: impl Into<PathBuf>) -> Result<Self> {
        let copy = Self::at(dir);
        fs::create_dir_all(&copy.dir)?;
        let done = fs::copy(self.file(), copy.file());
        done.with_context(|| format!("copying the TPM state of {}", self.dir.display()))?;
        Ok(copy)
    }

    fn file(&self) -> PathBuf {
        self.dir.join("tpm2-00.permall")
    }

    /// Runs the TPM for a program on this machine, over TCP and already started up.
    ///
    /// # Errors
    /// When swtpm is missing, or does not come up on any of a few port pairs.
    pub fn serve(&self) -> Result<Swtpm> {
        let mut last = None;
        for _ in 0..8 {
            let port = free_port_pair()?;
            let server = format!("type=tcp,port={port}");
            let ctrl = format!("type=tcp,port={}", port + 1);
            let args = ["--server", &server, "--ctrl", &ctrl, "--flags", "not-need-init,startup-clear"];
            match Swtpm::start(self, &self.dir, Some(port), &args) {
                Ok(swtpm) => return Ok(swtpm),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("no ports")))
    }

    /// Runs the TPM for QEMU on a Unix socket; it ends when QEMU does. `short` is a directory whose path QEMU and swtpm
    /// take in their options, `log` the file for swtpm's messages.
    pub(crate) fn serve_qemu(&self, short: &Path) -> Result<Swtpm> {
        let link = short.join("state");
        let dir =
            self.dir.canonicalize().with_context(|| format!("no TPM state in {}", self.dir.display()))?;
        std::os::unix::fs::symlink(&dir, &link)?;
        let ctrl = format!("type=unixio,path={}", short.join("tpm").display());
        Swtpm::start(self, &link, None, &["--ctrl", &ctrl, "--terminate"])
    }
}

/// A running software TPM; dropping it ends it.
#[derive(Debug)]
pub struct Swtpm {
    child: Child,
    state: TpmState,
    port: Option<u16>,
}

impl Swtpm {
    fn start(state: &TpmState, dir: &Path, port: Option<u16>, args: &[&str]) -> Result<Self> {
        ensure!(state.file().is_file(), "no TPM state in {}", state.dir.display());
        ensure!(!dir.to_string_lossy().contains(','), "{}: swtpm takes no comma in a path", dir.display());
        let log = File::create(state.dir.join("swtpm.log"))?;
        let pid = state.dir.join("swtpm.pid");
        let _none = fs::remove_file(&pid);
        let child = Command::new("bash")
            .args(["-c", LAUNCH, "swtpm", "socket", "--tpm2", "--tpmstate"])
            .arg(format!("dir={}", dir.display()))
            .arg("--pid")
            .arg(format!("file={}", dir.join("swtpm.pid").display()))
            // Every command and its answer: read back by `tpm_log`.
            .args(["--log", "level=20"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("running swtpm (Debian package swtpm)")?;
        let mut swtpm = Self { child, state: state.clone(), port };
        // swtpm writes its process id once its sockets listen.
        let until = Instant::now() + patience(Duration::from_secs(10));
        while fs::metadata(&pid).map_or(true, |m| m.len() == 0) {
            if let Some(status) = swtpm.child.try_wait()? {
                bail!("swtpm ended at once ({status}): {}", swtpm.log());
            }
            ensure!(Instant::now() < until, "swtpm does not start: {}", swtpm.log());
            thread::sleep(Duration::from_millis(5));
        }
        Ok(swtpm)
    }

    /// How tss2 libraries reach the TPM: `swtpm:host=127.0.0.1,port=P`. Empty for a TPM that serves QEMU.
    #[must_use]
    pub fn tcti(&self) -> String {
        self.port.map(|p| format!("swtpm:host=127.0.0.1,port={p}")).unwrap_or_default()
    }

    /// The port for TPM commands; control is on the next one. None for a TPM that serves QEMU.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The state it runs on.
    #[must_use]
    pub fn state(&self) -> &TpmState {
        &self.state
    }

    /// swtpm's messages, and every command with its answer, as [`crate::tpm_log`] reads them.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.state.dir.join("swtpm.log")).unwrap_or_default()
    }

    /// Resets a TPM that serves programs, as switching a machine off and on does: PCRs to zero, reset count up.
    ///
    /// # Errors
    /// When it does not come up again.
    pub fn reset(self) -> Result<Self> {
        let state = self.state.clone();
        drop(self);
        state.serve()
    }

    /// Waits for the end that follows QEMU's.
    pub(crate) fn wait_end(&mut self) {
        reap(&mut self.child, Duration::from_secs(5));
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let pid = i32::try_from(self.child.id()).map(nix::unistd::Pid::from_raw);
            if let Ok(pid) = pid {
                let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            }
        }
        reap(&mut self.child, Duration::from_secs(2));
    }
}

/// A free TCP port on the loopback.
///
/// # Errors
/// When the system has none.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn free_port_pair() -> Result<u16> {
    for _ in 0..64 {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = first.local_addr()?.port();
        let Some(next) = port.checked_add(1) else { continue };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, next)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no two free ports side by side")
}

/// Whether something listens on a loopback port.
#[must_use]
pub fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tpm_log;
    use std::os::fd::AsRawFd as _;

    fn readpublic(swtpm: &Swtpm, handle: &str) -> String {
        tool(swtpm, "tpm2_readpublic", &["-c", handle])
    }

    fn tool(swtpm: &Swtpm, name: &str, args: &[&str]) -> String {
        let out = Command::new(name).args(args).env("TPM2TOOLS_TCTI", swtpm.tcti()).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
    }

    #[test]
    fn two_templates_a_copy_and_one_without_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let maker = TpmMaker::open(dir.path().join("maker")).unwrap();
        assert!(maker.root_ca_pem().is_err());
        let a = maker.template("a").unwrap();
        let b = maker.template("b").unwrap();
        let bare = maker.template_without_ek_cert("bare").unwrap();
        assert_eq!(maker.template("a").unwrap(), a);
        assert_eq!(maker.ca_bundle_pem().unwrap().matches("BEGIN CERTIFICATE").count(), 2);

        let twin = a.copy_to(dir.path().join("twin")).unwrap();
        let (a, b) = (a.serve().unwrap(), b.serve().unwrap());
        let (twin, bare) = (twin.serve().unwrap(), bare.serve().unwrap());
        assert!(readpublic(&a, "0x81010001").contains("rsa"));
        assert_eq!(readpublic(&a, "0x81010001"), readpublic(&twin, "0x81010001"));
        assert_ne!(readpublic(&a, "0x81010001"), readpublic(&b, "0x81010001"));
        assert!(tool(&a, "tpm2_getcap", &["handles-nv-index"]).contains("0x1C00002"));
        assert!(!tool(&bare, "tpm2_getcap", &["handles-nv-index"]).contains("0x1C00002"));
        assert!(readpublic(&bare, "0x81010001").contains("rsa"));
    }

    #[test]
    fn what_it_did_is_in_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let maker = TpmMaker::open(dir.path()).unwrap();
        let tpm = maker.template_without_ek_cert("a").unwrap().serve().unwrap();
        assert!(tpm_log::extensions(&tpm.log(), 15).is_empty());
        tool(&tpm, "tpm2_pcrextend", &[&format!("15:sha256={}", "11".repeat(32))]);
        tool(&tpm, "tpm2_pcrextend", &[&format!("14:sha256={}", "22".repeat(32))]);
        tool(&tpm, "tpm2_pcrextend", &[&format!("15:sha256={}", "33".repeat(32))]);
        assert_eq!(tpm_log::extensions(&tpm.log(), 15), [[0x11; 32], [0x33; 32]]);
    }

    #[test]
    fn reset_clears_pcrs() {
        let dir = tempfile::tempdir().unwrap();
        let maker = TpmMaker::open(dir.path()).unwrap();
        let tpm = maker.template_without_ek_cert("a").unwrap().serve().unwrap();
        let zero = tool(&tpm, "tpm2_pcrread", &["sha256:15"]);
        tool(&tpm, "tpm2_pcrextend", &[&format!("15:sha256={}", "11".repeat(32))]);
        assert_ne!(tool(&tpm, "tpm2_pcrread", &["sha256:15"]), zero);
        let tpm = tpm.reset().unwrap();
        assert_eq!(tool(&tpm, "tpm2_pcrread", &["sha256:15"]), zero);
    }

    #[test]
    fn it_inherits_nothing_of_another_tpms() {
        let dir = tempfile::tempdir().unwrap();
        let maker = TpmMaker::open(dir.path()).unwrap();
        let (_kept, end) = std::io::pipe().unwrap();
        // As the TSS opens its sockets: for every child to have.
        let open = nix::unistd::dup(&end).unwrap();
        let ours = fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd())).unwrap();
        let tpm = maker.template_without_ek_cert("a").unwrap().serve().unwrap();
        let fds = fs::read_dir(format!("/proc/{}/fd", tpm.child.id())).unwrap();
        let fds: Vec<_> = fds.map(|fd| fs::read_link(fd.unwrap().path()).unwrap()).collect();
        assert!(!fds.is_empty() && !fds.contains(&ours), "{fds:?}");
    }

    #[test]
    fn drop_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let maker = TpmMaker::open(dir.path()).unwrap();
        let tpm = maker.template_without_ek_cert("a").unwrap().serve().unwrap();
        let port = tpm.port().unwrap();
        assert!(listens(port));
        drop(tpm);
        assert!(!listens(port));
    }

    #[test]
    fn no_state_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let error = TpmState::at(dir.path()).serve().unwrap_err();
        assert!(error.to_string().contains("no TPM state"), "{error}");
    }
}
