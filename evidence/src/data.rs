//! Volumes for data beside the root: named on the measured command line, and by the image tuple that is made of it.

use crate::Sha256Digest;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// The key of the kernel command line that names them, in order, with commas between; without it, there are none.
pub const DATA_KEY: &str = "ccnode.data";
/// Names in an image at most.
pub const DATA_VOLUMES: usize = 8;
/// Characters of a name at most: a volume's id holds it beside the node's.
const LONGEST: usize = 12;

/// The name of a volume for data: 1 to 12 lower-case letters, digits and `-`, with a letter at the beginning.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct DataName(String);

/// No name of a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a volume's name is 1 to 12 lower-case letters, digits and `-`, with a letter at the beginning")]
pub struct NoDataName;

impl DataName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a volume for data is on record as filled from: nothing of an image's, so it goes from one to the next.
    pub fn populated_from() -> Sha256Digest {
        Sha256Digest::of(b"ccnode data/1")
    }

    /// Names that a command line declares; `None` where one is no name or out of order, where there are too many, or the key is there
    /// twice.
    pub fn declared(cmdline: &str) -> Option<Vec<Self>> {
        let pair = |word| <str>::split_once(word, '=').unwrap_or((word, ""));
        let mut values =
            cmdline.split_ascii_whitespace().map(pair).filter(|(key, _)| *key == DATA_KEY).map(|(_, v)| v);
        let Some(value) = values.next() else { return Some(Vec::new()) };
        let names: Vec<Self> = value.split(',').map(|name| name.parse().ok()).collect::<Option<_>>()?;
        let ascending = names.windows(2).all(|pair| pair.first() < pair.last());
        (values.next().is_none() && ascending && names.len() <= DATA_VOLUMES).then_some(names)
    }
}

impl std::str::FromStr for DataName {
    type Err = NoDataName;

    fn from_str(text: &str) -> Result<Self, NoDataName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
        match begins && text.len() <= LONGEST && text.bytes().all(plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(NoDataName),
        }
    }
}

impl<'de> Deserialize<'de> for DataName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

impl std::fmt::Display for DataName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_on_the_command_line_once_and_in_order() {
        let names = |list: &[&str]| Some(list.iter().map(|name| name.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(DataName::declared("quiet ccnode.roothash=00"), Some(Vec::new()));
        assert_eq!(DataName::declared("ccnode.data=a,logs-2 quiet"), names(&["a", "logs-2"]));
        let many = ('a'..='i').map(String::from).collect::<Vec<_>>().join(",");
        let odd = ["", "a,", "b,a", "a,a", "A", "2a", "-", "a/b", "a.b", "thirteen-char", "a ccnode.data=b"];
        for odd in odd.into_iter().chain([many.as_str()]) {
            assert_eq!(DataName::declared(&format!("ccnode.data={odd}")), None, "{odd}");
        }
        assert_eq!(DataName::declared("ccnode.data"), None);
        assert!(serde_json::from_str::<DataName>("\"a b\"").is_err());
    }
}
