//! The described page: its operations, and answers held to what it says of them.

use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The page, and which of its answers were seen: path, method, status.
pub(super) struct Page {
    pub(super) page: Value,
    pub(super) seen: RefCell<BTreeSet<(String, String, String)>>,
}

/// A route's template as the page has it: its parts have names there.
pub(super) fn described(path: &str) -> String {
    path.replace("{*path}", "{repository}/{type}/{tag}").replace("{*", "{")
}

impl Page {
    pub(super) fn read() -> Self {
        let text = include_str!("../../../../../docs/openapi.yaml");
        Self { page: serde_yaml_ng::from_str(text).unwrap(), seen: RefCell::default() }
    }

    pub(super) fn operation(&self, path: &str, method: &Method) -> Option<&Value> {
        self.page["paths"].get(described(path))?.get(method.as_str().to_lowercase())
    }

    pub(super) fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(name) => self.page.pointer(name.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    pub(super) fn hold(&self, schema: &Value, value: &Value, what: &str) {
        let mut whole = schema.clone();
        whole["components"] = self.page["components"].clone();
        let validator = jsonschema::draft202012::new(&whole).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{what}: {errors:#?}");
    }

    /// Sends a request whose body is as described, and holds the answer to its description.
    pub(super) async fn send(
        &self,
        path: &str,
        method: &Method,
        request: RequestBuilder,
        body: Option<&Value>,
    ) -> Value {
        if let Some(body) = body {
            let due = &self.operation(path, method).unwrap()["requestBody"]["content"];
            let (_, due) = due.as_object().unwrap().iter().next().unwrap();
            self.hold(&due["schema"], body, &format!("what {method} {path} is sent"));
        }
        let request = body.into_iter().fold(request, |request, body| request.json(body));
        self.answer(path, method, request.send().await.unwrap()).await
    }

    pub(super) async fn answer(&self, path: &str, method: &Method, answer: reqwest::Response) -> Value {
        let status = answer.status().as_str().to_owned();
        let what = format!("{method} {path} {status}");
        let operation = self.operation(path, method).unwrap_or_else(|| panic!("{what}: not described"));
        let due = self
            .resolve(operation["responses"].get(&status).unwrap_or_else(|| panic!("{what}: not described")));
        self.seen.borrow_mut().insert((described(path), method.as_str().to_lowercase(), status));
        for (name, _) in due["headers"].as_object().into_iter().flatten() {
            assert!(answer.headers().contains_key(name), "{what}: no {name}");
        }
        let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
        let bytes = answer.bytes().await.unwrap();
        let Some(contents) = due["content"].as_object() else {
            assert!(bytes.is_empty() && kind.is_none(), "{what}: a body");
            return Value::Null;
        };
        let kind = kind.unwrap_or_else(|| panic!("{what}: no content type"));
        let content = contents.get(&kind).unwrap_or_else(|| panic!("{what}: {kind} is not described"));
        let body = match kind.as_str() {
            "application/json" => serde_json::from_slice(&bytes).unwrap(),
            _ => Value::String(String::from_utf8(bytes.to_vec()).unwrap()),
        };
        self.hold(&content["schema"], &body, &what);
        body
    }

    pub(super) fn saw(&self, path: &str, method: &str, status: &str) -> bool {
        self.seen.borrow().contains(&(path.to_owned(), method.to_owned(), status.to_owned()))
    }

    /// Every operation with its path and its method.
    pub(super) fn operations(&self) -> impl Iterator<Item = (&String, &String, &Value)> {
        let paths = self.page["paths"].as_object().unwrap().iter();
        let all = paths.flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
        });
        all.filter(|(_, method, _)| *method != "parameters")
    }
}
