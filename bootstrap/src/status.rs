//! `/run/ccnode/status.json`: what was attested and how long it took, for whoever looks later.

use crate::boot::Cap;
use crate::console::{Step, now_ms};
use crate::prover::Sent;
use ccnode_protocol::admin::TrustLevel;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Where the file is.
pub const PATH: &str = "/run/ccnode/status.json";

/// The file's content, version 1.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// 1.
    pub version: u32,
    /// The name that the service chose.
    pub node: String,
    /// The URL that answered.
    pub service: String,
    /// The pool that was asked for.
    pub pool: String,
    /// The verity root hash that the root was filled from, hex.
    pub image: String,
    /// What was sent to prove the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Sent>,
    /// What that was worth to the service, by its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<TrustLevel>,
    /// What keeps a second release of this boot away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<Cap>,
    /// What went wrong and was no reason to refuse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Steps in the order in which they ended.
    pub steps: Vec<StepTime>,
    /// Where the time went.
    pub sums: Sums,
    /// Milliseconds of CLOCK_MONOTONIC at which ccnode-init began.
    pub started: u64,
    /// At which the root was mapped.
    #[serde(default)]
    pub mapped: u64,
    /// And at which it handed over.
    pub finished: u64,
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepTime {
    /// Its name.
    pub name: String,
    /// How long it took, milliseconds.
    pub ms: u64,
}

/// Time that is not ours, milliseconds; each millisecond is counted once, where something waited for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Waiting for TPM commands.
    pub tpm_ms: u64,
    /// Waiting for hardware reports.
    #[serde(default)]
    pub report_ms: u64,
    /// Loading kernel modules.
    pub modules_ms: u64,
    /// Waiting for the kernel's random number generator to be seeded; nothing where the processor has RDRAND.
    #[serde(default)]
    pub random_ms: u64,
    /// Waiting for carrier and lease.
    pub lease_ms: u64,
    /// Opening the LUKS volume.
    pub luks_ms: u64,
}

impl Status {
    /// An empty record that begins now.
    pub fn begin() -> Self {
        Self { version: 1, started: now_ms(), ..Self::default() }
    }

    /// Adds a step that took `ms`.
    pub fn step(&mut self, step: Step, ms: u64) {
        self.steps.push(StepTime { name: step.as_str().to_owned(), ms });
    }

    /// Writes the file, for all to read: nothing in it is secret.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let json = serde_json::to_vec(self).map_err(io::Error::other)?;
        write_file(path, &json, 0o644)
    }

    /// Reads the file.
    pub fn read(path: &Path) -> io::Result<Self> {
        serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
    }

    /// The record for people, a line a fact.
    pub fn text(&self) -> String {
        let mut text = format!(
            "node     {}\npool     {}\nservice  {}\nimage    {}\n",
            self.node, self.pool, self.service, self.image
        );
        if let Some(sent) = &self.evidence {
            text.push_str(&format!("sent     {sent}\n"));
        }
        if let Some(level) = self.level {
            text.push_str(&format!("level    {}\n", level.as_str()));
        }
        for warning in &self.warnings {
            text.push_str(&format!("warning  {warning}\n"));
        }
        for step in &self.steps {
            text.push_str(&format!("{:<9}{:>6} ms\n", step.name, step.ms));
        }
        text.push_str(&format!("whole    {:>6} ms: {}\n", self.whole(), self.shares()));
        text
    }

    /// Milliseconds from the first to the last.
    pub fn whole(&self) -> u64 {
        self.finished.saturating_sub(self.started)
    }

    /// Where they went, in words.
    pub fn shares(&self) -> String {
        let Sums { tpm_ms, report_ms, modules_ms, random_ms, lease_ms, luks_ms } = self.sums;
        let others = tpm_ms + report_ms + modules_ms + random_ms + lease_ms + luks_ms;
        let own = self.whole().saturating_sub(others);
        format!(
            "TPM {tpm_ms}, reports {report_ms}, modules {modules_ms}, random {random_ms}, lease {lease_ms}, LUKS {luks_ms}, own {own}"
        )
    }
}

/// Writes a file that appears whole or not at all, with `mode`, whatever the umask, and never with more than that.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let part = path.with_extension("part");
    let _ = fs::remove_file(&part);
    let mut file: File = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status.json");
        let mut status = Status { node: "workers-a".into(), finished: 2000, started: 500, ..Status::begin() };
        status.step(Step::Attest, 12);
        status.level = Some(TrustLevel::TeeBoundVtpm);
        status.warnings.push("the clock could not be set: EPERM".into());
        status.write(&path).unwrap();
        assert_eq!(Status::read(&path).unwrap(), status);
        assert!(status.text().contains("attest       12 ms"), "{}", status.text());
        assert!(status.text().contains("level    tee-bound-vtpm\n"), "{}", status.text());
        assert!(status.text().contains("warning  the clock could not be set: EPERM\n"), "{}", status.text());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn the_umask_takes_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_file(&path, b"a", 0o666).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    }

    #[test]
    fn t21_secret_files_are_never_readable_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.pem");
        write_file(&path, b"a", 0o600).unwrap();
        write_file(&path, b"b", 0o600).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"b");
    }
}
