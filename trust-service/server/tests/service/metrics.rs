//! What the service counts, who may read it, and that no name, path or key gets into it.

use crate::fixture::*;
use crate::stock_clients::{RULES, soft, stock_join, stocked};
use ccnode_evidence::Code;
use ccnode_protocol::admin::{self, OnUnknown};
use ccnode_server::{client, metrics, pki};
use ccnode_testkit::Seat;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::collections::BTreeSet;

/// The reader of metrics that `ccnode-trust client` makes.
fn reader(trust: &Trust) -> reqwest::Client {
    let out = trust.dir().join("metrics");
    client::issue(&trust.dir(), "prometheus", pki::METRICS, &out).unwrap();
    let pem = [std::fs::read(out.join("key.pem")).unwrap(), std::fs::read(out.join("cert.pem")).unwrap()];
    let identity = reqwest::Identity::from_pem(&pem.concat()).unwrap();
    builder().add_root_certificate(trust.ca()).identity(identity).build().unwrap()
}

async fn page(trust: &Trust, reader: &reqwest::Client) -> String {
    let url = format!("https://{}{}", trust.admin_address(), metrics::PATH);
    let answer = reader.get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], metrics::CONTENT_TYPE);
    answer.text().await.unwrap()
}

/// The value of the one series whose line begins so.
fn value(page: &str, series: &str) -> f64 {
    let mut lines = page.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = lines.next().unwrap_or_else(|| panic!("no {series} in {page}"));
    assert_eq!(lines.next(), None, "{series}");
    value.parse().unwrap()
}

#[tokio::test]
async fn a_session_is_counted_by_step_and_code() {
    let (trust, maker) = ready().await;
    let reader = reader(&trust);
    let a = tpm(&maker, Seat::A);
    let granted = first_boot(&trust, &a).await;
    granted.certificate(&granted.csr).await.unwrap();
    a.cap();
    assert_eq!(judged_code(&trust, &a).await, Code::AlreadyCapped);
    let page = page(&trust, &reader).await;
    let sessions = |outcome, code| {
        value(&page, &format!("ccnode_sessions_total{{outcome=\"{outcome}\",code=\"{code}\"}}"))
    };
    let steps = ["challenged", "accepted", "granted", "certified"].map(|outcome| sessions(outcome, ""));
    assert_eq!(steps, [2.0, 1.0, 1.0, 1.0]);
    assert_eq!(sessions("refused", "already-capped"), 1.0);
    let attest = "listener=\"node\",method=\"POST\",route=\"/kbs/v0/attest\"";
    for status in [200, 401] {
        assert_eq!(value(&page, &format!("ccnode_requests_total{{{attest},status=\"{status}\"}}")), 1.0);
    }
    for verdict in ["accepted", "refused"] {
        let labels = format!("{{tee=\"tpm\",verdict=\"{verdict}\"}}");
        assert_eq!(value(&page, &format!("ccnode_appraisal_duration_seconds_count{labels}")), 1.0);
    }
    assert_eq!(value(&page, "ccnode_connections_open{listener=\"admin\"}"), 1.0, "this one");
    assert_eq!(value(&page, "ccnode_attestations_waiting"), 0.0);
    let rows: Vec<admin::AuditRow> = trust.admin().get(admin::AUDIT).await;
    assert_eq!(value(&page, "ccnode_audit_rows"), rows[0].seq as f64);
    assert!(value(&page, "ccnode_store_commit_duration_seconds_count") >= 5.0);
    let end = value(&page, "ccnode_certificate_not_after_seconds{file=\"tls/cert.pem\"}");
    let days = (end - trust.service().now() as f64) / 86_400.0;
    assert!((720.0..731.0).contains(&days), "{days}");
    assert!(!page.contains("collateral_age_seconds{"), "there is none");
    let documented = include_str!("../../../../docs/operations.md");
    let names: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# HELP ccnode_")?.split(' ').next()).collect();
    assert!(names.len() >= 9, "{names:?}");
    assert!(names.iter().all(|name| documented.contains(&format!("`{name}"))), "{names:?}");
}

#[tokio::test]
async fn t20_who_reads_metrics_reads_nothing_else() {
    let trust = Trust::new().await;
    let reader = reader(&trust);
    page(&trust, &reader).await;
    let base = format!("https://{}", trust.admin_address());
    for (path, _) in ccnode_server::admin::routes::<ccnode_server::store::SqliteStore>() {
        for method in [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE] {
            if (path, &method) == (metrics::PATH, &Method::GET) {
                continue;
            }
            let asked = reader.request(method.clone(), format!("{base}{}", path.replace(['{', '}'], "")));
            let refused = read::<Value>(asked.json(&()).send().await.unwrap()).await.unwrap_err();
            let due = if path == metrics::PATH { Code::NotFound } else { Code::RoleMissing };
            assert_eq!(refused.problem.code, Some(due), "{method} {path}");
        }
    }
    // Administrators may, nobody else.
    assert_eq!(trust.admin().try_get(metrics::PATH).await, Some(StatusCode::OK));
    let nobody = trust.client().get(format!("{base}{}", metrics::PATH)).send().await.unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED);
    let nodes = trust.client().get(trust.url(metrics::PATH)).send().await.unwrap();
    assert_eq!(nodes.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn t21_labels_hold_neither_names_nor_paths_nor_keys() {
    let trust = stocked(OnUnknown::Enrol, &RULES).await;
    let reader = reader(&trust);
    let (stock, _) = stock_join(&trust, &soft(Seat::A)).await.unwrap();
    let _ = stock.resource("default/secret-thing/a").await;
    for path in ["/made/up", "/kbs/v0/resource/default/secret-thing/b", "/ccnode/v1/admin/nodes/x"] {
        let odd = Method::from_bytes(b"MADEUP").unwrap();
        let _ = trust.client().request(odd, trust.url(path)).send().await.unwrap();
    }
    let _: Vec<Value> = trust.admin().get(admin::NODES).await;
    let _ = trust.admin().try_get("/ccnode/v1/admin/nodes/some-node").await;
    let page = page(&trust, &reader).await;
    let templates = ccnode_server::routes::templates();
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let kinds: Vec<&str> = ccnode_evidence::EvidenceKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let mut seen = BTreeSet::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((_, labels)) = line.split_once('{') else { continue };
        // Templates hold braces too, values no quotes.
        for pair in labels.rsplit_once('}').unwrap().0.split("\",") {
            let (label, text) = pair.split_once("=\"").unwrap();
            let text = text.trim_end_matches('"');
            seen.insert(label.to_owned());
            let known = match label {
                "route" => text == "other" || templates.contains(&text),
                "status" => text.parse::<u16>().is_ok(),
                "le" => text == "+Inf" || text.parse::<f64>().is_ok(),
                "code" => text.is_empty() || codes.contains(&text),
                "tee" => kinds.contains(&text),
                "listener" => ["node", "admin"].contains(&text),
                "method" => ["GET", "POST", "PUT", "PATCH", "DELETE", "other"].contains(&text),
                "file" => ccnode_server::expiry::WATCHED.contains(&text),
                "verdict" => ["accepted", "refused"].contains(&text),
                "outcome" => text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                _ => false,
            };
            assert!(known, "{line}");
        }
    }
    assert!(seen.len() >= 10, "{seen:?}");
    for hidden in ["secret-thing", "made/up", "MADEUP", "some-node", POOL] {
        assert!(!page.contains(hidden), "{hidden}");
    }
}
