//! What a peer may take: sizes, times, connections; and how the service ends.

use crate::fixture::*;
use ccnode_evidence::Code;
use ccnode_protocol::admin::OnUnknown;
use ccnode_protocol::{AUTH, NodeRefusal, Problem, REFUSALS};
use ccnode_server::config::Lifetime;
use ccnode_server::init::{InitError, Options, init};
use ccnode_testkit::Seat;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

async fn tls(
    trust: &Trust,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let ca = std::fs::read(trust.dir().join("tls/ca.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(trust.node_address()).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

pub(crate) async fn plain(trust: &Trust) -> TlsStream<TcpStream> {
    tls(trust, &[&rustls::version::TLS13]).await.unwrap()
}

pub(crate) fn short(ms: u64) -> Lifetime {
    Lifetime(Duration::from_millis(ms))
}

async fn all(stream: &mut TlsStream<TcpStream>) -> String {
    let mut out = Vec::new();
    let _ =
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut out)).await.expect("an end");
    String::from_utf8_lossy(&out).into_owned()
}

#[tokio::test]
async fn only_tls_13() {
    let trust = Trust::new().await;
    assert!(tls(&trust, &[&rustls::version::TLS12]).await.is_err());
    let stream = plain(&trust).await;
    let suite = stream.get_ref().1.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256, "the one whose hash the processor has");
}

#[tokio::test]
async fn bodies_of_unknown_length_have_the_same_bounds() {
    let trust = Trust::new().await;
    let head = format!("POST {AUTH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let large = "x".repeat(32 * 1024 + 1);
    for (pieces, due) in [
        // One text, whatever its pieces.
        (vec![r#"{"version":"9.9"#, r#".9","tee":"tpm","extra-params":null}"#], Code::VersionUnsupported),
        (vec![" ", &large], Code::BodyTooLarge),
        (vec![], Code::MalformedRequest),
    ] {
        let mut stream = plain(&trust).await;
        let mut request = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
        for piece in pieces.iter().chain(&[""]) {
            request += &format!("{:x}\r\n{piece}\r\n", piece.len());
        }
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = all(&mut stream).await;
        assert!(answer.contains(&format!("\"{due}\"")), "{due}: {answer}");
    }
    let mut stream = plain(&trust).await;
    stream.write_all(format!("{head}Content-Length: 10\r\n\r\n{{}}").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(!all(&mut stream).await.contains("200 OK"), "cut off");
}

#[tokio::test]
async fn large_bodies_and_heads_are_refused() {
    let (trust, maker) = ready().await;
    let body = vec![b' '; 32 * 1024 + 1];
    let response = trust.client().post(trust.url(AUTH)).body(body).send().await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.json::<Problem>().await.unwrap().code, Some(Code::BodyTooLarge));
    let session = challenge(&trust, &tpm(&maker, Seat::A)).await;
    let fits = "x".repeat(ccnode_protocol::limits::REQUEST_BODY - 2);
    assert_eq!(code(session.attest(&fits).await), Code::MalformedRequest);
    assert_eq!(code(session.attest(&format!("{fits}x")).await), Code::BodyTooLarge);
    let long = "a".repeat(64 * 1024);
    let response = trust.client().get(trust.url(AUTH)).header("x", long).send().await;
    assert!(response.map_or(true, |r| r.status() == 431));
    let mut request = trust.client().get(trust.url(AUTH));
    for i in 0..40 {
        request = request.header(format!("x-{i}"), "a");
    }
    assert!(request.send().await.map_or(true, |r| r.status() == 431));
}

#[tokio::test]
async fn t25_slow_writers_are_cut_off() {
    let trust = Trust::with(|config| {
        config.limits.head_time = short(300);
        config.limits.request_time = short(600);
        config.limits.handshake = short(300);
    })
    .await;
    let start = Instant::now();
    let mut head = plain(&trust).await;
    head.write_all(b"POST /kbs/v0/auth HTTP/1.1\r\nhost: a\r\n").await.unwrap();
    let answer = all(&mut head).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");

    let mut body = plain(&trust).await;
    body.write_all(b"POST /kbs/v0/auth HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{").await.unwrap();
    let mut reply = [0; 12];
    body.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"HTTP/1.1 408");

    let mut silent = TcpStream::connect(trust.node_address()).await.unwrap();
    assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0, "no handshake, no connection");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[tokio::test]
async fn t25_reports_of_nodes_are_bounded() {
    let trust = Trust::with(|config| config.limits.reports_per_minute = 2).await;
    let maker = prepare(&trust).await;
    let granted = first_boot(&trust, &tpm(&maker, Seat::A)).await;
    let report = NodeRefusal { code: Code::DiskFailed, detail: "read".into(), correlation_id: "n".into() };
    for _ in 0..10 {
        granted.session.post::<()>(REFUSALS, &report).await.unwrap();
    }
    let recorded = trust.admin().refusals().await.len();
    assert!((2..5).contains(&recorded), "{recorded}");
}

#[tokio::test]
async fn renewed_certificates_serve_the_same_names() {
    let mut trust = Trust::new().await;
    let old = std::fs::read(trust.dir().join("tls/cert.pem")).unwrap();
    ccnode_server::renew::renew(&trust.dir(), &["trust.example.org".into()]).unwrap();
    let new = std::fs::read_to_string(trust.dir().join("tls/cert.pem")).unwrap();
    assert_ne!(old, new.as_bytes());
    let der = ccnode_server::pki::der_of_pem(&new).unwrap();
    let cert = ccnode_server::pki::parse(&der).unwrap();
    let names = cert.subject_alternative_name().unwrap().unwrap().value.general_names.len();
    assert_eq!(names, 4, "10.0.2.100, 127.0.0.1, localhost, trust.example.org");
    trust.restart().await;
    trust.admin().create_pool(OnUnknown::Ask, &[]).await;
}

#[tokio::test]
async fn t25_connections_are_counted_by_address() {
    let trust = Trust::with(|config| config.limits.connections_per_address = 3).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(plain(&trust).await);
    }
    assert!(tls(&trust, &[&rustls::version::TLS13]).await.is_err(), "the fourth");
    drop(open.pop());
    let deadline = Instant::now() + Duration::from_secs(5);
    while tls(&trust, &[&rustls::version::TLS13]).await.is_err() {
        assert!(Instant::now() < deadline, "a place is given back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn t25_one_address_begins_so_many_sessions_a_minute() {
    let trust = Trust::with(|config| config.limits.sessions_per_minute_per_address = 3).await;
    let maker = prepare(&trust).await;
    let a = tpm(&maker, Seat::A);
    let begin = |client: reqwest::Client| {
        let request = client.post(trust.url(AUTH)).json(&ccnode_testkit::auth_request(&a, &pool()));
        async { request.send().await.unwrap() }
    };
    for _ in 0..3 {
        assert_eq!(begin(trust.client()).await.status(), 200);
    }
    let fourth = begin(trust.client()).await;
    assert_eq!(fourth.status(), 429);
    assert_eq!(fourth.headers()["retry-after"], "20");
    let problem: Problem = fourth.json().await.unwrap();
    assert_eq!(problem.code, Some(Code::SessionsTooMany));
    assert!(problem.kind.ends_with("/errors/AttestationError"), "{}", problem.kind);
    // Others' sessions, and other requests of the same address.
    let elsewhere =
        builder().add_root_certificate(trust.ca()).local_address(std::net::IpAddr::from([127, 0, 0, 2]));
    assert_eq!(begin(elsewhere.build().unwrap()).await.status(), 200);
    assert_eq!(trust.client().get(trust.url("/livez")).send().await.unwrap().status(), 200);
    assert!(trust.admin().refusals().await.is_empty(), "a flood is no record");
}

#[tokio::test]
async fn connections_have_an_end() {
    let trust = Trust::with(|config| config.limits.connection_time = short(300)).await;
    let mut idle = plain(&trust).await;
    assert_eq!(all(&mut idle).await, "");
}

#[tokio::test]
async fn an_ending_service_closes_idle_connections_and_folds_its_log() {
    let mut trust = Trust::new().await;
    let _idle = plain(&trust).await;
    trust.admin().create_pool(OnUnknown::Ask, &[]).await;
    let start = Instant::now();
    trust.stop().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let wal = trust.dir().join("db.sqlite-wal");
    assert!(!wal.exists() || std::fs::metadata(&wal).unwrap().len() == 0);
}

#[tokio::test]
async fn unknown_paths_are_404_for_every_method() {
    let trust = Trust::new().await;
    for path in ["/", "/kbs/v0", "/kbs/v0/resource", "/kbs/v0/attest/x"] {
        let response = trust.client().get(trust.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert_eq!(response.json::<Problem>().await.unwrap().code, Some(Code::NotFound));
    }
    assert_eq!(trust.client().get(trust.url(AUTH)).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn init_with_bad_options_leaves_nothing_in_the_way() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("trust");
    let good = Options {
        names: vec!["trust.example".into()],
        listen: "127.0.0.1:0".parse().unwrap(),
        admin_listen: "0.0.0.0:8444".parse().unwrap(),
        cluster_server: Some("https://api.example:6443".into()),
        cluster_server_ca: None,
    };
    for bad in [
        Options { cluster_server_ca: Some(parent.path().join("nope.pem")), ..good.clone() },
        Options { cluster_server: Some("ftp://api.example".into()), ..good.clone() },
        Options { names: vec!["bad name".into()], ..good.clone() },
    ] {
        assert!(init(&dir, &bad).await.is_err());
        assert!(!dir.exists(), "{bad:?}");
    }
    init(&dir, &good).await.unwrap();
    let url = std::fs::read_to_string(dir.join("admin/url")).unwrap();
    assert_eq!(url, "https://trust.example:8444\n");
}

#[tokio::test]
async fn init_makes_private_files_once() {
    let trust = Trust::new().await;
    let mut folders = vec![trust.dir()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{folder:?}");
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() != "config.toml" {
                let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{path:?}");
                files += 1;
            }
        }
    }
    assert!(files >= 14, "{files}");
    let any = "127.0.0.1:0".parse().unwrap();
    let options = Options {
        names: vec![],
        listen: any,
        admin_listen: any,
        cluster_server: None,
        cluster_server_ca: None,
    };
    let before = std::fs::read(trust.dir().join("kek.key")).unwrap();
    assert!(matches!(init(&trust.dir(), &options).await, Err(InitError::Exists(_))));
    assert_eq!(std::fs::read(trust.dir().join("kek.key")).unwrap(), before);
    let open = tempfile::tempdir().unwrap();
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    init(open.path(), &options).await.unwrap();
    assert_eq!(std::fs::metadata(open.path()).unwrap().permissions().mode() & 0o777, 0o700, "was there");
    let fresh = tempfile::tempdir().unwrap();
    let bad = Options { names: vec!["https://x".into()], ..options };
    assert!(matches!(init(&fresh.path().join("t"), &bad).await, Err(InitError::Pki(_))));
}
