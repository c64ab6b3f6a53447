//! Whom the client believes: pinned CAs, one TLS version, a clock that may be wrong.

use crate::server::{Ca, Reply, Server, attest, client, service};
use ccnode_attest_client::ClientError;
use ccnode_evidence::Code;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio_rustls::rustls::ServerConfig;

const YEAR: u64 = 31_557_600;

async fn with(config: Arc<ServerConfig>, pinned: &Ca, floor: u64) -> Result<usize, ClientError> {
    let server = Server::start(config, service(|_, _| None)).await;
    let (outcome, waits) = attest(&mut client(&[&server.url], pinned, floor), 10_000).await;
    assert!(waits.is_empty(), "{waits:?}");
    outcome.map(|_| server.paths().len())
}

#[tokio::test]
async fn t21_only_the_pinned_ca_is_believed() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    assert!(with(ours.server((2020, 2098), "127.0.0.1"), &ours, 0).await.is_ok());
    let error = with(theirs.server((2020, 2098), "127.0.0.1"), &ours, 0).await.unwrap_err();
    assert_eq!(error.code(), Code::ServiceUntrusted, "{error}");
    let error = with(ours.server((2020, 2098), "127.0.0.2"), &ours, 0).await.unwrap_err();
    assert_eq!(error.code(), Code::ServiceUntrusted, "{error}");
}

#[tokio::test]
async fn either_of_two_pins_is_believed() {
    let (current, next) = (Ca::new(), Ca::new());
    let mut both = Ca::new();
    both.pem = format!("{}{}", current.pem, next.pem);
    assert!(with(next.server((2020, 2098), "127.0.0.1"), &both, 0).await.is_ok());
    assert!(with(current.server((2020, 2098), "127.0.0.1"), &both, 0).await.is_ok());
}

#[tokio::test]
async fn an_expired_certificate_names_both_times() {
    let ca = Ca::new();
    let ended = OffsetDateTime::now_utc() - Duration::from_secs(30 * 24 * 3600);
    let config = ca.server_at(rcgen::date_time_ymd(2020, 1, 1), ended, "127.0.0.1");
    let error = with(config, &ca, 0).await.unwrap_err();
    assert_eq!(error.code(), Code::ServiceCertExpired, "{error}");
    let (ended, now) = (ended.date(), OffsetDateTime::now_utc().year());
    assert!(error.to_string().contains(&format!("ended {ended}T")), "{error}");
    assert!(error.to_string().contains(&format!("the clock says {now}-")), "{error}");
}

#[tokio::test]
async fn t28_a_clock_far_past_the_certificate_is_told_from_it() {
    let ca = Ca::new();
    let in_2060 = 90 * YEAR;
    let error = with(ca.server((2020, 2040), "127.0.0.1"), &ca, in_2060).await.unwrap_err();
    assert_eq!(error.code(), Code::ClockAfterCertificate, "{error}");
    assert!(
        error.to_string().contains("2040-01-01T00:00:00Z") && error.to_string().contains("2060-"),
        "{error}"
    );
}

#[tokio::test]
async fn t28_a_clock_that_is_behind_does_not_keep_a_node_out() {
    let ca = Ca::new();
    assert!(with(ca.server((2080, 2098), "127.0.0.1"), &ca, 0).await.is_ok());
    // What ended before it began stays out.
    let error = with(ca.server((2090, 2080), "127.0.0.1"), &ca, 0).await.unwrap_err();
    assert!(matches!(
        error.code(),
        Code::ServiceCertExpired | Code::ServiceUntrusted | Code::ClockAfterCertificate
    ));
}

#[tokio::test]
async fn older_tls_is_not_spoken() {
    let ca = Ca::new();
    let config = ca.server((2020, 2098), "127.0.0.1");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let old = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&tokio_rustls::rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(config.cert_resolver.clone());
    let error = with(Arc::new(old), &ca, 0).await.unwrap_err();
    assert_eq!(error.code(), Code::ServiceGarbage, "{error}");
}

#[tokio::test]
async fn t21_an_impostor_at_the_first_url_does_not_keep_a_node_from_the_second() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let start = |config| Server::start(config, service(|_, _| None));
    let impostor = start(theirs.server((2020, 2098), "127.0.0.1")).await;
    let good = start(ours.server((2020, 2098), "127.0.0.1")).await;
    let mut both = client(&[&impostor.url, &good.url], &ours, 0);
    let (outcome, waits) = attest(&mut both, 10_000).await;
    outcome.unwrap();
    assert_eq!((both.url(), waits.len()), (good.url.as_str(), 1));
    assert!(waits[0].next.is_zero() && waits[0].reason.starts_with(&impostor.url), "{waits:?}");
    assert!(impostor.paths().is_empty(), "the impostor saw a request");
}

#[tokio::test]
async fn each_url_is_tried_once_before_a_failure_of_trust_counts() {
    let (ours, theirs) = (Ca::new(), Ca::new());
    let impostor = Server::start(theirs.server((2020, 2098), "127.0.0.1"), service(|_, _| None)).await;
    let garbage = |_: &_| Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec());
    let other = Server::start(ours.server((2020, 2098), "127.0.0.1"), garbage).await;
    let (outcome, waits) = attest(&mut client(&[&other.url, &impostor.url], &ours, 0), 10_000).await;
    assert_eq!(outcome.unwrap_err().code(), Code::ServiceUntrusted);
    assert_eq!((waits.len(), other.paths().len()), (1, 1));

    // One that is only away for now is tried until the deadline, and the impostor is not asked again.
    let away = "https://127.0.0.1:1";
    let (outcome, waits) = attest(&mut client(&[&impostor.url, away], &ours, 0), 1500).await;
    assert_eq!(outcome.unwrap_err().code(), Code::ServiceUnreachable);
    assert!(waits.iter().skip(1).all(|wait| wait.reason.starts_with(away)) && waits.len() > 1, "{waits:?}");
}
