//! The token of a Trustee administrator: a JWT (RFC 7519) by EdDSA, good for five minutes.

use crate::error::Usage;
use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::signature::Ed25519KeyPair;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::json;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LIFE: Duration = Duration::from_secs(300);

/// A fresh token by the key in `pem`.
pub(super) fn token(pem: &[u8]) -> Result<String> {
    let wrong = |what: &str| {
        let next = "give the private key of a Trustee administrator, as `openssl genpkey -algorithm ed25519` makes it";
        anyhow!(Usage::new(what, next))
    };
    let der =
        PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| wrong("not a private key, PKCS #8 in PEM"))?;
    let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
        .map_err(|_| wrong("not an Ed25519 key"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let claims = json!({"iat": now.as_secs(), "exp": (now + LIFE).as_secs()});
    let header = json!({"alg": "EdDSA", "typ": "JWT"});
    let signed = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
    let signature = key.sign(signed.as_bytes());
    Ok(format!("{signed}.{}", B64.encode(signature)))
}
