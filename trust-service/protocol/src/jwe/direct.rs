//! JWE in the compact and flattened forms with `dir` and A256GCM (RFC 7518, sections 4.5 and 5.3): what clevis stores beside a LUKS2 volume.
//!
//! The key is one that both ends hold already, so `encrypted_key` is empty.

use super::{B64, ENC, JweError, Key32, opened};
use aes_gcm::aead::{AeadInPlace as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce as GcmNonce};
use base64::Engine as _;
use ccnode_evidence::{Base64Url, Secret, SecretBytes};
use rand_core::{OsRng, RngCore as _};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The algorithm's name.
pub const ALG_DIR: &str = "dir";
/// Longest JWE that is read, in bytes.
const MAX: usize = 64 * 1024;

/// A JWE that opens with a key that is at hand; its header is read and not yet believed.
#[derive(Clone, Debug)]
pub struct Direct {
    jwe: super::Jwe,
    header: Map<String, Value>,
}

impl Direct {
    /// The compact form: `header..iv.ciphertext.tag`, with white space around it, if any.
    pub fn from_compact(text: &str) -> Result<Self, JweError> {
        let mut parts = text.trim().split('.');
        let mut part = || parts.next().ok_or(JweError::Form);
        let (protected, encrypted_key) = (part()?.to_owned(), decode(part()?)?);
        let (iv, ciphertext, tag) = (decode(part()?)?, decode(part()?)?, decode(part()?)?);
        if text.len() > MAX || parts.next().is_some() {
            return Err(JweError::Form);
        }
        Self::of(super::Jwe { protected, encrypted_key, iv, ciphertext, tag })
    }

    /// The flattened form, as a LUKS2 token has it; `encrypted_key` is empty or absent.
    pub fn from_json(text: &str) -> Result<Self, JweError> {
        if text.len() > MAX {
            return Err(JweError::Form);
        }
        let Wire { protected, encrypted_key, iv, ciphertext, tag } =
            serde_json::from_str(text).map_err(|_| JweError::Form)?;
        Self::of(super::Jwe { protected, encrypted_key, iv, ciphertext, tag })
    }

    fn of(jwe: super::Jwe) -> Result<Self, JweError> {
        let json = B64.decode(&jwe.protected).map_err(|_| JweError::Header)?;
        let header: Map<String, Value> = serde_json::from_slice(&json).map_err(|_| JweError::Header)?;
        let names = |key, want| header.get(key).and_then(Value::as_str) == Some(want);
        if !names("alg", ALG_DIR) || !names("enc", ENC) {
            let text = |key| header.get(key).and_then(Value::as_str).unwrap_or("nothing");
            return Err(JweError::algorithm(&format!("{} and {}", text("alg"), text("enc"))));
        }
        // A member that changes how the rest is read would have to be understood.
        if ["crit", "zip", "b64"].iter().any(|key| header.contains_key(*key)) {
            return Err(JweError::Header);
        }
        match jwe.encrypted_key.0.is_empty() {
            true => Ok(Self { jwe, header }),
            false => Err(JweError::Length("encrypted_key")),
        }
    }

    /// A member of the protected header. Whoever wrote the JWE wrote it: it is authenticated by [`Self::open`] alone.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.header.get(name)
    }

    /// Opens it.
    pub fn open(&self, key: &Secret<32>) -> Result<SecretBytes, JweError> {
        let key: Key32 = Zeroizing::new(*key.expose());
        opened(&self.jwe, &key)
    }
}

/// The compact form of `plain` under `key`, with the members `claims` in its protected header beside `alg` and `enc`.
pub fn seal_direct(key: &Secret<32>, claims: Map<String, Value>, plain: &[u8]) -> Result<String, JweError> {
    let mut header = claims;
    header.insert("alg".to_owned(), ALG_DIR.into());
    header.insert("enc".to_owned(), ENC.into());
    let protected = B64.encode(serde_json::to_vec(&header).map_err(|_| JweError::Header)?);
    let mut iv = [0; 12];
    OsRng.try_fill_bytes(&mut iv).map_err(|_| JweError::Random)?;
    let mut ciphertext = Zeroizing::new(plain.to_vec());
    let tag = Aes256Gcm::new(key.expose().into())
        .encrypt_in_place_detached(GcmNonce::from_slice(&iv), protected.as_bytes(), &mut ciphertext)
        .map_err(|_| JweError::Open)?;
    Ok(format!("{protected}..{}.{}.{}", B64.encode(iv), B64.encode(&*ciphertext), B64.encode(tag)))
}

fn decode(text: &str) -> Result<Base64Url, JweError> {
    B64.decode(text).map(Base64Url).map_err(|_| JweError::Form)
}

/// The flattened form; `header` and `aad` are members that the protected header does not cover alone, so they are refused.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    protected: String,
    #[serde(default)]
    encrypted_key: Base64Url,
    iv: Base64Url,
    ciphertext: Base64Url,
    tag: Base64Url,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key() -> Secret<32> {
        Secret::new([7; 32])
    }

    fn sealed() -> String {
        let Value::Object(claims) = json!({"clevis": {"pin": "trustee"}}) else { unreachable!() };
        seal_direct(&key(), claims, b"passphrase").unwrap()
    }

    fn with_header(change: impl FnOnce(&mut Map<String, Value>)) -> Result<Direct, JweError> {
        let text = sealed();
        let (protected, rest) = text.split_once('.').unwrap();
        let mut header = serde_json::from_slice(&B64.decode(protected).unwrap()).unwrap();
        change(&mut header);
        Direct::from_compact(&format!("{}.{rest}", B64.encode(serde_json::to_vec(&header).unwrap())))
    }

    #[test]
    fn opens_with_its_key_and_no_other() {
        let text = sealed();
        assert_eq!(text.split('.').nth(1), Some(""));
        let jwe = Direct::from_compact(&format!("{text}\n")).unwrap();
        assert_eq!(jwe.claim("clevis").unwrap()["pin"], "trustee");
        assert_eq!(jwe.open(&key()).unwrap().expose(), b"passphrase");
        assert_eq!(jwe.open(&Secret::new([8; 32])).unwrap_err(), JweError::Open);
    }

    #[test]
    fn the_flattened_form_is_the_same_jwe() {
        let text = sealed();
        let parts: Vec<&str> = text.split('.').collect();
        let mut json =
            json!({"protected": parts[0], "iv": parts[2], "ciphertext": parts[3], "tag": parts[4]});
        assert_eq!(
            Direct::from_json(&json.to_string()).unwrap().open(&key()).unwrap().expose(),
            b"passphrase"
        );
        json["encrypted_key"] = json!("");
        assert!(Direct::from_json(&json.to_string()).is_ok());
        json["encrypted_key"] = json!("AAAA");
        assert_eq!(Direct::from_json(&json.to_string()).unwrap_err(), JweError::Length("encrypted_key"));
        json["encrypted_key"] = json!("");
        for member in ["header", "aad", "recipients"] {
            let mut more = json.clone();
            more[member] = json!("AAAA");
            assert_eq!(Direct::from_json(&more.to_string()).unwrap_err(), JweError::Form, "{member}");
        }
    }

    #[test]
    fn the_header_is_authenticated_and_names_what_is_done() {
        let moved = with_header(|header| header["clevis"]["pin"] = json!("tang")).unwrap();
        assert_eq!(moved.open(&key()).unwrap_err(), JweError::Open);
        for (member, value) in [("alg", json!("A256KW")), ("enc", json!("A128GCM")), ("alg", Value::Null)] {
            let error = with_header(|header| header[member] = value).unwrap_err();
            assert!(matches!(error, JweError::Algorithm(_)), "{error}");
        }
        for member in ["crit", "zip", "b64"] {
            let error = with_header(|header| drop(header.insert(member.into(), json!("x")))).unwrap_err();
            assert_eq!(error, JweError::Header, "{member}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let text = sealed();
        for bad in
            ["", ".", "a.b.c.d.e", &format!("{text}.x"), &text.replacen('.', "", 1), &"a".repeat(MAX + 1)]
        {
            assert!(Direct::from_compact(bad).is_err());
        }
        for bad in ["", "[]", "{}", "{\"protected\":1}"] {
            assert_eq!(Direct::from_json(bad).unwrap_err(), JweError::Form);
        }
    }
}
