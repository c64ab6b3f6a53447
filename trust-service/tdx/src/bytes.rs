//! The fixed-size values of a TD: measurements, security version numbers and flags, with their text forms.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::str::FromStr;

/// Text that is not the hexadecimal form of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {due}: `{text}`")]
pub struct HexParseError {
    /// What is due, in words.
    pub due: &'static str,
    /// The text, shortened.
    pub text: String,
}

impl HexParseError {
    fn new(due: &'static str, text: &str) -> Self {
        Self { due, text: text.chars().take(120).collect() }
    }
}

macro_rules! text_form {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

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
    };
}

macro_rules! hex_bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal, $due:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// All bytes zero.
            pub const ZERO: Self = Self([0; $len]);
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl FromStr for $name {
            type Err = HexParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut out = [0; $len];
                hex::decode_to_slice(text, &mut out).map_err(|_| HexParseError::new($due, text))?;
                Ok(Self(out))
            }
        }

        text_form!($name);
    };
}

hex_bytes!(
    /// MRTD, an RTMR, MRSEAM, MRCONFIGID and the like: 48 bytes, hexadecimal in text.
    Measurement,
    48,
    "48 bytes in hexadecimal"
);
hex_bytes!(
    /// TEE_TCB_SVN: 16 security version numbers, the TDX module's own (minor, major) first.
    TcbSvn,
    16,
    "16 bytes in hexadecimal"
);

impl TcbSvn {
    /// Whether every component is at least the one of `least`.
    pub fn reaches(&self, least: &Self) -> bool {
        self.0.iter().zip(least.0.iter()).all(|(have, want)| have >= want)
    }

    /// The TDX module's major version: 0 for modules of before TDX 1.5's identities.
    pub fn module_version(&self) -> u8 {
        let [_, version, ..] = self.0;
        version
    }

    /// The TDX module's minor version, compared with the levels of its identity.
    pub fn module_svn(&self) -> u8 {
        let [svn, ..] = self.0;
        svn
    }
}

/// 64 flags as a number: bit 28 is `0x0000000010000000`. The quote has them little-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Flags(pub u64);

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl FromStr for Flags {
    type Err = HexParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let value = digits.and_then(|d| u64::from_str_radix(d, 16).ok());
        value.map(Self).ok_or_else(|| HexParseError::new("a 64-bit number that starts with 0x", text))
    }
}

text_form!(Flags);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_read_back() {
        let m = Measurement([0xab; 48]);
        assert_eq!(m.to_string().parse(), Ok(m));
        assert_eq!(m.to_string().to_uppercase().parse(), Ok(m));
        let flags = Flags(1 << 28);
        assert_eq!(flags.to_string(), "0x0000000010000000");
        assert_eq!("0x10000000".parse(), Ok(flags));
        assert_eq!(serde_json::to_string(&flags).unwrap(), r#""0x0000000010000000""#);
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "00", &"0".repeat(95), &"0".repeat(98), &"g".repeat(96)] {
            assert!(text.parse::<Measurement>().is_err(), "{text}");
        }
        for text in ["", "0x", "10000000", "0x+1", "0x10000000000000000", "0xg"] {
            assert!(text.parse::<Flags>().is_err(), "{text}");
        }
        assert!("0b".repeat(15).parse::<TcbSvn>().is_err());
    }

    #[test]
    fn svns_compare_by_component() {
        let mut least = TcbSvn::ZERO;
        assert!(TcbSvn::ZERO.reaches(&least));
        least.0[15] = 1;
        assert!(!TcbSvn([0; 16]).reaches(&least));
        assert!(TcbSvn([1; 16]).reaches(&least));
    }
}
