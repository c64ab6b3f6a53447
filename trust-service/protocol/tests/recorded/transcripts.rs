//! What was recorded of a real key broker service and its clients: read, hashed and opened alike.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ccnode_evidence::transcript::Transcript;
use ccnode_evidence::{Nonce, Secret};
use ccnode_protocol::jwe::{EphemeralKey, Jwe, P521Key, RsaKey, seal};
use ccnode_protocol::{ATTEST, AUTH, Attestation, AuthRequest, TeePubKey};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

fn read(file: &str) -> Option<String> {
    let bytes = ccnode_vectors::read(&format!("kbs-transcripts/{file}"))?;
    Some(String::from_utf8(bytes).unwrap())
}

#[derive(Deserialize)]
struct Recorded {
    tee_pubkey: TeePubKey,
    tee_private_key_pkcs8_pem: String,
    runtime_data_jcs: String,
    report_data_sha384_hex: String,
    resource_response: Jwe,
    plaintext_hex: String,
}

/// The scalar of a P-256 key in PKCS #8: the octet string after the version of its ECPrivateKey.
fn scalar(pem: &str) -> Secret<32> {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).unwrap();
    let at = der.windows(5).position(|w| w == [2, 1, 1, 4, 32]).unwrap() + 5;
    Secret::try_from(&der[at..at + 32]).unwrap()
}

#[test]
fn recorded_sessions_hash_and_open_alike() {
    let Some(text) = read("sessions-with-keys.json") else { return };
    let value: Value = serde_json::from_str(&text).unwrap();
    let sessions: Vec<Recorded> = serde_json::from_value(value["sessions"].clone()).unwrap();
    let mut kinds = BTreeSet::new();
    for session in &sessions {
        let runtime: Value = serde_json::from_str(&session.runtime_data_jcs).unwrap();
        let nonce: Nonce = serde_json::from_value(runtime["nonce"].clone()).unwrap();
        let transcript =
            Transcript { additional_evidence: Some(""), nonce: &nonce, tee_pubkey: &session.tee_pubkey };
        assert_eq!(hex::encode(transcript.stock().unwrap().0), session.report_data_sha384_hex);
        let pem = session.tee_private_key_pkcs8_pem.as_str();
        let (public, plain) = match &session.tee_pubkey {
            TeePubKey::EC { crv, .. } if crv == "P-256" => {
                let key = EphemeralKey::from_scalar(&scalar(pem)).unwrap();
                (key.public(), key.open(&session.resource_response).unwrap())
            }
            TeePubKey::EC { .. } => {
                let key = P521Key::from_pem(pem).unwrap();
                (key.public(), key.open(&session.resource_response).unwrap())
            }
            _ => {
                let key = RsaKey::from_pem(pem).unwrap();
                (key.public(), key.open(&session.resource_response).unwrap())
            }
        };
        assert_eq!(hex::encode(plain.expose()), session.plaintext_hex);
        let json = |key: &TeePubKey| serde_json::to_value(key).unwrap();
        assert_eq!(json(&public), json(&session.tee_pubkey));
        // What is sealed here has the recorded form, but for what is random.
        let sealed = seal(&session.tee_pubkey, plain.expose()).unwrap();
        let header = |jwe: &Jwe| URL_SAFE_NO_PAD.decode(&jwe.protected).unwrap();
        assert_eq!(shape(&header(&sealed)), shape(&header(&session.resource_response)));
        assert_eq!(sealed.encrypted_key.0.len(), session.resource_response.encrypted_key.0.len());
        kinds.insert(shape(&header(&sealed)));
    }
    assert_eq!((sessions.len(), kinds.len()), (3, 3));
}

/// A header's text with the coordinates of its key left out.
fn shape(header: &[u8]) -> String {
    let text = std::str::from_utf8(header).unwrap();
    let (before, after) = text.split_once("\"x\"").unwrap_or((text, ""));
    format!("{before}{}", after.len())
}

/// Path, body and status of each exchange.
fn exchanges(text: &str) -> Vec<(String, String, String)> {
    let mut out = Vec::new();
    let (mut path, mut body) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("> POST ").or_else(|| line.strip_prefix("> GET ")) {
            (path, body) = (head.to_owned(), String::new());
        } else if let Some(status) = line.strip_prefix("< ").filter(|_| !path.is_empty()) {
            out.push((std::mem::take(&mut path), std::mem::take(&mut body), status.to_owned()));
        } else if !line.starts_with('>') && !line.starts_with('<') {
            body.push_str(line);
        }
    }
    out
}

#[test]
fn what_the_service_took_is_read_here() {
    let (mut requests, mut answers) = (0, 0);
    for file in [
        "negative.txt",
        "attester-tpm.txt",
        "kbs-client.txt",
        "sample-python.txt",
        "snp-testroots.txt",
        "az-snp-testroots.txt",
    ] {
        let Some(text) = read(file) else { return };
        for (path, body, status) in exchanges(&text).iter().filter(|(.., status)| status == "200 OK") {
            let read = match path.as_str() {
                AUTH => serde_json::from_str::<AuthRequest>(body).map(|_| requests += 1),
                ATTEST => serde_json::from_str::<Attestation>(body).map(|_| answers += 1),
                _ => continue,
            };
            assert!(read.is_ok(), "{file} {path} {status}: {} in {body}", read.unwrap_err());
        }
    }
    assert!(requests > 20 && answers > 10, "{requests} {answers}");
}

#[test]
fn what_the_service_could_not_read_is_refused_here() {
    let Some(text) = read("negative.txt") else { return };
    let all = exchanges(&text);
    let unread = |path, member: &str| {
        let lacks = |body: &&str| !body.contains(member);
        let body =
            all.iter().filter(|(p, _, s)| p == path && s.starts_with("401")).map(|(_, b, _)| b.as_str());
        let body = body.filter(lacks).find(|b| b.starts_with('{') && b.ends_with('}')).unwrap().to_owned();
        match path {
            AUTH => serde_json::from_str::<AuthRequest>(&body).is_err(),
            _ => serde_json::from_str::<Attestation>(&body).is_err(),
        }
    };
    assert!(unread(AUTH, "extra-params"));
    assert!(unread(ATTEST, "additional_evidence"));
    assert!(unread(ATTEST, "\"alg\""));
}
