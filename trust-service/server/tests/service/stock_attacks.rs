//! Attacks on stock sessions by name: evidence moved, keys exchanged, transcripts mixed, quotes of other selections.

use crate::fixture::*;
use crate::stock_clients::*;
use ccnode_evidence::{Code, EvidenceKind, PcrValues};
use ccnode_protocol::admin::OnUnknown;
use ccnode_protocol::jwe::EphemeralKey;
use ccnode_server::store::{NodeRow, Store as _, Tx as _};
use ccnode_testkit::{Answer, Lies, Seat, StockReply, attest, stock_attest};
use serde_json::Value;

fn json<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap()
}

#[tokio::test]
async fn t08_stock_evidence_is_worth_nothing_in_another_session() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let tpm = soft(Seat::A);
    let one = stock_auth(&trust, EvidenceKind::Tpm).await.unwrap();
    let two = stock_auth(&trust, EvidenceKind::Tpm).await.unwrap();
    let of_one = one.answer(&tpm);
    assert_eq!(code(two.attest(&of_one).await), Code::NonceMismatch, "as it is");
    let mut moved = json(&of_one);
    moved["runtime-data"]["nonce"] = two.nonce.text().into();
    assert_eq!(code(two.attest(&moved).await), Code::QuoteNonce, "with the nonce exchanged");
    let mut stolen = json(&of_one);
    stolen["runtime-data"]["tee-pubkey"] = json(&EphemeralKey::generate().public());
    assert_eq!(code(one.attest(&stolen).await), Code::QuoteNonce, "with the key exchanged");
    let mut more = json(&of_one);
    more["tee-evidence"]["additional_evidence"] = "{}".into();
    assert_eq!(code(one.attest(&more).await), Code::MalformedRequest, "with more beside it");
    one.attest(&of_one).await.unwrap();
    assert_eq!(code(one.attest(&of_one).await), Code::NonceSpent, "once more");
}

#[tokio::test]
async fn t09_no_session_changes_its_transcript() {
    let (trust, maker) = {
        let trust = stocked(OnUnknown::Enrol, &RULES).await;
        let maker = ccnode_testkit::MakerCa::new("maker");
        trust.admin().trust_maker(&maker, ccnode_protocol::admin::TrustLevel::HypervisorVtpm).await;
        (trust, maker)
    };
    let tpm = tpm(&maker, Seat::A);
    // A challenge of ccnode/1, answered by the stock transcript: the pool would take it, the session does not.
    let ours = challenge(&trust, &tpm).await;
    let key = ours.key.public();
    let stock = stock_attest(&tpm, &StockReply { nonce: &ours.nonce, key: &key, init_data: None });
    assert_eq!(code(ours.attest(&stock).await), Code::StockTranscript);
    // A stock challenge, answered by ccnode/1 with a secret that nobody gave.
    let client = stock_auth(&trust, EvidenceKind::Tpm).await.unwrap();
    let secret = ccnode_evidence::Secret::new([0; 32]);
    let answer = Answer { nonce: &client.nonce, secret: &secret, key: &client.key, csr: None };
    assert_eq!(code(client.attest(&attest(&tpm, &answer)).await), Code::TranscriptMismatch);
    // The cookie of one session with the evidence of another.
    let (attestation, ..) = ours.answer(&tpm);
    assert_eq!(code(client.attest(&attestation).await), Code::TranscriptMismatch);
    ours.attest(&attestation).await.unwrap();
    client.attest(&client.answer(&tpm)).await.unwrap();
}

#[tokio::test]
async fn t10_only_a_whole_quote_of_the_sha256_bank_counts() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let tpm = soft(Seat::A);
    let refused = async |lies: Lies| {
        let client = stock_auth(&trust, EvidenceKind::Tpm).await.unwrap();
        tpm.lie(lies);
        let attestation = client.answer(&tpm);
        tpm.lie(Lies::default());
        code(client.attest(&attestation).await)
    };
    let selections = |of: &[(u16, [u8; 3])]| {
        let selections = of.iter().map(|(bank, bitmap)| (*bank, bitmap.to_vec())).collect();
        Lies { selections: Some(selections), ..Lies::default() }
    };
    assert_eq!(refused(selections(&[(0x000b, [0xff, 0xff, 0])])).await, Code::StockQuoteSelection, "0-15");
    assert_eq!(refused(selections(&[(0x000b, [0xfe, 0xff, 0xff])])).await, Code::StockQuoteSelection);
    assert_eq!(refused(selections(&[(0x000c, [0xff; 3])])).await, Code::StockQuoteSelection, "sha384");
    assert_eq!(refused(selections(&[(0x0004, [0xff; 3])])).await, Code::QuoteBankWeak);
    assert_eq!(refused(selections(&[(0x000b, [0xff; 3]), (0x0004, [1, 0, 0])])).await, Code::QuoteBankWeak);
    let fewer = PcrValues(tpm.boot().pcrs().0.into_iter().take(23).collect());
    assert_eq!(refused(Lies { sent_pcrs: Some(fewer), ..Lies::default() }).await, Code::QuoteMalformed);
    let mut other = tpm.boot().pcrs();
    other.0.insert(ccnode_testkit::pcr(23), ccnode_evidence::Sha256Digest([1; 32]));
    assert_eq!(refused(Lies { sent_pcrs: Some(other), ..Lies::default() }).await, Code::QuotePcrDigest);
    assert_eq!(refused(Lies { signer: Some(Seat::B), ..Lies::default() }).await, Code::QuoteSignature);
    assert_eq!(refused(Lies { sent_ak: Some(Seat::B), ..Lies::default() }).await, Code::QuoteSignature);
    assert_eq!(refused(Lies { magic: Some(0), ..Lies::default() }).await, Code::QuoteMalformed);
    assert_eq!(refused(Lies { qualifying: Some(vec![0; 32]), ..Lies::default() }).await, Code::QuoteNonce);
    assert!(nodes(&trust).await.is_empty());
    // A key of another kind signs as its scheme says, and the transcript has one scheme.
    let ecc = soft(Seat::A).with_ak(ccnode_testkit::AkKind::EcdsaP256);
    assert_eq!(code(stock_join(&trust, &ecc).await.map(|_| ())), Code::QuoteMalformed);
    let weak = async |key: &[u8]| {
        use base64::Engine as _;
        let client = stock_auth(&trust, EvidenceKind::Tpm).await.unwrap();
        let mut attestation = json(&client.answer(&tpm));
        let text = base64::engine::general_purpose::STANDARD.encode(key);
        attestation["tee-evidence"]["primary_evidence"]["ak_public"] = text.into();
        code(client.attest(&attestation).await)
    };
    assert_eq!(weak(b"no key").await, Code::AkMalformed);
}

#[tokio::test]
async fn t11_what_booted_is_matched_whole() {
    use ccnode_testkit::Boot;
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let tpm = soft(Seat::A);
    let booted = async |boot: Boot| {
        tpm.reboot(boot);
        code(stock_join(&trust, &tpm).await.map(|_| ()))
    };
    assert_eq!(
        booted(Boot::new("other", "console=ttyS0 lockdown=integrity", b"initrd")).await,
        Code::PlatformUnknown
    );
    assert_eq!(booted(Boot::new("2022.11", "other", b"initrd")).await, Code::ImageUnknown);
    let mut capped = Boot::standard();
    capped.cap();
    assert_eq!(booted(capped).await, Code::AlreadyCapped, "t17");
    let mut measured = Boot::standard();
    measured.extend(8, ccnode_evidence::Sha256Digest([1; 32]), "x");
    assert_eq!(booted(measured).await, Code::InitDataNotAllowed);
    // What only an event log explains is not judged, and the token says so.
    let mut drift = Boot::standard().without_ima();
    drift.event(5, 0x8000_0007, b"x", b"x", "x");
    tpm.reboot(drift);
    stock_join(&trust, &tpm).await.unwrap();
    // The record's verdict is of earlier than this second.
    let name = nodes(&trust).await[0].name.clone();
    let mut tx = trust.service().store.write().await.unwrap();
    let row = tx.node_named(&name).await.unwrap().unwrap();
    tx.update_node(&NodeRow { attested: Some(1), ..row }).await.unwrap();
    tx.commit().await.unwrap();
    tpm.set_counters(1, 1, 0);
    assert_eq!(code(stock_join(&trust, &tpm).await.map(|_| ())), Code::CountersRolledBack, "t18");
    // Nobody is told what differs who proved nothing but a key of his own.
    let stranger = soft(Seat::B);
    stranger.reboot(Boot::new("2022.11", "other", b"initrd"));
    let problem = stock_join(&trust, &stranger).await.map(|_| ()).unwrap_err().problem;
    assert_eq!((problem.code, problem.closest), (Some(Code::ImageUnknown), None));
}

#[tokio::test]
async fn t18_a_stock_session_of_an_earlier_boot_reads_nothing() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let tpm = soft(Seat::A);
    let (early, _) = stock_join(&trust, &tpm).await.unwrap();
    let own = format!("{}/key/root", nodes(&trust).await[0].name);
    trust.admin().set(&own, b"key").await.unwrap();
    early.resource(&own).await.unwrap();
    tpm.reboot(ccnode_testkit::Boot::standard());
    early.resource(&own).await.unwrap();
    let (late, _) = stock_join(&trust, &tpm).await.unwrap();
    assert_eq!(code(early.resource(&own).await), Code::SessionExpired);
    late.resource(&own).await.unwrap();
}
