//! Which QEMU runs a machine: the installed one, or one that was unpacked beside it.

use anyhow::{Context, Result};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use crate::run::{artefact, target_dir};

/// How a person gets the unpacked one.
const MAKE: &str = "vm-tests/backports";

/// A QEMU for x86-64.
#[derive(Clone, Debug, Default)]
pub struct Qemu(Option<Unpacked>);

#[derive(Clone, Debug)]
struct Unpacked {
    root: PathBuf,
    libraries: OsString,
}

impl Qemu {
    /// The one that `vm-tests/backports` unpacked: version 10, for kernels on which the installed one is not to be relied on.
    ///
    /// # Errors
    /// [`crate::Skip`] with the command that makes it, when it is not there.
    pub fn backports() -> Result<Self> {
        let dir = target_dir().join("backports");
        artefact(dir.join("done"), MAKE)?;
        let libraries = std::fs::read_to_string(dir.join("libraries")).context("reading what QEMU needs")?;
        let root = dir.join("qemu").canonicalize()?;
        Ok(Self(Some(Unpacked { root, libraries: libraries.trim_end().into() })))
    }

    /// The program, with what it needs to find its own parts.
    #[must_use]
    pub fn command(&self) -> Command {
        let Some(unpacked) = &self.0 else { return Command::new("qemu-system-x86_64") };
        let mut command = Command::new(unpacked.root.join("usr/bin/qemu-system-x86_64"));
        command.env("LD_LIBRARY_PATH", &unpacked.libraries);
        command.arg("-L").arg(unpacked.root.join("usr/share/qemu"));
        command
    }
}
