//! A stock key broker for tests: it speaks protocol 0.4.0, wants evidence of kind `tpm` bound to its session, and judges nothing else.
//!
//! It stands where Trustee would, on loopback, under a CA of its own. No shipped crate depends on it.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a broker for tests fails by panicking")]

use ccnode_evidence::transcript::Transcript;
use ccnode_evidence::{Nonce, TpmEvidence};
use ccnode_protocol::{ATTEST, AUTH, Attestation, AuthRequest, COOKIE, PROBLEM_TYPE_BASE, TeePubKey, jwe};
use rand_core::{OsRng, RngCore as _};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const RESOURCE: &str = "/kbs/v0/resource/";

/// What it has, and what it was asked.
#[derive(Default)]
struct State {
    resources: HashMap<String, Vec<u8>>,
    sessions: HashMap<String, Session>,
    paths: Vec<String>,
    init_data: Vec<Value>,
    posts: Vec<Post>,
    values: HashMap<String, Value>,
}

/// What an administrator posted.
#[derive(Clone, Debug)]
pub struct Post {
    /// Where.
    pub path: String,
    /// With which bearer token.
    pub token: String,
    /// The body.
    pub body: Value,
}

struct Session {
    nonce: Nonce,
    /// The key of its evidence, once there was some.
    key: Option<TeePubKey>,
}

/// A running broker; it ends with the process.
pub struct Broker {
    port: u16,
    ca: String,
    state: Arc<Mutex<State>>,
}

impl Broker {
    /// Starts one whose certificate is for these addresses, `127.0.0.1` among them or not.
    pub fn start(names: &[&str]) -> Self {
        let (config, ca) = tls(names);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::<Mutex<State>>::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                listener.set_nonblocking(true).expect("a listener");
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                while let Ok((tcp, _)) = listener.accept().await {
                    tokio::spawn(serve(TlsAcceptor::from(Arc::clone(&config)), tcp, Arc::clone(&shared)));
                }
            });
        });
        Self { port, ca, state }
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its CA, PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Stores `bytes` under `repository/type/tag`.
    pub fn store(&self, name: &str, bytes: &[u8]) {
        self.state.lock().expect("no test panicked here").resources.insert(name.to_owned(), bytes.to_vec());
    }

    /// Holds a reference value.
    pub fn hold(&self, name: &str, value: Value) {
        self.state.lock().expect("no test panicked here").values.insert(name.to_owned(), value);
    }

    /// What administrators posted, in their order.
    pub fn posts(&self) -> Vec<Post> {
        self.state.lock().expect("no test panicked here").posts.clone()
    }

    /// The paths that were asked for.
    pub fn paths(&self) -> Vec<String> {
        self.state.lock().expect("no test panicked here").paths.clone()
    }

    /// The member `init-data` of each attestation.
    pub fn init_data(&self) -> Vec<Value> {
        self.state.lock().expect("no test panicked here").init_data.clone()
    }
}

fn tls(names: &[&str]) -> (Arc<ServerConfig>, String) {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let pem = ca.self_signed(&ca_key).expect("a certificate").pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let cert = CertificateParams::new(names).expect("names").signed_by(&key, &issuer).expect("a certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .expect("a certificate of this key");
    (Arc::new(config), pem)
}

struct Request {
    path: String,
    post: bool,
    cookie: Option<String>,
    token: Option<String>,
    body: Vec<u8>,
}

async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut tls = acceptor.accept(tcp).await.ok()?;
    loop {
        let request = read(&mut tls).await?;
        let (status, cookie, body) = answer(&mut state.lock().expect("no test panicked here"), &request);
        let cookie = cookie.map(|id| format!("set-cookie: {COOKIE}={id}\r\n")).unwrap_or_default();
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\n{cookie}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        tls.write_all(head.as_bytes()).await.ok()?;
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(head).ok()?;
    let mut lines = text.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (post, path) = (first.next()? == "POST", first.next()?.to_owned());
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = vec![0; headers.get("content-length").and_then(|v| v.parse().ok()).unwrap_or(0)];
    stream.read_exact(&mut body).await.ok()?;
    let cookie = headers.get("cookie").and_then(|v| v.strip_prefix(&format!("{COOKIE}="))).map(str::to_owned);
    let token = headers.get("authorization").and_then(|v| v.strip_prefix("Bearer ")).map(str::to_owned);
    Some(Request { path, post, cookie, token, body })
}

fn problem(variant: &str, detail: &str) -> (u16, Option<String>, Value) {
    (401, None, json!({"type": format!("{PROBLEM_TYPE_BASE}{variant}"), "detail": detail}))
}

fn answer(state: &mut State, request: &Request) -> (u16, Option<String>, Value) {
    state.paths.push(request.path.clone());
    if let Some(token) = &request.token {
        return administer(state, request, token);
    }
    match request.path.as_str() {
        AUTH => auth(state, &request.body),
        ATTEST => match attest(state, request) {
            Some(()) => (200, None, json!({"token": "t.o.k"})),
            None => problem("AttestationError", "Attestation error: RCAR handshake Attest failed"),
        },
        path => match path.strip_prefix(RESOURCE) {
            Some(name) => resource(state, request.cookie.as_deref(), name),
            None => {
                (404, None, json!({"type": format!("{PROBLEM_TYPE_BASE}PluginNotFound"), "detail": "none"}))
            }
        },
    }
}

/// Whoever shows a token is taken for an administrator.
fn administer(state: &mut State, request: &Request, token: &str) -> (u16, Option<String>, Value) {
    if request.post {
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        state.posts.push(Post { path: request.path.clone(), token: token.to_owned(), body });
        return (200, None, Value::Null);
    }
    let name = request.path.rsplit('/').next().unwrap_or_default();
    match state.values.get(name) {
        Some(value) => (200, None, value.clone()),
        None => problem("RvpsError", "No reference value found for the given id"),
    }
}

fn auth(state: &mut State, body: &[u8]) -> (u16, Option<String>, Value) {
    match serde_json::from_slice::<AuthRequest>(body) {
        Ok(request) if request.version == "0.4.0" => {}
        _ => return problem("AttestationError", "Attestation error: RCAR handshake Auth failed"),
    }
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    let id = format!("{:032x}", u128::from_le_bytes(*bytes.first_chunk().unwrap()));
    OsRng.fill_bytes(&mut bytes);
    let nonce = Nonce(bytes);
    state.sessions.insert(id.clone(), Session { nonce, key: None });
    (200, Some(id), json!({"nonce": nonce.text(), "extra-params": ""}))
}

fn attest(state: &mut State, request: &Request) -> Option<()> {
    let sent: Value = serde_json::from_slice(&request.body).ok()?;
    let attestation: Attestation = serde_json::from_slice(&request.body).ok()?;
    let session = state.sessions.get_mut(request.cookie.as_deref()?)?;
    let key = &attestation.runtime_data.stock.tee_pubkey;
    let transcript = Transcript { additional_evidence: Some(""), nonce: &session.nonce, tee_pubkey: key };
    let want = transcript.stock().ok()?.qualifying_data();
    let evidence: TpmEvidence =
        serde_json::from_value(attestation.tee_evidence.primary_evidence.clone()).ok()?;
    let extra = [&[0, 32][..], &want].concat();
    let bound = evidence.tpm_quote.message.0.windows(34).any(|window| window == extra);
    if !bound || evidence.tpm_quote.pcrs.len() != 24 || attestation.runtime_data.ccnode.is_some() {
        return None;
    }
    session.key = Some(key.clone());
    state.init_data.push(sent.get("init-data").cloned().unwrap_or_default());
    Some(())
}

fn resource(state: &State, cookie: Option<&str>, name: &str) -> (u16, Option<String>, Value) {
    let key = cookie.and_then(|id| state.sessions.get(id)).and_then(|session| session.key.as_ref());
    let Some(key) = key else { return problem("TokenNotFound", "Attestation Token not found") };
    match state.resources.get(name) {
        Some(bytes) => {
            let jwe = jwe::seal(key, bytes).expect("a key that was taken");
            (200, None, serde_json::to_value(jwe).expect("JSON"))
        }
        None => problem("PluginInternalError", "Plugin Internal Error"),
    }
}
