//! Every member of an attestation in `ccnode/1` (runtime data, init-data, the superset of stock evidence): changed by whoever relays it, it
//! is refused by a variant of its own. The rows leave no member out.

use crate::world::World;
use ccnode_appraise::{Member, QuoteError, Rejection};
use ccnode_evidence::{Code, Nonce, Sha256Digest};
use ccnode_protocol::{Attestation, jwe::EphemeralKey};
use ccnode_testkit::{Answer, attest_with_init_data};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The paths of all leaves; members of an array are alike.
fn leaves(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            leaves(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, out);
        }),
        Value::Array(values) => values.iter().for_each(|value| leaves(value, &format!("{path}[]"), out)),
        _ => drop(out.insert(path.to_owned())),
    }
}

type Refused = fn(&Rejection) -> bool;

macro_rules! is {
    ($pattern:pat) => {
        (|got| matches!(got, $pattern)) as Refused
    };
}

macro_rules! mismatch {
    ($member:ident) => {
        is!(Rejection::TranscriptMismatch { member: Member::$member })
    };
}

#[test]
fn t08_every_member_of_the_attestation_mutated_has_its_own_rejection() {
    let mut world = World::new();
    world.allow_init_data = true;
    let answer =
        Answer { nonce: &world.nonce, secret: &world.secret, key: &world.key, csr: world.csr.clone() };
    let sent = attest_with_init_data(&answer, world.tpm.read_logs(), Some("x = 1"), |qualifying| {
        world.tpm.sign_quote(qualifying)
    });
    let good = serde_json::to_value(&sent).unwrap();
    // Nothing but the init-data is in its way: PCR 8 was not extended by them.
    let got = world.judge(&sent).unwrap_err().rejection;
    assert!(matches!(got, Rejection::InitData { allowed: true, .. }), "{got}");

    let zeros = || json!(Sha256Digest::ZERO);
    let other_key = serde_json::to_value(EphemeralKey::generate().public()).unwrap();
    let key = |member: &str| other_key[member].clone();
    let activation = is!(Rejection::ActivationFailed);
    let evidence = "tee-evidence.primary_evidence";
    let under = |member: &str| format!("{evidence}.{member}");
    let message = good["tee-evidence"]["primary_evidence"]["tpm_quote"]["message"].as_str().unwrap();
    let message = json!(message.replacen(&message[..2], "AA", 1));
    let rows: Vec<(String, Value, Refused)> = vec![
        ("runtime-data.nonce".into(), json!(Nonce([8; 32]).text()), is!(Rejection::NonceMismatch { .. })),
        ("runtime-data.tee-pubkey.x".into(), key("x"), activation),
        ("runtime-data.tee-pubkey.y".into(), key("y"), activation),
        ("runtime-data.ccnode.version".into(), json!(2), is!(Rejection::TranscriptVersion(2))),
        ("runtime-data.ccnode.activation".into(), zeros(), activation),
        ("runtime-data.ccnode.csr".into(), zeros(), activation),
        ("runtime-data.ccnode.init-data".into(), zeros(), activation),
        ("runtime-data.ccnode.event-logs".into(), zeros(), activation),
        ("init-data.body".into(), json!("x = 2"), mismatch!(InitData)),
        (
            "tee-evidence.additional_evidence".into(),
            json!("{}"),
            is!(Rejection::MalformedRequest { member: "tee-evidence.additional_evidence", .. }),
        ),
        (under("ak_public"), json!("AAAA"), mismatch!(AkPublic)),
        (under("tpm_quote.message"), message, is!(Rejection::QuoteMalformed(QuoteError::Magic(_)))),
        (
            under("tpm_quote.signature"),
            json!("AAAA"),
            is!(Rejection::QuoteMalformed(QuoteError::Scheme { .. } | QuoteError::Short(_))),
        ),
        (under("tpm_quote.pcrs[]"), zeros(), is!(Rejection::QuotePcrDigest { .. })),
        (under("ccnode.version"), json!(2), is!(Rejection::TranscriptVersion(2))),
        (under("ccnode.event-log"), json!("AAAA"), mismatch!(EventLogs)),
        (under("ccnode.own-log"), json!("AAAA"), mismatch!(EventLogs)),
        (under("ccnode.cmdline"), json!("x"), mismatch!(EventLogs)),
        (under("ccnode.csr"), json!("AAAA"), mismatch!(Csr)),
    ];
    // What the key is for, and how the init-data are written: other values are none that the protocol has.
    let refused_by_form = [
        "runtime-data.tee-pubkey.kty",
        "runtime-data.tee-pubkey.crv",
        "runtime-data.tee-pubkey.alg",
        "init-data.format",
    ];

    let mut there = BTreeSet::new();
    leaves(&good, "", &mut there);
    let named = rows.iter().map(|(member, ..)| member.clone()).chain(refused_by_form.map(str::to_owned));
    assert_eq!(there, named.collect());
    let place = |member: &str| format!("/{}", member.replace("[]", "/0").replace('.', "/"));
    for (member, to, is) in rows {
        let mut changed = good.clone();
        let at = changed.pointer_mut(&place(&member)).unwrap();
        assert_ne!(*at, to, "{member}");
        *at = to;
        let changed: Attestation =
            serde_json::from_value(changed).unwrap_or_else(|e| panic!("{member}: {e}"));
        let got = world.judge(&changed).unwrap_err().rejection;
        assert!(is(&got), "{member}: {got:?}");
    }
    for member in refused_by_form {
        let mut changed = good.clone();
        *changed.pointer_mut(&place(member)).unwrap() = json!("x");
        let got = serde_json::from_value::<Attestation>(changed)
            .map(|changed| world.judge(&changed).unwrap_err().rejection);
        match (member, got) {
            // It says how to read what is bound, and is no part of it.
            ("init-data.format", Ok(got)) => assert_eq!(got.code(), Code::InitDataNotAllowed, "{member}"),
            (_, Ok(got)) => assert!(activation(&got), "{member}: {got:?}"),
            (_, Err(_)) => {}
        }
    }
}
