//! Where the fields of a certificate, or of a revocation list, stand in its DER: so that tests can change each and leave none out.

use std::fmt::Write as _;
use std::ops::Range;

/// Members of a TBSCertificate of version 3 without unique ids (RFC 5280, section 4.1).
pub const CERTIFICATE: &[&str] = &[
    "version",
    "serialNumber",
    "signature",
    "issuer",
    "validity",
    "subject",
    "subjectPublicKeyInfo",
    "extensions",
];
/// Members of a TBSCertList of version 2 (RFC 5280, section 5.1).
pub const CRL: &[&str] =
    &["version", "signature", "issuer", "thisUpdate", "nextUpdate", "revokedCertificates", "crlExtensions"];

/// Each field of what was signed by X.509's rules, in order and without a gap: heads of the outer two sequences, the `members` of the
/// inner one, `signatureAlgorithm`, `signatureValue`. Extensions are named each by its object identifier.
pub fn signed_fields(der: &[u8], members: &[&str]) -> Vec<(String, Range<usize>)> {
    let outer = element(der, 0);
    let tbs = element(der, outer.content.start);
    let mut out = vec![
        ("head".to_owned(), 0..outer.content.start),
        ("head of the signed part".to_owned(), outer.content.start..tbs.content.start),
    ];
    let parts = children(der, tbs.content.clone());
    assert_eq!(parts.len(), members.len(), "{} members, {} names", parts.len(), members.len());
    for (part, name) in parts.into_iter().zip(members) {
        if !name.ends_with("xtensions") {
            out.push(((*name).to_owned(), part.whole));
            continue;
        }
        let list = element(der, part.content.start);
        out.push(((*name).to_owned(), part.whole.start..list.content.start));
        for extension in children(der, list.content) {
            let id = element(der, extension.content.start);
            out.push((oid(der.get(id.content).expect("inside")), extension.whole));
        }
    }
    let rest = children(der, tbs.whole.end..outer.content.end);
    let [algorithm, signature] = rest.as_slice() else { panic!("{} parts", rest.len()) };
    out.push(("signatureAlgorithm".to_owned(), algorithm.whole.clone()));
    out.push(("signatureValue".to_owned(), signature.whole.clone()));
    out
}

struct Element {
    whole: Range<usize>,
    content: Range<usize>,
}

fn element(der: &[u8], at: usize) -> Element {
    let byte = |at: usize| usize::from(*der.get(at).expect("inside"));
    let (head, len) = match byte(at + 1) {
        0x81 => (3, byte(at + 2)),
        0x82 => (4, byte(at + 2) << 8 | byte(at + 3)),
        short => (2, short),
    };
    Element { whole: at..at + head + len, content: at + head..at + head + len }
}

fn children(der: &[u8], within: Range<usize>) -> Vec<Element> {
    let mut at = within.start;
    let mut out = Vec::new();
    while at < within.end {
        let next = element(der, at);
        at = next.whole.end;
        out.push(next);
    }
    out
}

/// An object identifier in dots.
fn oid(content: &[u8]) -> String {
    let mut arcs = Vec::new();
    let mut arc = 0u64;
    for byte in content {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            arcs.push(std::mem::take(&mut arc));
        }
    }
    let mut text = String::new();
    for (n, arc) in arcs.into_iter().enumerate() {
        match n {
            0 => write!(text, "{}.{}", (arc / 40).min(2), arc - 40 * (arc / 40).min(2)),
            _ => write!(text, ".{arc}"),
        }
        .expect("text");
    }
    text
}
