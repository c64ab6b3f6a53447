//! A metadata service on the loopback, good and bad.

use super::*;
use crate::prover::AzureError;
use crate::refusal::Coded as _;
use ccnode_evidence::Code;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Serves one request with `answer`; gives back what was asked.
async fn serving(answer: Vec<u8>) -> (Imds, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        // The head, and a body as long as it says.
        while !is_whole(&asked) {
            let mut part = [0; 4096];
            let n = stream.read(&mut part).await.unwrap();
            assert!(n > 0, "the request ends early");
            asked.extend_from_slice(&part[..n]);
        }
        stream.write_all(&answer).await.unwrap();
        stream.shutdown().await.ok();
        String::from_utf8(asked).unwrap()
    });
    (Imds::at(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)), served)
}

fn is_whole(asked: &[u8]) -> bool {
    let text = String::from_utf8_lossy(asked);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let len = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value);
    len.map(|len| len.parse::<usize>().unwrap()).next().unwrap_or_default() == body.len()
}

fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test]
async fn a_quote_is_made_of_a_report() {
    let (imds, served) = serving(ok(r#"{"quote":"AQID_w"}"#)).await;
    assert_eq!(imds.td_quote(&[0xff, 0xef]).await.unwrap(), [1, 2, 3, 0xff]);
    let asked = served.await.unwrap();
    assert!(asked.starts_with("POST /acc/tdquote HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_lowercase().contains("\r\nhost: 127.0.0.1:"), "{asked}");
    assert!(asked.ends_with(r#"{"report":"_-8"}"#), "{asked}");
}

#[tokio::test]
async fn the_chips_certificate_is_der() {
    let pem = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    let body = serde_json::json!({"vcekCert": pem, "certificateChain": "", "tcbm": "DB18000000000004"});
    let (imds, served) = serving(ok(&body.to_string())).await;
    assert_eq!(imds.vcek().await.unwrap(), [0x30, 3, 2, 1, 1]);
    let asked = served.await.unwrap();
    assert!(asked.starts_with("GET /metadata/THIM/amd/certification HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_lowercase().contains("\r\nmetadata: true\r\n"), "{asked}");
}

#[tokio::test]
async fn answers_that_are_none() {
    let huge = ok(&"x".repeat(limits::RESPONSE_BODY + 1));
    let cases = [
        (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n".to_vec(), "status 429"),
        (ok("{}"), "no quote"),
        (ok(r#"{"quote":"?"}"#), "no quote"),
        (huge, "larger than any that is read"),
        (b"garbage\r\n\r\n".to_vec(), "invalid HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{".to_vec(), "reading a body"),
    ];
    for (answer, want) in cases {
        let (imds, _served) = serving(answer).await;
        let error = imds.td_quote(&[1]).await.unwrap_err().to_string();
        assert!(error.starts_with("instance metadata service, /acc/tdquote: "), "{error}");
        assert!(error.contains(want), "{error}; wanted {want}");
    }
    for body in ["{}", r#"{"vcekCert":"x"}"#] {
        let (imds, _served) = serving(ok(body)).await;
        assert!(matches!(imds.vcek().await.unwrap_err(), ImdsError::Answer { .. }), "{body}");
    }
}

#[tokio::test]
async fn nobody_there() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
    let error = Imds::at(SocketAddrV4::new(Ipv4Addr::LOCALHOST, free)).vcek().await.unwrap_err();
    assert!(matches!(error, ImdsError::Unreachable { .. }), "{error}");
    assert_eq!(AzureError::from(error).code(), Code::ImdsFailed);
}
