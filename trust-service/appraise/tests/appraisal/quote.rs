//! The quote: one mutation a field, each with its code.

use crate::world::{World, with_evidence};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_appraise::{QuoteError, Rejection, SchemeKind};
use ccnode_evidence::{Code, PcrValues};
use ccnode_testkit::{Lies, Seat, pcr};

const SHA1: u16 = 4;
const SHA256: u16 = 11;
const SHA384: u16 = 12;
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
        vec![(SHA384, vec![0xff, 0xff, 0x00])],
        vec![(0x0012, vec![0xff, 0xff, 0x00])],
        vec![(SHA1, vec![0x00, 0x00, 0x00])],
        vec![(SHA256, vec![0xff, 0xff, 0x00]), (SHA1, vec![0x00, 0x00, 0x00])],
        vec![(SHA256, vec![0xff, 0xff, 0x00]), (SHA384, vec![0xff, 0xff, 0x00])],
    ] {
        let got = lying(Lies { selections: Some(selections.clone()), ..Default::default() });
        assert!(matches!(got, Rejection::QuoteSelection { .. }), "{selections:?}: {got}");
        assert_eq!(got.code(), Code::QuoteSelection);
    }
}

#[test]
fn t10_pcr_digest() {
    let got = lying(Lies { pcr_digest: Some(vec![1; 32]), ..Default::default() });
    assert!(matches!(&got, Rejection::QuotePcrDigest { quoted, .. } if quoted.bytes() == [1; 32]));
    assert_eq!(got.code(), Code::QuotePcrDigest);
    let got = lying(Lies { pcr_digest: Some(vec![1; 21]), ..Default::default() });
    assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::DigestLength(21))));
    // A hash's length, and not that of the key's.
    let got = lying(Lies { pcr_digest: Some(vec![1; 48]), ..Default::default() });
    assert!(matches!(got, Rejection::QuotePcrDigest { .. }));
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
        assert!(
            matches!(got, Rejection::QuoteMalformed(QuoteError::Values { sent, due: 16 }) if sent == count)
        );
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
fn t10_sha1_bank_is_weak() {
    for selections in [
        vec![(SHA1, vec![0xff, 0xff, 0x00])],
        vec![(SHA256, vec![0xff, 0xff, 0x00]), (SHA1, vec![0x01, 0x00, 0x00])],
    ] {
        let got = lying(Lies { selections: Some(selections.clone()), ..Default::default() });
        assert!(matches!(got, Rejection::QuoteBankWeak { .. }), "{selections:?}: {got}");
        assert_eq!(got.code(), Code::QuoteBankWeak);
    }
}

#[test]
fn t10_a_bank_once_and_a_bounded_length() {
    let twice = vec![(SHA256, vec![0xff, 0x00, 0x00]), (SHA256, vec![0x00, 0xff, 0x00])];
    let got = lying(Lies { selections: Some(twice), ..Default::default() });
    assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::BankTwice(SHA256))));
    let got = patched("message", |m| m.resize(513, 0));
    assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Size("TPMS_ATTEST", 513))));
}

#[test]
fn t10_tpm12_quote_is_refused_by_name() {
    let info = [&[1, 1, 0, 0][..], b"QUOT", &[7; 40]].concat();
    let info2 = [&[0x00, 0x36][..], b"QUT2", &[7; 46]].concat();
    for bytes in [info, info2] {
        let got = patched("message", |m| *m = bytes);
        assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Tpm12)), "{got}");
        assert_eq!(got.code(), Code::Tpm12);
    }
}

#[test]
fn t10_scheme() {
    let got = |offset: usize, byte: u8| patched("signature", |s| s[offset] = byte);
    let malformed = |rejection: Rejection| match rejection {
        Rejection::QuoteMalformed(error) => error,
        other => panic!("{other}"),
    };
    // HMAC, ECDAA, SHA-512, SM3: not appraised.
    for (offset, byte) in [(1, 0x05), (1, 0x1a), (3, 0x0d), (3, 0x12)] {
        let got = got(offset, byte);
        assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::Scheme { .. })), "{got}");
        assert_eq!(got.code(), Code::QuoteMalformed);
    }
    // Appraised, and not this key's.
    for (offset, byte) in [(1, 0x16), (3, 0x0c)] {
        let got = got(offset, byte);
        assert!(matches!(got, Rejection::QuoteMalformed(QuoteError::SchemeMismatch { .. })), "{got}");
    }
    let weak = got(3, 0x04);
    assert_eq!(weak.code(), Code::AkWeak);
    assert_eq!(malformed(weak), QuoteError::Sha1Scheme(SchemeKind::Rsassa));
    let none = patched("signature", |s| *s = vec![0x00, 0x10]);
    assert_eq!(malformed(none), QuoteError::Scheme { scheme: 0x0010, hash: 0 });
    let long = patched("signature", |s| s.resize(3000, 0));
    assert_eq!(malformed(long), QuoteError::Size("TPMT_SIGNATURE", 3000));
    // ECDSA, with a coordinate of nothing or of more than any curve has.
    let empty = patched("signature", |s| *s = vec![0, 0x18, 0, 0x0b, 0, 0, 0, 1, 1]);
    assert_eq!(malformed(empty), QuoteError::Coordinate(0));
    let long = patched("signature", |s| *s = [&[0, 0x18, 0, 0x0b, 0, 67][..], &[1; 67], &[0, 1, 1]].concat());
    assert_eq!(malformed(long), QuoteError::Coordinate(67));
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
