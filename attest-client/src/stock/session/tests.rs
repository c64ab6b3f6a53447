//! Against recordings of a real key broker service: the requests that are formed, byte for byte, and the answers that are opened.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_evidence::{
    Activated, AzSnpEvidence, EventLogs, ExtraData, Identity, PcrSet, QuoteParts, ReportParts, ReportSource,
    SnpEvidence, TpmEvidence, TpmSource,
};
use ccnode_protocol::TeePubKey;
use ccnode_protocol::jwe::{EphemeralKey, P521Key, RsaKey};
use serde_json::Value;
use std::sync::Mutex;

fn read(file: &str) -> Option<String> {
    let bytes = ccnode_vectors::read(&format!("kbs-transcripts/{file}"))?;
    Some(String::from_utf8(bytes).unwrap())
}

/// The bodies in `file` that begin with `start`.
fn bodies<'t>(text: &'t str, start: &str) -> Vec<&'t str> {
    text.lines().filter(|line| line.starts_with(start)).collect()
}

/// A machine that gives recorded parts, and keeps what it was asked to cover.
struct Recorded {
    kind: EvidenceKind,
    quote: Option<QuoteParts>,
    report: Option<ReportParts>,
    covered: Mutex<Vec<Vec<u8>>>,
}

impl Recorded {
    fn new(kind: EvidenceKind, quote: Option<QuoteParts>, report: Option<ReportParts>) -> Self {
        Self { kind, quote, report, covered: Mutex::default() }
    }

    fn covered(&self) -> Vec<Vec<u8>> {
        self.covered.lock().unwrap().clone()
    }
}

impl TpmSource for Recorded {
    type Error = Infallible;

    async fn identity(&self) -> Result<Identity, Infallible> {
        unreachable!("a stock session asks for no identity")
    }

    async fn activate(&self, _: Vec<u8>, _: Vec<u8>) -> Result<Activated, Infallible> {
        unreachable!("a stock session activates nothing")
    }

    async fn quote_pcrs(&self, set: PcrSet, extra: ExtraData) -> Result<QuoteParts, Infallible> {
        assert_eq!(set, PcrSet::STOCK);
        self.covered.lock().unwrap().push(extra.bytes().to_vec());
        Ok(self.quote.clone().unwrap())
    }
}

impl ReportSource for Recorded {
    type Error = Infallible;

    fn kind(&self) -> EvidenceKind {
        self.kind
    }

    async fn report(&self, data: [u8; 64]) -> Result<ReportParts, Infallible> {
        self.covered.lock().unwrap().push(data.to_vec());
        Ok(self.report.clone().unwrap())
    }
}

impl EvidenceSource for Recorded {
    type Error = Infallible;
    type Tpm = Self;
    type Report = Self;

    fn supports_tpm(&self) -> Option<&Self> {
        self.quote.as_ref().map(|_| self)
    }

    fn supports_report(&self) -> Option<&Self> {
        self.report.as_ref().map(|_| self)
    }

    async fn logs(&self) -> Result<EventLogs, Infallible> {
        unreachable!("a stock session sends no logs")
    }
}

async fn formed(source: &Recorded, recorded: &Attestation) -> Attestation {
    let stock = &recorded.runtime_data.stock;
    let nonce: Nonce = serde_json::from_value(json!(stock.nonce)).unwrap();
    evidence::attestation(source, &nonce, stock.tee_pubkey.clone(), None).await.unwrap()
}

fn primary<T: serde::de::DeserializeOwned>(recorded: &Attestation) -> T {
    serde_json::from_value(recorded.tee_evidence.primary_evidence.clone()).unwrap()
}

fn zip(values: Vec<ccnode_evidence::Sha256Digest>) -> ccnode_evidence::PcrValues {
    assert_eq!(values.len(), 24);
    ccnode_evidence::PcrValues(PcrSet::STOCK.iter().zip(values).collect())
}

#[tokio::test]
async fn a_tpm_session_is_formed_as_the_stock_attester_forms_it() {
    let Some(text) = read("attester-tpm.txt") else { return };
    let auth = serde_json::to_string(&auth_request(EvidenceKind::Tpm)).unwrap();
    assert_eq!(bodies(&text, "{\"version\""), [auth.as_str()]);

    let [body] = bodies(&text, "{\"init-data\"")[..] else { panic!("one attestation") };
    let recorded: Attestation = serde_json::from_str(body).unwrap();
    let evidence: TpmEvidence = primary(&recorded);
    let quote = QuoteParts {
        message: evidence.tpm_quote.message.0,
        signature: evidence.tpm_quote.signature.0,
        pcrs: zip(evidence.tpm_quote.pcrs),
        ak_public: evidence.ak_public.0,
    };
    let message = quote.message.clone();
    let source = Recorded::new(EvidenceKind::Tpm, Some(quote), None);
    assert_eq!(serde_json::to_string(&formed(&source, &recorded).await).unwrap(), body);
    // What is quoted here is what the recorded quote covers: 32 bytes of extraData.
    let [covered] = &source.covered()[..] else { panic!("one quote") };
    let extra = [&[0, 32][..], covered].concat();
    assert!(covered.len() == 32 && message.windows(34).any(|window| window == extra));
}

#[tokio::test]
async fn snp_evidence_is_the_report_over_all_48_bytes_and_16_zeros() {
    let Some(text) = read("snp-testroots.txt") else { return };
    let auth = serde_json::to_value(auth_request(EvidenceKind::Snp)).unwrap();
    assert_eq!((&auth["tee"], &auth["version"]), (&json!("snp"), &json!("0.4.0")));
    let mut taken = 0;
    for body in bodies(&text, "{\"runtime-data\"") {
        let recorded: Attestation = serde_json::from_str(body).unwrap();
        let evidence: SnpEvidence = primary(&recorded);
        let Ok(report) = evidence.attestation_report.to_bytes() else { continue };
        let at = report[0x50..0x90].to_vec();
        let parts = ReportParts::Snp { report: report.to_vec(), certs: Vec::new(), svsm: None };
        let source = Recorded::new(EvidenceKind::Snp, None, Some(parts));
        let ours = formed(&source, &recorded).await;
        // Some of the recorded reports are for another session on purpose.
        taken += usize::from(source.covered() == [at]);
        let mut want = recorded.tee_evidence.primary_evidence.clone();
        want["cert_chain"] = Value::Null;
        assert_eq!(ours.tee_evidence.primary_evidence, want);
        assert_eq!(ours.tee_evidence.additional_evidence, "");
    }
    assert!(taken > 0);
}

#[tokio::test]
async fn azure_evidence_quotes_all_48_bytes() {
    let Some(text) = read("az-snp-testroots.txt") else { return };
    let mut taken = 0;
    for body in bodies(&text, "{\"runtime-data\"") {
        let recorded: Attestation = serde_json::from_str(body).unwrap();
        let evidence: AzSnpEvidence = primary(&recorded);
        let bare = evidence.tpm_quote.signature.0;
        let len = u16::try_from(bare.len()).unwrap().to_be_bytes();
        let quote = QuoteParts {
            message: evidence.tpm_quote.message.0,
            signature: [&[0, 0x14, 0, 0x0b][..], &len, &bare].concat(),
            pcrs: zip(evidence.tpm_quote.pcrs),
            ak_public: Vec::new(),
        };
        let message = quote.message.clone();
        let report = ReportParts::AzSnp { hcl_report: evidence.hcl_report.0, vcek: evidence.vcek.0 };
        let source = Recorded::new(EvidenceKind::AzSnpVtpm, Some(quote), Some(report));
        let ours = formed(&source, &recorded).await;
        // The recorded form is version 1, which differs from what is sent here in that number alone.
        let want = AzSnpEvidence { version: ccnode_evidence::AZURE_VERSION, ..primary(&recorded) };
        assert_eq!(primary::<AzSnpEvidence>(&ours), want);
        let [reported, quoted] = &source.covered()[..] else { panic!("a report, then a quote") };
        assert!(reported.len() == 64 && reported[48..] == [0; 16] && reported[..48] == quoted[..]);
        let extra = [&[0, 48][..], quoted].concat();
        taken += usize::from(message.windows(50).any(|window| window == extra));
    }
    assert!(taken > 0);
}

/// The scalar of a P-256 key in PKCS #8: the octet string after the version of its ECPrivateKey.
fn p256(pem: &str) -> SessionKey {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).unwrap();
    let at = der.windows(5).position(|w| w == [2, 1, 1, 4, 32]).unwrap() + 5;
    let scalar = ccnode_evidence::Secret::try_from(&der[at..at + 32]).unwrap();
    SessionKey::P256(EphemeralKey::from_scalar(&scalar).unwrap())
}

#[tokio::test]
async fn recorded_sessions_of_every_key_type_bind_and_open_alike() {
    let Some(text) = read("sessions-with-keys.json") else { return };
    let value: Value = serde_json::from_str(&text).unwrap();
    for session in value["sessions"].as_array().unwrap() {
        let pem = session["tee_private_key_pkcs8_pem"].as_str().unwrap();
        let key = match session["tee_pubkey"]["crv"].as_str() {
            Some("P-256") => p256(pem),
            Some(_) => SessionKey::P521(P521Key::from_pem(pem).unwrap()),
            None => SessionKey::Rsa(Box::new(RsaKey::from_pem(pem).unwrap())),
        };
        let runtime: Value = serde_json::from_str(session["runtime_data_jcs"].as_str().unwrap()).unwrap();
        let nonce: Nonce = serde_json::from_value(runtime["nonce"].clone()).unwrap();
        let quote = QuoteParts {
            message: Vec::new(),
            signature: Vec::new(),
            pcrs: ccnode_evidence::PcrValues::default(),
            ak_public: Vec::new(),
        };
        let source = Recorded::new(EvidenceKind::Tpm, Some(quote), None);
        let public: TeePubKey = key.public();
        evidence::attestation(&source, &nonce, public, None).await.unwrap();
        let digest = session["report_data_sha384_hex"].as_str().unwrap();
        assert_eq!(hex::encode(&source.covered()[0]), digest[..64]);
        let jwe: Jwe = serde_json::from_value(session["resource_response"].clone()).unwrap();
        assert_eq!(hex::encode(key.open(&jwe).unwrap().expose()), session["plaintext_hex"].as_str().unwrap());
    }
}

#[tokio::test]
async fn an_svsm_has_no_stock_form() {
    let svsm = ccnode_evidence::Svsm { service: "c".into(), version: 0, manifest: Vec::new().into() };
    let parts = ReportParts::Snp { report: vec![0; 1184], certs: Vec::new(), svsm: Some(svsm) };
    let source = Recorded::new(EvidenceKind::Snp, None, Some(parts));
    let key = EphemeralKey::generate().public();
    let error = evidence::attestation(&source, &Nonce([1; 32]), key, None).await.unwrap_err();
    let AttestError::Client(error) = error;
    assert_eq!(error.code(), ccnode_evidence::Code::StockEvidence);
}

#[test]
fn errors_are_sorted_by_their_type_and_never_by_their_status() {
    let uri: ResourceUri = "kbs:///default/node-1/luks".parse().unwrap();
    let failed = |status, kind: Option<&str>| ClientError::Failed {
        url: "https://a".into(),
        path: uri.request_path(),
        status,
        kind: kind.map(Box::from),
        detail: "d".into(),
        correlation_id: None,
        retry_after: None,
    };
    for kind in ["PolicyDeny", "PluginInternalError"] {
        let error = sort(&uri, failed(401, Some(kind)));
        assert_eq!(error.code(), ccnode_evidence::Code::ResourceRefused, "{kind}");
        assert_eq!(error.cure(), crate::error::Cure::None, "{kind}");
    }
    let lost = sort(&uri, failed(401, Some("TokenNotFound")));
    assert_eq!(lost.cure(), crate::error::Cure::NewSession);
    for kind in [None, Some("JweError"), Some("TokenVerifierError"), Some("NeverHeardOf")] {
        let error = sort(&uri, failed(401, kind));
        assert_eq!(error.code(), ccnode_evidence::Code::ServiceFailed, "{kind:?}");
        assert_eq!(error.cure(), crate::error::Cure::None, "{kind:?}");
    }
}
