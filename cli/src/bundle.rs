//! `ccnode bundle`: certificates, revocation lists and TCB information for a service that never needs the internet.

use crate::args::Global;
use crate::error::Usage;
use crate::file::create;
use crate::output::{self, short, time};
use anyhow::{Context as _, Result, bail};
use ccnode_bundle::{Draft, Freshness, Item, MAX_BYTES, PublicKey, SecretKey};
use ccnode_evidence::UnixTime;
use clap::Subcommand;
use rand_core::OsRng;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};
use x509_parser::revocation_list::CertificateRevocationList;

#[derive(Subcommand)]
pub(crate) enum Bundle {
    /// Make a key that signs bundles: FILE and FILE.pub
    Key {
        /// Where the private key goes
        file: PathBuf,
    },
    /// Make a signed, dated bundle of certificates, CRLs and TDX collateral
    Make {
        /// Certificates and CRLs (PEM or DER), TDX collateral (JSON)
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The bundle
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Private key of `ccnode bundle key` (repeatable)
        #[arg(long = "key", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
        /// Days until it is worthless
        #[arg(long, value_name = "DAYS", default_value_t = 30)]
        valid_for: u32,
    },
    /// Show what a bundle holds; its signature is not judged
    Show {
        /// The bundle
        file: PathBuf,
    },
    /// Judge a bundle's signature, date and age
    ///
    /// Exit codes: 0 good, 2 usage, 3 not to be believed.
    Verify {
        /// The bundle
        file: PathBuf,
        /// Public key that must have signed it (repeatable: one of them)
        #[arg(long = "key", value_name = "FILE", required = true)]
        keys: Vec<PathBuf>,
        /// Days since it was made, at most
        #[arg(long, value_name = "DAYS")]
        max_age: Option<u32>,
    },
}

const DAY: u64 = 24 * 3600;

pub(crate) fn run(global: &Global, command: Bundle) -> Result<()> {
    match command {
        Bundle::Key { file } => key(global, &file),
        Bundle::Make { files, output, keys, valid_for } => make(global, &files, &output, &keys, valid_for),
        Bundle::Show { file } => {
            let (draft, named) =
                ccnode_bundle::inspect(&read(&file)?).with_context(|| file.display().to_string())?;
            let signers: Vec<String> = named.iter().map(|id| id.hex()).collect();
            shown(global, &draft, "not judged; `ccnode bundle verify` does", &signers)
        }
        Bundle::Verify { file, keys, max_age } => {
            let pinned: Vec<PublicKey> = keys.iter().map(|file| public(file)).collect::<Result<_>>()?;
            let freshness = Freshness { max_age: max_age.map(|days| u64::from(days) * DAY) };
            let bundle = ccnode_bundle::open(&read(&file)?, &pinned, now(), freshness)
                .with_context(|| file.display().to_string())?;
            shown(global, bundle.draft(), "good", &[bundle.signer().hex()])
        }
    }
}

fn key(global: &Global, file: &Path) -> Result<()> {
    let key = SecretKey::generate(&mut OsRng);
    let (pem, public) = (key.to_pem()?, key.public());
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    create(file, 0o600, pem.as_bytes())?;
    create(Path::new(&name), 0o644, public.to_pem()?.as_bytes())?;
    let id = public.id()?.hex();
    match global.json {
        true => output::json(&json!({ "id": id, "public": public.to_pem()? })),
        false => output::line(&id),
    }
}

fn make(global: &Global, files: &[PathBuf], output: &Path, keys: &[PathBuf], days: u32) -> Result<()> {
    let secret = |file: &PathBuf| {
        let text = String::from_utf8(read(file)?).unwrap_or_default();
        SecretKey::from_pem(&text)
            .with_context(|| format!("{}: make one with `ccnode bundle key`", file.display()))
    };
    let keys: Vec<SecretKey> = keys.iter().map(secret).collect::<Result<_>>()?;
    // By content: the same certificate in several files is one item.
    let mut items = BTreeMap::new();
    for file in files {
        for item in ccnode_bundle::read_items(&read(file)?).with_context(|| file.display().to_string())? {
            items.insert(item.id(), item);
        }
    }
    let made = now();
    let expires = UnixTime(made.0.saturating_add(u64::from(days) * DAY));
    let draft = Draft::new(made, expires, items.into_values().collect());
    let bytes = draft.seal(&keys)?;
    if bytes.len() > MAX_BYTES {
        let what = format!("{} bytes are more than a service reads ({MAX_BYTES})", bytes.len());
        bail!(Usage::new(what, "leave out what no node needs"));
    }
    std::fs::write(output, bytes).with_context(|| format!("writing {}", output.display()))?;
    let signers = keys
        .iter()
        .map(|key| Ok(key.public().id()?.hex()))
        .collect::<Result<Vec<_>, ccnode_bundle::KeyError>>()?;
    shown(global, &draft, "good", &signers)
}

fn shown(global: &Global, draft: &Draft, signature: &str, signers: &[String]) -> Result<()> {
    let rows: Vec<[String; 4]> = draft.items.iter().map(row).collect();
    if global.json {
        let item = |[kind, id, what, until]: &[String; 4]| json!({"kind": kind, "id": id, "what": what, "until": until});
        return output::json(&json!({
            "version": draft.version, "created": draft.created, "expires": draft.expires, "signature": signature,
            "signers": signers, "items": rows.iter().map(item).collect::<Vec<_>>(),
        }));
    }
    output::fields(&[
        ("made", time(draft.created)),
        ("good until", time(draft.expires)),
        ("signature", signature.to_owned()),
        ("signers", signers.join(", ")),
    ])?;
    output::table(["kind", "id", "what", "until"], &rows)
}

/// Kind, id, what in words, until when.
fn row(item: &Item) -> [String; 4] {
    let at = |t: x509_parser::time::ASN1Time| time(u64::try_from(t.timestamp()).unwrap_or(0));
    let (kind, what, until) = match item {
        Item::Certificate { der } => match X509Certificate::from_der(&der.0) {
            Ok((_, cert)) => ("certificate", name(cert.subject()), at(cert.validity().not_after)),
            Err(_) => ("certificate", "unreadable".to_owned(), "-".to_owned()),
        },
        Item::Crl { der } => match CertificateRevocationList::from_der(&der.0) {
            Ok((_, list)) => {
                let count = list.iter_revoked_certificates().count();
                let until = list.next_update().map_or_else(|| "-".to_owned(), at);
                ("crl", format!("{count} revoked by {}", name(list.issuer())), until)
            }
            Err(_) => ("crl", "unreadable".to_owned(), "-".to_owned()),
        },
        Item::TdxCollateral { json } => ("tdx-collateral", format!("{} bytes", json.len()), "-".to_owned()),
    };
    let what = ccnode_evidence::printable(&what, 80);
    [kind.to_owned(), short(&item.id()), what, until]
}

/// The common name, which is what tells AMD's and Intel's certificates apart; all of the name where there is none.
fn name(name: &X509Name<'_>) -> String {
    match name.iter_common_name().next().and_then(|cn| cn.as_str().ok()) {
        Some(cn) => cn.to_owned(),
        None => name.to_string(),
    }
}

fn public(file: &Path) -> Result<PublicKey> {
    let text = String::from_utf8(read(file)?).unwrap_or_default();
    PublicKey::from_pem(&text).with_context(|| file.display().to_string())
}

/// One byte more than a bundle may have at most: whoever judges it says that it is too long.
fn read(file: &Path) -> Result<Vec<u8>> {
    let what = || format!("reading {}", file.display());
    let mut bytes = Vec::new();
    let open = std::fs::File::open(file).with_context(what)?;
    open.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).with_context(what)?;
    Ok(bytes)
}

fn now() -> UnixTime {
    UnixTime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()))
}
