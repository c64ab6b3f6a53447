//! Every member of Azure's evidence in each of its forms: changed, it is refused by a variant of its own; left out, it is missed by its name.
//! The rows leave no member out.

use crate::world::{PLATFORM, World, pem};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use ccnode_appraise::{Member, QuoteError, Rejection};
use ccnode_hcl::{Field, HclRejection};
use ccnode_snp::SnpRejection;
use ccnode_tdx::{QuoteError as TdQuoteError, Rejection as TdxRejection};
use ccnode_testkit::snp::{ChipModel, TestChip};
use ccnode_testkit::{Hardware, Machine};
use serde_json::{Value, json};
use std::collections::BTreeSet;

type Refused = fn(&Rejection) -> bool;

macro_rules! is {
    ($pattern:pat) => {
        (|got| matches!(got, $pattern)) as Refused
    };
}

const PRIMARY: &str = "tee-evidence.primary_evidence";

/// A member, a change to it, and what comes of it.
type Row = (&'static str, fn(&Value) -> Value, Refused);

/// The paths of all leaves; arrays are leaves, of bytes or of values.
fn leaves(value: &Value, path: &str, out: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            leaves(value, &if path.is_empty() { name.clone() } else { format!("{path}.{name}") }, out);
        }),
        _ => drop(out.insert(path.to_owned())),
    }
}

/// The first byte changed: of hexadecimal, base64url, or an array of numbers.
fn first(value: &Value) -> Value {
    match value {
        Value::Array(bytes) => {
            let mut bytes = bytes.clone();
            bytes[0] = json!(bytes[0].as_u64().unwrap() ^ 1);
            json!(bytes)
        }
        Value::String(text) if text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            let byte = u8::from_str_radix(&text[..2], 16).unwrap() ^ 1;
            json!(format!("{byte:02x}{}", &text[2..]))
        }
        Value::String(text) => {
            let mut bytes = URL_SAFE.decode(text).unwrap();
            bytes[0] ^= 1;
            json!(URL_SAFE.encode(bytes))
        }
        other => panic!("{other}"),
    }
}

/// The first PCR of another value.
fn other_pcr(value: &Value) -> Value {
    let mut pcrs = value.as_array().unwrap().clone();
    pcrs[0] = if pcrs[0].is_array() { json!(vec![9; 32]) } else { json!("09".repeat(32)) };
    json!(pcrs)
}

fn other_chip(value: &Value) -> Value {
    let der = TestChip::new(ChipModel::Milan, 2).vek_der();
    match value.as_str() {
        Some(text) if text.starts_with("-----") => json!(pem(&der)),
        _ => json!(URL_SAFE.encode(der)),
    }
}

/// The member under its name in this form.
fn rows(version: u32, tdx: bool) -> Vec<Row> {
    let (quote, report): ([&str; 3], &str) = match (version, tdx) {
        (0, false) => (["quote.signature", "quote.message", "quote.pcrs"], "report"),
        _ => (["tpm_quote.signature", "tpm_quote.message", "tpm_quote.pcrs"], "hcl_report"),
    };
    let bound = |_: &Value| json!("AAAA");
    let mut rows: Vec<Row> = vec![
        (quote[0], first, is!(Rejection::QuoteSignature)),
        (quote[1], first, is!(Rejection::QuoteMalformed(QuoteError::Magic(_)))),
        (quote[2], other_pcr, is!(Rejection::QuotePcrDigest { .. })),
        (report, first, is!(Rejection::Hcl(HclRejection::Field { field: Field::Signature, .. }))),
        ("ccnode.version", |_| json!(2), is!(Rejection::TranscriptVersion(2))),
        ("ccnode.event-log", bound, is!(Rejection::TranscriptMismatch { member: Member::EventLogs })),
        ("ccnode.own-log", bound, is!(Rejection::TranscriptMismatch { member: Member::EventLogs })),
        ("ccnode.cmdline", bound, is!(Rejection::TranscriptMismatch { member: Member::EventLogs })),
        ("ccnode.csr", bound, is!(Rejection::TranscriptMismatch { member: Member::Csr })),
    ];
    if version > 0 {
        rows.push(("version", |_| json!(3), is!(Rejection::MalformedRequest { member: PRIMARY, .. })));
    }
    if tdx {
        rows.push((
            "td_quote",
            first,
            is!(Rejection::Tdx(TdxRejection::Malformed(TdQuoteError::BodyType(_)))),
        ));
    } else {
        rows.push(("vcek", other_chip, is!(Rejection::Snp(SnpRejection::ChipMismatch { .. }))));
    }
    rows
}

/// The evidence of version 2 in another form.
fn form(mut evidence: Value, version: u32) -> Value {
    if version > 0 {
        evidence["version"] = json!(version);
        return evidence;
    }
    let members = evidence.as_object_mut().unwrap();
    members.remove("version");
    let bytes = |value: Value| json!(URL_SAFE.decode(value.as_str().unwrap()).unwrap());
    let unhex = |value: &Value| -> Value {
        let text = value.as_str().unwrap();
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        json!((0..text.len()).step_by(2).map(byte).collect::<Vec<_>>())
    };
    let quote = members.remove("tpm_quote").unwrap();
    let pcrs: Vec<Value> = quote["pcrs"].as_array().unwrap().iter().map(unhex).collect();
    let quote =
        json!({"signature": unhex(&quote["signature"]), "message": unhex(&quote["message"]), "pcrs": pcrs});
    let report = bytes(members.remove("hcl_report").unwrap());
    match members.remove("td_quote") {
        Some(td_quote) => {
            members.insert("tpm_quote".into(), quote);
            members.insert("hcl_report".into(), report);
            members.insert("td_quote".into(), bytes(td_quote));
        }
        None => {
            let vcek = URL_SAFE.decode(members.remove("vcek").unwrap().as_str().unwrap()).unwrap();
            members.insert("quote".into(), quote);
            members.insert("report".into(), report);
            members.insert("vcek".into(), json!(pem(&vcek)));
        }
    }
    evidence
}

#[test]
fn t10_every_member_of_azures_evidence_mutated_has_its_own_rejection() {
    let world = World::new();
    for (hardware, tdx) in [(Hardware::az_snp(TestChip::milan()), false), (Hardware::az_tdx(&PLATFORM), true)]
    {
        let machine = Machine::with(world.tpm(), hardware);
        let challenge = world.challenge(&machine);
        let answer = challenge.answer(&machine);
        for version in 0..=2 {
            let good = form(answer.tee_evidence.primary_evidence.clone(), version);
            let judge = |evidence: Value| {
                let mut answer = answer.clone();
                answer.tee_evidence.primary_evidence = evidence;
                world.judge(&challenge, &answer).map(drop).map_err(|refused| refused.rejection)
            };
            judge(good.clone()).unwrap_or_else(|e| panic!("version {version}: {e}"));
            let rows = rows(version, tdx);
            let mut there = BTreeSet::new();
            leaves(&good, "", &mut there);
            assert_eq!(there, rows.iter().map(|(member, ..)| (*member).to_owned()).collect());
            for (member, change, is) in rows {
                let what = format!("tdx {tdx} version {version}, {member}");
                let place = format!("/{}", member.replace('.', "/"));
                let mut changed = good.clone();
                let at = changed.pointer_mut(&place).unwrap();
                *at = change(at);
                let got = judge(changed).expect_err(&what);
                assert!(is(&got), "{what}: {got:?}");
                // Left out: what follows says which is missing. A request is optional, and its absence is none of what is bound.
                let (parent, last) = place.rsplit_once('/').unwrap();
                let mut without = good.clone();
                without.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(last);
                match judge(without).expect_err(&what) {
                    Rejection::MalformedRequest { reason, .. } => {
                        // Without its version it is read as the form that had none, which has other members.
                        assert!(
                            last == "version" || reason.contains(&format!("missing field `{last}`")),
                            "{what}: {reason}"
                        );
                    }
                    Rejection::TranscriptMismatch { member: Member::Csr } if last == "csr" => {}
                    other => panic!("{what}: {other:?}"),
                }
            }
        }
    }
}
