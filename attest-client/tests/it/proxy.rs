//! A proxy on the way: it is asked to CONNECT, resolves the name, sees TLS alone, and changes nothing about the pinned CAs.

use crate::server::{Ca, NAME, Server, attest, grants, service, settings};
use ccnode_attest_client::Client;
use ccnode_evidence::Code;
use ccnode_protocol::init_data::Proxy;
use ccnode_protocol::{ATTEST, AUTH, GRANTS};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A name that no resolver knows.
const NOWHERE: &str = "trust.invalid";

struct Connect {
    proxy: Proxy,
    /// What it was asked, head by head.
    heads: Arc<Mutex<Vec<String>>>,
}

/// A proxy that leads whatever it is asked for to `to`, or answers with `answer` and closes.
async fn proxy(to: &str, answer: &'static [u8]) -> Connect {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let (to, log) = (to.strip_prefix("https://").unwrap().to_owned(), Arc::clone(&heads));
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (to, log) = (to.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(near.read_u8().await.unwrap());
                }
                log.lock().unwrap().push(String::from_utf8(head).unwrap());
                near.write_all(answer).await.unwrap();
                if answer.starts_with(b"HTTP/1.1 200") {
                    let mut far = TcpStream::connect(to).await.unwrap();
                    // Either end may close.
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    Connect { proxy, heads }
}

const GOOD: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

async fn well(ca: &Ca) -> Server {
    Server::start(ca.server((2020, 2098), NOWHERE), service(|_, _| None)).await
}

#[tokio::test]
async fn the_whole_session_goes_by_the_proxy() {
    let ca = Ca::new();
    let server = well(&ca).await;
    let connect = proxy(&server.url, GOOD).await;
    let url = format!("https://{NOWHERE}");
    let mut client = Client::through(settings(&[&url], &ca, 0), Some(&connect.proxy)).unwrap();
    assert_eq!(attest(&mut client, 20_000).await.0.unwrap().grants, grants(NAME));
    assert_eq!(server.paths(), [AUTH, ATTEST, GRANTS]);
    let heads = connect.heads.lock().unwrap().clone();
    assert!(!heads.is_empty());
    for head in heads {
        let lower = head.to_lowercase();
        assert!(head.starts_with(&format!("CONNECT {NOWHERE}:443 HTTP/1.1\r\n")), "{head}");
        assert!(!lower.contains("cookie") && !lower.contains("authorization"), "{head}");
    }
}

#[tokio::test]
async fn who_answers_behind_it_must_still_have_the_pinned_ca() {
    let (ca, other) = (Ca::new(), Ca::new());
    let impostor = well(&other).await;
    let connect = proxy(&impostor.url, GOOD).await;
    let url = format!("https://{NOWHERE}");
    let mut client = Client::through(settings(&[&url], &ca, 0), Some(&connect.proxy)).unwrap();
    let error = attest(&mut client, 5_000).await.0.unwrap_err();
    assert_eq!(error.code(), Code::ServiceUntrusted, "{error}");
    assert!(impostor.paths().is_empty());
}

#[tokio::test]
async fn a_proxy_that_does_not_connect_is_an_unreachable_service_within_the_deadline() {
    let ca = Ca::new();
    let server = well(&ca).await;
    let endless: &'static [u8] = Box::leak(vec![b'a'; 1 << 20].into_boxed_slice());
    let mut proxies = Vec::new();
    for answer in [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n".as_slice(),
        b"HTTP/1.1 502 X\r\n\r\n",
        b"",
        endless,
    ] {
        proxies.push(proxy(&server.url, answer).await.proxy);
    }
    proxies.push("http://127.0.0.1:1".parse().unwrap());
    proxies.push("http://proxy.invalid:3128".parse().unwrap());
    for proxy in proxies {
        let url = format!("https://{NOWHERE}");
        let mut client = Client::through(settings(&[&url], &ca, 0), Some(&proxy)).unwrap();
        let since = Instant::now();
        let error = attest(&mut client, 1_500).await.0.unwrap_err();
        assert_eq!(error.code(), Code::ServiceUnreachable, "{proxy}: {error}");
        assert!(since.elapsed() < Duration::from_secs(4), "{proxy}: {:?}", since.elapsed());
    }
    assert!(server.paths().is_empty());
}
