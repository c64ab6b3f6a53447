//! t17: nodes of one boot have one release, and a record that ends; sessions that ended get nothing.

use crate::fixture::*;
use crate::machines::*;
use crate::races::edit_node;
use ccnode_evidence::Code;
use ccnode_protocol::admin::{self, NodeRecord};
use ccnode_protocol::{CERTIFICATE, NodeName};
use ccnode_server::cookie::{OfferedTpm, Session};
use ccnode_server::store::{Store as _, Tx as _};
use ccnode_testkit::{Boot, Machine, Seat};
use serde_json::json;

async fn nodes(trust: &Trust) -> Vec<NodeRecord> {
    trust.admin().get(admin::NODES).await
}

/// The node's record ended a second ago, and nobody has swept yet.
async fn end(trust: &Trust, name: &NodeName) {
    let now = trust.service().now();
    edit_node(trust, name, |row| row.expires = Some(now - 1)).await;
}

/// Forgets all that has ended.
async fn sweep(trust: &Trust) {
    let mut tx = trust.service().store.write().await.unwrap();
    tx.purge_nodes(trust.service().now()).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn t17_one_release_for_a_report_id() {
    let (mut trust, _) = confidential(&[]).await;
    // Two sessions of one launch are accepted; one of them has the release.
    let machine = bare_snp(1);
    let (first, second) = (offer(&trust, &machine).await, offer(&trust, &machine).await);
    first.attest(&first.reply(&machine).0).await.unwrap();
    second.attest(&second.reply(&machine).0).await.unwrap();
    assert_eq!(nodes(&trust).await.len(), 1, "one launch is one node");
    let grants = first.grants().await.unwrap();
    assert_eq!(first.grants().await.unwrap().root, grants.root, "delivery may repeat within the session");
    assert_eq!(code(second.grants().await), Code::ReleasesExhausted);
    assert_eq!(refused(&trust, &machine).await, Code::ReleasesExhausted);
    assert!(join(&trust, &bare_snp(2)).await.is_ok(), "another launch");

    // Neither a restart nor the end of the node's record brings it back.
    trust.restart().await;
    shelve(&trust, "UpToDate");
    assert_eq!(refused(&trust, &machine).await, Code::ReleasesExhausted);
    end(&trust, &grants.node).await;
    sweep(&trust).await;
    assert_eq!(nodes(&trust).await.len(), 1);
    assert_eq!(refused(&trust, &machine).await, Code::ReleasesExhausted);
}

#[tokio::test]
async fn t17_a_td_is_a_node_of_its_session_and_is_capped_by_its_register() {
    let (trust, _) = confidential(&[]).await;
    let (one, two) = (join(&trust, &bare_tdx()).await.unwrap(), join(&trust, &bare_tdx()).await.unwrap());
    assert_ne!(one.grants.node, two.grants.node, "nobody knows that they are of one TD");
    assert_ne!(one.grants.root, two.grants.root);
    let capped = bare_tdx().hardware.quoting(|td| {
        td.mr_td = [0x31; 48];
        td.rtmr[3][47] = 1;
    });
    assert_eq!(refused(&trust, &Machine::bare(capped)).await, Code::AlreadyCapped);
}

#[tokio::test]
async fn what_has_ended_gets_nothing_swept_or_not() {
    let (trust, _) = confidential(&[]).await;
    let granted = join(&trust, &bare_snp(1)).await.unwrap();
    let name = granted.grants.node.clone();
    end(&trust, &name).await;
    assert_eq!(code(granted.session.grants().await), Code::NodeUnknown);
    assert_eq!(code(granted.certificate(&granted.csr).await), Code::NodeUnknown);
    // The next verdict, of whomever, sweeps.
    join(&trust, &bare_snp(2)).await.unwrap();
    assert!(nodes(&trust).await.iter().all(|node| node.name != name));
    assert_eq!(code(granted.session.grants().await), Code::NodeUnknown);
    assert_eq!(code(granted.certificate(&granted.csr).await), Code::GrantUnknown, "gone with it");
}

#[tokio::test]
async fn whose_record_has_ended_comes_anew() {
    let (trust, _) = confidential(&[]).await;
    edit_demands(&trust, |policy| policy["ephemeral-vtpm"] = json!(true)).await;
    // Whoever sweeps: the node itself, whose record has ended, too.
    let machine = svsm(Seat::A);
    let first = join(&trust, &machine).await.unwrap();
    end(&trust, &first.grants.node).await;
    let second = join(&trust, &machine).await.unwrap();
    assert_eq!(second.grants.node, first.grants.node);
    tpm_of(&machine).reboot(Boot::standard());
    end(&trust, &first.grants.node).await;
    sweep(&trust).await;
    assert!(join(&trust, &machine).await.is_ok());
    // One of a launch that had no release yet has its own still.
    let bare = bare_snp(1);
    let session = offer(&trust, &bare).await;
    session.attest(&session.reply(&bare).0).await.unwrap();
    end(&trust, &session.node_name(None)).await;
    assert!(join(&trust, &bare).await.is_ok());
}

#[tokio::test]
async fn sessions_of_machines_end() {
    let (trust, _) = confidential(&[]).await;
    for machine in [svsm(Seat::A), bare_snp(1)] {
        let session = offer(&trust, &machine).await;
        let (attestation, csr) = session.reply(&machine);
        let ended = |ago: u64| {
            let expires = trust.service().now() - ago;
            let identity = machine.offer();
            let secret = session.opened(&machine);
            let tpm = identity.zip(secret).map(|(identity, secret)| OfferedTpm { identity, secret });
            let kind = ccnode_evidence::ReportSource::kind(&machine);
            let old = Session {
                form: ccnode_server::cookie::Form::Ccnode,
                nonce: session.nonce,
                kind,
                tpm,
                pool: pool(),
                issued: expires - 300,
                expires,
            };
            format!("kbs-session-id={}", old.seal(&trust.service().cookies).unwrap())
        };
        let with = |cookie| Challenged {
            client: session.client.clone(),
            base: session.base.clone(),
            cookie,
            nonce: session.nonce,
            asks: session.asks.clone(),
            key: ccnode_protocol::jwe::EphemeralKey::generate(),
        };
        let late = with(ended(1));
        assert_eq!(code(late.attest(&attestation).await), Code::SessionExpired, "{machine:?}");
        session.attest(&attestation).await.unwrap();
        assert_eq!(code(late.grants().await), Code::SessionExpired, "{machine:?}");
        // Two days later its nonce is forgotten, and still it can't be spent again.
        let forgotten = with(ended(2 * 24 * 3600));
        let grants = session.grants().await.unwrap();
        let mut tx = trust.service().store.write().await.unwrap();
        tx.purge(trust.service().now() + 2 * 24 * 3600, 0).await.unwrap();
        tx.commit().await.unwrap();
        assert_eq!(code(forgotten.attest(&attestation).await), Code::SessionExpired, "{machine:?}");
        assert_eq!(code(session.grants().await), Code::SessionUnknown, "{machine:?}");
        let request = json!({
            "grant": grants.certificate.id, "secret": grants.certificate.secret,
            "csr": ccnode_evidence::Base64Url(csr),
        });
        assert_eq!(
            code(session.post::<serde_json::Value>(CERTIFICATE, &request).await),
            Code::GrantUnknown,
            "{machine:?}"
        );
    }
}
