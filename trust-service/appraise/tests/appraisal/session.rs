//! The session: nonce, transcript, and what it binds.

use crate::world::{World, with_evidence};
use ccnode_appraise::{Member, Rejection, Session, UnixTime, activated};
use ccnode_evidence::{Code, Nonce, Secret};
use ccnode_protocol::{Attestation, jwe::EphemeralKey};
use serde_json::{Value, json};

fn rejection(world: &World, attestation: &Attestation) -> Rejection {
    world.judge(attestation).unwrap_err().rejection
}

#[test]
fn stock_transcript_is_refused() {
    let world = World::new();
    let mut answer = world.answer();
    answer.runtime_data.ccnode = None;
    let got = rejection(&world, &answer);
    assert!(matches!(got, Rejection::StockTranscript));
    assert_eq!(got.code(), Code::StockTranscript);
}

#[test]
fn other_versions_are_refused() {
    let world = World::new();
    let mut answer = world.answer();
    answer.runtime_data.ccnode.as_mut().unwrap().version = 2;
    let got = rejection(&world, &answer);
    assert!(matches!(got, Rejection::TranscriptVersion(2)));
    assert_eq!(got.code(), Code::MalformedRequest);
    let answer = with_evidence(world.answer(), |e| e["ccnode"]["version"] = 2.into());
    assert!(matches!(rejection(&world, &answer), Rejection::TranscriptVersion(2)));
}

#[test]
fn t09_nonce_of_another_session_is_refused() {
    let mut world = World::new();
    let answer = world.answer();
    world.nonce = Nonce([8; 32]);
    let got = rejection(&world, &answer);
    assert!(matches!(&got, Rejection::NonceMismatch { due, .. } if *due == world.nonce.text()));
    assert_eq!(got.code(), Code::NonceMismatch);
    // With the nonce's text replaced, the activation value and the quote still say whose it was.
    let mut forged = answer;
    forged.runtime_data.stock.nonce = world.nonce.text();
    assert!(matches!(rejection(&world, &forged), Rejection::ActivationFailed));
}

#[test]
fn t08_evidence_of_one_session_is_worthless_in_another() {
    // The same nonce even, but another challenge's secret.
    let mut world = World::new();
    let answer = world.answer();
    world.secret = Secret::new([10; 32]);
    assert!(matches!(rejection(&world, &answer), Rejection::ActivationFailed));
}

#[test]
fn who_did_not_activate_learns_nothing_of_the_pool() {
    // Somebody shows a certificate that is not theirs: known maker or not, in its validity or not, the answer is one.
    let mut world = World::new();
    let guess = world.answer_with(&Secret::new([0; 32]));
    let asked = |world: &World| {
        let identity = world.identity().unwrap();
        let session = Session::of_tpm(&world.nonce, &identity, &world.secret);
        let first = activated(&session, &guess).unwrap_err();
        (first.to_string(), rejection(world, &guess).to_string())
    };
    let known = asked(&world);
    assert_eq!(known.0, Rejection::ActivationFailed.to_string());
    assert_eq!(known.0, known.1);
    world.now = UnixTime(4_000_000_000);
    assert_eq!(asked(&world), known);
    world.roots.clear();
    assert_eq!(asked(&world), known);
    // The TPM itself passes, whoever made it.
    let identity = world.identity().unwrap();
    let session = Session::of_tpm(&world.nonce, &identity, &world.secret);
    let answer = world.answer();
    assert!(activated(&session, &answer).is_ok());
    assert!(matches!(rejection(&world, &answer), Rejection::EkUntrusted { .. }));
}

#[test]
fn t08_key_in_the_middle_is_refused() {
    // Who stands between puts in a key of their own and leaves all else as it is.
    let world = World::new();
    let mut answer = world.answer();
    answer.runtime_data.stock.tee_pubkey = EphemeralKey::generate().public();
    assert!(matches!(rejection(&world, &answer), Rejection::ActivationFailed));
}

#[test]
fn t08_quote_of_one_session_does_not_serve_another() {
    // The attacker owns a session with the secret, and relays the quote of a good node's.
    let mut world = World::new();
    let theirs = world.answer();
    world.key = EphemeralKey::generate();
    let quote = theirs.tee_evidence.primary_evidence["tpm_quote"].clone();
    let mixed = with_evidence(world.answer(), |e| e["tpm_quote"] = quote);
    let got = rejection(&world, &mixed);
    assert!(matches!(got, Rejection::QuoteNonce { .. }));
    assert_eq!(got.code(), Code::QuoteNonce);
}

#[test]
fn what_is_sent_is_what_is_bound() {
    let world = World::new();
    let mismatch = |answer: &Attestation, due: Member| {
        let got = rejection(&world, answer);
        assert!(matches!(&got, Rejection::TranscriptMismatch { member } if *member == due), "{got}");
        assert_eq!(got.code(), Code::TranscriptMismatch);
    };
    let none = with_evidence(world.answer(), |e| e["ccnode"]["csr"] = Value::Null);
    mismatch(&none, Member::Csr);
    let other = with_evidence(world.answer(), |e| e["ccnode"]["csr"] = "AAAA".into());
    mismatch(&other, Member::Csr);
    for member in ["event-log", "own-log", "cmdline"] {
        let cut = with_evidence(world.answer(), |e| e["ccnode"][member] = "AAAA".into());
        mismatch(&cut, Member::EventLogs);
    }
    let mut slipped = world.answer();
    slipped.init_data = serde_json::from_value(json!({"format": "toml", "body": "x = 1"})).unwrap();
    mismatch(&slipped, Member::InitData);
}

#[test]
fn t06_key_beside_the_quote_is_the_activated_one() {
    let world = World::new();
    world.tpm.lie(ccnode_testkit::Lies { sent_ak: Some(ccnode_testkit::Seat::B), ..Default::default() });
    let got = world.refused().rejection;
    assert!(matches!(got, Rejection::TranscriptMismatch { member: Member::AkPublic }));
    let answer = with_evidence(world.answer(), |e| e["ak_public"] = "AAAA".into());
    assert!(matches!(rejection(&world, &answer), Rejection::TranscriptMismatch { member: Member::AkPublic }));
}

#[test]
fn members_must_have_their_form() {
    let world = World::new();
    let malformed = |answer: &Attestation, due: &str| {
        let got = rejection(&world, answer);
        assert!(matches!(&got, Rejection::MalformedRequest { member, .. } if *member == due), "{got}");
        assert_eq!(got.code(), Code::MalformedRequest);
    };
    let mut devices = world.answer();
    devices.tee_evidence.additional_evidence = "{}".into();
    malformed(&devices, "tee-evidence.additional_evidence");
    for value in [Value::Null, json!({}), json!([1]), json!({"tpm_quote": 1})] {
        let answer = with_evidence(world.answer(), |e| *e = value);
        malformed(&answer, "tee-evidence.primary_evidence");
    }
    let bare = with_evidence(world.answer(), |e| e["ccnode"] = Value::Null);
    malformed(&bare, "tee-evidence.primary_evidence.ccnode");
}
