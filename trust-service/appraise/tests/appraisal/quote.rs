//! The quote: one mutation a field, each with its code.

use crate::world::{World, with_evidence};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_appraise::{QuoteError, Rejection};
use ccnode_evidence::{Code, PcrValues, Sha256Digest};
use ccnode_protocol::Attestation;
use ccnode_testkit::{Lies, Seat, pcr};

const SHA1: u16 = 4;
const SHA256: u16 = 11;

fn lying(lies: Lies) -> Rejection {
    let world = World::new();
    world.tpm.lie(lies);
    let refused = world.refused();
    assert!(refused.kept.activation_proven && !refused.kept.quote_proven);
    assert!(refused.kept.pcrs.is_none() && refused.kept.counters.is_none(), "only what is proven is kept");
    refused.rejection
}

/// The answer with the raw bytes of a quote's member changed, its signature left as it was.
fn patched(member: &str, f: impl FnOnce(&mut Vec<u8>)) -> Rejection {
    let world = World::new();
    let answer = with_evidence(world.answer(), |e| patch(&mut e["tpm_quote"][member], f));
    world.judge(&answer).unwrap_err().rejection
}

fn patch(value: &mut serde_json::Value, f: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = STANDARD.decode(value.as_str().unwrap()).unwrap();
    f(&mut bytes);
    *value = STANDARD.encode(bytes).into();
}

#[test]
fn t10_magic() {
    let got = lying(Lies { magic: Some(0xff54_4348), ..Default::default() });
    assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Magic(0xff54_4348))));
    assert_eq!(got.code(), Code::QuoteMalformed);
}

#[test]
fn t10_type() {
    // TPM_ST_ATTEST_CERTIFY, in truth signed by the attestation key.
    let got = lying(Lies { tag: Some(0x8017), ..Default::default() });
    assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Type(0x8017))));
    assert_eq!(got.code(), Code::QuoteMalformed);
}

#[test]
fn t10_clock() {
    // magic, tag, signer, extraData, clock, resetCount, restartCount come before `safe`.
    let got = patched("message", |m| m[4 + 2 + 4 + 34 + 8 + 4 + 4] = 2);
    assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Safe(2))), "{got}");
}

#[test]
fn t10_extra_data() {
    for extra in [vec![], vec![0; 31], vec![0; 32], vec![0; 48]] {
        let got = lying(Lies { qualifying: Some(extra), ..Default::default() });
        assert!(matches!(got, Rejection::QuoteNonce { .. }));
        assert_eq!(got.code(), Code::QuoteNonce);
    }
}

#[test]
fn t10_selection() {
    for selections in [
        vec![],
        vec![(SHA256, vec![0xff, 0x7f, 0x00])],
        vec![(SHA256, vec![0xff, 0xff, 0xff])],
        vec![(SHA256, vec![0xff, 0xff, 0x01])],
        vec![(SHA256, vec![0xff, 0xff])],
        vec![(SHA256, vec![0xff, 0xff, 0x00, 0x00])],
        vec![(SHA1, vec![0xff, 0xff, 0x00])],
        vec![(SHA256, vec![0xff, 0xff, 0x00]), (SHA1, vec![0x00, 0x00, 0x00])],
        vec![(SHA256, vec![0xff, 0x00, 0x00]), (SHA256, vec![0x00, 0xff, 0x00])],
    ] {
        let got = lying(Lies { selections: Some(selections.clone()), ..Default::default() });
        assert!(matches!(got, Rejection::QuoteSelection { .. }), "{selections:?}: {got}");
        assert_eq!(got.code(), Code::QuoteSelection);
    }
}

#[test]
fn t10_pcr_digest() {
    let got = lying(Lies { pcr_digest: Some(vec![1; 32]), ..Default::default() });
    assert!(matches!(got, Rejection::QuotePcrDigest { quoted: Sha256Digest([1, ..]), .. }));
    assert_eq!(got.code(), Code::QuotePcrDigest);
    let got = lying(Lies { pcr_digest: Some(vec![1; 20]), ..Default::default() });
    assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::DigestLength(20))));
}

#[test]
fn t10_values_in_another_order() {
    let world = World::new();
    let good = world.tpm.boot().pcrs();
    for (i, j) in (0..16).map(|i| (i, (i + 1) % 16)) {
        let (a, b) = (*good.get(pcr(i)).unwrap(), *good.get(pcr(j)).unwrap());
        if a == b {
            continue;
        }
        let mut pcrs = PcrValues(good.0.clone().into_iter().filter(|(k, _)| k.get() < 16).collect());
        pcrs.0.insert(pcr(i), b);
        pcrs.0.insert(pcr(j), a);
        let got = lying(Lies { sent_pcrs: Some(pcrs), ..Default::default() });
        assert!(matches!(got, Rejection::QuotePcrDigest { .. }));
    }
}

#[test]
fn t10_number_of_values() {
    for count in [0, 15, 17, 24, 25] {
        let world = World::new();
        let zeros = vec!["0".repeat(64); count];
        let answer = with_evidence(world.answer(), |e| e["tpm_quote"]["pcrs"] = zeros.into());
        let got = world.judge(&answer).unwrap_err().rejection;
        assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Values(n)) if n == count));
    }
}

#[test]
fn t10_signature() {
    let got = lying(Lies { signer: Some(Seat::C), ..Default::default() });
    assert!(matches!(got, Rejection::QuoteSignature));
    assert_eq!(got.code(), Code::QuoteSignature);
    assert!(matches!(patched("signature", |s| *s.last_mut().unwrap() ^= 1), Rejection::QuoteSignature));
    // A key that signs of itself what a TPM would have: all bytes of the message are covered.
    assert!(matches!(patched("message", |m| *m.last_mut().unwrap() ^= 1), Rejection::QuoteSignature));
}

#[test]
fn t10_scheme() {
    for (offset, byte) in [(1, 0x16), (1, 0x18), (3, 0x04), (3, 0x0c)] {
        let got = patched("signature", |s| s[offset] = byte);
        assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Scheme { .. })), "{got}");
        assert_eq!(got.code(), Code::QuoteMalformed);
    }
}

#[test]
fn t10_trailing_and_missing_bytes() {
    for member in ["message", "signature"] {
        let got = patched(member, |bytes| bytes.push(0));
        assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Trailing(_, 1))), "{got}");
        let got = patched(member, |bytes| {
            bytes.pop();
        });
        assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Short(_))), "{got}");
        let got = patched(member, Vec::clear);
        assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Short(_))), "{got}");
    }
}

#[test]
fn t10_every_byte_of_the_message_counts() {
    let world = World::new();
    let answer = world.answer();
    let message = answer.tee_evidence.primary_evidence["tpm_quote"]["message"].clone();
    let len = STANDARD.decode(message.as_str().unwrap()).unwrap().len();
    for i in 0..len {
        let bad: Attestation =
            with_evidence(answer.clone(), |e| patch(&mut e["tpm_quote"]["message"], |m| m[i] ^= 0x20));
        let got = world.judge(&bad).unwrap_err().rejection;
        assert!(matches!(got, Rejection::QuoteMalformed(_) | Rejection::QuoteSignature), "byte {i}: {got}");
    }
}
