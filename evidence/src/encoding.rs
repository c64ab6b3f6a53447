//! Base64 in the two alphabets of the protocol, as strict newtypes and serde helpers.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Standard base64 of `bytes`, with padding.
pub(crate) fn to_std(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Base64url of `bytes`, without padding.
pub(crate) fn to_url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

macro_rules! base64_bytes {
    ($(#[$doc:meta])* $name:ident, $engine:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Default, Hash)]
        pub struct $name(pub Vec<u8>);

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "({} bytes)"), self.0.len())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&$engine.encode(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                $engine.decode(text.as_bytes()).map(Self).map_err(|e| D::Error::custom(format!("not base64: {e}")))
            }
        }

        impl From<Vec<u8>> for $name {
            fn from(bytes: Vec<u8>) -> Self {
                Self(bytes)
            }
        }
    };
}

base64_bytes!(
    /// Bytes that travel as standard base64 with padding (the stock protocol's members).
    Base64Std,
    STANDARD
);
base64_bytes!(
    /// Bytes that travel as base64url without padding (the members of `ccnode/1`, JOSE).
    Base64Url,
    URL_SAFE_NO_PAD
);

/// Serde form of a fixed array as standard base64; another length is an error.
pub(crate) mod array_std {
    use super::*;

    pub(crate) fn serialize<S: Serializer, const N: usize>(bytes: &[u8; N], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&to_std(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(d: D) -> Result<[u8; N], D::Error> {
        let bytes = Base64Std::deserialize(d)?.0;
        let len = bytes.len();
        bytes.try_into().map_err(|_| D::Error::custom(format!("{len} bytes where {N} are due")))
    }
}
