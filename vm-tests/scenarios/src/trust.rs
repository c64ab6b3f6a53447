//! A running trust service and the administrator's tool beside it, as separate programs.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::stage::program;

/// A service's folder that `ccnode-trust init` made; a copy of it is a service with the same keys and state.
#[derive(Clone, Debug)]
pub struct TrustDir(PathBuf);

/// A running service; dropping it ends it.
#[derive(Debug)]
pub struct Trust {
    dir: TrustDir,
    port: u16,
    admin: u16,
    child: Child,
}

impl TrustDir {
    /// Makes keys and configuration, unless `dir` holds them already.
    ///
    /// # Errors
    /// When the program is missing or fails.
    pub fn init(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        if !dir.join("config.toml").exists() {
            let _half_made = fs::remove_dir_all(&dir);
            let output = Command::new(program("ccnode-trust")?)
                .arg("init")
                .arg(&dir)
                .args(["--name", "10.0.2.100", "--name", "127.0.0.1"])
                .output()?;
            ensure!(
                output.status.success(),
                "ccnode-trust init: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(Self(dir))
    }

    /// A service with the same keys and the same state, in another folder.
    ///
    /// # Errors
    /// When files can't be copied.
    pub fn copy_to(&self, dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let _none = fs::remove_dir_all(&dir);
        copy_tree(&self.0, &dir)?;
        Ok(Self(dir))
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The CA that node images pin.
    #[must_use]
    pub fn tls_ca(&self) -> PathBuf {
        self.0.join("tls/ca.pem")
    }

    /// The CA that signs kubelet certificates, PEM.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn cluster_ca_pem(&self) -> Result<String> {
        fs::read_to_string(self.0.join("cluster-ca/cert.pem")).context("reading the cluster CA")
    }

    fn run_cli<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Output> {
        let mut command = Command::new(program("ccnode")?);
        Ok(command.arg("--context").arg(self.0.join("admin")).arg("--json").args(args).output()?)
    }

    /// Runs `ccnode --json …` against the service that runs on it and reads what it prints.
    ///
    /// # Errors
    /// When the tool fails; its words are in the error.
    pub fn cli<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Value> {
        let output = self.run_cli(args)?;
        let shown: Vec<_> = args.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ccnode {}: {said}", shown.join(" "));
        if output.stdout.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("output of ccnode {}", shown.join(" ")))
    }

    /// Runs `ccnode --json …`, which must fail: its exit status, and the member `error` of what it says.
    ///
    /// # Errors
    /// When it does not fail, or says it otherwise.
    pub fn cli_fails<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<(i32, Value)> {
        let output = self.run_cli(args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success() && output.stdout.is_empty(), "it did not fail: {output:?}");
        let last = said.lines().last().context("it says nothing")?;
        let mut said: Value = serde_json::from_str(last).with_context(|| format!("no JSON: {last}"))?;
        let error = said.get_mut("error").map(Value::take).context("no member `error`")?;
        Ok((output.status.code().unwrap_or(-1), error))
    }

    /// Starts the service on free ports of the loopback and waits until it answers.
    ///
    /// # Errors
    /// When it ends early; its words are in the error.
    pub fn serve(&self) -> Result<Trust> {
        let (port, admin) = (free_port()?, free_port()?);
        self.listen(port, admin)?;
        let child = self.spawn(port, admin)?;
        Ok(Trust { dir: self.clone(), port, admin, child })
    }

    /// Starts the program on the ports that its configuration names.
    fn spawn(&self, port: u16, admin: u16) -> Result<Child> {
        let log = self.0.join("serve.log");
        let mut child = Command::new(program("ccnode-trust")?)
            .arg("serve")
            .arg(&self.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(&log)?)
            .spawn()?;
        let until = Instant::now() + Duration::from_secs(20);
        for port in [port, admin] {
            while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
                if let Some(status) = child.try_wait()? {
                    bail!("ccnode-trust ended ({status}): {}", fs::read_to_string(&log).unwrap_or_default());
                }
                ensure!(Instant::now() < until, "ccnode-trust does not listen; see {}", log.display());
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(child)
    }

    fn listen(&self, port: u16, admin: u16) -> Result<()> {
        let config = self.0.join("config.toml");
        let text = fs::read_to_string(&config)?;
        let lines: Vec<String> = text
            .lines()
            .map(|line| match line.split('=').next().map(str::trim) {
                Some("listen") => format!("listen = \"127.0.0.1:{port}\""),
                Some("admin-listen") => format!("admin-listen = \"127.0.0.1:{admin}\""),
                _ => line.to_owned(),
            })
            .collect();
        fs::write(&config, lines.join("\n") + "\n")?;
        fs::write(self.0.join("admin/url"), format!("https://127.0.0.1:{admin}\n"))?;
        Ok(())
    }
}

impl Trust {
    /// The node-facing port on the loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder it runs on.
    #[must_use]
    pub fn dir(&self) -> &TrustDir {
        &self.dir
    }

    /// Runs `ccnode --json …` against this service and reads what it prints.
    ///
    /// # Errors
    /// When the tool fails; its words are in the error.
    pub fn cli<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Value> {
        self.dir.cli(args)
    }

    /// The newest refusal on record, whole.
    ///
    /// # Errors
    /// When there is none.
    pub fn last_refusal(&self) -> Result<Value> {
        let list = self.cli(&["refusal", "list", "--limit", "1"])?;
        let id = list.get(0).and_then(|r| r.get("id")).context("the service has no refusal on record")?;
        self.cli(&["refusal", "show", &id.to_string()])
    }

    /// Starts a service that was killed again, on what is on its disk and on the same ports.
    ///
    /// # Errors
    /// As [`TrustDir::serve`].
    pub fn start_again(&mut self) -> Result<()> {
        self.kill();
        self.child = self.dir.spawn(self.port, self.admin)?;
        Ok(())
    }

    /// Ends the service as a crash would.
    pub fn kill(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

impl Drop for Trust {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    Ok(())
}
