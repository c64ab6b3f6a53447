//! How a node keeps its root file system: declared on the measured command line, and by the image tuple that is made of it.

use crate::Sha256Digest;
use serde::{Deserialize, Serialize};

/// The key of the kernel command line that declares a layout; without it, it is a LUKS root.
pub const LAYOUT_KEY: &str = "ccnode.layout";

/// How a node keeps its root file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// Copied from the root source into a LUKS volume at the first boot.
    #[default]
    LuksRoot,
    /// The root source itself, read-only; what changes is below /var, in a LUKS volume.
    VerityRoot,
    /// Copied anew at each boot, under a key that is nowhere but in that boot's memory.
    Ephemeral,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LuksRoot, Self::VerityRoot, Self::Ephemeral];

    /// As recipes, tuples and command lines have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LuksRoot => "luks-root",
            Self::VerityRoot => "verity-root",
            Self::Ephemeral => "ephemeral",
        }
    }

    /// Whether it is what images without the key have.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What a volume of this layout is on record as filled from, by an image of that root hash: a root is a copy of the image's and of
    /// no other; state goes from one image to the next, and from no other layout.
    pub fn populated_from(self, root_hash: Sha256Digest) -> Sha256Digest {
        match self {
            Self::LuksRoot | Self::Ephemeral => root_hash,
            Self::VerityRoot => Sha256Digest::of(b"ccnode state of verity-root/1"),
        }
    }

    /// What a command line declares; `None` where it says something else, or says it twice.
    pub fn declared(cmdline: &str) -> Option<Self> {
        let word = |word| <str>::split_once(word, '=').unwrap_or((word, ""));
        let mut values =
            cmdline.split_ascii_whitespace().map(word).filter(|(key, _)| *key == LAYOUT_KEY).map(|(_, v)| v);
        match (values.next(), values.next()) {
            (None, _) => Some(Self::default()),
            (Some(value), None) => value.parse().ok(),
            _ => None,
        }
    }
}

/// No layout of this name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there is no such layout")]
pub struct NoLayout;

impl std::str::FromStr for Layout {
    type Err = NoLayout;

    fn from_str(text: &str) -> Result<Self, NoLayout> {
        Self::ALL.into_iter().find(|layout| layout.as_str() == text).ok_or(NoLayout)
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_declares_it() {
        assert_eq!(Layout::declared("quiet ccnode.roothash=00"), Some(Layout::LuksRoot));
        for layout in Layout::ALL {
            assert_eq!(Layout::declared(&format!("quiet ccnode.layout={layout} panic=-1")), Some(layout));
            assert_eq!(serde_json::to_string(&layout).unwrap(), format!("\"{layout}\""));
        }
        let odd = ["ccnode.layout=none", "ccnode.layout=", "ccnode.layout", "ccnode.layout==ephemeral"];
        for odd in odd.into_iter().chain(["ccnode.layout=ephemeral ccnode.layout=ephemeral"]) {
            assert_eq!(Layout::declared(odd), None, "{odd}");
        }
        let (one, other) = (Sha256Digest::of(b"1"), Sha256Digest::of(b"2"));
        let from = |layout: Layout| (layout.populated_from(one), layout.populated_from(other));
        assert_eq!(from(Layout::LuksRoot), (one, other));
        let (state, of_another) = from(Layout::VerityRoot);
        assert!(state == of_another && ![one, other, Sha256Digest::ZERO].contains(&state));
        assert_eq!(Layout::declared("ccnode.layouts=ephemeral"), Some(Layout::LuksRoot));
    }
}
