//! External tools: found on the path or in the sbin folders, run with a clean environment, their errors shown.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("`{tool}` is not installed: apt-get install {package}")]
    Missing {
        /// The tool.
        tool: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// It could not be started or talked to.
    #[error("`{tool}` can't be run: {source}")]
    Run {
        /// The tool.
        tool: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// It failed.
    #[error("`{tool}` failed ({status}):\n{stderr}")]
    Failed {
        /// The tool.
        tool: &'static str,
        /// Its exit status in words.
        status: String,
        /// The end of what it said on standard error.
        stderr: String,
    },
}

/// How much of a tool's standard error an error shows, bytes from the end.
const SHOWN: usize = 4000;

/// One run of a tool.
#[derive(Debug)]
pub(crate) struct Tool {
    name: &'static str,
    package: &'static str,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
    stdin: Option<Vec<u8>>,
    stdout: Option<PathBuf>,
    dir: Option<PathBuf>,
}

impl Tool {
    /// The tool `name`, which Debian's `package` brings.
    pub(crate) fn new(name: &'static str, package: &'static str) -> Self {
        Self { name, package, args: Vec::new(), env: Vec::new(), stdin: None, stdout: None, dir: None }
    }

    /// Adds an argument.
    #[must_use]
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub(crate) fn env(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name, value.as_ref().to_owned()));
        self
    }

    /// What it reads on standard input; nothing without this.
    #[must_use]
    pub(crate) fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Some(bytes);
        self
    }

    /// Its working directory.
    #[must_use]
    pub(crate) fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Runs it; its standard output.
    pub(crate) fn output(self) -> Result<Vec<u8>, ToolError> {
        let (tool, package) = (self.name, self.package);
        let failed = |source| ToolError::Run { tool, source };
        let program = find(tool).ok_or(ToolError::Missing { tool, package })?;
        let mut command = Command::new(program);
        command.args(&self.args).env("LC_ALL", "C.UTF-8").env("TZ", "UTC").env("PATH", search_path());
        let stdout = match self.stdout {
            Some(path) => std::fs::File::create(path).map_err(failed)?.into(),
            None => Stdio::piped(),
        };
        command.envs(self.env).stdout(stdout).stderr(Stdio::piped());
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        if let Some(dir) = self.dir {
            command.current_dir(dir);
        }
        let mut child = command.spawn().map_err(failed)?;
        let feeder = match (self.stdin, child.stdin.take()) {
            // A thread of its own: a tool may write before it has read all.
            (Some(bytes), Some(mut pipe)) => Some(std::thread::spawn(move || pipe.write_all(&bytes))),
            _ => None,
        };
        let output = child.wait_with_output().map_err(failed)?;
        if let Some(feeder) = feeder {
            // A tool that stops reading says why by its status.
            let _ = feeder.join();
        }
        if output.status.success() {
            return Ok(output.stdout);
        }
        let start = output.stderr.len().saturating_sub(SHOWN);
        let stderr =
            String::from_utf8_lossy(output.stderr.get(start..).unwrap_or_default()).trim().to_owned();
        Err(ToolError::Failed { tool, status: output.status.to_string(), stderr })
    }

    /// Runs it; its standard output goes into a new file.
    pub(crate) fn output_to(mut self, path: &Path) -> Result<(), ToolError> {
        self.stdout = Some(path.to_owned());
        self.output().map(drop)
    }

    /// Runs it; its standard output as text.
    pub(crate) fn text(self) -> Result<String, ToolError> {
        self.output().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Runs it for its effect.
    pub(crate) fn run(self) -> Result<(), ToolError> {
        self.output().map(drop)
    }
}

/// An ordinary user's path often lacks the sbin folders, where mke2fs and others live.
fn search_path() -> OsString {
    let mut dirs: Vec<PathBuf> =
        std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
    dirs.extend(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    std::env::join_paths(dirs).unwrap_or_default()
}

fn find(tool: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|dir| dir.join(tool)).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tool_names_its_package() {
        let error = Tool::new("ccnode-no-such-tool", "some-package").run().unwrap_err();
        assert_eq!(error.to_string(), "`ccnode-no-such-tool` is not installed: apt-get install some-package");
    }

    #[test]
    fn failure_shows_standard_error() {
        let error = Tool::new("sh", "dash").args(["-c", "echo reason >&2; exit 3"]).run().unwrap_err();
        assert_eq!(error.to_string(), "`sh` failed (exit status: 3):\nreason");
    }

    #[test]
    fn input_larger_than_a_pipe_goes_through() {
        let bytes = vec![7; 1 << 20];
        assert_eq!(Tool::new("cat", "coreutils").stdin(bytes.clone()).output().unwrap(), bytes);
    }
}
