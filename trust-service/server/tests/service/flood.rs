//! What one peer may cause in store, log and memory, and that others pass meanwhile.

use crate::bounds::{plain, short};
use crate::fixture::*;
use crate::stock_clients::*;
use ccnode_evidence::Code;
use ccnode_protocol::GRANTS;
use ccnode_protocol::admin::{AUDIT, AuditRow, OnUnknown, PoolEdit, RefusalRecord, Rule};
use ccnode_protocol::jwe::Jwe;
use ccnode_server::store::Store as _;
use ccnode_testkit::{Boot, Seat};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

fn of<'a>(
    records: &'a [RefusalRecord],
    node: &'a ccnode_protocol::NodeName,
) -> impl Iterator<Item = &'a RefusalRecord> {
    records.iter().filter(move |record| record.node.as_ref() == Some(node))
}

#[tokio::test]
async fn t25_a_proven_node_fills_neither_store_nor_audit_log() {
    let mut trust = Trust::with(|config| config.limits.proven_per_minute = 3).await;
    let maker = prepare(&trust).await;
    let (a, b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    let name = challenge(&trust, &a).await.answer(&a).2;
    a.cap();
    b.cap();
    for _ in 0..12 {
        assert_eq!(judged_code(&trust, &a).await, Code::AlreadyCapped);
    }
    assert_eq!(judged_code(&trust, &b).await, Code::AlreadyCapped);
    let records = trust.admin().refusals().await;
    let recorded = of(&records, &name).count();
    assert!((3..7).contains(&recorded), "{recorded}");
    assert_eq!(records.len() - recorded, 1, "the other's is recorded");
    trust.restart().await;
    let rows: Vec<AuditRow> = trust.admin().get(AUDIT).await;
    let left_out: Vec<_> = rows.iter().filter(|row| row.action == "refusals.left-out").collect();
    assert_eq!(left_out.len(), 1, "one row for all");
    assert_eq!(left_out[0].detail["nodes"][name.as_str()], 12 - recorded);
    assert_eq!(rows.iter().filter(|row| row.action == "session.refused").count(), records.len());
}

#[tokio::test]
async fn t25_a_node_evicts_its_own_records_alone() {
    let trust = Trust::with(|config| {
        (config.keep.refusals_per_node, config.keep.evidence_per_node) = (3, 2);
        (config.keep.refusals, config.keep.evidence) = (4, 3);
    })
    .await;
    let maker = prepare(&trust).await;
    let (a, b) = (tpm(&maker, Seat::A), tpm(&maker, Seat::B));
    let names = [&a, &b].map(|tpm| challenge(&trust, tpm));
    let [a_name, b_name] = names;
    let (a_name, b_name) = (a_name.await.answer(&a).2, b_name.await.answer(&b).2);
    a.cap();
    b.cap();
    judged(&trust, &b).await;
    for _ in 0..6 {
        judged(&trust, &a).await;
    }
    let records = trust.admin().refusals().await;
    let kept = |name| of(&records, name).map(|record| record.has_evidence).collect::<Vec<_>>();
    assert_eq!(kept(&b_name), [true]);
    assert_eq!(kept(&a_name), [true, true, false]);
}

#[tokio::test]
async fn t25_what_a_node_is_given_again_and_again_fills_no_audit_log() {
    let trust = Trust::with(|config| {
        stock_config(config);
        config.limits.releases_per_minute_per_node = 3;
    })
    .await;
    let maker = prepare(&trust).await;
    edit_pool(&trust, PoolEdit { rules: Some(RULES.to_vec()), ..PoolEdit::default() }).await;
    // Grants of ccnode/1, resources by its cookie, and resources of a stock session.
    let session = challenge(&trust, &tpm(&maker, Seat::A)).await;
    let (attestation, ..) = session.answer(&tpm(&maker, Seat::A));
    session.attest(&attestation).await.unwrap();
    let ours = nodes(&trust).await[0].name.clone();
    let (stock, _) = stock_join(&trust, &soft(Seat::B)).await.unwrap();
    let all = nodes(&trust).await;
    let own = format!("{}/key/root", all.iter().find(|node| node.name != ours).unwrap().name);
    trust.admin().set(&own, b"key").await.unwrap();
    let (mut grants, mut resources) = (Vec::new(), Vec::new());
    for _ in 0..8 {
        grants.push(session.get::<Jwe>(GRANTS).await);
        resources.push(stock.get::<Jwe>(&format!("/kbs/v0/resource/{own}")).await);
    }
    for answers in [grants, resources] {
        let given = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!((3..6).contains(&given), "{given}");
        let refused = answers.into_iter().find_map(Result::err).unwrap();
        assert_eq!((refused.problem.code, refused.status.as_u16()), (Some(Code::ReleasesTooMany), 429));
    }
    // What is no row of the audit log is sealed to a key of the node's choice all the same, and that may be a slow one.
    let cluster = session.get::<Jwe>(&format!("/kbs/v0/resource/node/{ours}/cluster")).await;
    assert_eq!(code(cluster.map(|_| ())), Code::ReleasesTooMany);
    let rows: Vec<AuditRow> = trust.admin().get(AUDIT).await;
    let of = |action: &str| rows.iter().filter(|row| row.action == action).count();
    assert!(of("resource.read") < 6 && of("session.granted") + of("session.repeated") < 6);
    assert_eq!(of("session.refused"), 0, "a refusal of this kind is no row either");
}

#[tokio::test]
async fn t25_who_waits_fills_no_audit_log_by_asking_again() {
    let trust = Trust::with(|config| {
        stock_config(config);
        config.limits.proven_per_minute = 3;
    })
    .await;
    trust.admin().create_pool(OnUnknown::Ask, &[Rule::DangerNoActivation]).await;
    trust.admin().allow(&Boot::standard(), verity()).await;
    let stranger = soft(Seat::A);
    for _ in 0..12 {
        assert_eq!(code(stock_join(&trust, &stranger).await.map(|_| ())), Code::NodePending);
    }
    let rows: Vec<AuditRow> = trust.admin().get(AUDIT).await;
    let of = |action: &str| rows.iter().filter(|row| row.action == action).count();
    let (held, refused) = (of("node.held"), of("session.refused"));
    assert!(held >= 1 && refused >= 1 && held + refused < 7, "{held} and {refused}");
}

#[tokio::test]
async fn t25_a_replayed_body_costs_no_write() {
    let trust = Trust::with(|config| config.limits.unproven_per_minute = 0).await;
    let maker = prepare(&trust).await;
    let a = tpm(&maker, Seat::A);
    let session = challenge(&trust, &a).await;
    let (attestation, ..) = session.answer(&a);
    session.attest(&attestation).await.unwrap();
    let writer = trust.service().store.write().await.unwrap();
    let replays = async {
        for _ in 0..3 {
            assert_eq!(code(session.attest(&attestation).await), Code::NonceSpent);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), replays).await.expect("answered while another writes");
    drop(writer);
    assert!(trust.admin().refusals().await.is_empty());
}

/// An attestation whose body never ends.
async fn endless(trust: &Trust, cookie: &str) -> TlsStream<TcpStream> {
    let head = format!(
        "POST /kbs/v0/attest HTTP/1.1\r\nhost: a\r\ncookie: {cookie}\r\ncontent-length: 100\r\n\r\n{{"
    );
    let mut stream = plain(trust).await;
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn t25_one_address_leaves_room_for_the_others_attestations() {
    let trust = Trust::with(|config| {
        config.limits.body_time = short(120_000);
        config.limits.request_time = short(120_000);
    })
    .await;
    let maker = prepare(&trust).await;
    let a = tpm(&maker, Seat::A);
    let session = challenge(&trust, &a).await;
    let mut slow = Vec::new();
    // As many as one address may have open: two are left for the challenges.
    for _ in 0..62 {
        slow.push(endless(&trust, &session.cookie).await);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while trust.service().attestations.free() > 56 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(trust.service().attestations.free(), 56, "eight of one address");
    let elsewhere = builder()
        .add_root_certificate(trust.ca())
        .local_address(std::net::IpAddr::from([127, 0, 0, 2]))
        .build()
        .unwrap();
    let good = Challenged { client: elsewhere, ..challenge(&trust, &a).await };
    let (attestation, ..) = good.answer(&a);
    let answer = tokio::time::timeout(Duration::from_secs(30), good.attest(&attestation)).await;
    answer.expect("a good node elsewhere passes").unwrap();
    drop(slow);
}

#[tokio::test]
async fn t25_a_slow_attestation_is_cut_off() {
    let trust = Trust::with(|config| config.limits.body_time = short(300)).await;
    let maker = prepare(&trust).await;
    let a = tpm(&maker, Seat::A);
    let session = challenge(&trust, &a).await;
    let start = Instant::now();
    let mut slow = endless(&trust, &session.cookie).await;
    let mut reply = [0; 12];
    slow.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"HTTP/1.1 408");
    assert!(start.elapsed() < Duration::from_secs(20), "well before any request's end");
    let mut rest = String::new();
    let _ = slow.read_to_string(&mut rest).await;
    assert!(rest.contains("RequestTimeout"), "{rest}");
    assert_eq!(trust.service().attestations.free(), 64, "its place is free");
    let (attestation, ..) = session.answer(&a);
    session.attest(&attestation).await.unwrap();
}
