//! Answers that are no answers.

use crate::server::{Ca, Reply, Server, attest, client, service};
use ccnode_evidence::Code;
use ccnode_protocol::{AUTH, GRANTS, limits};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;

async fn fails(reply: impl Fn() -> Reply + Send + Sync + 'static, ms: u64) -> (Code, String, usize) {
    let ca = Ca::new();
    let script = service(move |r, _| (r.path == AUTH).then(&reply));
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let error = attest(&mut client(&[&server.url], &ca, 0), ms).await.0.unwrap_err();
    (error.code(), error.to_string(), server.paths().len())
}

#[tokio::test]
async fn garbage_is_refused_at_once() {
    let cases: [fn() -> Reply; 6] = [
        || Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        || Reply::Json(200, json!({"nonce": "AAAA", "extra-params": {}})),
        || Reply::Json(200, Value::Null),
        || Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n<html/>".to_vec()),
        || Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
        || {
            Reply::Raw(
                [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: ".as_slice(), &[0xff; 20], b"\r\n\r\n[]"]
                    .concat(),
            )
        },
    ];
    for (i, case) in cases.into_iter().enumerate() {
        let (code, text, requests) = fails(case, 10_000).await;
        assert_eq!((code, requests), (Code::ServiceGarbage, 1), "case {i}: {text}");
    }
}

#[tokio::test]
async fn a_challenge_without_cookie_is_garbage() {
    let ca = Ca::new();
    let Reply::Json(_, challenge) = crate::server::challenge() else { unreachable!() };
    let body = challenge.to_string();
    let raw = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server =
        Server::start(ca.server((2020, 2098), "127.0.0.1"), move |_| Reply::Raw(raw.clone().into_bytes()))
            .await;
    let error = attest(&mut client(&[&server.url], &ca, 0), 10_000).await.0.unwrap_err();
    assert_eq!(error.code(), Code::ServiceGarbage);
    assert!(error.to_string().contains("cookie"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let reply = || {
        Reply::Raw(b"HTTP/1.1 307 X\r\nlocation: https://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec())
    };
    let (code, text, requests) = fails(reply, 10_000).await;
    assert_eq!((code, requests), (Code::ServiceFailed, 1), "{text}");
    assert!(text.contains("status 307"), "{text}");
}

#[tokio::test]
async fn bodies_are_read_up_to_the_limit() {
    let fits = || Reply::Json(200, json!("a".repeat(limits::RESPONSE_BODY - 2)));
    assert_eq!(fails(fits, 10_000).await.0, Code::ServiceGarbage);
    let larger = || Reply::Json(200, json!("a".repeat(limits::RESPONSE_BODY - 1)));
    assert_eq!(fails(larger, 10_000).await.0, Code::ServiceOversized);
    let since = Instant::now();
    assert_eq!(fails(|| Reply::Endless, 60_000).await.0, Code::ServiceOversized);
    assert!(since.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn an_oversized_error_is_oversized_too() {
    let reply = || Reply::Json(401, json!("a".repeat(limits::RESPONSE_BODY)));
    assert_eq!(fails(reply, 10_000).await.0, Code::ServiceOversized);
}

#[tokio::test]
async fn errors_500_end_with_the_deadline() {
    let since = Instant::now();
    let (code, text, requests) =
        fails(|| Reply::Json(500, json!({"type": "x", "detail": "broken"})), 1500).await;
    assert_eq!(code, Code::ServiceFailed);
    assert!(text.ends_with("status 500: broken") && requests >= 2, "{text} {requests}");
    assert!(since.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn silence_ends_with_the_deadline() {
    let since = Instant::now();
    let (code, text, _) = fails(|| Reply::Silence, 800).await;
    assert_eq!(code, Code::ServiceUnreachable, "{text}");
    assert!(text.contains("no answer in"), "{text}");
    assert!(since.elapsed() >= Duration::from_millis(400) && since.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_body_that_stops_is_unreachable_and_tried_again() {
    let reply = || Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{".to_vec());
    let (code, text, requests) = fails(reply, 1500).await;
    assert_eq!(code, Code::ServiceUnreachable, "{text}");
    assert!(requests >= 2);
}

#[tokio::test]
async fn nobody_there() {
    let ca = Ca::new();
    // Port 1 on loopback refuses.
    let (outcome, waits) = attest(&mut client(&["https://127.0.0.1:1"], &ca, 0), 1500).await;
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), Code::ServiceUnreachable);
    assert!(error.to_string().starts_with("https://127.0.0.1:1: "), "{error}");
    assert!(!waits.is_empty());
}

#[tokio::test]
async fn what_speaks_no_tls_is_garbage() {
    let ca = Ca::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        }
    });
    let error = attest(&mut client(&[&url], &ca, 0), 10_000).await.0.unwrap_err();
    assert_eq!(error.code(), Code::ServiceGarbage, "{error}");
}

#[tokio::test]
async fn t21_garbled_grants_are_not_quoted_in_the_error() {
    let ca = Ca::new();
    let key = std::sync::Mutex::new(None);
    let script = service(move |r, _| match r.path.as_str() {
        ccnode_protocol::ATTEST => {
            *key.lock().unwrap() = Some(crate::server::check(&r.json()));
            None
        }
        GRANTS => {
            let key = key.lock().unwrap().clone().unwrap();
            let jwe = ccnode_protocol::jwe::seal(&key, br#"{"version":1,"node":"SECRETSECRET!"}"#).unwrap();
            Some(Reply::Json(200, serde_json::to_value(jwe).unwrap()))
        }
        _ => None,
    });
    let server = Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await;
    let error = attest(&mut client(&[&server.url], &ca, 0), 10_000).await.0.unwrap_err();
    assert_eq!(error.code(), Code::ServiceGarbage);
    assert!(!format!("{error} {error:?}").contains("SECRET"), "{error:?}");
}
