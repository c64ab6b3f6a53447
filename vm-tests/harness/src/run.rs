//! Runs scenarios as cargo's tests are run: by name, two machines at once, each with a directory of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use thiserror::Error;

use crate::machine::Machine;
use crate::relay;
use crate::vm::Vm;

/// Files larger than this are removed once a scenario has passed.
const KEEP: u64 = 4 << 20;

/// A test that boots machines.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Name, which begins with the row of the attack catalogue it belongs to, if any (`t02_…`).
    pub name: &'static str,
    /// The test.
    pub run: fn(&Story) -> Result<()>,
}

/// Makes a [`Scenario`] of a function, or of a name and a function.
#[macro_export]
macro_rules! scenario {
    ($run:ident) => {
        $crate::Scenario { name: stringify!($run), run: $run }
    };
    ($name:expr, $run:expr) => {
        $crate::Scenario { name: $name, run: $run }
    };
}

/// A running scenario: its name, its directory and its progress.
#[derive(Debug)]
pub struct Story {
    name: String,
    dir: PathBuf,
    started: Instant,
}

/// The error of a scenario that cannot run here, with what to do about it. It fails where the environment has
/// `CCNODE_REQUIRE_VMS=1` and is reported as ignored elsewhere.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Skip(pub String);

/// The path of something that was built beforehand.
///
/// # Errors
/// [`Skip`] with the command that makes it, when it is not there.
pub fn artefact(path: impl Into<PathBuf>, command: &str) -> Result<PathBuf> {
    let path = path.into();
    if path.exists() {
        return Ok(path);
    }
    Err(Skip(format!("{} is missing; make it with: {command}", path.display())).into())
}

impl Story {
    /// A story of that name; its directory is emptied.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn begin(name: &str, dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        let _none = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        Ok(Self { name: name.to_owned(), dir, started: Instant::now() })
    }

    /// The scenario's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The scenario's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the scenario's directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Tells a watching person what happens now.
    pub fn step(&self, text: &str) {
        eprintln!("{:>6.1}s {}: {text}", self.started.elapsed().as_secs_f32(), self.name);
    }

    /// Time since the scenario's start.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Boots a machine, with its files in the subdirectory `name`.
    ///
    /// # Errors
    /// As [`Vm::boot`].
    pub fn boot(&self, machine: &Machine, name: &str) -> Result<Vm> {
        self.step(&format!("boot {name}"));
        Vm::boot(machine, self.path(name))
    }

    /// Writes the result mark; after a pass, removes large files unless `CCNODE_VM_KEEP` is set.
    fn end(&self, result: &Result<()>) {
        let text = match result {
            Ok(()) => format!("passed\n{:.1} s\n", self.age().as_secs_f32()),
            Err(error) => format!("failed\n{:.1} s\n{error:#}\n", self.age().as_secs_f32()),
        };
        let _best_effort = fs::write(self.path("result"), text);
        if result.is_ok() && std::env::var_os("CCNODE_VM_KEEP").is_none() {
            prune(&self.dir);
        }
    }
}

/// Runs scenarios as the arguments say (`cargo test -- t01`, `--list`, `--exact`, …): the `main` of a test with
/// `harness = false`. Two at once at most, unless `--test-threads` or `CCNODE_VM_JOBS` says otherwise.
#[must_use]
pub fn run(scenarios: &[Scenario]) -> ExitCode {
    if let Some(code) = relay::serve_if_asked() {
        return code;
    }
    let mut args = Arguments::from_args();
    if args.test_threads.is_none() {
        let jobs = std::env::var("CCNODE_VM_JOBS").ok().and_then(|j| j.parse().ok());
        args.test_threads = Some(jobs.filter(|&j| j > 0).unwrap_or(2));
    }
    let trials = scenarios.iter().map(|&s| Trial::ignorable_test(s.name, move || tell(s))).collect();
    libtest_mimic::run(&args, trials).exit_code()
}

/// The directory of all scenarios: `vm` in cargo's target directory.
#[must_use]
pub fn root() -> PathBuf {
    target_dir().join("vm")
}

/// Cargo's target directory, by the environment or by where the running program lies.
#[must_use]
pub fn target_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        return dir.into();
    }
    let this = std::env::current_exe().unwrap_or_default();
    let found = this.ancestors().find(|dir| dir.file_name().is_some_and(|name| name == "target"));
    found.map_or_else(|| "target".into(), Path::to_path_buf)
}

fn tell(scenario: Scenario) -> Result<Completion, Failed> {
    let story = Story::begin(scenario.name, root().join(scenario.name)).map_err(failed)?;
    let result = (scenario.run)(&story);
    story.end(&result);
    let required = std::env::var("CCNODE_REQUIRE_VMS").is_ok_and(|v| v == "1");
    match result {
        Ok(()) => {
            story.step("passed");
            Ok(Completion::Completed)
        }
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) if !required => {
                story.step(&format!("skipped: {skip}"));
                Ok(Completion::ignored_with(skip))
            }
            _ => Err(failed(error)),
        },
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used with map_err")]
fn failed(error: anyhow::Error) -> Failed {
    format!("{error:#}").into()
}

fn prune(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => prune(&entry.path()),
            Ok(kind) if kind.is_file() && entry.metadata().is_ok_and(|m| m.len() > KEEP) => {
                let _best_effort = fs::remove_file(entry.path());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_artefact_says_how_to_make_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = artefact(dir.path().join("node.img"), "make image").unwrap_err();
        assert!(error.downcast_ref::<Skip>().is_some());
        assert!(error.to_string().ends_with("make it with: make image"));
        assert!(artefact(dir.path(), "").is_ok());
    }

    #[test]
    fn a_pass_keeps_logs_and_a_failure_keeps_all() {
        let dir = tempfile::tempdir().unwrap();
        for passes in [true, false] {
            let story = Story::begin("x", dir.path().join("x")).unwrap();
            fs::create_dir(story.path("boot")).unwrap();
            fs::write(story.path("boot/serial.log"), "hello").unwrap();
            fs::File::create(story.path("disk.img")).unwrap().set_len(KEEP + 1).unwrap();
            story.end(&if passes { Ok(()) } else { Err(anyhow::anyhow!("no")) });
            assert!(story.path("boot/serial.log").exists());
            assert_eq!(story.path("disk.img").exists(), !passes);
            let word = if passes { "passed" } else { "failed" };
            assert!(fs::read_to_string(story.path("result")).unwrap().starts_with(word));
        }
    }
}
