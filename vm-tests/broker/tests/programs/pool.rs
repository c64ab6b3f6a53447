//! `ccnode pool publish` and `import` between this project's service and a stock broker: real programs, TLS, tokens.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ccnode_server::config::{Config, FILE};
use ccnode_server::init::{self, Options};
use ccnode_server::pki;
use ccnode_server::serve::Server;
use ccnode_server::service::Service;
use ccnode_server::store::SqliteStore;
use ccnode_test_broker::{Broker, Post};
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

pub(crate) struct Scene {
    folder: tempfile::TempDir,
    broker: Broker,
    admin_key: Ed25519KeyPair,
    pub(crate) service: Arc<Service<SqliteStore>>,
}

impl Scene {
    /// A service with a stock pool, and a broker with its administrator's key.
    pub(crate) async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("trust");
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let options = Options {
            names: vec!["127.0.0.1".into()],
            listen: any,
            admin_listen: any,
            cluster_server: Some("https://10.0.2.101:6443".into()),
            cluster_server_ca: None,
        };
        init::init(&dir, &options).await.unwrap();
        let config = Config::load(&dir).unwrap();
        let text = format!("{}\n[stock]\npool = \"workers\"\n", toml::to_string(&config).unwrap());
        std::fs::write(dir.join(FILE), text).unwrap();
        let server = Server::bind(&dir).await.unwrap();
        std::fs::write(dir.join("admin/url"), format!("https://{}", server.admin_address())).unwrap();
        let service = server.service().clone();
        tokio::spawn(server.run(std::future::pending()));

        let broker = Broker::start(&["127.0.0.1"]);
        std::fs::write(folder.path().join("ca.pem"), broker.ca()).unwrap();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        std::fs::write(folder.path().join("key.pem"), pki::pem("PRIVATE KEY", pkcs8.as_ref())).unwrap();
        let admin_key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        Self { folder, broker, admin_key, service }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.broker.port())
    }

    /// `ccnode` with these words, and the broker's administrator.
    pub(crate) async fn ccnode(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.args(["--context", &self.file("trust/admin")]).args(words);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub(crate) async fn good(&self, words: &[&str]) -> String {
        let output = self.ccnode(words).await;
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    async fn publish(&self, url: &str, ca: &str) -> Output {
        let (ca, key) = (self.file(ca), self.file("key.pem"));
        let words = ["pool", "publish", "workers", "--to-trustee", url, "--ca", &ca, "--auth-key", &key];
        self.ccnode(&words).await
    }

    fn signed(&self, post: &Post) -> bool {
        let (signed, signature) = post.token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = UnparsedPublicKey::new(&ED25519, self.admin_key.public_key().as_ref());
        key.verify(signed.as_bytes(), &signature).is_ok()
    }
}

/// The tool, beside the tests.
fn program() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let program = this.parent().and_then(Path::parent).unwrap().join("ccnode");
    assert!(program.is_file(), "{} is missing: run `cargo build -p ccnode-cli` first", program.display());
    program
}

fn policy(post: &Post) -> String {
    let text = post.body["policy"].as_str().unwrap();
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_is_published_with_its_policies_by_a_signed_token() {
    let scene = Scene::new().await;
    scene.good(&["pool", "create", "workers"]).await;
    let output = scene.publish(&scene.url(), "ca.pem").await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("no endorsement key is asked for"), "{said}");
    let posts = scene.broker.posts();
    let paths: Vec<&str> = posts.iter().map(|post| post.path.as_str()).collect();
    assert_eq!(paths, ["/kbs/v0/resource-policy", "/kbs/v0/reference-value", "/kbs/v0/attestation-policy"]);
    assert!(posts.iter().all(|post| scene.signed(post)));
    assert!(policy(&posts[0]).contains("default allow := false"));
    assert_eq!(posts[2].body["policy_id"], "default_cpu");
    assert!(policy(&posts[2]).contains("trust_claims"));
    let out = scene.file("out");
    scene.good(&["pool", "publish", "workers", "--out", &out]).await;
    let written = std::fs::read_to_string(Path::new(&out).join("workers-attestation.rego")).unwrap();
    assert_eq!(written, policy(&posts[2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t08_nothing_is_told_to_who_is_not_below_the_pinned_ca() {
    let scene = Scene::new().await;
    scene.good(&["pool", "create", "workers"]).await;
    let other = scene.publish(&scene.url(), "trust/tls/ca.pem").await;
    assert!(!other.status.success());
    let plain = scene.publish(&scene.url().replace("https", "http"), "ca.pem").await;
    assert_eq!(plain.status.code(), Some(2), "{}", String::from_utf8_lossy(&plain.stderr));
    assert!(scene.broker.posts().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reference_values_are_read_back() {
    let scene = Scene::new().await;
    scene.good(&["pool", "create", "workers", "--rule", "danger-no-activation"]).await;
    let url = scene.url();
    let (ca, key) = (scene.file("ca.pem"), scene.file("key.pem"));
    let words = ["pool", "import", "workers", "--from-trustee", &url, "--ca", &ca, "--auth-key", &key];
    let none = scene.ccnode(&words).await;
    assert!(!none.status.success(), "nothing is there yet");
    let digest = "ab".repeat(32);
    for pcr in [4, 7, 14] {
        scene.broker.hold(&format!("tpm_pcr{pcr}"), json!([digest]));
    }
    scene.good(&words).await;
    let shown = scene.good(&["--json", "pool", "reference-values", "show", "workers"]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown, json!({"tpm_pcr14": [digest], "tpm_pcr4": [digest], "tpm_pcr7": [digest]}));
    assert!(scene.broker.posts().is_empty(), "nothing was told to the other side");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_over_for_a_pool_without_stock_clients() {
    let scene = Scene::new().await;
    scene.good(&["pool", "create", "workers", "--rule", "danger-no-activation"]).await;
    scene.good(&["pool", "create", "others"]).await;
    for pcr in [4, 7, 14] {
        scene.broker.hold(&format!("tpm_pcr{pcr}"), json!(["ab".repeat(32)]));
    }
    let url = scene.url();
    let (ca, key) = (scene.file("ca.pem"), scene.file("key.pem"));
    for (pool, exit) in [("others", 2), ("nowhere", 3)] {
        let words = ["pool", "import", pool, "--from-trustee", &url, "--ca", &ca, "--auth-key", &key];
        let output = scene.ccnode(&words).await;
        assert_eq!(output.status.code(), Some(exit), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let shown = scene.good(&["--json", "pool", "reference-values", "show", "workers"]).await;
    assert_eq!(shown.trim(), "{}", "the pool that the service has for stock clients is as it was");
}
