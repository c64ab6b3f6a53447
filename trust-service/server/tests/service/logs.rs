//! What the shipped program's log tells of a session, and what it never does.

use crate::fixture::*;
use crate::stock_clients::{RULES, edit_pool, soft, stock_config, stock_join};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ccnode_evidence::Code;
use ccnode_protocol::admin::{self, PoolEdit, RefusalRecord};
use ccnode_testkit::Seat;
use serde_json::Value;
use std::collections::BTreeSet;

/// The lines of requests: all that has a route.
fn requests(log: &str) -> Vec<Value> {
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["fields"]["message"] == "answered").collect()
}

#[tokio::test]
async fn t21_the_log_tells_of_every_request_and_holds_no_secret() {
    let mut trust = Trust::with(stock_config).await;
    let maker = prepare(&trust).await;
    edit_pool(&trust, PoolEdit { rules: Some(RULES.to_vec()), ..PoolEdit::default() }).await;
    let mut program = program(&trust.dir());
    program.env("CCNODE_LOG", "trace");
    trust.run(program).await;

    let a = tpm(&maker, Seat::A);
    let granted = first_boot(&trust, &a).await;
    granted.certificate(&granted.csr).await.unwrap();
    // Refused: capped, unknown, foreign, and at the resources.
    a.cap();
    let refused = judged(&trust, &a).await;
    assert_eq!(refused.code, Some(Code::AlreadyCapped));
    let resource = "/kbs/v0/resource/default/secret-thing/tag";
    assert_eq!(code(granted.session.get::<Value>(resource).await), Code::ResourceUnknown);
    let (stock, token) = stock_join(&trust, &soft(Seat::B)).await.unwrap();
    assert_eq!(code(stock.resource("default/secret-thing/tag").await), Code::ResourceUnknown);
    for bearer in [token.as_str(), "made-up-token"] {
        let asked = trust.client().get(trust.url(resource)).bearer_auth(bearer);
        assert_eq!(asked.send().await.unwrap().status(), 401);
    }
    let admin = trust.admin();
    assert_eq!(
        admin
            .call::<Value>(reqwest::Method::GET, "/ccnode/v1/admin/nodes/nobody", &())
            .await
            .unwrap_err()
            .status,
        404
    );
    let absent = admin::path(admin::RESOURCE, &[&"default", &"secret-thing", &"tag"]);
    assert_eq!(code(admin.call::<Value>(reqwest::Method::GET, &absent, &()).await), Code::NotFound);
    assert_eq!(code(admin.call::<Value>(reqwest::Method::DELETE, &absent, &()).await), Code::NotFound);
    // By what the console shows.
    let id = refused.correlation_id.clone().unwrap();
    let found: Vec<RefusalRecord> = admin.get(&format!("{}?correlation-id={id}", admin::REFUSALS)).await;
    assert_eq!(
        found.iter().map(|r| (r.code, &r.correlation_id)).collect::<Vec<_>>(),
        [(Code::AlreadyCapped, &id)]
    );
    assert!(
        admin.get::<Vec<RefusalRecord>>("/ccnode/v1/admin/refusals?correlation-id=other").await.is_empty()
    );
    trust.stop().await;

    let log = trust.log();
    let lines = requests(&log);
    let routes: BTreeSet<&str> = lines.iter().map(|line| line["fields"]["route"].as_str().unwrap()).collect();
    for route in
        ["/kbs/v0/auth", "/kbs/v0/attest", "/kbs/v0/resource/{*path}", admin::NODE, "/ccnode/v1/grants"]
    {
        assert!(routes.contains(route), "{route} in {routes:?}");
    }
    let templates = ccnode_server::routes::templates();
    let mut ids = BTreeSet::new();
    for line in &lines {
        let fields = &line["fields"];
        assert_eq!(line["level"], "INFO");
        assert!(templates.contains(&fields["route"].as_str().unwrap()), "{line}");
        assert!(fields["status"].is_u64() && fields["ms"].is_u64(), "{line}");
        assert_eq!(fields["peer"], "127.0.0.1", "{line}");
        assert!(ids.insert(fields["id"].as_str().unwrap()), "one line each: {line}");
        assert_eq!(fields["code"].is_string(), fields["status"].as_u64().unwrap() >= 400, "{line}");
    }
    let line = lines.iter().find(|line| line["fields"]["id"] == id.as_str()).unwrap();
    assert_eq!((&line["fields"]["code"], &line["fields"]["status"]), (&"already-capped".into(), &401.into()));

    let volume = granted.grants.volume().unwrap();
    let (_, format) = granted.format();
    let mut hidden = vec![
        ("cookie", granted.session.cookie.split_once('=').unwrap().1.to_owned()),
        ("stock cookie", stock.cookie.split_once('=').unwrap().1.to_owned()),
        ("token", token.rsplit_once('.').unwrap().1.to_owned()),
        ("session's token", granted.token.rsplit_once('.').unwrap().1.to_owned()),
        ("made-up token", "made-up-token".to_owned()),
        ("resource", "secret-thing".to_owned()),
    ];
    let secrets = [
        ("unlock key", &volume.unlock_key),
        ("format", &format),
        ("certificate", &granted.grants.certificate.secret),
    ];
    for (what, secret) in secrets {
        let bytes = secret.expose();
        hidden.push((what, hex::encode(bytes)));
        hidden.push((what, hex::encode_upper(bytes)));
        // Without the ends, which depend on what is beside it.
        for shift in 0..3 {
            let shifted = [&[0; 2][..shift], bytes].concat();
            hidden.push((what, STANDARD.encode(&shifted)[4..40].to_owned()));
            hidden.push((what, URL_SAFE_NO_PAD.encode(&shifted)[4..40].to_owned()));
        }
        hidden.push((what, format!("{bytes:?}").trim_matches(['[', ']']).to_owned()));
    }
    for (what, text) in hidden {
        assert!(!log.contains(&text), "{what}");
    }
    assert!(log.contains(granted.grants.node.as_str()), "the log tells something");
}
