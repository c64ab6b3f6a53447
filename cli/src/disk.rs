//! `ccnode disk`: what a node would think of a disk, found out without a node and without rights; and a volume that was recovered.

mod open;

use crate::args::Global;
use crate::error::{Unreadable, Usage};
use crate::explain::layout::{Page, Style};
use crate::output;
use anyhow::{Context as _, Result};
use ccnode_luks_header::Integrity;
use ccnode_luks_header::inspect::{Branch, By, Health, Inspection, inspect};
use ccnode_luks_header::passphrase::{self, OpenedBy};
use ccnode_luks_volume::Name;
use clap::{Subcommand, ValueEnum};
use serde::Serialize;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Subcommand)]
pub(crate) enum Disk {
    /// Judge the LUKS2 header of a volume: what is in it, and what is refused
    ///
    /// The header is read once, nothing is written and nothing opened. That a header is acceptable does not say whose
    /// it is: a node also wants the digest that the trust service has on record.
    ///
    /// Exit codes: 0 acceptable, 3 refused or unreadable, 2 usage.
    Inspect {
        /// Image or device that begins with the header
        #[arg(value_name = "FILE|DEVICE")]
        file: PathBuf,
        /// The volumes by whose rules it is judged
        #[arg(long = "as", value_name = "KIND", default_value = "own")]
        kind: Kind,
        /// The integrity protection that the nodes' configuration asks for
        #[arg(long, value_name = "NAME", default_value = "none")]
        integrity: Integrity,
    },
    /// Open a volume by a recovery key, on a rescue machine: /dev/mapper/NAME
    ///
    /// The header is read once and judged as a node judges it; it must be one that
    /// the service had on record when the shares were fetched. Nothing is written to
    /// it. Needs root, and `ccnode recover combine` before.
    ///
    /// Exit codes: 0 open, 3 refused, 2 usage, 1 the machine can't.
    Open {
        /// The partition, or a loop device of it
        device: PathBuf,
        /// Name of the mapped device
        name: Name,
        /// What `ccnode recover combine` wrote
        #[arg(long, value_name = "KEYFILE")]
        recovery_key: PathBuf,
    },
    /// Close what `open` opened
    Close {
        /// Name of the mapped device
        name: Name,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Formatted by a node
    Own,
    /// Opened by a passphrase, where the configuration allows it
    Passphrase,
    /// Opened by a clevis token, where the configuration allows it
    Clevis,
}

impl Kind {
    fn rules(self, integrity: Integrity) -> By {
        match self {
            Self::Own => By::Own(integrity),
            Self::Passphrase => By::Foreign(OpenedBy::Passphrase),
            Self::Clevis => By::Foreign(OpenedBy::Clevis),
        }
    }

    fn volume(self) -> &'static str {
        match self {
            Self::Own => "a volume that a node formatted",
            Self::Passphrase => "a volume that a passphrase opens",
            Self::Clevis => "a volume that a clevis token opens",
        }
    }
}

/// The exit code where the header is refused.
const REFUSED: u8 = 3;
/// The shortest that anything with a header is: one binary header.
const SHORTEST: u64 = 4096;

pub(crate) fn run(global: &Global, command: &Disk) -> Result<ExitCode> {
    let (file, kind, integrity) = match command {
        Disk::Inspect { file, kind, integrity } => (file, kind, integrity),
        Disk::Open { device, name, recovery_key } => {
            return open::open(global, device, name, recovery_key).map(|()| ExitCode::SUCCESS);
        }
        Disk::Close { name } => return open::close(name).map(|()| ExitCode::SUCCESS),
    };
    if *kind != Kind::Own && *integrity != Integrity::None {
        return Err(Usage::new("--integrity is for --as own", "take one of them out").into());
    }
    let (bytes, len) = read(file)?;
    let found = inspect(&bytes, len, kind.rules(*integrity));
    match global.json {
        true => output::json(&document(&found))?,
        false => output::line(render(&found, *kind, Page::of_stdout()).trim_end())?,
    }
    Ok(if found.reasons.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

/// The start of a file or device, and how long the whole is.
fn read(path: &Path) -> Result<(Vec<u8>, u64)> {
    let reading = || format!("reading {}", path.display());
    let mut file = File::open(path).with_context(reading)?;
    // A device has no length but where its end is.
    let len = file.seek(SeekFrom::End(0)).with_context(reading)?;
    file.seek(SeekFrom::Start(0)).with_context(reading)?;
    let bytes = passphrase::read(&mut file).map_err(|e| Unreadable(format!("{}: {e}", path.display())))?;
    if (bytes.len() as u64) < SHORTEST {
        let have = bytes.len();
        let what = format!(
            "{}: too short for a header: {have} bytes, at least {SHORTEST} are needed",
            path.display()
        );
        return Err(Unreadable(what).into());
    }
    Ok((bytes, len))
}

fn health(found: &Inspection) -> &'static str {
    match found.health {
        Health::Valid => "valid",
        Health::Invalid => "invalid",
        Health::NotLuks2 => "not-luks2",
    }
}

fn verdict(found: &Inspection) -> &'static str {
    if found.reasons.is_empty() { "acceptable" } else { "refused" }
}

/// What `--json` prints; scripts rely on it.
#[derive(Serialize)]
struct Document<'a> {
    /// As cryptsetup would take it.
    header: &'static str,
    /// By the allowlist.
    verdict: &'static str,
    reasons: Vec<Reason<'a>>,
}

#[derive(Serialize)]
struct Reason<'a> {
    code: &'static str,
    /// JSON pointer, or the name of a field of the binary header; null where the header as a whole is at fault.
    path: Option<&'a str>,
    /// What stands there, escaped and cut.
    value: Option<&'a str>,
}

fn document(found: &Inspection) -> Document<'_> {
    let reasons = found.reasons.iter();
    let reasons = reasons.map(|r| Reason { code: r.code(), path: r.path(), value: r.value() });
    Document { header: health(found), verdict: verdict(found), reasons: reasons.collect() }
}

fn render(found: &Inspection, kind: Kind, page: Page) -> String {
    let mut out = String::new();
    let style = if found.reasons.is_empty() { Style::Good } else { Style::Fault };
    let line = format!("{} as {}; header: {}", verdict(found), kind.volume(), health(found));
    page.wrapped(&mut out, 0, 2, style, &line);
    marks(&mut out, page, &found.tree, 0);
    for branch in &found.tree.branches {
        tree(&mut out, page, branch, 0);
    }
    out
}

fn tree(out: &mut String, page: Page, branch: &Branch, indent: usize) {
    let style = match (branch.branches.is_empty(), indent) {
        (false, 0) => Style::Strong,
        _ => Style::Plain,
    };
    page.wrapped(out, indent, indent + 4, style, &branch.text);
    marks(out, page, branch, indent + 2);
    for below in &branch.branches {
        tree(out, page, below, indent + 2);
    }
}

fn marks(out: &mut String, page: Page, branch: &Branch, indent: usize) {
    for reason in &branch.reasons {
        let line = format!("refused: {}: {reason}", reason.code());
        page.wrapped(out, indent, indent + 4, Style::Fault, &line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static NOTHING: [u8; 0x9000] = [0; 0x9000];

    #[test]
    fn json_has_a_reason_each_with_code_path_and_value() {
        let found = inspect(&NOTHING, NOTHING.len() as u64, By::Own(Integrity::None));
        assert_eq!(
            serde_json::to_string(&document(&found)).unwrap(),
            r#"{"header":"not-luks2","verdict":"refused","reasons":[{"code":"luks-not-luks2","path":null,"value":null}]}"#
        );
    }

    #[test]
    fn colours_mark_what_is_refused() {
        let found = inspect(&NOTHING, NOTHING.len() as u64, By::Own(Integrity::None));
        let text = render(&found, Kind::Own, Page::terminal(80, true));
        assert!(text.contains("\u{1b}[1;31mrefused: luks-not-luks2: no LUKS2 header\u{1b}[0m"), "{text:?}");
        assert!(!render(&found, Kind::Own, Page::PLAIN).contains('\u{1b}'));
    }
}
