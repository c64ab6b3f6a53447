//! Several services: who is asked, who wins, and that nothing after the challenge goes to two of them.

use crate::server::{Ca, NAME, Reply, Req, Server, attest, client, grants, service};
use crate::stock::{broker, fetch};
use ccnode_evidence::Code;
use ccnode_protocol::jwe::SessionKeyKind;
use ccnode_protocol::{ATTEST, AUTH, GRANTS};
use serde_json::json;
use std::time::{Duration, Instant};

const FAR: u64 = 20_000;
const DEAD: &str = "https://127.0.0.1:1";

fn silent(path: &'static str) -> impl Fn(&Req, usize) -> Option<Reply> + Send + Sync {
    move |r, _| (r.path == path).then_some(Reply::Silence)
}

async fn start(ca: &Ca, script: impl Fn(&Req) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(ca.server((2020, 2098), "127.0.0.1"), script).await
}

#[tokio::test]
async fn a_slow_service_loses_to_a_quick_one_and_sees_no_attestation() {
    let ca = Ca::new();
    let slow = start(&ca, service(silent(AUTH))).await;
    let quick = start(&ca, service(|_, _| None)).await;
    let mut client = client(&[&slow.url, &quick.url], &ca, 0);
    let since = Instant::now();
    let (outcome, _) = attest(&mut client, FAR).await;
    assert_eq!(outcome.unwrap().grants, grants(NAME));
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!(
        (slow.paths(), quick.paths()),
        (vec![AUTH.to_owned()], vec![AUTH.into(), ATTEST.into(), GRANTS.into()])
    );
    // It sticks to who won.
    assert_eq!(client.url(), quick.url);
    attest(&mut client, FAR).await.0.unwrap();
    assert_eq!(slow.paths().len(), 1);
}

#[tokio::test]
async fn a_dead_service_costs_no_head_start() {
    let ca = Ca::new();
    let well = start(&ca, service(|_, _| None)).await;
    let since = Instant::now();
    let (outcome, waits) = attest(&mut client(&[DEAD, &well.url], &ca, 0), FAR).await;
    outcome.unwrap();
    assert!(since.elapsed() < Duration::from_secs(5));
    assert!(waits.len() == 1 && waits[0].next.is_zero() && waits[0].reason.starts_with(DEAD), "{waits:?}");
}

#[tokio::test]
async fn of_two_quick_ones_the_first_is_asked_alone() {
    let ca = Ca::new();
    let (first, second) = (start(&ca, service(|_, _| None)).await, start(&ca, service(|_, _| None)).await);
    attest(&mut client(&[&first.url, &second.url], &ca, 0), FAR).await.0.unwrap();
    assert_eq!((first.paths().len(), second.paths().len()), (3, 0));
}

#[tokio::test]
async fn of_two_that_answer_late_one_session_goes_on() {
    let ca = Ca::new();
    // Both answer after the head start, the second a little sooner than the first.
    let late = |ms| {
        move |r: &Req, _| {
            if r.path == AUTH {
                std::thread::sleep(Duration::from_millis(ms));
            }
            None
        }
    };
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    // Servers that sleep need threads of their own.
    let (one, two) = (runtime(), runtime());
    let config = ca.server((2020, 2098), "127.0.0.1");
    let (c, d) = (config.clone(), config);
    let first = one.spawn(async move { Server::start(c, service(late(1600))).await }).await.unwrap();
    let second = two.spawn(async move { Server::start(d, service(late(400))).await }).await.unwrap();
    attest(&mut client(&[&first.url, &second.url], &ca, 0), FAR).await.0.unwrap();
    let attests = |server: &Server| server.paths().iter().filter(|p| *p != AUTH).count();
    assert_eq!((attests(&first), attests(&second)), (0, 2));
    one.shutdown_background();
    two.shutdown_background();
}

#[tokio::test]
async fn all_dead_is_a_defined_end_within_the_deadline() {
    let ca = Ca::new();
    let silent = start(&ca, service(silent(AUTH))).await;
    for urls in [vec![DEAD, "https://127.0.0.1:2"], vec![DEAD, silent.url.as_str()]] {
        let since = Instant::now();
        let error = attest(&mut client(&urls, &ca, 0), 2500).await.0.unwrap_err();
        assert_eq!(error.code(), Code::ServiceUnreachable, "{error}");
        assert!(since.elapsed() < Duration::from_millis(4000), "{urls:?}: {:?}", since.elapsed());
    }
    let since = Instant::now();
    let mut stock = crate::stock::client(&[DEAD, &silent.url], &ca, SessionKeyKind::P256);
    let error = fetch(&mut stock, 2500).await.0.unwrap_err();
    assert_eq!(error.code(), Code::ServiceUnreachable);
    assert!(since.elapsed() < Duration::from_millis(4000));
}

#[tokio::test]
async fn a_winner_that_dies_after_the_challenge_gives_the_session_up_and_another_begins_one() {
    let ca = Ca::new();
    let dies = start(&ca, service(|r, _| (r.path == ATTEST).then(|| Reply::Raw(Vec::new())))).await;
    let well = start(&ca, service(|_, _| None)).await;
    let mut client = client(&[&dies.url, &well.url], &ca, 0);
    attest(&mut client, FAR).await.0.unwrap();
    // The nonce of the one that died is sent once, and to nobody else.
    assert_eq!(dies.paths(), [AUTH, ATTEST]);
    assert_eq!(well.paths(), [AUTH, ATTEST, GRANTS]);
    let key = |server: &Server| {
        let attest = server.requests().into_iter().find(|r| r.path == ATTEST).unwrap();
        attest.json::<serde_json::Value>()["runtime-data"]["tee-pubkey"].clone()
    };
    assert_ne!(key(&dies), key(&well));
    assert_eq!(client.url(), well.url);
}

#[tokio::test]
async fn a_refusal_ends_the_race() {
    let ca = Ca::new();
    let refuses =
        start(&ca, service(|r, _| (r.path == AUTH).then(|| crate::server::problem(401, "pool-unknown"))))
            .await;
    let other = start(&ca, service(|_, _| None)).await;
    let (outcome, waits) = attest(&mut client(&[&refuses.url, &other.url], &ca, 0), FAR).await;
    assert_eq!((outcome.unwrap_err().code(), waits.len()), (Code::PoolUnknown, 0));
    assert!(other.paths().is_empty());
}

#[tokio::test]
async fn a_stock_session_is_hedged_alike() {
    let ca = Ca::new();
    let slow = start(&ca, broker(silent(AUTH))).await;
    let sick = start(&ca, broker(|_, _| Some(Reply::Json(503, json!({}))))).await;
    let quick = start(&ca, broker(|_, _| None)).await;
    let mut stock = crate::stock::client(&[&slow.url, &sick.url, &quick.url], &ca, SessionKeyKind::P256);
    fetch(&mut stock, FAR).await.0.unwrap();
    assert_eq!(stock.url(), quick.url);
    assert_eq!((slow.paths(), sick.paths()), (vec![AUTH.to_owned()], vec![AUTH.to_owned()]));
}
