//! Names of a key broker's resources: `kbs:///repository/type/tag`, and the path that reads one.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What every name starts with; the part of a host is always empty, since the session says who is asked.
const SCHEME: &str = "kbs:///";
/// The path below which the stock service has its resources.
const PATH: &str = "/kbs/v0/resource/";
/// Longest part of a name, in bytes.
const MAX: usize = 128;

/// Why a text names no resource.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is no kbs:///REPOSITORY/TYPE/TAG: letters, digits and inner `.`, `_`, `-`, {MAX} characters at most in each part"
)]
pub struct ResourceUriError(String);

/// A resource's name in three parts, each 1 to 128 ASCII letters, digits, `.`, `_` and `-` that begin with a letter or digit: no part can
/// climb (`..`), end the path (`?`, `#`) or be read in two ways (`%`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceUri {
    repository: String,
    kind: String,
    tag: String,
}

impl ResourceUri {
    /// The path of the request that reads it: `/kbs/v0/resource/repository/type/tag`.
    pub fn request_path(&self) -> String {
        format!("{PATH}{self:#}")
    }

    /// The first part: to this project's service, the resources of a node's own where it is a node's name.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Repository, type and tag.
    pub fn parts(&self) -> [&str; 3] {
        [&self.repository, &self.kind, &self.tag]
    }

    /// The resource that clevis' `path` names: `repository/type/tag`, with or without a leading slash, or the whole name.
    pub fn from_clevis(path: &str) -> Result<Self, ResourceUriError> {
        let bare = path.strip_prefix(SCHEME).or_else(|| path.strip_prefix('/')).unwrap_or(path);
        parts(bare).ok_or_else(|| wrong(path))
    }
}

fn wrong(text: &str) -> ResourceUriError {
    let shown = text.chars().map(|c| if ccnode_evidence::is_obeyed(c) { ' ' } else { c });
    ResourceUriError(shown.take(80).collect())
}

fn parts(text: &str) -> Option<ResourceUri> {
    let mut parts = text.split('/');
    let mut part = || parts.next().filter(|part| is_part(part)).map(str::to_owned);
    let uri = ResourceUri { repository: part()?, kind: part()?, tag: part()? };
    parts.next().is_none().then_some(uri)
}

fn is_part(part: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    part.len() <= MAX && part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.bytes().all(known)
}

impl fmt::Display for ResourceUri {
    /// `kbs:///repository/type/tag`; with `#` without the scheme.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            f.write_str(SCHEME)?;
        }
        write!(f, "{}/{}/{}", self.repository, self.kind, self.tag)
    }
}

impl std::str::FromStr for ResourceUri {
    type Err = ResourceUriError;

    fn from_str(text: &str) -> Result<Self, ResourceUriError> {
        text.strip_prefix(SCHEME).and_then(parts).ok_or_else(|| wrong(text))
    }
}

impl TryFrom<String> for ResourceUri {
    type Error = ResourceUriError;

    fn try_from(text: String) -> Result<Self, ResourceUriError> {
        text.parse()
    }
}

impl From<ResourceUri> for String {
    fn from(uri: ResourceUri) -> Self {
        uri.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_is_shown_without_what_steers_a_terminal() {
        let error = "kbs:///a\u{202e}b\u{200b}\u{1b}".parse::<ResourceUri>().unwrap_err();
        assert!(!error.to_string().chars().any(ccnode_evidence::is_obeyed), "{error:?}");
    }

    #[test]
    fn a_name_has_three_parts_and_one_reading() {
        let text = "kbs:///default/28632274-8c8a-493f-835b-da802e1c576b/root";
        let uri: ResourceUri = text.parse().unwrap();
        assert_eq!(uri.to_string(), text);
        assert_eq!(uri.request_path(), "/kbs/v0/resource/default/28632274-8c8a-493f-835b-da802e1c576b/root");
        assert_eq!(serde_json::to_string(&uri).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<ResourceUri>(&format!("\"{text}\"")).unwrap(), uri);
        let long = "a".repeat(MAX + 1);
        for bad in [
            "",
            "default/a/b",
            "kbs://default/a/b",
            "kbs://host/default/a/b",
            "KBS:///default/a/b",
            "kbs:///default/a",
            "kbs:///default/a/b/c",
            "kbs:///default/a/",
            "kbs:////a/b",
            "kbs:///default/../b",
            "kbs:///default/./b",
            "kbs:///default/a/b?x",
            "kbs:///default/a/b#x",
            "kbs:///default/a%2fb/c",
            "kbs:///default/a/b\n",
            "kbs:///default/a/-b",
            "kbs:///default/a/é",
            &format!("kbs:///{long}/a/b"),
        ] {
            assert!(bad.parse::<ResourceUri>().is_err(), "{bad}");
        }
    }

    #[test]
    fn clevis_leaves_the_scheme_out() {
        let uri: ResourceUri = "kbs:///default/a/b".parse().unwrap();
        for path in ["default/a/b", "/default/a/b", "kbs:///default/a/b"] {
            assert_eq!(ResourceUri::from_clevis(path).unwrap(), uri, "{path}");
        }
        for path in ["", "//default/a/b", "default/a", "default/a/b/", "https://h/default/a/b"] {
            assert!(ResourceUri::from_clevis(path).is_err(), "{path}");
        }
    }

    #[test]
    fn foreign_text_in_the_error_is_cut_and_tamed() {
        let error = format!("\x1b[2J{}", "x".repeat(500)).parse::<ResourceUri>().unwrap_err();
        assert!(!error.to_string().contains('\x1b') && error.to_string().len() < 250, "{error}");
    }
}
