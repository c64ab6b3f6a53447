//! `ccnode explain`: an event log in words, or what two of them differ in, for terminals, browsers and machines.

mod html;
mod json;
pub(crate) mod layout;
mod refusal;
mod report;
mod subject;
mod text;

use crate::args::Global;
use crate::error::{Unreadable, Usage};
use crate::output;
use anyhow::{Context as _, Result, bail};
use layout::Page;
pub(crate) use refusal::no_log;
use report::Report;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use subject::Subject;

/// What `ccnode explain` is asked.
#[derive(clap::Args)]
pub(crate) struct Explain {
    /// Event log or tuple; `-` is standard input
    #[arg(required_unless_present = "refusal")]
    a: Option<PathBuf>,
    /// What to compare it with
    #[arg(conflicts_with = "refusal")]
    b: Option<PathBuf>,
    /// Take the logs that the service kept of this refusal; compare with A, or else with the closest tuple
    #[arg(long, value_name = "ID", value_parser = crate::args::refusal_id)]
    refusal: Option<u64>,
    /// /proc/cmdline of the boot in question; believed only where the log measures it
    #[arg(long, value_name = "FILE", conflicts_with = "refusal")]
    cmdline: Option<PathBuf>,
    /// Also write a page for a browser, which needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The exit code where something differs.
const DIFFERENT: u8 = 3;

pub(crate) async fn run(global: &Global, command: Explain) -> Result<ExitCode> {
    if let Some(id) = command.refusal {
        let fetched = refusal::fetch(global, id).await?;
        let other = command.a.as_deref().map(read).transpose()?;
        let other = other.as_ref().map(|(name, bytes)| Subject::parse(name, bytes)).transpose()?;
        return show(global, &fetched.report(other)?, command.html.as_deref());
    }
    let Some(a) = &command.a else { bail!(Usage::new("no event log", "say which")) };
    let a = read(a)?;
    let b = command.b.as_deref().map(read).transpose()?;
    let cmdline = command.cmdline.as_deref().map(read).transpose()?;
    let cmdline = cmdline.map(|(name, bytes)| {
        String::from_utf8(bytes).map_err(|_| Unreadable(format!("{name}: a command line is text")))
    });
    let cmdline = cmdline.transpose()?;
    let subject = Subject::parse(&a.0, &a.1)?;
    let report = match &b {
        None => Report::alone(subject)?,
        Some((name, bytes)) => Report::compare(subject, Subject::parse(name, bytes)?, cmdline.as_deref())?,
    };
    show(global, &report, command.html.as_deref())
}

fn show(global: &Global, report: &Report<'_>, page: Option<&Path>) -> Result<ExitCode> {
    if let Some(path) = page {
        std::fs::write(path, html::page(report)).with_context(|| format!("writing {}", path.display()))?;
    }
    if global.json {
        output::json(&json::Document::of(report))?;
    } else {
        output::line(text::render(report, Page::of_stdout()).trim_end())?;
    }
    Ok(if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

/// The largest file that is read, in bytes: the kernel keeps no log of this size.
const LARGEST: u64 = 16 * 1024 * 1024;

/// A file's name, safe to print, and its content.
fn read(path: &Path) -> Result<(String, Vec<u8>)> {
    use std::io::Read as _;
    let name = match path.to_str() {
        Some("-") => "standard input".to_owned(),
        _ => subject::printable(&path.to_string_lossy()),
    };
    let what = || format!("reading {name}");
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes).with_context(what)?;
    } else {
        let file = std::fs::File::open(path).with_context(what)?;
        file.take(LARGEST + 1).read_to_end(&mut bytes).with_context(what)?;
    }
    if u64::try_from(bytes.len()).map_or(true, |len| len > LARGEST) {
        bail!(Unreadable(format!("{name} has more than {LARGEST} bytes: no event log is that large")));
    }
    Ok((name, bytes))
}
