//! Versions of the firmware and of its interface, as text: `1.55.40` and `1.55`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::str::FromStr;

/// Text that is not numbers of 0 to 255 between full stops.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no version; `{1}` is the form")]
pub struct VersionError(String, &'static str);

/// A firmware version: `major.minor.build`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FirmwareVersion {
    /// Major version of the interface.
    pub major: u8,
    /// Minor version of the interface.
    pub minor: u8,
    /// Build.
    pub build: u8,
}

/// A version of the firmware's interface: `major.minor`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AbiVersion {
    /// Major version.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

fn numbers<const N: usize>(text: &str) -> Option<[u8; N]> {
    let parts: Option<Vec<u8>> = text.split('.').map(|part| part.parse().ok()).collect();
    parts?.try_into().ok()
}

impl FromStr for FirmwareVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        numbers(text)
            .map(|[major, minor, build]| Self { major, minor, build })
            .ok_or_else(|| VersionError(text.chars().take(40).collect(), "1.55.40"))
    }
}

impl FromStr for AbiVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        numbers(text)
            .map(|[major, minor]| Self { major, minor })
            .ok_or_else(|| VersionError(text.chars().take(40).collect(), "1.55"))
    }
}

macro_rules! as_text {
    ($($name:ty)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_text!(FirmwareVersion AbiVersion);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_both_ways() {
        let version: FirmwareVersion = "1.55.40".parse().unwrap();
        assert_eq!(version.to_string(), "1.55.40");
        assert!(version > "1.54.200".parse().unwrap());
        assert_eq!("1.58".parse::<AbiVersion>().unwrap().to_string(), "1.58");
        for text in ["", "1", "1.55", "1.55.256", "1.55.40.1", "1.55.x", "-1.2.3"] {
            assert!(text.parse::<FirmwareVersion>().is_err(), "{text}");
        }
        assert!("1.55.40".parse::<AbiVersion>().is_err());
    }
}
