//! The node's half of a session, without a network: what it would send.

use crate::SoftTpm;
use ccnode_evidence::transcript::{Bound, RuntimeExt, Transcript};
use ccnode_evidence::{
    CcnodeEvidence, EventLogs, Nonce, QuoteParts, Secret, Sha256Digest, TpmEvidence, TpmQuote,
};
use ccnode_protocol::{
    Attestation, AuthExt, AuthRequest, ExtParams, NodeName, PoolName, RuntimeData, Tee, TeePubKey, VERSION,
    jwe::EphemeralKey,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

/// Body of `POST /kbs/v0/auth`.
pub fn auth_request(tpm: &SoftTpm, pool: &PoolName) -> AuthRequest {
    let identity = tpm.offer();
    let ccnode = AuthExt::new(pool.clone(), Some(&identity));
    AuthRequest { version: VERSION.to_owned(), tee: Tee::Tpm, extra_params: ExtParams::Ccnode { ccnode } }
}

/// What the node answers a challenge with.
pub struct Answer<'a> {
    /// The challenge's nonce.
    pub nonce: &'a Nonce,
    /// The secret that activation gave.
    pub secret: &'a Secret<32>,
    /// The session's key.
    pub key: &'a EphemeralKey,
    /// The certificate request, DER.
    pub csr: Option<Vec<u8>>,
}

/// Body of `POST /kbs/v0/attest`.
pub fn attest(tpm: &SoftTpm, answer: &Answer<'_>) -> Attestation {
    attest_with(answer, tpm.read_logs(), |qualifying| tpm.sign_quote(qualifying))
}

/// The same with logs and quotes of another TPM.
pub fn attest_with(
    answer: &Answer<'_>,
    logs: EventLogs,
    quote: impl FnOnce([u8; 32]) -> QuoteParts,
) -> Attestation {
    attest_with_init_data(answer, logs, None, quote)
}

/// The same with the body of init-data (format `toml`) that the host handed in.
pub fn attest_with_init_data(
    answer: &Answer<'_>,
    logs: EventLogs,
    init_data: Option<&str>,
    quote: impl FnOnce([u8; 32]) -> QuoteParts,
) -> Attestation {
    let digest = logs.digest().expect("canonical JSON");
    attest_knowing(answer, (logs, digest), init_data, quote)
}

/// The same for who knows the logs' digest already.
pub(crate) fn attest_knowing(
    answer: &Answer<'_>,
    (logs, digest): (EventLogs, Sha256Digest),
    init_data: Option<&str>,
    quote: impl FnOnce([u8; 32]) -> QuoteParts,
) -> Attestation {
    let tee_pubkey = answer.key.public();
    let bound = Bound {
        csr: answer.csr.as_deref().map(Sha256Digest::of),
        init_data: init_data.map(|body| Sha256Digest::of(body.as_bytes())),
        event_logs: Some(digest),
    };
    let transcript =
        Transcript { additional_evidence: Some(""), nonce: answer.nonce, tee_pubkey: &tee_pubkey };
    let (ext, report_data) = transcript.bind(bound, answer.secret).expect("a transcript");
    let quote = quote(report_data.qualifying_data());
    let ours = CcnodeEvidence { version: 1, logs, csr: answer.csr.clone().map(Into::into), svsm: None };
    let primary = serde_json::to_value(tpm_evidence(quote, Some(ours))).expect("JSON");
    kbs(answer.nonce, &tee_pubkey, Some(ext), primary, "", init_data)
}

pub(crate) fn tpm_evidence(quote: QuoteParts, ccnode: Option<CcnodeEvidence>) -> TpmEvidence {
    TpmEvidence {
        tpm_quote: TpmQuote {
            signature: quote.signature.into(),
            message: quote.message.into(),
            pcrs: quote.pcrs.0.into_values().collect(),
        },
        ak_public: quote.ak_public.into(),
        ccnode,
    }
}

/// The message of these parts, by its text, as it would arrive: kbs-types' own message types stay out of this crate's dependencies.
pub(crate) fn kbs(
    nonce: &Nonce,
    tee_pubkey: &TeePubKey,
    ext: Option<RuntimeExt>,
    primary: serde_json::Value,
    additional: &str,
    init_data: Option<&str>,
) -> Attestation {
    let stock = serde_json::json!({"nonce": nonce.text(), "tee-pubkey": tee_pubkey});
    let runtime_data =
        RuntimeData { stock: serde_json::from_value(stock).expect("runtime data"), ccnode: ext };
    let tee_evidence = [("primary_evidence", primary), ("additional_evidence", additional.into())];
    let tee_evidence = tee_evidence.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
    let init_data = init_data.map(|body| serde_json::json!({"format": "toml", "body": body}));
    Attestation {
        init_data: init_data.map(|data| serde_json::from_value(data).expect("init-data")),
        runtime_data,
        tee_evidence: serde_json::from_value(serde_json::Value::Object(tee_evidence)).expect("evidence"),
    }
}

/// A kubelet's request for `name` (P-256, no alternative names): DER, and the key.
pub fn kubelet_csr(name: &NodeName) -> (Vec<u8>, KeyPair) {
    let key = KeyPair::generate().expect("a key");
    (kubelet_csr_of(&key, name), key)
}

/// The same with a key that is there.
pub(crate) fn kubelet_csr_of(key: &KeyPair, name: &NodeName) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{name}"));
    params.serialize_request(key).expect("a request").der().to_vec()
}
