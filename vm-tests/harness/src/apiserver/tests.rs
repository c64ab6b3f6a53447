//! The server seen by a TLS client, as a guest's kubectl sees it.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::{Value, json};

use super::*;
use crate::certs::Ca;

struct Site {
    cluster: Ca,
    serving: Ca,
    api: ApiServer,
}

impl Site {
    fn new() -> Self {
        let (cluster, serving) = (Ca::new("cluster").unwrap(), Ca::new("serving").unwrap());
        let api = ApiServer::start(cluster.cert_pem(), &serving.server(&["10.0.2.101"]).unwrap()).unwrap();
        Self { cluster, serving, api }
    }

    fn node(&self, name: &str) -> CertKey {
        self.cluster.client(&format!("system:node:{name}"), &["system:nodes"]).unwrap()
    }

    fn call(&self, who: &CertKey, method: &str, path: &str, body: &Value) -> Result<(u16, Value)> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(certs::roots(self.serving.cert_pem())?)
            .with_client_auth_cert(certs::chain(&who.cert_pem)?, certs::key(&who.key_pem)?)?;
        let connection = ClientConnection::new(Arc::new(config), "10.0.2.101".try_into()?)?;
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.api.port()))?;
        let mut tls = StreamOwned::new(connection, stream);
        let body = body.to_string();
        let length = body.len();
        write!(
            tls,
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        tls.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
        let status = head.get(9..12).context("no status")?.parse()?;
        Ok((status, serde_json::from_str(body)?))
    }
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[test]
fn a_node_joins_and_joins_again() {
    let site = Site::new();
    let a = site.node("a");
    assert_eq!(site.call(&a, "POST", "/api/v1/nodes", &named("a")).unwrap().0, 201);
    assert!(site.api.wait_joined(1, Duration::from_millis(10)).is_err());
    let ready = json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    assert_eq!(site.call(&a, "PATCH", "/api/v1/nodes/a/status", &ready).unwrap().0, 200);
    assert_eq!(site.call(&a, "POST", LEASES, &named("a")).unwrap().0, 201);
    let joined = site.api.wait_joined(1, Duration::from_secs(5)).unwrap();
    assert_eq!((joined.name.as_str(), joined.calls.len()), ("a", 3));
    assert_eq!(site.api.node("a").unwrap()["status"], ready["status"]);

    assert_eq!(site.call(&a, "PUT", &format!("{LEASES}/a"), &json!({})).unwrap().0, 200);
    assert_eq!(site.call(&a, "POST", "/api/v1/nodes", &named("a")).unwrap().0, 409);
    assert_eq!(site.call(&a, "PUT", "/api/v1/nodes/a/status", &ready).unwrap().0, 200);
    assert_eq!(site.api.joined().len(), 1);
    let renewed = json!({"spec": {"renewTime": "2025-01-01T00:00:00.000000Z"}});
    let (status, lease) = site.call(&a, "PUT", &format!("{LEASES}/a"), &renewed).unwrap();
    assert_eq!((status, &lease["spec"], &lease["metadata"]["name"]), (200, &renewed["spec"], &json!("a")));
    let joined = site.api.wait_joined(2, Duration::from_secs(5)).unwrap();
    assert_eq!(joined.calls.iter().map(|c| c.status).collect::<Vec<_>>(), [200, 409, 200, 200]);
}

#[test]
fn the_review_tells_the_caller_its_name() {
    let site = Site::new();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (status, review) = site.call(&site.node("a"), "POST", path, &json!({})).unwrap();
    let info = &review["status"]["userInfo"];
    assert_eq!((status, &info["username"]), (201, &json!("system:node:a")));
    assert_eq!(info["groups"], json!(["system:nodes", "system:authenticated"]));
}

#[test]
fn a_node_touches_only_its_own() {
    let site = Site::new();
    let (a, b) = (site.node("a"), site.node("b"));
    site.call(&b, "POST", "/api/v1/nodes", &named("b")).unwrap();
    let lease = format!("{LEASES}/b");
    for (method, path, body) in [
        ("POST", "/api/v1/nodes", named("b")),
        ("GET", "/api/v1/nodes/b", Value::Null),
        ("PUT", "/api/v1/nodes/b/status", json!({})),
        ("DELETE", "/api/v1/nodes/a", Value::Null),
        ("GET", "/api/v1/nodes", Value::Null),
        ("POST", LEASES, named("b")),
        ("PUT", &lease, json!({})),
    ] {
        let (status, answer) = site.call(&a, method, path, &body).unwrap();
        assert_eq!((status, &answer["reason"]), (403, &json!("Forbidden")), "{method} {path}");
    }
    assert!(site.api.joined().is_empty());
    assert!(site.api.calls().iter().any(|c| c.to_string() == "403 GET /api/v1/nodes/b by system:node:a"));
}

#[test]
fn a_name_without_the_group_is_no_node() {
    let site = Site::new();
    for (user, groups) in
        [("system:node:a", &[][..]), ("a", &["system:nodes"]), ("system:node:", &["system:nodes"])]
    {
        let cert = site.cluster.client(user, groups).unwrap();
        assert_eq!(site.call(&cert, "POST", "/api/v1/nodes", &named("a")).unwrap().0, 403, "{user}");
    }
}

#[test]
fn a_foreign_certificate_gets_no_answer() {
    let site = Site::new();
    let foreign = Ca::new("cluster").unwrap().client("system:node:a", &["system:nodes"]).unwrap();
    assert!(site.call(&foreign, "GET", "/version", &Value::Null).is_err());
    assert!(site.api.calls().is_empty());
    let until = Instant::now() + Duration::from_secs(10);
    while site.api.refused_handshakes().is_empty() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(site.api.refused_handshakes().len(), 1);
}

#[test]
fn nonsense_is_answered() {
    let site = Site::new();
    let a = site.node("a");
    assert_eq!(site.call(&a, "POST", "/api/v1/nodes", &json!([1])).unwrap().0, 400);
    assert_eq!(site.call(&a, "GET", "/nowhere", &Value::Null).unwrap().0, 404);
    assert_eq!(site.call(&a, "PATCH", "/api/v1/nodes/a/status", &json!({})).unwrap().0, 404);
    assert_eq!(site.call(&a, "GET", "/apis", &Value::Null).unwrap().0, 200);
}
