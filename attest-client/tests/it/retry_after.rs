//! `Retry-After`: heeded where a service may ask for it, within the one deadline, and by each service for itself.

use crate::server::{Ca, NAME, Reply, Req, Server, attest, client, grants, service};
use ccnode_evidence::Code;
use ccnode_protocol::grants::Formatted;
use ccnode_protocol::{ATTEST, AUTH, FORMATTED, GRANTS};
use std::time::{Duration, Instant};

/// An answer with `Retry-After`, as our service and others put it.
fn later(status: u16, asked: &str, body: &str) -> Reply {
    let length = body.len();
    Reply::Raw(
        format!("HTTP/1.1 {status} X\r\nretry-after: {asked}\r\ncontent-length: {length}\r\n\r\n{body}")
            .into_bytes(),
    )
}

const TOO_MANY: &str = r#"{"type":"https://github.com/confidential-containers/kbs/errors/X","detail":"one more","code":"sessions-too-many"}"#;

async fn start(ca: &Ca, change: impl Fn(&Req, usize) -> Option<Reply> + Send + Sync + 'static) -> Server {
    Server::start(ca.server((2020, 2098), "127.0.0.1"), service(change)).await
}

#[tokio::test]
async fn a_service_is_left_alone_for_as_long_as_it_asks() {
    for (path, status, body) in [(AUTH, 429, TOO_MANY), (AUTH, 503, "busy"), (GRANTS, 503, "")] {
        let ca = Ca::new();
        let server =
            start(&ca, move |r, n| (r.path == path && n == 1).then(|| later(status, "2", body))).await;
        let since = Instant::now();
        let (outcome, waits) = attest(&mut client(&[&server.url], &ca, 0), 20_000).await;
        assert_eq!(outcome.unwrap().grants, grants(NAME));
        assert!(since.elapsed() >= Duration::from_secs(2), "{path} {status}: {:?}", since.elapsed());
        assert!(waits.len() == 1 && waits[0].next >= Duration::from_secs(2), "{waits:?}");
        assert!(waits[0].next <= Duration::from_millis(2_500), "{waits:?}");
        // In a session nothing but the request at fault is made again.
        let again =
            if path == AUTH { vec![AUTH, AUTH, ATTEST, GRANTS] } else { vec![AUTH, ATTEST, GRANTS, GRANTS] };
        assert_eq!(server.paths(), again);
    }
}

#[tokio::test]
async fn who_asks_for_more_than_there_is_gets_one_last_attempt_within_the_deadline() {
    for asked in ["30", "18446744073709551615"] {
        let ca = Ca::new();
        let server = start(&ca, move |r, _| (r.path == AUTH).then(|| later(429, asked, TOO_MANY))).await;
        let since = Instant::now();
        let (outcome, waits) = attest(&mut client(&[&server.url], &ca, 0), 2_500).await;
        assert_eq!(outcome.unwrap_err().code(), Code::SessionsTooMany);
        assert!(since.elapsed() < Duration::from_secs(4), "{:?}", since.elapsed());
        // What is left after the last attempt may fit another one, if it is short.
        assert!((2..=3).contains(&server.paths().len()), "{:?}", server.paths());
        assert!(waits[0].next >= Duration::from_millis(1_500), "{waits:?}");
    }
}

#[tokio::test]
async fn what_is_no_number_of_seconds_or_stands_beside_another_status_changes_nothing() {
    for (status, asked) in [(429, "soon"), (503, "-5"), (503, "Wed, 21 Oct 2099 07:28:00 GMT"), (500, "30")] {
        let ca = Ca::new();
        let server =
            start(&ca, move |r, n| (r.path == AUTH && n == 1).then(|| later(status, asked, ""))).await;
        let (outcome, waits) = attest(&mut client(&[&server.url], &ca, 0), 20_000).await;
        outcome.unwrap();
        assert!(waits.len() == 1 && waits[0].next < Duration::from_secs(1), "{status} {asked}: {waits:?}");
    }
}

#[tokio::test]
async fn another_service_that_did_not_ask_is_not_kept_waiting() {
    let ca = Ca::new();
    let busy = start(&ca, |_, _| Some(later(503, "30", ""))).await;
    let well = start(&ca, |_, _| None).await;
    let since = Instant::now();
    let mut client = client(&[&busy.url, &well.url], &ca, 0);
    attest(&mut client, 20_000).await.0.unwrap();
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!((busy.paths().len(), well.paths().len()), (1, 3));
}

#[tokio::test]
async fn a_message_that_spends_a_grant_goes_to_the_one_that_may_be_asked() {
    let ca = Ca::new();
    let busy = start(&ca, |r, _| (r.path == FORMATTED).then(|| later(503, "30", ""))).await;
    let well = start(&ca, |_, _| None).await;
    let mut client = client(&[&busy.url, &well.url], &ca, 0);
    attest(&mut client, 20_000).await.0.unwrap();
    let formatted = Formatted {
        grant: "g".into(),
        secret: ccnode_evidence::Secret::new([1; 32]),
        generation: 1,
        header_digest: ccnode_evidence::Sha256Digest::ZERO,
        recovery: None,
    };
    let since = Instant::now();
    let deadline = ccnode_attest_client::Deadline::after(Duration::from_secs(20));
    client.formatted(&formatted, deadline, |_| ()).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(well.paths(), [FORMATTED]);
}

#[tokio::test]
async fn of_two_that_asked_the_one_that_asked_for_less_comes_first() {
    let ca = Ca::new();
    let long = start(&ca, |_, _| Some(later(429, "30", TOO_MANY))).await;
    let short = start(&ca, |r, n| (r.path == AUTH && n == 1).then(|| later(429, "1", TOO_MANY))).await;
    let (outcome, waits) = attest(&mut client(&[&short.url, &long.url], &ca, 0), 20_000).await;
    outcome.unwrap();
    assert!(waits.last().unwrap().next < Duration::from_secs(5), "{waits:?}");
    assert_eq!((long.paths().len(), short.paths().len()), (1, 4));
}
