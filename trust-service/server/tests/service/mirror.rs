//! Collateral that neither evidence nor bundle holds, fetched from a mirror between two appraisals.

use crate::fixture::*;
use crate::machines::*;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use ccnode_evidence::Code;
use ccnode_protocol::Attestation;
use ccnode_protocol::admin::{HardwareClaims, OnUnknown, TrustLevel};
use ccnode_server::config::{Config, Lifetime, MirrorConfig};
use ccnode_server::pki;
use ccnode_testkit::snp::TestChip;
use ccnode_testkit::{Boot, Hardware, Machine, MakerCa, Seat, tdx};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

type Answer = (StatusCode, HeaderMap, Vec<u8>);
type Answers = Arc<dyn Fn(&str) -> Answer + Send + Sync>;

/// A mirror on loopback, and the paths that it was asked for.
#[derive(Clone)]
struct TestMirror {
    url: String,
    ca: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TestMirror {
    async fn new(answers: impl Fn(&str) -> Answer + Send + Sync + 'static) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let answers: Answers = Arc::new(answers);
        let router = Router::new().fallback(answer).with_state((answers, asked.clone()));
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = TowerToHyperService::new(router);
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url, ca: made.cert.pem(), asked }
    }

    /// A mirror of a chip's line and of a TDX platform that is up to date.
    async fn of(chip: TestChip, revoked: &'static [u64]) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let pcs = tdx::Collateral::with_status_at("UpToDate", now).sign(&PLATFORM);
        Self::new(move |path| kds(&chip, revoked, path).or_else(|| pccs(&pcs, path)).unwrap_or_else(none))
            .await
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    fn config(&self, ca: &Path) -> MirrorConfig {
        std::fs::write(ca, &self.ca).unwrap();
        MirrorConfig {
            snp: Some(self.url.clone()),
            tdx: Some(format!("{}/", self.url)),
            cas: vec![ca.to_owned()],
            keep: Lifetime(Duration::from_secs(3600)),
            sessions_per_minute: 100,
        }
    }
}

async fn answer(
    State((answers, asked)): State<(Answers, Arc<Mutex<Vec<String>>>)>,
    request: Request,
) -> Answer {
    let path = request.uri().to_string();
    asked.lock().unwrap().push(path.clone());
    answers(&path)
}

fn none() -> Answer {
    (StatusCode::NOT_FOUND, HeaderMap::new(), b"no such thing".to_vec())
}

fn good(body: impl Into<Vec<u8>>) -> Answer {
    (StatusCode::OK, HeaderMap::new(), body.into())
}

fn kds(chip: &TestChip, revoked: &[u64], path: &str) -> Option<Answer> {
    let tcb = chip.tcb();
    let vcek = format!(
        "/vcek/v1/Milan/{}?blSPL={:02}&teeSPL={:02}&snpSPL={:02}&ucodeSPL={:02}",
        hex::encode(chip.chip_id()),
        tcb.bootloader,
        tcb.tee,
        tcb.snp,
        tcb.microcode
    );
    let pem = |der: &[u8]| pki::pem("CERTIFICATE", der);
    match path {
        "/vcek/v1/Milan/cert_chain" => Some(good(pem(&chip.ask_der()) + &pem(&chip.ark_der()))),
        "/vcek/v1/Milan/crl" => Some(good(chip.crl(revoked))),
        _ => (path == vcek).then(|| good(chip.vek_der())),
    }
}

/// `signed` is in the form of the bundle's items.
fn pccs(signed: &Value, path: &str) -> Option<Answer> {
    let text = |name: &str| signed[name].as_str().unwrap().to_owned();
    let with_chain = |name: &'static str, chain: &str, body: Vec<u8>| {
        let chain = percent(&text(chain));
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(&chain).unwrap())]);
        (StatusCode::OK, headers, body)
    };
    let body = |member: &str, of: &str| {
        format!(r#"{{"{member}":{},"signature":"{}"}}"#, text(of), text(&format!("{of}_signature")))
            .into_bytes()
    };
    match path {
        "/tdx/certification/v4/tcb?fmspc=b0c06f000000" => {
            Some(with_chain("tcb-info-issuer-chain", "tcb_info_issuer_chain", body("tcbInfo", "tcb_info")))
        }
        "/tdx/certification/v4/qe/identity" => Some(with_chain(
            "sgx-enclave-identity-issuer-chain",
            "qe_identity_issuer_chain",
            body("enclaveIdentity", "qe_identity"),
        )),
        "/sgx/certification/v4/pckcrl?ca=platform&encoding=der" => Some(with_chain(
            "sgx-pck-crl-issuer-chain",
            "pck_crl_issuer_chain",
            hex::decode(text("pck_crl")).unwrap(),
        )),
        "/sgx/certification/v4/rootcacrl" => Some(good(text("root_ca_crl"))),
        _ => None,
    }
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// As [`confidential`], with nothing on the shelf and a mirror instead.
async fn behind(mirror: &TestMirror, edit: impl FnOnce(&mut MirrorConfig)) -> (tempfile::TempDir, Trust) {
    let files = tempfile::tempdir().unwrap();
    let mut config = mirror.config(&files.path().join("mirror-ca.pem"));
    edit(&mut config);
    let trust = Trust::with(|whole: &mut Config| whole.mirror = Some(config)).await;
    let admin = trust.admin();
    admin.create_pool(OnUnknown::Enrol, &[]).await;
    admin.trust_maker(&MakerCa::new("maker"), TrustLevel::HypervisorVtpm).await;
    let pair = admin.allow(&Boot::standard(), verity()).await;
    demand(&trust, &policy(pair.image)).await;
    (files, trust)
}

/// How a session ends whose evidence is edited before it is sent.
async fn sends(trust: &Trust, machine: &Machine, edit: impl FnOnce(&mut Attestation)) -> Result<(), Code> {
    let session = offer(trust, machine).await;
    let (mut attestation, _) = session.reply(machine);
    edit(&mut attestation);
    session.attest(&attestation).await.map(drop).map_err(|refused| refused.problem.code.unwrap())
}

fn without_certificates(attestation: &mut Attestation) {
    attestation.tee_evidence.primary_evidence["cert_chain"] = Value::Null;
}

#[tokio::test]
async fn a_chips_certificate_is_fetched_once() {
    let mirror = TestMirror::of(TestChip::milan(), &[]).await;
    let (_files, trust) = behind(&mirror, |_| ()).await;
    assert!(sends(&trust, &svsm(Seat::A), |_| ()).await.is_ok());
    assert!(mirror.asked().is_empty(), "the evidence had all that it takes");
    assert_eq!(sends(&trust, &svsm(Seat::B), without_certificates).await, Ok(()));
    let asked = mirror.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(sends(&trust, &svsm(Seat::C), without_certificates).await, Ok(()));
    assert!(mirror.asked().is_empty());
}

#[tokio::test]
async fn revocation_lists_come_from_the_mirror_and_count() {
    for (revoked, outcome) in [(&[][..], Ok(())), (&[0x10001][..], Err(Code::SnpRevoked))] {
        let mirror = TestMirror::of(TestChip::milan(), revoked).await;
        let (_files, trust) = behind(&mirror, |_| ()).await;
        edit_demands(&trust, |policy| policy["snp"]["require-crl"] = json!(true)).await;
        assert_eq!(sends(&trust, &svsm(Seat::A), |_| ()).await, outcome);
    }
}

#[tokio::test]
async fn a_platforms_state_is_asked_for_before_it_is_believed() {
    let mirror = TestMirror::of(TestChip::milan(), &[]).await;
    let (_files, trust) = behind(&mirror, |_| ()).await;
    let machine = azure(Seat::A, Hardware::az_tdx(&PLATFORM));
    let granted = join(&trust, &machine).await.unwrap();
    assert_eq!(mirror.asked().len(), 4);
    let record = trust.admin().node(&granted.grants.node).await;
    let HardwareClaims::Tdx(claims) = record.hardware.unwrap().claims else { panic!("no TDX") };
    assert_eq!(claims.tcb_status.as_deref(), Some("UpToDate"));
    assert!(join(&trust, &azure(Seat::B, Hardware::az_tdx(&PLATFORM))).await.is_ok());
    assert!(mirror.asked().is_empty());
}

#[tokio::test]
async fn what_a_mirror_does_not_have_is_not_asked_for_again_at_once() {
    let other = TestChip::new(ccnode_testkit::snp::ChipModel::Milan, 99);
    let chip = other.vek_der();
    let liar = move |path: &str| match path.contains('?') {
        // The certificate of another chip.
        true => good(chip.clone()),
        false => none(),
    };
    let long = |_: &str| good(vec![b'a'; (1 << 20) + 1]);
    let garbage = |_: &str| good("garbage");
    let mirrors = [
        TestMirror::new(liar).await,
        TestMirror::new(long).await,
        TestMirror::new(garbage).await,
        TestMirror::new(|_| none()).await,
    ];
    for mirror in mirrors {
        let (_files, trust) = behind(&mirror, |_| ()).await;
        let code = sends(&trust, &svsm(Seat::A), without_certificates).await;
        assert_eq!(code, Err(Code::SnpCertMissing));
        assert!(!mirror.asked().is_empty());
        let code = sends(&trust, &svsm(Seat::A), without_certificates).await;
        assert_eq!(code, Err(Code::SnpCertMissing));
        assert!(mirror.asked().is_empty());
    }
}

#[tokio::test]
async fn a_mirror_is_asked_so_often_and_by_its_own_ca_alone() {
    let mirror = TestMirror::of(TestChip::milan(), &[]).await;
    let (_files, trust) = behind(&mirror, |config| config.sessions_per_minute = 0).await;
    assert_eq!(sends(&trust, &svsm(Seat::A), without_certificates).await, Err(Code::SnpCertMissing));
    assert!(!mirror.asked().iter().any(|path| path.contains('?')), "chips are what anybody can make up");
    let impostor = TestMirror { ca: TestMirror::new(|_| none()).await.ca, ..mirror.clone() };
    let (_files, trust) = behind(&impostor, |_| ()).await;
    assert_eq!(sends(&trust, &svsm(Seat::A), without_certificates).await, Err(Code::SnpCertMissing));
    assert!(mirror.asked().is_empty());
}

/// Collateral of the platform, by which it has this status, made `days` from now.
fn made(status: &str, days: i64) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    tdx::Collateral::with_status_at(status, now.saturating_add_signed(days * 24 * 3600)).sign(&PLATFORM)
}

fn shelve_made(trust: &Trust, made: &Value) {
    let mut shelf = ccnode_appraise::Shelf::default();
    shelf.add_tdx(&made.to_string()).unwrap();
    trust.service().collateral.replace(shelf);
}

/// A PCCS whose TCB information can be changed.
async fn changing(first: Value) -> (TestMirror, Arc<Mutex<Value>>) {
    let says = Arc::new(Mutex::new(first));
    let now = says.clone();
    (TestMirror::new(move |path| pccs(&now.lock().unwrap(), path).unwrap_or_else(none)).await, says)
}

async fn of_tdx(trust: &Trust) -> Result<(), Code> {
    sends(trust, &azure(Seat::A, Hardware::az_tdx(&PLATFORM)), |_| ()).await
}

#[tokio::test]
async fn t19_the_newer_of_bundle_and_mirror_counts() {
    let (mirror, says) = changing(made("UpToDate", 0)).await;
    let (_files, trust) = behind(&mirror, |_| ()).await;
    assert_eq!(of_tdx(&trust).await, Ok(()));
    shelve_made(&trust, &made("OutOfDate", 1));
    assert_eq!(
        of_tdx(&trust).await,
        Err(Code::TdxTcbStatus),
        "the bundle is newer than what the mirror said"
    );
    shelve_made(&trust, &made("OutOfDate", -1));
    assert_eq!(of_tdx(&trust).await, Ok(()), "the mirror's is");

    *says.lock().unwrap() = made("UpToDate", -40);
    let (_files, trust) = behind(&mirror, |_| ()).await;
    assert_eq!(of_tdx(&trust).await, Err(Code::TdxCollateralExpired));
    shelve_made(&trust, &made("UpToDate", 0));
    assert_eq!(of_tdx(&trust).await, Ok(()), "what the mirror said proves nothing, the bundle does");
}

#[tokio::test]
async fn t19_what_a_mirror_said_is_asked_for_again_before_it_is_believed_longer() {
    let (mirror, says) = changing(made("UpToDate", 0)).await;
    let (_files, trust) = behind(&mirror, |_| ()).await;
    assert_eq!(of_tdx(&trust).await, Ok(()));
    shelve_made(&trust, &made("UpToDate", -1));
    *says.lock().unwrap() = made("OutOfDate", 1);
    assert_eq!(of_tdx(&trust).await, Ok(()), "not asked again yet");
    trust.service().clock.at(trust.service().now() + 3601);
    assert_eq!(of_tdx(&trust).await, Err(Code::TdxTcbStatus));

    let revoked = Arc::new(Mutex::new(Vec::new()));
    let (chip, now) = (TestChip::milan(), revoked.clone());
    let mirror =
        TestMirror::new(move |path| kds(&chip, &now.lock().unwrap(), path).unwrap_or_else(none)).await;
    let (_files, trust) = behind(&mirror, |_| ()).await;
    edit_demands(&trust, |policy| policy["snp"]["require-crl"] = json!(true)).await;
    assert_eq!(sends(&trust, &svsm(Seat::A), |_| ()).await, Ok(()));
    revoked.lock().unwrap().push(0x10001);
    assert_eq!(sends(&trust, &svsm(Seat::A), |_| ()).await, Ok(()), "not asked again yet");
    trust.service().clock.at(trust.service().now() + 3601);
    assert_eq!(sends(&trust, &svsm(Seat::A), |_| ()).await, Err(Code::SnpRevoked));
}

#[tokio::test]
async fn t25_forged_evidence_uses_up_nothing_of_others() {
    let mirror = TestMirror::of(TestChip::milan(), &[]).await;
    let (_files, trust) = behind(&mirror, |config| config.sessions_per_minute = 1).await;
    let forge = |attestation: &mut Attestation| {
        let quote = &mut attestation.tee_evidence.primary_evidence["td_quote"];
        let mut text = quote.as_str().unwrap().as_bytes().to_vec();
        // In the TD's measurements, which the quote's signature covers.
        text[400] = if text[400] == b'A' { b'B' } else { b'A' };
        *quote = json!(String::from_utf8(text).unwrap());
    };
    let code = sends(&trust, &azure(Seat::A, Hardware::az_tdx(&PLATFORM)), forge).await;
    assert_eq!(code, Err(Code::TdxChain));
    assert!(mirror.asked().is_empty(), "anybody can write an FMSPC");
    // A report that nobody signed, of a chip that there is not: it has the one turn of this minute.
    let made_up = |attestation: &mut Attestation| {
        without_certificates(attestation);
        attestation.tee_evidence.primary_evidence["attestation_report"]["chip_id"] = json!([7; 32].repeat(2));
    };
    assert!(sends(&trust, &svsm(Seat::B), made_up).await.is_err());
    assert!(mirror.asked().iter().any(|path| path.contains("0707")));
    assert_eq!(of_tdx(&trust).await, Ok(()));
}
