//! Our keys of the kernel command line.

use super::ConfigError;
use ccnode_evidence::{DATA_KEY, DataName, LAYOUT_KEY, Layout};
use ccnode_luks_header::verity::RootHash;

/// Our keys of the kernel command line; everything else there is the service's to judge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cmdline {
    /// `ccnode.roothash=`: the verity root hash of the root source.
    pub root_hash: RootHash,
    /// `ccnode.layout=`: how the root is kept.
    pub layout: Layout,
    /// `ccnode.data=`: volumes for data.
    pub data: Vec<DataName>,
    /// `ccnode.log=json`: JSON lines on the console too.
    pub json: bool,
}

impl Cmdline {
    /// Takes our keys out of `/proc/cmdline`. One that is unknown, repeated or bad is an error.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let bad = |word: &str| ConfigError::Cmdline(word.chars().take(120).collect());
        let (mut root_hash, mut layout, mut json) = (None, None, None);
        for word in text.split_ascii_whitespace().filter(|word| word.starts_with("ccnode.")) {
            let (key, value) = word.split_once('=').ok_or_else(|| bad(word))?;
            let repeated = match (key, value) {
                ("ccnode.roothash", hash) => {
                    root_hash.replace(hash.parse().map_err(|_| bad(word))?).is_some()
                }
                (LAYOUT_KEY, name) => layout.replace(name.parse().map_err(|_| bad(word))?).is_some(),
                // All of it is read below.
                (DATA_KEY, _) => false,
                ("ccnode.log", "json") => json.replace(true).is_some(),
                ("ccnode.log", "text") => json.replace(false).is_some(),
                _ => true,
            };
            if repeated {
                return Err(bad(word));
            }
        }
        let data = DataName::declared(text).ok_or_else(|| bad(DATA_KEY))?;
        let root_hash = root_hash.ok_or_else(|| bad("ccnode.roothash= is missing"))?;
        Ok(Self { root_hash, layout: layout.unwrap_or_default(), data, json: json.unwrap_or_default() })
    }
}
