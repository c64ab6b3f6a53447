//! What one peer may cause in store, log and memory, and that others pass meanwhile.

use crate::fixture::*;
use ccnode_evidence::Code;
use ccnode_protocol::admin::{AUDIT, AuditRow, RefusalRecord};
use ccnode_server::store::Store as _;
use ccnode_testkit::Seat;
use std::time::Duration;

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
