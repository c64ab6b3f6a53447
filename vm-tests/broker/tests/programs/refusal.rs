//! `ccnode refusal show` by what a node's console shows.

use crate::pool::Scene;
use ccnode_evidence::Code;
use ccnode_server::finish;
use ccnode_server::problem::Refusal;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_found_by_the_consoles_id() {
    let scene = Scene::new().await;
    let id = "6200e2b5cda14b41a4ee94f070a86843";
    for (code, id) in [(Code::EkUntrusted, id), (Code::ImageUnknown, "0"), (Code::QuoteSignature, id)] {
        assert!(finish::record(&scene.service, &Refusal::new(code, "detail"), id).await.unwrap());
    }
    let shown: Value = serde_json::from_str(&scene.good(&["--json", "refusal", "show", id]).await).unwrap();
    assert_eq!(
        (&shown["code"], &shown["id"]),
        (&"quote-signature".into(), &3.into()),
        "the newest of the id"
    );
    assert!(scene.good(&["refusal", "show", "1"]).await.contains("ek-untrusted"));
    let none = scene.ccnode(&["refusal", "show", "ffffffffffffffffffffffffffffffff"]).await;
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert_eq!(none.status.code(), Some(2), "{said}");
    assert!(said.contains("no refusal of correlation id") && said.contains("ccnode refusal list"), "{said}");
}
