//! Files that must not take the place of others, and documents that say what they are.

use crate::error::{Unreadable, Usage};
use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// Whoever may read the file.
pub(crate) const EVERYBODY: u32 = 0o644;
/// Its owner alone may.
pub(crate) const OWNER: u32 = 0o600;
/// Longest document: more than any of ours, and no copy of a secret is left behind by growth.
const MAX: usize = 64 * 1024;

/// Whether there is no such file yet, for those who had better know before they go on.
pub(crate) fn is_new(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(_) => bail!(there(path)),
        Err(_) => Ok(()),
    }
}

fn there(path: &Path) -> Usage {
    Usage::new(format!("{} is there already", path.display()), "choose another name")
}

/// A new file; one that is there is not overwritten: it may be the only copy of a key.
pub(crate) fn create(path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = match file {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!(there(path))
        }
        file => file.with_context(|| format!("writing {}", path.display()))?,
    };
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("writing {}", path.display()))
}

/// A kind of document, and the command that writes it.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) by: &'static str,
}

/// A document with its kind, so that one is not taken for another.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<K, T> {
    kind: K,
    content: T,
}

/// Writes a new document.
pub(crate) fn write(path: &Path, mode: u32, kind: Kind, content: &impl Serialize) -> Result<()> {
    let mut text = Zeroizing::new(Vec::with_capacity(MAX));
    serde_json::to_writer_pretty(&mut *text, &Document { kind: kind.name, content })?;
    text.push(b'\n');
    create(path, mode, &text)
}

/// Reads a document of this kind.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, Kind { name, by }: Kind) -> Result<T> {
    let text = text(path)?;
    let no = |why: String| Unreadable(format!("{} is not what `{by}` wrote ({name}): {why}", path.display()));
    #[derive(Deserialize)]
    struct Found {
        kind: String,
    }
    let found: Found = serde_json::from_str(&text).map_err(|e| no(e.to_string()))?;
    if found.kind != name {
        return Err(no(format!("it is of the kind `{}`", found.kind)).into());
    }
    let document: Document<String, T> = serde_json::from_str(&text).map_err(|e| no(e.to_string()))?;
    Ok(document.content)
}

/// A text that may hold a secret.
pub(crate) fn text(path: &Path) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(MAX + 1));
    let file = std::fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let read = file.take(MAX as u64 + 1).read_to_string(&mut text);
    match read {
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            Err(Unreadable(format!("{} is no text", path.display())).into())
        }
        Ok(len) if len > MAX => Err(Unreadable(format!("{}: more than {MAX} bytes", path.display())).into()),
        read => {
            read.with_context(|| format!("reading {}", path.display()))?;
            Ok(text)
        }
    }
}
