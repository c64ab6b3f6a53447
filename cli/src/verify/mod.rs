//! `ccnode verify`: what a piece of evidence proves, by whose word, and what it does not.

mod azure;
mod certs;
mod detect;
mod input;
mod kbs;
mod log;
mod report;
mod sent;
mod snp;
mod tdx;
mod tpm;

use crate::args::Global;
use crate::error::Usage;
use anyhow::{Result, bail};
use ccnode_evidence::UnixTime;
use detect::{Detected, Kind, detect};
use report::Report;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Exit codes: 0 valid, 2 usage, 3 invalid or unreadable, 5 incomplete (certificates, collateral or a key are missing).
#[derive(clap::Args)]
pub(crate) struct Verify {
    /// Report, quote, log or evidence; binary, hex, base64 or JSON (- reads
    /// standard input)
    file: PathBuf,
    /// What it is, where its bytes don't tell
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// VCEK or VLEK, CAs above it, AMD's CRL: PEM, DER or GUID table
    /// (repeatable)
    #[arg(long = "certs", value_name = "FILE")]
    certs: Vec<PathBuf>,
    /// TDX collateral: TCB information, QE identity, CRLs (JSON)
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// Signature of a TPM quote: TPMT_SIGNATURE, or a raw one
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// PCR values of a TPM quote: JSON, tpm2_pcrread's YAML, or tpm2_quote's
    #[arg(long, value_name = "FILE")]
    pcrs: Option<PathBuf>,
    /// Attestation key: TPMT_PUBLIC, SubjectPublicKeyInfo or certificate
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// What the evidence must be bound to: hex, or @FILE
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
    /// Event log that must replay to what is proven
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Judge certificates as of then: 2026-05-01, RFC 3339, or seconds
    #[arg(long, value_name = "TIME", value_parser = input::time)]
    at: Option<UnixTime>,
    /// Believe this root, too; it stands for AMD's, Intel's or a TPM maker's
    #[arg(long = "danger-root", value_name = "FILE")]
    danger_roots: Vec<PathBuf>,
}

/// What was given beside the evidence, read.
#[derive(Clone)]
pub(crate) struct Given {
    pub(crate) now: UnixTime,
    pub(crate) certs: Vec<(PathBuf, Vec<u8>)>,
    pub(crate) collateral: Option<Vec<u8>>,
    pub(crate) signature: Option<Vec<u8>>,
    pub(crate) pcrs: Option<Vec<u8>>,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) nonce: Option<Vec<u8>>,
    pub(crate) log: Option<Vec<u8>>,
    pub(crate) danger_roots: Vec<Vec<u8>>,
}

impl Given {
    fn read(args: &Verify) -> Result<Self> {
        let maybe = |path: &Option<PathBuf>| path.as_deref().map(input::read).transpose();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Ok(Self {
            now: args.at.unwrap_or(UnixTime(now)),
            certs: args
                .certs
                .iter()
                .map(|path| Ok((path.clone(), input::read(path)?)))
                .collect::<Result<_>>()?,
            collateral: maybe(&args.collateral)?,
            signature: maybe(&args.signature)?,
            pcrs: maybe(&args.pcrs)?,
            key: maybe(&args.key)?,
            nonce: args.nonce.as_deref().map(input::nonce).transpose()?,
            log: maybe(&args.log)?,
            danger_roots: args.danger_roots.iter().map(|path| input::read(path)).collect::<Result<_>>()?,
        })
    }
}

impl Given {
    /// The same for a part of a session's evidence, which must be bound to `nonce`.
    fn bound_to(&self, nonce: Vec<u8>) -> Self {
        Self { nonce: Some(nonce), ..self.clone() }
    }
}

pub(crate) fn run(global: &Global, args: &Verify) -> Result<ExitCode> {
    let bytes = input::read(&args.file)?;
    let given = Given::read(args)?;
    let detected = match args.kind {
        Some(kind) => detect::of_kind(kind, bytes),
        None => match detect(&bytes) {
            Some(detected) => detected,
            None => return unreadable(global, args, bytes.len()),
        },
    };
    heeded(&detected, &given)?;
    let report = judge(&detected, &given)?;
    report.print(global.json)?;
    Ok(ExitCode::from(report.verdict().exit_code()))
}

fn unreadable(global: &Global, args: &Verify, len: usize) -> Result<ExitCode> {
    let mut report = Report::new("unknown", format!("{} ({len} bytes)", args.file.display()));
    let why = match len {
        0 => "the file is empty",
        _ => "no kind of evidence that is read here; --kind says which it should be",
    };
    report.wrong("evidence-unknown", why);
    report.print(global.json)?;
    Ok(ExitCode::from(report.verdict().exit_code()))
}

/// Refuses what was asked for and this kind of evidence can't be held to: a demand that nobody looks at is not met by `valid`.
fn heeded(Detected { kind, bytes }: &Detected, given: &Given) -> Result<()> {
    let due: &[&str] = match kind {
        Kind::TpmQuote if tpm::is_alone(bytes) => &["--nonce", "--log", "--key", "--pcrs", "--signature"],
        Kind::Tdx | Kind::KbsTdx | Kind::KbsTpm | Kind::AzSnpVtpm | Kind::AzTdxVtpm => &["--nonce", "--log"],
        Kind::TpmQuote | Kind::Snp | Kind::KbsSnp => &["--nonce"],
        Kind::Hcl | Kind::EventLog | Kind::Ccnode => &[],
    };
    let asked = [
        ("--nonce", given.nonce.is_some()),
        ("--log", given.log.is_some()),
        ("--key", given.key.is_some()),
        ("--pcrs", given.pcrs.is_some()),
        ("--signature", given.signature.is_some()),
    ];
    let vain = asked.into_iter().find(|(name, given)| *given && !due.contains(name));
    let Some((name, _)) = vain else { return Ok(()) };
    let words = match due {
        [] => "leave it out: such evidence is judged by itself".to_owned(),
        due => format!("leave it out: such evidence is held to {}", due.join(", ")),
    };
    bail!(Usage::new(format!("{name} does not go with evidence of kind {}", kind.name()), words))
}

fn judge(detected: &Detected, given: &Given) -> Result<Report> {
    let Detected { kind, bytes } = detected;
    Ok(match kind {
        Kind::Snp => snp::judge(bytes, given)?,
        Kind::Tdx => tdx::judge(bytes, given)?,
        Kind::TpmQuote => tpm::judge(bytes, given)?,
        Kind::EventLog => log::judge(bytes),
        Kind::KbsTpm => kbs::tpm(bytes, given)?,
        Kind::KbsTdx => kbs::tdx(bytes, given)?,
        Kind::Hcl => azure::report(bytes, given)?,
        Kind::KbsSnp => kbs::snp(bytes, given)?,
        Kind::AzSnpVtpm | Kind::AzTdxVtpm => azure::evidence(*kind, bytes, given)?,
        Kind::Ccnode => sent::judge(bytes, given)?,
    })
}
