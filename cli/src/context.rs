//! Where the tool finds its trust service: url, CA, certificate and key in one folder.

use crate::error::Usage;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// A context as `ccnode-trust init` writes it.
pub(crate) struct Context {
    pub(crate) url: String,
    pub(crate) ca: Vec<u8>,
    pub(crate) cert: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Context {
    /// Reads `--context`, `CCNODE_CONTEXT` or the default folder.
    pub(crate) fn load(given: Option<&Path>) -> Result<Self> {
        let dir = match given {
            Some(dir) => dir.to_path_buf(),
            None => default_dir()?,
        };
        if !dir.is_dir() {
            let hint = "copy the folder `admin` that `ccnode-trust init` made, or say --context DIR";
            bail!(Usage::new(format!("no context at {}", dir.display()), hint));
        }
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read(&path).with_context(|| format!("reading {} of the context", path.display()))
        };
        let url = String::from_utf8(read("url")?).context("the context's url is not text")?.trim().to_owned();
        if !url.starts_with("https://") {
            bail!("the context's url must start with https://, it is `{url}`");
        }
        Ok(Self { url, ca: read("ca.pem")?, cert: read("cert.pem")?, key: read("key.pem")? })
    }
}

fn default_dir() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")))
        .context("neither HOME nor XDG_CONFIG_HOME is set: say --context DIR")?;
    Ok(base.join("ccnode"))
}
