//! `ccnode recover`: a custodian's keys, the shares of a volume's recovery key, and the key that enough of them make.

use crate::admin::connect;
use crate::args::Global;
use crate::error::{Denied, Unreadable};
use crate::file::{self, EVERYBODY, Kind, OWNER};
use crate::output;
use anyhow::{Context as _, Result};
use ccnode_protocol::NodeName;
use ccnode_protocol::admin::{self, RecoveryFetch, RecoveryRecord};
use ccnode_recovery::{CustodianKey, OpenError, RecoveredKey, Share, combine, open};
use clap::Subcommand;
use serde_json::json;
use std::path::{Path, PathBuf};

/// What `fetch` writes.
const SHARES: Kind = Kind { name: "ccnode-recovery-shares/1", by: "ccnode recover fetch" };
/// What `open-share` writes.
const SHARE: Kind = Kind { name: "ccnode-recovery-share/1", by: "ccnode recover open-share" };
/// What `combine` writes.
const KEY: Kind = Kind { name: "ccnode-recovery-key/1", by: "ccnode recover combine" };

#[derive(Subcommand)]
pub(crate) enum Recover {
    /// Make a custodian's keys: FILE and FILE.pub
    ///
    /// FILE stays with the custodian; the text of FILE.pub goes into `[recovery]` of
    /// node.toml. Whoever has the FILEs of enough custodians, and what the service
    /// keeps, reads the disks.
    Keygen {
        /// Where the private key goes
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Have the service give out the sealed shares of a volume's recovery key
    ///
    /// The audit log says who took them, and why.
    Fetch {
        /// A node, for its root, or NODE/data/NAME, for a volume for data
        #[arg(value_name = "NODE[/VOLUME]")]
        volume: VolumeName,
        /// Where the sealed shares go
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Why; kept in the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Open a custodian's own share, on a machine that is not on any network
    OpenShare {
        /// What `fetch` wrote
        file: PathBuf,
        /// The custodian's private key
        #[arg(long, value_name = "KEY")]
        key: PathBuf,
        /// Where the share goes: a part of a secret
        #[arg(short, long, value_name = "SHARE")]
        output: PathBuf,
    },
    /// Put enough shares together to a recovery key, without a network
    Combine {
        /// What custodians' `open-share` wrote
        #[arg(value_name = "SHARE", required = true)]
        shares: Vec<PathBuf>,
        /// Where the key goes: with it, whoever has the disk reads it
        #[arg(short, long, value_name = "KEYFILE")]
        output: PathBuf,
    },
}

/// `NODE` or `NODE/VOLUME`.
#[derive(Clone)]
pub(crate) struct VolumeName {
    node: NodeName,
    volume: String,
}

impl std::str::FromStr for VolumeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (node, volume) = text.split_once('/').unwrap_or((text, "root"));
        let node = node.parse().map_err(|e: ccnode_protocol::NameError| e.to_string())?;
        Ok(Self { node, volume: volume.to_owned() })
    }
}

pub(crate) async fn run(global: &Global, command: Recover) -> Result<()> {
    match command {
        Recover::Keygen { output } => keygen(global, &output),
        Recover::Fetch { volume, output, reason } => fetch(global, volume, &output, reason).await,
        Recover::OpenShare { file, key, output } => open_share(global, &file, &key, &output),
        Recover::Combine { shares, output } => combined(global, &shares, &output),
    }
}

fn keygen(global: &Global, path: &Path) -> Result<()> {
    let key = CustodianKey::generate();
    let (public, id) = (key.public_pem()?, key.custodian()?.id().hex());
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    [path, Path::new(&name)].into_iter().try_for_each(file::is_new)?;
    file::create(path, OWNER, key.pem()?.as_bytes())?;
    file::create(Path::new(&name), EVERYBODY, public.as_bytes())?;
    match global.json {
        true => output::json(&json!({ "id": id, "public": public })),
        false => output::line(&format!("custodian {id}")),
    }
}

async fn fetch(global: &Global, of: VolumeName, path: &Path, reason: Option<String>) -> Result<()> {
    // Before the audit log says that they were taken.
    file::is_new(path)?;
    let client = connect(global)?;
    let body = RecoveryFetch { volume: of.volume, reason };
    let record: RecoveryRecord = client.post(&admin::path(admin::NODE_RECOVERY, &[&of.node]), &body).await?;
    file::write(path, EVERYBODY, SHARES, &record)?;
    if global.json {
        return output::json(&record);
    }
    let custodians: Vec<String> = record.recovery.shares.iter().map(|share| share.custodian.hex()).collect();
    let mut fields = vec![
        ("volume", record.volume),
        ("uuid", record.uuid),
        ("shares needed", format!("{} of {}", record.recovery.threshold, custodians.len())),
    ];
    fields.extend(record.header_digests.iter().map(|digest| ("header", digest.hex())));
    fields.extend(custodians.into_iter().map(|id| ("custodian", id)));
    output::fields(&fields)
}

fn open_share(global: &Global, path: &Path, key: &Path, output: &Path) -> Result<()> {
    let record: RecoveryRecord = file::read(path, SHARES)?;
    let key = CustodianKey::from_pem(&file::text(key)?)
        .map_err(|e| Unreadable(format!("{}: {e}", key.display())))?;
    let share = open(&record, &key).map_err(|error| {
        let next = match &error {
            OpenError::NotMine(_) => {
                let ids: Vec<_> = record.recovery.shares.iter().map(|share| share.custodian.hex()).collect();
                format!("take the key of one of the custodians {}", ids.join(", "))
            }
            _ => "fetch the shares anew with `ccnode recover fetch`".to_owned(),
        };
        Denied::new(format!("{}: {error}", path.display()), next)
    })?;
    file::is_new(output)?;
    let (index, of) = (share.index, record.recovery.shares.len());
    let Share { volume, uuid, threshold, .. } = &share;
    // Whoever sealed it may have written anything; and it is shown before it is there to be handed on.
    let shown = (volume.escape_debug(), uuid.escape_debug());
    let (volume, uuid) = (shown.0.to_string(), shown.1.to_string());
    match global.json {
        true => output::json(&json!({
            "volume": volume, "uuid": uuid, "index": index, "shares": of, "threshold": threshold,
        })),
        false => output::line(&format!("share {index} of {of} of {volume} ({uuid}); {threshold} are needed")),
    }?;
    file::write(output, OWNER, SHARE, &share)
}

fn combined(global: &Global, paths: &[PathBuf], output: &Path) -> Result<()> {
    let shares = paths.iter().map(|path| file::read(path, SHARE)).collect::<Result<Vec<Share>>>()?;
    let key = combine(&shares).map_err(|error| Denied::new(error.to_string(), error.next()))?;
    file::write(output, OWNER, KEY, &key)?;
    let RecoveredKey { volume, uuid, header_digests, .. } = key;
    match global.json {
        true => output::json(&json!({ "volume": volume, "uuid": uuid, "header-digests": header_digests })),
        false => output::line(&format!("the key of {} ({})", volume.escape_debug(), uuid.escape_debug())),
    }
}

/// What `combine` wrote.
pub(crate) fn recovered(path: &Path) -> Result<RecoveredKey> {
    file::read(path, KEY).context("no recovery key")
}
