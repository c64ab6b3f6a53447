//! Base64 in the two alphabets of the protocol, and hex, as newtypes and serde helpers.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64_simd::{STANDARD, URL_SAFE_NO_PAD};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::Display;

/// Base64url that is written with padding and read with or without it.
const URL_SAFE_LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Standard base64 of `bytes`, with padding.
pub(crate) fn to_std(bytes: &[u8]) -> String {
    STANDARD.encode_to_string(bytes)
}

/// Base64url of `bytes`, without padding.
pub(crate) fn to_url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// The base64url text of `bytes`, without padding, in pieces: a long text need not be in memory whole.
pub(crate) fn url_pieces(bytes: &[u8]) -> impl Iterator<Item = String> {
    // A multiple of three bytes, so that the pieces' texts are the text's own.
    bytes.chunks(3072).map(to_url)
}

/// The bytes of a text, which is borrowed where it can be: logs are long.
fn decoded<'de, D: Deserializer<'de>, E: Display>(
    d: D,
    decode: impl Fn(&str) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, D::Error> {
    struct Text;
    impl<'de> Visitor<'de> for Text {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string")
        }

        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }

        fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text))
        }
    }
    decode(&d.deserialize_str(Text)?).map_err(|e| D::Error::custom(format!("not base64: {e}")))
}

macro_rules! base64_bytes {
    ($(#[$doc:meta])* $name:ident, $encode:expr, $decode:expr) => {
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
                s.serialize_str(&$encode(&self.0))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                decoded(d, $decode).map(Self)
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
    to_std,
    |text| STANDARD.decode_to_vec(text)
);
base64_bytes!(
    /// Bytes that travel as base64url without padding (the members of `ccnode/1`, JOSE).
    Base64Url,
    to_url,
    |text| URL_SAFE_NO_PAD.decode_to_vec(text)
);

base64_bytes!(
    /// Bytes that travel as base64url with padding, which some clients leave out (the members of Azure's evidence).
    Base64UrlPadded,
    |bytes| URL_SAFE_LENIENT.encode(bytes),
    |text| URL_SAFE_LENIENT.decode(text)
);

/// Bytes that travel as hex, lower-case (the members of Azure's evidence).
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct Hex(pub Vec<u8>);

impl std::fmt::Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hex({} bytes)", self.0.len())
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        hex::decode(text.as_bytes()).map(Self).map_err(|e| D::Error::custom(format!("not hex: {e}")))
    }
}

impl From<Vec<u8>> for Hex {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_pads_and_reads_what_is_not_padded() {
        let bytes = Base64UrlPadded(vec![0xff]);
        assert_eq!(serde_json::to_string(&bytes).unwrap(), "\"_w==\"");
        for text in ["\"_w==\"", "\"_w\""] {
            assert_eq!(serde_json::from_str::<Base64UrlPadded>(text).unwrap(), bytes);
        }
        assert!(serde_json::from_str::<Base64Url>("\"_w==\"").is_err());
        assert!(serde_json::from_str::<Base64UrlPadded>("\"/w==\"").is_err());
        assert_eq!(serde_json::from_str::<Hex>("\"0aFF\"").unwrap().0, [0x0a, 0xff]);
        assert!(serde_json::from_str::<Hex>("\"0\"").is_err());
    }

    #[test]
    fn there_is_one_text_of_some_bytes() {
        let url = |text: &str| serde_json::from_value::<Base64Url>(text.into()).map(|bytes| bytes.0);
        assert_eq!(url("_w").unwrap(), [0xff]);
        assert_eq!(serde_json::from_str::<Base64Url>("\"\\u005fw\"").unwrap().0, [0xff]);
        // Spaces, padding, the other alphabet, bits that are left over.
        for text in ["_w==", "/w", "_x", " _w", "_w\n", "_", "_w_", "__9"] {
            assert!(url(text).is_err(), "{text:?}");
        }
        let std = |text: &str| serde_json::from_value::<Base64Std>(text.into()).map(|bytes| bytes.0);
        assert_eq!(std("/w==").unwrap(), [0xff]);
        for text in ["/w", "/w=", "/x==", "_w==", "/w== ", "/w==/w==", "=", "//9="] {
            assert!(std(text).is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<Base64Url>("[255]").is_err());
        let long: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let text = to_url(&long);
        assert_eq!(text, base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&long));
        assert_eq!(url(&text).unwrap(), long);
    }
}
