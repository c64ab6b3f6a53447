//! The forms in which a key broker holds the key of a volume.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use ccnode_evidence::{Secret, SecretBytes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use zeroize::{Zeroize, Zeroizing};

/// Longest passphrase, in bytes: that of cryptsetup.
const MAX: usize = 512;
/// Longest resource that holds a key, in bytes.
const MAX_RESOURCE: usize = 16 * 1024;
/// The member of a confdata file that holds the passphrase of the volume `root`.
const CONFDATA_ROOT: &str = "io.cryptsetup.key.text.root";
/// Base64url, padded or not, as confidential clusters write keys.
const B64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a resource holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyForm {
    /// `{"key_type":"oct","key":"<base64url of 32 bytes>"}`, itself in standard base64: it opens the volume's clevis token.
    #[default]
    Jwk,
    /// The passphrase, byte by byte.
    Raw,
    /// TOML, `version = "0.1.0"` and below `[data]` the passphrase as `"io.cryptsetup.key.text.root"`.
    Confdata,
}

/// Why a resource is not of its form. No variant holds a byte of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormError {
    /// Not base64 of that JSON.
    #[error("not standard base64 of {{\"key_type\":\"oct\",\"key\":…}}")]
    Jwk,
    /// Another type of key, or another length than A256GCM takes.
    #[error("not an `oct` key of 32 bytes")]
    Key,
    /// Not TOML of that form.
    #[error("not confdata of version 0.1.0 with {CONFDATA_ROOT} alone below [data]")]
    Confdata,
    /// No passphrase of cryptsetup's.
    #[error("{0} bytes, where a passphrase has 1 to {MAX}")]
    Length(usize),
}

/// A key as it opens a volume; wiped on drop, never printed.
#[derive(Debug)]
pub enum LuksKey {
    /// Opens the JWE of a clevis token, which holds the passphrase.
    Token(Secret<32>),
    /// Opens a keyslot.
    Passphrase(SecretBytes),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Jwk {
    key_type: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Confdata {
    version: String,
    data: BTreeMap<String, String>,
}

impl Drop for Jwk {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Drop for Confdata {
    fn drop(&mut self) {
        self.data.values_mut().for_each(Zeroize::zeroize);
    }
}

impl KeyForm {
    /// Reads a resource of this form.
    pub fn read(self, resource: &SecretBytes) -> Result<LuksKey, FormError> {
        let bytes = resource.expose();
        if bytes.len() > MAX_RESOURCE {
            return Err(FormError::Length(bytes.len()));
        }
        match self {
            Self::Jwk => jwk(bytes).map(LuksKey::Token),
            Self::Raw => passphrase(bytes.to_vec()),
            Self::Confdata => confdata(bytes),
        }
    }
}

fn jwk(bytes: &[u8]) -> Result<Secret<32>, FormError> {
    // The stock client cuts white space off what it reads.
    let json = Zeroizing::new(STANDARD.decode(bytes.trim_ascii()).map_err(|_| FormError::Jwk)?);
    let jwk: Jwk = serde_json::from_slice(&json).map_err(|_| FormError::Jwk)?;
    let key = Zeroizing::new(B64.decode(&jwk.key).map_err(|_| FormError::Key)?);
    let key = Secret::try_from(key.as_slice()).map_err(|_| FormError::Key)?;
    if jwk.key_type == "oct" { Ok(key) } else { Err(FormError::Key) }
}

fn confdata(bytes: &[u8]) -> Result<LuksKey, FormError> {
    let text = std::str::from_utf8(bytes).map_err(|_| FormError::Confdata)?;
    // The parser's message may quote what it read: it stays out of the error.
    let mut confdata: Confdata = toml::from_str(text).map_err(|_| FormError::Confdata)?;
    match (confdata.data.len(), confdata.data.remove(CONFDATA_ROOT)) {
        (1, Some(key)) if confdata.version == "0.1.0" => passphrase(key.into_bytes()),
        (_, key) => {
            drop(key.map(Zeroizing::new));
            Err(FormError::Confdata)
        }
    }
}

fn passphrase(bytes: Vec<u8>) -> Result<LuksKey, FormError> {
    let len = bytes.len();
    let secret = SecretBytes::new(bytes);
    if (1..=MAX).contains(&len) { Ok(LuksKey::Passphrase(secret)) } else { Err(FormError::Length(len)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: KeyForm, bytes: &[u8]) -> Result<Vec<u8>, FormError> {
        form.read(&SecretBytes::new(bytes.to_vec())).map(|key| match key {
            LuksKey::Token(key) => key.expose().to_vec(),
            LuksKey::Passphrase(secret) => secret.expose().to_vec(),
        })
    }

    fn jwk(json: &str) -> Result<Vec<u8>, FormError> {
        read(KeyForm::Jwk, STANDARD.encode(json).as_bytes())
    }

    #[test]
    fn a_jwk_is_base64_of_json_with_a_key_of_32_bytes() {
        let key = B64.encode([0xfb; 32]);
        assert!(key.contains('-') && key.ends_with('='));
        for key in [key.as_str(), key.trim_end_matches('=')] {
            let json = format!(r#"{{"key_type":"oct","key":"{key}"}}"#);
            assert_eq!(jwk(&json).unwrap(), [0xfb; 32]);
            assert_eq!(read(KeyForm::Jwk, json.as_bytes()), Err(FormError::Jwk), "not in base64");
            assert!(read(KeyForm::Jwk, format!("{}\n", STANDARD.encode(&json)).as_bytes()).is_ok());
        }
        assert_eq!(jwk(&format!(r#"{{"key_type":"RSA","key":"{key}"}}"#)), Err(FormError::Key));
        assert_eq!(jwk(r#"{"key_type":"oct","key":"AAAA"}"#), Err(FormError::Key));
        assert_eq!(jwk(r#"{"key_type":"oct","key":"*"}"#), Err(FormError::Key));
        assert_eq!(jwk(&format!(r#"{{"key_type":"oct","key":"{key}","kid":"a"}}"#)), Err(FormError::Jwk));
        assert_eq!(jwk("{}"), Err(FormError::Jwk));
    }

    #[test]
    fn confdata_holds_the_passphrase_of_the_root_alone() {
        let good = "version = \"0.1.0\"\n[data]\n\"io.cryptsetup.key.text.root\" = \"päss\"\n";
        let with = |old: &str, new: &str| read(KeyForm::Confdata, good.replace(old, new).as_bytes());
        assert_eq!(read(KeyForm::Confdata, good.as_bytes()).unwrap(), "päss".as_bytes());
        assert_eq!(with("0.1.0", "0.2.0"), Err(FormError::Confdata));
        assert_eq!(with("text.root", "text.swap"), Err(FormError::Confdata));
        assert_eq!(with("\n[data]", "\nmore = 1\n[data]"), Err(FormError::Confdata));
        assert_eq!(with("[data]", "[data]\nx = \"y\""), Err(FormError::Confdata));
        assert_eq!(with("\"päss\"", "3"), Err(FormError::Confdata));
        assert_eq!(with("päss", ""), Err(FormError::Length(0)));
        assert_eq!(read(KeyForm::Confdata, &[0xff]), Err(FormError::Confdata));
    }

    #[test]
    fn a_raw_passphrase_is_every_byte() {
        assert_eq!(read(KeyForm::Raw, b"luks-node-1\n").unwrap(), b"luks-node-1\n");
        assert_eq!(read(KeyForm::Raw, b""), Err(FormError::Length(0)));
        assert!(read(KeyForm::Raw, &[0; MAX]).is_ok());
        assert_eq!(read(KeyForm::Raw, &[0; MAX + 1]), Err(FormError::Length(MAX + 1)));
        assert_eq!(read(KeyForm::Jwk, &[b'A'; MAX_RESOURCE + 1]), Err(FormError::Length(MAX_RESOURCE + 1)));
    }

    #[test]
    fn t21_no_error_tells_of_the_key() {
        let secret = "version = \"0.1.0\"\n[data]\n\"io.cryptsetup.key.text.root\" = hunter2";
        let error = read(KeyForm::Confdata, secret.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let error = jwk("{\"key_type\":\"oct\",\"key\":hunter2}").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        let key = KeyForm::Raw.read(&SecretBytes::new(b"hunter2".to_vec())).unwrap();
        assert!(!format!("{key:?}").contains("hunter2"));
    }
}
