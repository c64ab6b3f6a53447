//! What the stock service was recorded to answer to readers of resources: ours answers alike, but for the wording.

use crate::fixture::{Granted, Trust, boot, challenge, ready, tpm};
use crate::stock_clients::{RULES, stock_auth, stocked};
use ccnode_evidence::{Code, EvidenceKind};
use ccnode_protocol::admin::OnUnknown;
use ccnode_protocol::{PROBLEM_TYPE_BASE, Problem};
use ccnode_testkit::Seat;
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;

/// A recorded request with its answer.
#[derive(Default, Debug)]
struct Recorded {
    method: String,
    path: String,
    cookie: Option<String>,
    authorization: Option<String>,
    body: String,
    status: u16,
    answer: String,
}

impl Recorded {
    /// Last part of the answer's `type`.
    fn variant(&self) -> String {
        let problem: Problem = serde_json::from_str(&self.answer).unwrap();
        problem.kind.strip_prefix(PROBLEM_TYPE_BASE).unwrap().to_owned()
    }
}

/// Where ours differs on purpose, and how.
const DIFFERS: [(&str, &str, u16, &str); 2] = [
    // A missing resource is answered like a foreign one: nobody may tell which it was.
    ("GET", "/kbs/v0/resource/default/test/nosuch", 401, "PolicyDeny"),
    // A plugin that is not part of this service.
    ("GET", "/kbs/v0/provisioner/default/x/root", 404, "PluginNotFound"),
];

fn recordings() -> Option<Vec<Recorded>> {
    let text = String::from_utf8(ccnode_vectors::read("kbs-transcripts/negative.txt")?).unwrap();
    let mut found: Vec<Recorded> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            [">", method @ ("GET" | "PUT" | "POST" | "DELETE"), path, ..] => {
                let (method, path) = ((*method).to_owned(), (*path).to_owned());
                found.push(Recorded { method, path, ..Recorded::default() });
            }
            [">", "Cookie:", cookie, ..] if !cookie.is_empty() => {
                found.last_mut().unwrap().cookie = Some((*cookie).to_owned());
            }
            [">", "Authorization:", ..] => {
                found.last_mut().unwrap().authorization = Some(words[2..].join(" "));
            }
            ["<", status, ..] if status.parse::<u16>().is_ok() => {
                found.last_mut().unwrap().status = status.parse().unwrap();
            }
            _ if line.starts_with('{') && found.last().is_some_and(|r| r.status == 0) => {
                found.last_mut().unwrap().body = line.to_owned();
            }
            _ if line.starts_with("{\"type\"") || line.starts_with("{\"token\"") => {
                found.last_mut().unwrap().answer = line.to_owned();
            }
            _ => {}
        }
    }
    Some(found)
}

/// Status, type and code of what is asked with these headers.
async fn ask(
    trust: &Trust,
    method: &str,
    path: &str,
    cookie: Option<&str>,
    authorization: Option<&str>,
) -> (u16, String, Option<Code>) {
    let method: Method = method.parse().unwrap();
    let mut request = trust.client().request(method, trust.url(path));
    for (name, value) in [("cookie", cookie), ("authorization", authorization)] {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let problem: Problem = response.json().await.unwrap();
    (status, problem.kind.strip_prefix(PROBLEM_TYPE_BASE).unwrap().to_owned(), problem.code)
}

#[tokio::test]
async fn readers_are_told_what_the_stock_service_tells_them() {
    let Some(recordings) = recordings() else { return };
    let (trust, maker) = ready().await;
    let tpm = tpm(&maker, Seat::A);
    let attested = boot(&trust, &tpm).await.unwrap().session.cookie;
    let challenged = challenge(&trust, &tpm).await.cookie;
    let tokens: BTreeSet<&str> = recordings
        .iter()
        .filter(|r| r.path == "/kbs/v0/attest" && r.answer.starts_with("{\"token\""))
        .filter_map(|r| r.cookie.as_deref())
        .collect();
    let below = |r: &&Recorded| r.path.starts_with("/kbs/v0/") && matches!(r.method.as_str(), "GET" | "PUT");
    let (mut seen, mut variants) = (0, BTreeSet::new());
    let refused = recordings.iter().filter(below).filter(|r| r.status != 200 && !is_administration(r));
    // A session whose key can't be encrypted to gets no further than its attestation here.
    for recorded in refused.filter(|r| r.variant() != "JweError") {
        let cookie = match recorded.cookie.as_deref() {
            Some(known) if tokens.contains(known) => Some(attested.as_str()),
            Some(unknown) if unknown.ends_with("=deadbeef") => Some(unknown),
            Some(_) => Some(challenged.as_str()),
            None => None,
        };
        let (method, path) = (recorded.method.as_str(), recorded.path.as_str());
        let (status, variant, _) = ask(&trust, method, path, cookie, recorded.authorization.as_deref()).await;
        let other = DIFFERS.iter().find(|(m, p, ..)| (*m, *p) == (method, path));
        let want = other.map_or((recorded.status, recorded.variant()), |(_, _, status, variant)| {
            (*status, (*variant).to_owned())
        });
        assert_eq!((status, &variant), (want.0, &want.1), "{recorded:?}");
        seen += 1;
        variants.insert(variant);
    }
    assert_eq!(seen, 13, "the recordings were read");
    let all = ["PluginInternalError", "PluginNotFound", "PolicyDeny", "TokenNotFound", "TokenVerifierError"];
    assert_eq!(variants, all.map(str::to_owned).into());
}

/// What administrators ask of the stock service lies below the same path; ours have a listener of their own.
fn is_administration(recorded: &Recorded) -> bool {
    ["/kbs/v0/reference-value", "/kbs/v0/attestation-policy", "/kbs/v0/resource-policy"]
        .iter()
        .any(|path| recorded.path.starts_with(path))
}

#[tokio::test]
async fn clients_are_told_what_the_stock_service_tells_them() {
    let Some(recordings) = recordings() else { return };
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let post = async |path: &str, cookie: Option<&str>, body: &str| {
        let mut request = trust.client().post(trust.url(path)).body(body.to_owned());
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap())
    };
    let variant = |answer: &Value| {
        let problem: Problem = serde_json::from_value(answer.clone()).unwrap();
        (problem.kind.strip_prefix(PROBLEM_TYPE_BASE).unwrap().to_owned(), problem.code.unwrap())
    };
    let (mut challenges, mut refusals, mut attestations) = (0, 0, 0);
    for recorded in recordings.iter().filter(|r| r.method == "POST" && r.path == "/kbs/v0/auth") {
        // Evidence of other kinds is not appraised here: what the stock service takes of them, it takes of a TPM's.
        let ours = recorded.body.replace("\"tee\": \"sample\"", "\"tee\": \"tpm\"");
        let (status, answer) = post(&recorded.path, None, &ours).await;
        if recorded.status == 200 && answer["nonce"].is_string() {
            let members: Vec<&String> = answer.as_object().unwrap().keys().collect();
            assert_eq!(
                (status, members.len(), &answer["extra-params"]),
                (200, 2, &Value::from("")),
                "{ours}"
            );
            challenges += 1;
            continue;
        }
        let (kind, code) = variant(&answer);
        assert_eq!((status, kind.as_str()), (401, "AttestationError"), "{recorded:?}");
        assert!(recorded.status == 401 || code == Code::TeeUnsupported, "{recorded:?}: {code}");
        refusals += 1;
    }
    assert!(challenges > 25 && refusals > 12, "{challenges} {refusals}: the recordings were read");
    for recorded in recordings.iter().filter(|r| r.method == "POST" && r.path == "/kbs/v0/attest") {
        let session = stock_auth(&trust, EvidenceKind::Tpm).await.unwrap();
        let cookie = recorded.cookie.as_ref().map(|_| session.cookie.as_str());
        let (status, answer) = post(&recorded.path, cookie, &recorded.body).await;
        // Each is of another session, so each is refused; those that were refused there are refused alike.
        let (kind, _) = variant(&answer);
        assert_eq!((status, kind.as_str()), (401, "AttestationError"), "{recorded:?}");
        if recorded.status != 200 {
            assert_eq!(kind, recorded.variant(), "{recorded:?}");
        }
        attestations += 1;
    }
    assert!(attestations > 10, "{attestations}");
    // Stock administrators who come to the wrong listener.
    for recorded in
        recordings.iter().filter(|r| r.method == "POST" && r.path.starts_with("/kbs/v0/resource/"))
    {
        let (status, answer) = post(&recorded.path, None, &recorded.body).await;
        assert_eq!((status, variant(&answer).0), (recorded.status, recorded.variant()), "{recorded:?}");
    }
}

#[tokio::test]
async fn a_path_that_is_no_resource_is_told_from_one_that_is_not_the_nodes() {
    let (trust, maker) = ready().await;
    let Granted { session, grants, .. } = boot(&trust, &tpm(&maker, Seat::A)).await.unwrap();
    let cookie = Some(session.cookie.as_str());
    let own = format!("/kbs/v0/resource/node/{}/cluster", grants.node);
    let none = ask(&trust, "GET", &own, None, Some("Bearer a.b.c")).await;
    assert_eq!(none, (401, "TokenVerifierError".into(), Some(Code::SessionUnknown)));
    let none = ask(&trust, "GET", &own, None, None).await;
    assert_eq!(none, (401, "TokenNotFound".into(), Some(Code::SessionUnknown)));
    for (method, path, variant) in [
        ("GET", own.replace("cluster", "key"), "PolicyDeny"),
        ("PUT", own.clone(), "PluginInternalError"),
        ("GET", format!("{own}/more"), "PluginInternalError"),
        ("GET", own.replace("cluster", "%63luster"), "PluginInternalError"),
    ] {
        let told = ask(&trust, method, &path, cookie, None).await;
        assert_eq!(told, (401, variant.into(), Some(Code::ResourceUnknown)), "{method} {path}");
    }
}
