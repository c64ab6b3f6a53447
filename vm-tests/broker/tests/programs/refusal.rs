//! `ccnode refusal show` by what a node's console shows, and lists of a pool that is not there.

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_not_there_has_no_empty_list() {
    let scene = Scene::new().await;
    scene.good(&["pool", "create", "workers"]).await;
    for kind in ["node", "refusal"] {
        assert_eq!(scene.good(&["--json", kind, "list", "--pool", "workers"]).await.trim(), "[]", "{kind}");
        assert_eq!(scene.good(&["--json", kind, "list"]).await.trim(), "[]", "{kind}");
        let none = scene.ccnode(&["--json", kind, "list", "--pool", "wrokers"]).await;
        let said = String::from_utf8_lossy(&none.stderr).into_owned();
        assert_eq!((none.status.code(), none.stdout.as_slice()), (Some(3), &b""[..]), "{kind}: {said}");
        let said: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        assert_eq!(said["error"]["code"], "not-found", "{kind}: {said}");
        assert!(said["error"]["message"].as_str().unwrap().contains("wrokers"), "{kind}: {said}");
    }
}

/// What is on record of a pool that was deleted since is shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_outlive_their_pool() {
    let scene = Scene::new().await;
    scene.good(&["pool", "create", "old"]).await;
    let mut refusal = Refusal::new(Code::ImageUnknown, "detail");
    refusal = refusal.of(&"old".parse().unwrap(), &"old-aaaaaaaaaa".parse().unwrap());
    assert!(finish::record(&scene.service, &refusal, "0123456789abcdef").await.unwrap());
    scene.good(&["pool", "delete", "old"]).await;
    assert!(scene.good(&["refusal", "list", "--pool", "old"]).await.contains("image-unknown"));
}
