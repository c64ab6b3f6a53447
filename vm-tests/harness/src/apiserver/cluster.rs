//! What the API server keeps and who may touch it: nodes and their leases, by the rules of the node authorizer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const NODES: &str = "/api/v1/nodes";
const REVIEWS: [&str; 2] = [
    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
    "/apis/authentication.k8s.io/v1beta1/selfsubjectreviews",
];

/// Who calls, by the client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Common name.
    pub name: String,
    /// Organizations, and `system:authenticated`.
    pub groups: Vec<String>,
}

impl User {
    /// The node this user is, by the naming rule of the node authorizer.
    fn node(&self) -> Option<&str> {
        let name = self.name.strip_prefix("system:node:").filter(|n| !n.is_empty())?;
        self.groups.iter().any(|g| g == "system:nodes").then_some(name)
    }
}

/// The answer to a call.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
    /// The node that this call made a joined one.
    pub(super) joined: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Cluster {
    nodes: BTreeMap<String, Value>,
    leases: BTreeMap<String, Value>,
    /// What each node has done since it last joined.
    done: BTreeMap<String, BTreeSet<Step>>,
    version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Registered,
    Status,
    Lease,
}

/// A call that is not granted: status, reason and message.
struct Refusal(u16, &'static str, String);

type Outcome = Result<(u16, Value), Refusal>;

impl Cluster {
    pub(super) fn node(&self, name: &str) -> Option<&Value> {
        self.nodes.get(name)
    }

    pub(super) fn call(&mut self, user: &User, method: &str, path: &str, body: &[u8]) -> Reply {
        let (outcome, step) = self.route(user, method, path, body);
        let mut joined = None;
        if let (Some(step), Some(name)) = (step, user.node()) {
            // A node that boots again finds its Node object there, which is as good as making it.
            let conflict = step == Step::Registered && matches!(outcome, Err(Refusal(409, ..)));
            if outcome.is_ok() || conflict {
                let done = self.done.entry(name.to_owned()).or_default();
                // Registering begins a boot: what an earlier one did counts no more.
                if step == Step::Registered {
                    done.clear();
                }
                done.insert(step);
                if done.len() == 3 {
                    done.clear();
                    joined = Some(name.to_owned());
                }
            }
        }
        match outcome {
            Ok((status, body)) => Reply { status, body, joined },
            Err(Refusal(code, reason, message)) => {
                let body = json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": message, "reason": reason, "code": code,
                });
                Reply { status: code, body, joined }
            }
        }
    }

    fn route(&mut self, user: &User, method: &str, path: &str, body: &[u8]) -> (Outcome, Option<Step>) {
        if REVIEWS.contains(&path) && method == "POST" {
            return (review(user, path), None);
        }
        if let Some(answer) = discovery(path).filter(|_| method == "GET") {
            return (Ok((200, answer)), None);
        }
        let body = serde_json::from_slice(body).unwrap_or(Value::Null);
        let under = |prefix: &str| path.strip_prefix(prefix).map(|rest| rest.trim_matches('/').to_owned());
        if let Some(rest) = under(NODES) {
            let name = rest.strip_suffix("/status").unwrap_or(&rest);
            let status = name != rest;
            let step = match method {
                "POST" if rest.is_empty() => Some(Step::Registered),
                "PUT" | "PATCH" if status => Some(Step::Status),
                _ => None,
            };
            return (self.node_call(user, method, name, status, body), step);
        }
        if let Some(name) = under(LEASES) {
            let step = matches!(method, "POST" | "PUT" | "PATCH").then_some(Step::Lease);
            return (self.lease_call(user, method, &name, body), step);
        }
        (Err(not_found(path)), None)
    }

    fn node_call(&mut self, user: &User, method: &str, name: &str, status: bool, body: Value) -> Outcome {
        match (method, name) {
            ("POST", "") => {
                let name = own(user, "nodes", body_name(&body)?)?;
                let object = self.stamp(body, "Node", "v1");
                create(&mut self.nodes, "nodes", &name, object)
            }
            ("GET", name) if !name.is_empty() && !status => {
                let name = own(user, "nodes", name)?;
                self.nodes.get(&name).map(|n| (200, n.clone())).ok_or_else(|| not_found(&name))
            }
            ("PUT" | "PATCH", name) if !name.is_empty() => {
                let name = own(user, "nodes", name)?;
                let mut node = self.nodes.get(&name).cloned().ok_or_else(|| not_found(&name))?;
                let part = if status { "status" } else { "metadata" };
                merge(&mut node, part, &body);
                let node = self.stamp(node, "Node", "v1");
                self.nodes.insert(name, node.clone());
                Ok((200, node))
            }
            _ => Err(forbidden(user, method, "nodes", name)),
        }
    }

    fn lease_call(&mut self, user: &User, method: &str, name: &str, body: Value) -> Outcome {
        const API: &str = "coordination.k8s.io/v1";
        match (method, name) {
            ("POST", "") => {
                let name = own(user, "leases", body_name(&body)?)?;
                let object = self.stamp(body, "Lease", API);
                create(&mut self.leases, "leases", &name, object)
            }
            ("GET", name) if !name.is_empty() => {
                let name = own(user, "leases", name)?;
                self.leases.get(&name).map(|l| (200, l.clone())).ok_or_else(|| not_found(&name))
            }
            ("PUT" | "PATCH", name) if !name.is_empty() => {
                let name = own(user, "leases", name)?;
                let mut lease = self.leases.get(&name).cloned().ok_or_else(|| not_found(&name))?;
                merge(&mut lease, "spec", &body);
                let lease = self.stamp(lease, "Lease", API);
                self.leases.insert(name, lease.clone());
                Ok((200, lease))
            }
            _ => Err(forbidden(user, method, "leases", name)),
        }
    }

    fn stamp(&mut self, mut object: Value, kind: &str, version: &str) -> Value {
        self.version += 1;
        if let Some(members) = object.as_object_mut() {
            members.insert("kind".to_owned(), kind.into());
            members.insert("apiVersion".to_owned(), version.into());
        }
        merge(&mut object, "metadata", &json!({"metadata": {"resourceVersion": self.version.to_string()}}));
        object
    }
}

fn review(user: &User, path: &str) -> Outcome {
    let version = path.rsplit('/').nth(1).unwrap_or("v1");
    let answer = json!({
        "kind": "SelfSubjectReview", "apiVersion": format!("authentication.k8s.io/{version}"),
        "metadata": {}, "status": {"userInfo": {"username": user.name, "groups": user.groups}},
    });
    Ok((201, answer))
}

/// What clients ask before they ask anything.
fn discovery(path: &str) -> Option<Value> {
    let resource = |name: &str, kind: &str, namespaced: bool| {
        let verbs = ["create", "get", "patch", "update"];
        json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": verbs})
    };
    let list = |version: &str, resources: Vec<Value>| json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources});
    let group = |name: &str| {
        let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    Some(match path.trim_end_matches('/') {
        "/version" => {
            json!({"major": "1", "minor": "20", "gitVersion": "v1.20.2", "platform": "linux/amd64"})
        }
        "/healthz" | "/livez" | "/readyz" => json!("ok"),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => {
            let groups = [group("authentication.k8s.io"), group("coordination.k8s.io")];
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        "/api/v1" => {
            list("v1", vec![resource("nodes", "Node", false), resource("nodes/status", "Node", false)])
        }
        "/apis/coordination.k8s.io/v1" => {
            list("coordination.k8s.io/v1", vec![resource("leases", "Lease", true)])
        }
        "/apis/authentication.k8s.io/v1" => {
            list("authentication.k8s.io/v1", vec![resource("selfsubjectreviews", "SelfSubjectReview", false)])
        }
        _ => return None,
    })
}

/// The name, if the user is the node of that name.
fn own(user: &User, resource: &str, name: &str) -> Result<String, Refusal> {
    match user.node() {
        Some(node) if node == name => Ok(name.to_owned()),
        _ => Err(forbidden(user, "access", resource, name)),
    }
}

fn body_name(body: &Value) -> Result<&str, Refusal> {
    let name = body.pointer("/metadata/name").and_then(Value::as_str).filter(|n| !n.is_empty());
    name.ok_or_else(|| Refusal(400, "BadRequest", "the object has no metadata.name".to_owned()))
}

fn create(objects: &mut BTreeMap<String, Value>, resource: &str, name: &str, object: Value) -> Outcome {
    if objects.contains_key(name) {
        return Err(Refusal(409, "AlreadyExists", format!("{resource} \"{name}\" already exists")));
    }
    objects.insert(name.to_owned(), object.clone());
    Ok((201, object))
}

/// Merges one member of `change` into `object`, as a merge patch does (RFC 7386), name and namespace staying.
fn merge(object: &mut Value, part: &str, change: &Value) {
    let Some(from) = change.get(part).and_then(Value::as_object) else { return };
    let Some(members) = object.as_object_mut() else { return };
    let into = members.entry(part).or_insert_with(|| json!({}));
    let Some(into) = into.as_object_mut() else { return };
    for (key, value) in from {
        match value {
            _ if part == "metadata" && matches!(key.as_str(), "name" | "namespace") => {}
            Value::Null => drop(into.remove(key)),
            value => drop(into.insert(key.clone(), value.clone())),
        }
    }
}

fn not_found(name: &str) -> Refusal {
    Refusal(404, "NotFound", format!("\"{name}\" not found"))
}

fn forbidden(user: &User, verb: &str, resource: &str, name: &str) -> Refusal {
    let user = &user.name;
    Refusal(403, "Forbidden", format!("user \"{user}\" cannot {verb} {resource} \"{name}\""))
}
