//! A TLS 1.3 server whose answers are scripted, and the parts of a service that a session needs.

use ccnode_attest_client::{
    AttestError, Client, ClientError, ClockAtLeast, Deadline, Outcome, Retry, Settings, Subject,
};
use ccnode_evidence::transcript::{Transcript, name_key};
use ccnode_evidence::{
    Absent, Activated, Ek, EventLogs, EvidenceSource, ExtraData, Identity, Nonce, PcrSet, PcrValues,
    QuoteParts, Secret, Sha256Digest, TpmEvidence, TpmSource,
};
use ccnode_protocol::grants::{Cluster, Grant, Grants, OnForeignDisk, RootGrant, VolumeAction, VolumeGrant};
use ccnode_protocol::{Attestation, NodeName, TeePubKey, jwe};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

pub(crate) const COOKIE: &str = "kbs-session-id=sealed.cookie-1";
pub(crate) const SECRET: [u8; 32] = [0x5e; 32];
pub(crate) const NAME: &str = "workers-abcdefghij";

/// A CA, as the image pins it.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2099, 1, 1);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A server certificate for 127.0.0.1, valid from the first to the second year.
    pub(crate) fn server(&self, years: (i32, i32), name: &str) -> Arc<ServerConfig> {
        let [from, to] = [years.0, years.1].map(|year| rcgen::date_time_ymd(year, 1, 1));
        self.server_at(from, to, name)
    }

    pub(crate) fn server_at(
        &self,
        from: OffsetDateTime,
        to: OffsetDateTime,
        name: &str,
    ) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (from, to);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Req {
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Req {
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the server does with a request.
pub(crate) enum Reply {
    /// Status and JSON.
    Json(u16, Value),
    /// These bytes, then the connection ends.
    Raw(Vec<u8>),
    /// A good head, then bytes without end.
    Endless,
    /// Nothing, until the client gives up.
    Silence,
}

type Script = dyn Fn(&Req) -> Reply + Send + Sync;

pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Req>>>,
}

impl Server {
    pub(crate) async fn start(
        config: Arc<ServerConfig>,
        script: impl Fn(&Req) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (script, seen): (Arc<Script>, _) = (Arc::new(script), Arc::<Mutex<Vec<Req>>>::default());
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(config.clone());
                tokio::spawn(serve(acceptor, tcp, script.clone(), log.clone()));
            }
        });
        Self { url, seen }
    }

    /// Paths of the requests so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|r| r.path.clone()).collect()
    }

    pub(crate) fn requests(&self) -> Vec<Req> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    tcp: TcpStream,
    script: Arc<Script>,
    seen: Arc<Mutex<Vec<Req>>>,
) -> Option<()> {
    let mut tls = acceptor.accept(tcp).await.ok()?;
    loop {
        let request = read(&mut tls).await?;
        seen.lock().unwrap().push(request.clone());
        match script(&request) {
            Reply::Json(status, body) => {
                let body = if status == 204 { String::new() } else { body.to_string() };
                let head = format!(
                    "HTTP/1.1 {status} X\r\nset-cookie: {COOKIE}; HttpOnly\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                tls.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
            }
            Reply::Raw(bytes) => {
                tls.write_all(&bytes).await.ok()?;
                tls.shutdown().await.ok()?;
                return None;
            }
            Reply::Endless => {
                tls.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.ok()?;
                loop {
                    tls.write_all(format!("1000\r\n{}\r\n", "a".repeat(0x1000)).as_bytes()).await.ok()?;
                }
            }
            Reply::Silence => tokio::time::sleep(Duration::from_secs(60)).await,
        }
    }
}

async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Req> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).unwrap();
    let mut lines = text.split("\r\n");
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let header = |line: &str| line.split_once(": ").map(|(k, v)| (k.to_lowercase(), v.to_owned()));
    let headers: HashMap<_, _> = lines.filter_map(header).collect();
    let len = headers.get("content-length").map_or(0, |v| v.parse().unwrap());
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await.ok()?;
    Some(Req { path, headers, body })
}

/// A machine whose TPM opens every credential.
#[derive(Debug)]
pub(crate) struct FakeTpm;

impl TpmSource for FakeTpm {
    type Error = Infallible;

    async fn identity(&self) -> Result<Identity, Infallible> {
        Ok(Identity { ek: Ek::Certificate(b"ek".to_vec()), ak_public: b"ak".to_vec() })
    }

    async fn activate(&self, credential: Vec<u8>, secret: Vec<u8>) -> Result<Activated, Infallible> {
        assert_eq!((credential, secret), (b"credential".to_vec(), b"secret".to_vec()));
        Ok(Secret::new(SECRET))
    }

    async fn quote_pcrs(&self, set: PcrSet, extra: ExtraData) -> Result<QuoteParts, Infallible> {
        let pcrs = set.iter().map(|i| (i, Sha256Digest::ZERO)).collect();
        Ok(QuoteParts {
            message: extra.bytes().to_vec(),
            signature: b"signature".to_vec(),
            pcrs: PcrValues(pcrs),
            ak_public: b"spki".to_vec(),
        })
    }
}

impl EvidenceSource for FakeTpm {
    type Error = Infallible;
    type Tpm = Self;
    type Report = Absent<Infallible>;

    fn supports_tpm(&self) -> Option<&Self> {
        Some(self)
    }

    fn supports_report(&self) -> Option<&Self::Report> {
        None
    }

    async fn logs(&self) -> Result<EventLogs, Infallible> {
        Ok(EventLogs::default())
    }
}

pub(crate) fn nonce() -> Nonce {
    Nonce([9; 32])
}

/// A challenge for [`FakeTpm`].
pub(crate) fn challenge() -> Reply {
    use aes_gcm::aead::{Aead as _, KeyInit as _};
    let cipher = aes_gcm::Aes256Gcm::new(name_key(&Secret::new(SECRET)).expose().into());
    // As the service does it: every name is as long as the longest.
    let mut padded = NAME.as_bytes().to_vec();
    padded.resize(63, 0);
    let mut sealed = cipher.encrypt(aes_gcm::Nonce::from_slice(&[1; 12]), padded.as_slice()).unwrap();
    let tag = sealed.split_off(sealed.len() - 16);
    let url = |bytes: &[u8]| serde_json::to_value(ccnode_evidence::Base64Url(bytes.to_vec())).unwrap();
    let name = json!({"iv": url(&[1; 12]), "ciphertext": url(&sealed), "tag": url(&tag)});
    let ext = json!({"version": 1, "credential": url(b"credential"), "secret": url(b"secret"), "name": name});
    Reply::Json(200, json!({"nonce": nonce().text(), "extra-params": {"ccnode": ext}}))
}

/// Whether evidence is bound as it must be; gives back the session's public key.
pub(crate) fn check(attestation: &Attestation) -> TeePubKey {
    let runtime = &attestation.runtime_data;
    let ext = runtime.ccnode.as_ref().expect("the member ccnode");
    let key = runtime.stock.tee_pubkey.clone();
    let transcript = Transcript { additional_evidence: Some(""), nonce: &nonce(), tee_pubkey: &key };
    let (_, data) = transcript.verify(ext, &Secret::new(SECRET)).unwrap();
    let evidence: TpmEvidence =
        serde_json::from_value(attestation.tee_evidence.primary_evidence.clone()).unwrap();
    assert_eq!(evidence.tpm_quote.message.0, data.qualifying_data());
    let ours = evidence.ccnode.unwrap();
    assert_eq!(ext.bound.csr, Some(Sha256Digest::of(&ours.csr.unwrap().0)));
    assert_eq!(ext.bound.event_logs, Some(ours.logs.digest().unwrap()));
    key
}

pub(crate) fn grants(node: &str) -> Grants {
    let grant = || Grant { id: "g".into(), secret: Secret::new([1; 32]), expires: u64::MAX };
    Grants {
        version: 1,
        node: node.parse().unwrap(),
        level: None,
        time: 1,
        root: RootGrant::Volume(VolumeGrant {
            id: "n/root".into(),
            uuid: "u".into(),
            generation: 1,
            unlock_key: Secret::new([2; 32]),
            action: VolumeAction::Format {
                entropy: Secret::new([3; 32]),
                on_foreign_disk: OnForeignDisk::Refuse,
                grant: grant(),
                begun: None,
            },
        }),
        volumes: Vec::new(),
        certificate: grant(),
        cluster: Cluster { server: "https://c".into(), ca: String::new() },
    }
}

/// A service that does all it must for [`FakeTpm`]; `change` may answer in its stead.
pub(crate) fn service(
    change: impl Fn(&Req, usize) -> Option<Reply> + Send + Sync + 'static,
) -> impl Fn(&Req) -> Reply + Send + Sync {
    service_for(challenge, check, change)
}

/// The same with another challenge, and another eye on the evidence.
pub(crate) fn service_for(
    challenge: impl Fn() -> Reply + Send + Sync + 'static,
    check: impl Fn(&Attestation) -> TeePubKey + Send + Sync + 'static,
    change: impl Fn(&Req, usize) -> Option<Reply> + Send + Sync + 'static,
) -> impl Fn(&Req) -> Reply + Send + Sync {
    let keys: Mutex<Option<TeePubKey>> = Mutex::default();
    let count = Mutex::new(HashMap::<String, usize>::new());
    move |request| {
        let mut count = count.lock().unwrap();
        let n = count.entry(request.path.clone()).and_modify(|n| *n += 1).or_insert(1);
        if let Some(reply) = change(request, *n) {
            return reply;
        }
        if request.path != ccnode_protocol::AUTH {
            assert_eq!(request.headers.get("cookie").map(String::as_str), Some(COOKIE), "{}", request.path);
        }
        match request.path.as_str() {
            ccnode_protocol::AUTH => challenge(),
            ccnode_protocol::ATTEST => {
                *keys.lock().unwrap() = Some(check(&request.json()));
                Reply::Json(200, json!({"token": "t"}))
            }
            ccnode_protocol::GRANTS => {
                let plain = serde_json::to_vec(&grants(NAME)).unwrap();
                let key = keys.lock().unwrap().clone().expect("attested");
                Reply::Json(200, serde_json::to_value(jwe::seal(&key, &plain).unwrap()).unwrap())
            }
            ccnode_protocol::CERTIFICATE => Reply::Json(200, json!({"chain": "pem"})),
            _ => Reply::Json(204, Value::Null),
        }
    }
}

pub(crate) fn problem(status: u16, code: &str) -> Reply {
    let body = json!({"type": "https://github.com/confidential-containers/kbs/errors/X", "detail": "why", "code": code, "correlation-id": "c-1", "pcr": 9});
    Reply::Json(status, body)
}

pub(crate) fn client(urls: &[&str], ca: &Ca, floor: u64) -> Client {
    Client::new(settings(urls, ca, floor)).unwrap()
}

pub(crate) fn settings(urls: &[&str], ca: &Ca, floor: u64) -> Settings {
    Settings {
        urls: urls.iter().map(|u| (*u).to_owned()).collect(),
        pins: vec![ca.pem.clone().into_bytes()],
        pool: "workers".parse().unwrap(),
        clock: ClockAtLeast { floor },
    }
}

pub(crate) type Failure = AttestError<Infallible, Infallible>;

/// One attestation with a deadline in milliseconds; the waits that it told of come too.
pub(crate) async fn attest(client: &mut Client, ms: u64) -> (Result<Outcome, ClientError>, Vec<Retry>) {
    attest_from(client, &FakeTpm, ms).await
}

/// The same from another machine.
pub(crate) async fn attest_from<S: EvidenceSource<Error = Infallible>>(
    client: &mut Client,
    source: &S,
    ms: u64,
) -> (Result<Outcome, ClientError>, Vec<Retry>) {
    let identity = match source.supports_tpm() {
        Some(tpm) => Some(tpm.identity().await.unwrap()),
        None => None,
    };
    let subject = Subject { identity, logs: source.logs().await.unwrap() };
    let csr = |name: &NodeName| Ok::<_, Infallible>(name.to_string().into_bytes());
    let mut waits = Vec::new();
    let deadline = Deadline::after(Duration::from_millis(ms));
    let outcome = client.attest(&subject, source, csr, deadline, |retry| waits.push(retry)).await;
    let outcome = outcome.map_err(|e: Failure| match e {
        AttestError::Client(error) => error,
        AttestError::Source(never) | AttestError::Csr(never) => match never {},
    });
    (outcome, waits)
}
