//! Names of pools and nodes: Kubernetes object names, so that a node's name is a host name everywhere.

use serde::{Deserialize, Serialize};

/// Why a text is no name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is no {kind} name: lower-case letters, digits and inner hyphens, {max} characters at most")]
pub struct NameError {
    kind: &'static str,
    text: String,
    max: usize,
}

fn parse(kind: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = !text.is_empty()
        && text.len() <= max
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if good { Ok(()) } else { Err(NameError { kind, text: text.chars().take(80).collect(), max }) }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                parse($kind, &text, $max).map(|()| Self(text))
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A pool's name; short, as node names start with it.
    PoolName,
    "pool",
    40
);
name!(
    /// A node's name, chosen by the service: one DNS label.
    NodeName,
    "node",
    63
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        assert!("workers-abcdefghij".parse::<NodeName>().is_ok());
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "a_b", &"a".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
        assert!("a".repeat(41).parse::<PoolName>().is_err());
        assert!(serde_json::from_str::<NodeName>("\"../x\"").is_err());
    }
}
