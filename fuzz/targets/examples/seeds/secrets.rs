//! Seeds of resource URIs, JWE, sealed secrets and key forms.

use crate::{Corpora, Done};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ccnode_fuzz_targets::{CONTENT, SIGNED, direct_key, session_key};
use ccnode_protocol::jwe::{seal, seal_direct};
use serde_json::{Map, json};

pub(crate) fn put(corpora: &Corpora) -> Done {
    corpora.put("resource_uri", "uuid", "kbs:///default/28632274-8c8a-493f-835b-da802e1c576b/root")?;
    corpora.put("resource_uri", "clevis", "/default/disk_1/root.key")?;
    corpora.put("resource_uri", "host", "kbs://trust.example.com/default/a/b?x#y")?;

    corpora.put("jwe_session", "p256", serde_json::to_vec(&seal(&session_key()?.public(), CONTENT)?)?)?;
    let claims = json!({"clevis": {"pin": "trustee", "trustee": {"servers": [], "path": "default/a/b"}}});
    let compact = seal_direct(&direct_key(), claims.as_object().cloned().unwrap_or_default(), CONTENT)?;
    corpora.put("jwe_direct", "compact", &compact)?;
    corpora.put("jwe_direct", "flattened", flattened(&seal_direct(&direct_key(), Map::new(), CONTENT)?))?;
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"\u001b[2J","enc":"A128GCM"}"#);
    corpora.put("jwe_direct", "algorithm", format!("{header}..AAAA.AAAA.AAAA"))?;

    let signed = SIGNED.as_ref().ok_or("no signed secret")?;
    corpora.put("sealed_secret", "signed", &signed.text)?;
    corpora.put("sealed_secret", "jwk", &signed.key)?;
    let envelope = json!({"version": "0.1.0", "type": "envelope", "provider": "aliyun", "key_id": "k",
        "encrypted_key": "AA", "encrypted_data": "AA", "wrap_type": "A256GCM", "iv": "AA", "provider_settings": {}});
    let envelope =
        format!("sealed.fakejwsheader.{}.fakesignature", URL_SAFE_NO_PAD.encode(envelope.to_string()));
    corpora.put("sealed_secret", "envelope", envelope)?;

    let key = json!({"key_type": "oct", "key": URL_SAFE_NO_PAD.encode([0xfb; 32])});
    corpora.put("key_forms", "jwk", STANDARD.encode(key.to_string()))?;
    let confdata = "version = \"0.1.0\"\n[data]\n\"io.cryptsetup.key.text.root\" = \"p\u{e4}ss\"\n";
    corpora.put("key_forms", "confdata", confdata)?;
    corpora.put("key_forms", "raw", b"a passphrase\n")
}

/// A JWE in its compact form as the JSON that a token of clevis holds.
pub(crate) fn flattened(compact: &str) -> String {
    let mut parts = compact.split('.').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    json!({"protected": part(), "encrypted_key": part(), "iv": part(), "ciphertext": part(), "tag": part()})
        .to_string()
}
