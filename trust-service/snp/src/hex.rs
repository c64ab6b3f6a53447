//! Fixed-size values as lower-case hex, for policies.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::str::FromStr;

/// Text that is not the due number of lower-case hex digits.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{text}` is not {digits} lower-case hex digits")]
pub struct HexError {
    text: String,
    digits: &'static str,
}

/// `N` bytes; lower-case hex in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hex<const N: usize>(pub [u8; N]);

/// A chip's id: 128 hex digits, or the 16 that a Turin has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChipId(pub [u8; 64]);

impl<const N: usize> fmt::Display for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_first_chunk::<8>() {
            Some((short, tail)) if tail.iter().all(|b| *b == 0) => f.write_str(&hex::encode(short)),
            _ => f.write_str(&hex::encode(self.0)),
        }
    }
}

fn strict<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
    (lower && hex::decode_to_slice(text, &mut out).is_ok()).then_some(out)
}

impl<const N: usize> FromStr for Hex<N> {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = match N {
            16 => "32",
            32 => "64",
            48 => "96",
            _ => "the due number of",
        };
        strict(text).map(Self).ok_or_else(|| HexError { text: text.chars().take(130).collect(), digits })
    }
}

impl FromStr for ChipId {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let short = || {
            let mut id = [0; 64];
            let short: [u8; 8] = strict(text)?;
            id.iter_mut().zip(short).for_each(|(to, from)| *to = from);
            Some(id)
        };
        let error = || HexError { text: text.chars().take(130).collect(), digits: "128 or 16" };
        strict(text).or_else(short).map(Self).ok_or_else(error)
    }
}

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for ChipId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ChipId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_due_length_in_lower_case() {
        assert_eq!("0aff".parse::<Hex<2>>().unwrap(), Hex([0x0a, 0xff]));
        for text in ["", "0a", "0aF0", "0aff0", "0aff00", "zzzz"] {
            assert!(text.parse::<Hex<2>>().is_err(), "{text}");
        }
    }

    #[test]
    fn chip_ids_of_both_lengths() {
        let short = "59790fb1c39f35c1";
        let id: ChipId = short.parse().unwrap();
        assert_eq!(id.to_string(), short);
        assert_eq!(id, format!("{short}{}", "0".repeat(112)).parse().unwrap());
        let long = "ab".repeat(64);
        assert_eq!(long.parse::<ChipId>().unwrap().to_string(), long);
        assert!("ab".repeat(63).parse::<ChipId>().is_err());
    }
}
