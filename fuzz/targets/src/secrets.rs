//! What a key broker serves and what names it: resource URIs, JWE, sealed secrets, and the forms of a volume's key.

use crate::printable;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ccnode_attest_client::stock::{KeyForm, LuksKey, SealedSecret, Signer};
use ccnode_evidence::{Secret, SecretBytes};
use ccnode_protocol::ResourceUri;
use ccnode_protocol::jwe::{Direct, EphemeralKey, Jwe, JweError};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::json;
use std::sync::LazyLock;

/// What the seeds of JWE hold: nothing else ever opens, for nobody else has made a JWE for these keys.
pub const CONTENT: &[u8] = b"the key of a volume";
/// The resource of the key that signs the seeds of sealed secrets.
const SIGNER: &str = "kbs:///default/signing/key";
const LONGEST_PASSPHRASE: usize = 512;

/// The key that the seeds of `jwe_direct` open with.
pub fn direct_key() -> Secret<32> {
    Secret::new([7; 32])
}

/// The key that the seeds of `jwe_session` are sealed to.
pub fn session_key() -> Result<EphemeralKey, JweError> {
    EphemeralKey::from_scalar(&direct_key())
}

/// A sealed secret, and the public key that signed it as a JWK.
pub struct Signed {
    /// `sealed.HEADER.PAYLOAD.SIGNATURE`.
    pub text: String,
    /// Of P-256.
    pub key: String,
}

/// The one that the key signs which only the seeds' maker and this target know.
pub static SIGNED: LazyLock<Option<Signed>> = LazyLock::new(|| {
    let key = SigningKey::from_slice(direct_key().expose()).ok()?;
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let header = part(json!({"alg": "ES256", "kid": SIGNER}));
    let payload = part(json!({"version": "0.1.0", "type": "vault", "name": "kbs:///default/disk/root",
        "provider": "kbs", "provider_settings": {}, "annotations": {}}));
    let signed = format!("{header}.{payload}");
    let signature: Signature = key.sign(signed.as_bytes());
    let text = format!("sealed.{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()));
    Some(Signed { text, key: p256::PublicKey::from(key.verifying_key()).to_jwk_string() })
});

pub(crate) fn resource_uri(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<ResourceUri>() {
        Ok(uri) => {
            assert_eq!(uri.to_string(), text);
            one_reading(&uri);
        }
        Err(error) => printable(&error.to_string()),
    }
    match ResourceUri::from_clevis(text) {
        Ok(uri) => one_reading(&uri),
        Err(error) => printable(&error.to_string()),
    }
}

/// The path that is asked for climbs nowhere, ends nowhere early, and splits into the parts again.
fn one_reading(uri: &ResourceUri) {
    let path = uri.request_path();
    let parts = path.strip_prefix("/kbs/v0/resource/").unwrap_or_default();
    assert_eq!(parts.split('/').collect::<Vec<_>>(), uri.parts());
    assert!(uri.parts().iter().all(|part| !part.starts_with('.') && !part.contains(['%', '?', '#', '\\'])));
    assert_eq!(uri.to_string().parse::<ResourceUri>().as_ref(), Ok(uri));
}

pub(crate) fn jwe_session(bytes: &[u8]) {
    static KEY: LazyLock<Option<EphemeralKey>> = LazyLock::new(|| session_key().ok());
    let (Ok(jwe), Some(key)) = (serde_json::from_slice::<Jwe>(bytes), &*KEY) else { return };
    opened(key.open(&jwe));
}

pub(crate) fn jwe_direct(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for read in [Direct::from_compact(text), Direct::from_json(text)] {
        match read {
            Ok(jwe) => opened(jwe.open(&direct_key())),
            Err(error) => printable(&error.to_string()),
        }
    }
}

fn opened(plain: Result<SecretBytes, JweError>) {
    match plain {
        Ok(plain) => assert_eq!(plain.expose(), CONTENT),
        Err(error) => {
            let words = error.to_string();
            printable(&words);
            assert!(words.chars().count() < 200, "{words}");
        }
    }
}

pub(crate) fn sealed_secret(bytes: &[u8]) {
    let (Ok(signer), Some(seed)) = (SIGNER.parse().map(Signer), &*SIGNED) else { return };
    // As the key that is to have signed.
    if let Ok(secret) = seed.text.parse::<SealedSecret>()
        && let Err(error) = secret.verify(&signer, &SecretBytes::new(bytes.to_vec()))
    {
        printable(&error.to_string());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<SealedSecret>() {
        Ok(secret) => {
            one_reading(secret.resource());
            match secret.verify(&signer, &SecretBytes::new(seed.key.clone().into_bytes())) {
                Ok(()) => assert_eq!(signed_part(text), signed_part(&seed.text)),
                Err(error) => printable(&error.to_string()),
            }
        }
        Err(error) => printable(&error.to_string()),
    }
}

/// Everything before the last dot.
fn signed_part(text: &str) -> Option<&str> {
    text.trim().rsplit_once('.').map(|(signed, _)| signed)
}

pub(crate) fn key_forms(bytes: &[u8]) {
    for form in [KeyForm::Jwk, KeyForm::Raw, KeyForm::Confdata] {
        match form.read(&SecretBytes::new(bytes.to_vec())) {
            Ok(LuksKey::Token(_)) => assert_eq!(form, KeyForm::Jwk),
            Ok(LuksKey::Passphrase(secret)) => {
                assert!((1..=LONGEST_PASSPHRASE).contains(&secret.expose().len()));
                assert!(form == KeyForm::Confdata || secret.expose() == bytes);
            }
            Err(error) => printable(&error.to_string()),
        }
    }
}
