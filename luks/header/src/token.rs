//! Our token in a LUKS2 header: the volume key, wrapped by the unlock key (docs/luks-token.schema.json).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::integrity::Integrity;

/// The LUKS2 token type that is ours.
pub const TOKEN_TYPE: &str = "ccnode";
/// Bytes that key wrap (RFC 3394) adds to a key.
pub const WRAP: usize = 8;
/// The version of the token that this crate writes and reads.
const VERSION: u32 = 1;
/// JSON numbers are exact up to here.
const MAX_GENERATION: u64 = (1 << 53) - 1;

/// The trust service's name for a volume: 1 to 64 ASCII letters, digits and `._:/-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeId(String);

/// A text that is no [`VolumeId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a volume id (1 to 64 letters, digits and ._:/-): {0}")]
pub struct VolumeIdError(String);

impl VolumeId {
    /// Longest id, in bytes.
    pub const MAX: usize = 64;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for VolumeId {
    type Err = VolumeIdError;

    fn from_str(text: &str) -> Result<Self, VolumeIdError> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"._:/-".contains(&b);
        match !text.is_empty() && text.len() <= Self::MAX && text.bytes().all(known) {
            true => Ok(Self(text.to_owned())),
            false => Err(VolumeIdError(crate::escape::escape(text))),
        }
    }
}

impl TryFrom<String> for VolumeId {
    type Error = VolumeIdError;

    fn try_from(text: String) -> Result<Self, VolumeIdError> {
        text.parse()
    }
}

impl From<VolumeId> for String {
    fn from(id: VolumeId) -> String {
        id.0
    }
}

impl std::fmt::Display for VolumeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Our token: which volume this is, and its key under AES-256 key wrap (RFC 3394).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The trust service's name for the volume.
    pub volume: VolumeId,
    /// Counts format grants and rotations of this volume, from 1.
    pub generation: u64,
    /// The volume key, wrapped by the unlock key: [`WRAP`] bytes longer than that.
    pub wrapped: Vec<u8>,
    /// The same, wrapped by the recovery key; none where nobody recovers the volume.
    pub recovery: Option<Vec<u8>>,
}

/// A token of our type that does not follow the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Members are missing, unknown or of the wrong type.
    #[error("{0}")]
    Shape(String),
    /// A type other than ours.
    #[error("token type {0}")]
    Type(String),
    /// A version that this crate does not know.
    #[error("token version {0}")]
    Version(u32),
    /// A token of ours names no keyslots.
    #[error("the token names keyslots")]
    Keyslots,
    /// Generations run from 1 to 2^53 - 1.
    #[error("generation {0}")]
    Generation(u64),
    /// The wrapped key is not canonical base64, or has not the length that its cipher's key has.
    #[error("the wrapped key is not base64 of a key of the cipher's length")]
    WrappedKey,
    /// The key that is wrapped for recovery is not canonical base64, or not as long as the wrapped key.
    #[error("the recovery key is not base64 of as many bytes as the wrapped key")]
    RecoveryKey,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Wire {
    r#type: String,
    keyslots: Vec<String>,
    version: u32,
    volume: VolumeId,
    generation: u64,
    wrapped_key: String,
    // What is there is a string: null says nothing that its absence would not.
    #[serde(default, deserialize_with = "present")]
    recovery_key: Option<String>,
}

fn present<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    String::deserialize(d).map(Some)
}

impl Token {
    /// The token as LUKS2 stores it.
    pub fn to_json(&self) -> serde_json::Value {
        let mut json = serde_json::json!({
            "type": TOKEN_TYPE,
            "keyslots": [],
            "version": VERSION,
            "volume": self.volume,
            "generation": self.generation,
            "wrapped-key": STANDARD.encode(&self.wrapped),
        });
        if let (Some(recovery), Some(members)) = (&self.recovery, json.as_object_mut()) {
            members.insert("recovery-key".to_owned(), STANDARD.encode(recovery).into());
        }
        json
    }

    /// Reads a token's JSON text strictly.
    pub fn from_json(text: &str) -> Result<Self, TokenError> {
        let wire: Wire = serde_json::from_str(text)
            .map_err(|e| TokenError::Shape(crate::escape::escape(&e.to_string())))?;
        if wire.r#type != TOKEN_TYPE {
            return Err(TokenError::Type(crate::escape::escape(&wire.r#type)));
        }
        if wire.version != VERSION {
            return Err(TokenError::Version(wire.version));
        }
        if !wire.keyslots.is_empty() {
            return Err(TokenError::Keyslots);
        }
        if !(1..=MAX_GENERATION).contains(&wire.generation) {
            return Err(TokenError::Generation(wire.generation));
        }
        let wrapped = STANDARD.decode(&wire.wrapped_key).map_err(|_| TokenError::WrappedKey)?;
        if !Integrity::ALL.iter().any(|one| wrapped.len() == one.key_len() + WRAP) {
            return Err(TokenError::WrappedKey);
        }
        // It is the same key.
        let alike = |text| STANDARD.decode(text).ok().filter(|bytes| bytes.len() == wrapped.len());
        let recovery = wire.recovery_key.map(|text| alike(text).ok_or(TokenError::RecoveryKey));
        let recovery = recovery.transpose()?;
        Ok(Self { volume: wire.volume, generation: wire.generation, wrapped, recovery })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            volume: "n-abc/root".parse().unwrap(),
            generation: 3,
            wrapped: vec![7; crate::VOLUME_KEY_LEN + WRAP],
            recovery: None,
        }
    }

    fn with(key: &str, value: serde_json::Value) -> Result<Token, TokenError> {
        let mut json = token().to_json();
        json[key] = value;
        Token::from_json(&json.to_string())
    }

    #[test]
    fn a_token_survives_the_way_to_json_and_back() {
        assert_eq!(Token::from_json(&token().to_json().to_string()), Ok(token()));
        let recovered = Token { recovery: Some(vec![8; crate::VOLUME_KEY_LEN + WRAP]), ..token() };
        assert_eq!(Token::from_json(&recovered.to_json().to_string()), Ok(recovered));
        assert!(token().to_json().get("recovery-key").is_none(), "as before there was one");
    }

    #[test]
    fn every_deviation_from_the_schema_is_refused() {
        use serde_json::json;
        assert!(matches!(with("extra", json!(1)), Err(TokenError::Shape(_))));
        assert!(matches!(with("volume", json!("")), Err(TokenError::Shape(_))));
        assert!(matches!(with("volume", json!("a b")), Err(TokenError::Shape(_))));
        assert!(matches!(with("volume", json!("x".repeat(65))), Err(TokenError::Shape(_))));
        assert!(matches!(with("generation", json!("1")), Err(TokenError::Shape(_))));
        assert_eq!(with("type", json!("clevis")), Err(TokenError::Type("clevis".into())));
        assert_eq!(with("version", json!(2)), Err(TokenError::Version(2)));
        assert_eq!(with("keyslots", json!(["0"])), Err(TokenError::Keyslots));
        assert_eq!(with("generation", json!(0)), Err(TokenError::Generation(0)));
        assert_eq!(with("generation", json!(1u64 << 53)), Err(TokenError::Generation(1 << 53)));
        assert_eq!(with("wrapped-key", json!("AAAA")), Err(TokenError::WrappedKey));
        assert_eq!(with("wrapped-key", json!("*")), Err(TokenError::WrappedKey));
        for bad in ["", "AAAA", "*", &STANDARD.encode([7; 104]), &"A".repeat(95)] {
            assert_eq!(with("recovery-key", json!(bad)), Err(TokenError::RecoveryKey), "{bad}");
        }
        for bad in [json!(null), json!(1), json!([])] {
            assert!(matches!(with("recovery-key", bad), Err(TokenError::Shape(_))));
        }
    }

    #[test]
    fn a_wrapped_key_has_the_length_of_some_cipher() {
        for len in 0..=128 {
            let good = [24, 40, 72, 104].contains(&len);
            assert_eq!(with("wrapped-key", STANDARD.encode(vec![7; len]).into()).is_ok(), good, "{len}");
        }
    }

    #[test]
    fn a_repeated_member_is_refused() {
        let text = token().to_json().to_string().replacen('{', "{\"generation\":9,", 1);
        assert!(matches!(Token::from_json(&text), Err(TokenError::Shape(_))));
    }
}
