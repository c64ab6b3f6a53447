//! `ccnode pool ignition`: user-data for nodes that clevis unlocks, with a URL, a CA and names in it, and nothing secret.
//!
//! User-data passes through the infrastructure's hands in the clear: whatever is in it is known to those whom the cluster keeps out.

use crate::error::Usage;
use crate::output;
use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ccnode_protocol::{PoolName, ResourceUri};
use ignition_config::v3_6::{Clevis, ClevisCustom, Luks};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

const VERSION: &str = "3.6.0";

/// `ccnode pool ignition`.
#[derive(clap::Args)]
pub(crate) struct Ignition {
    /// The pool, as a comment for people
    name: PoolName,
    /// URL of the service that holds the key
    #[arg(long)]
    url: String,
    /// CA of its certificate, PEM; certificates alone
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The resource with the key of the root's volume: REPOSITORY/TYPE/TAG
    #[arg(long, value_name = "RESOURCE", value_parser = resource)]
    key: ResourceUri,
    /// The device that is encrypted
    #[arg(long, default_value = "/dev/disk/by-partlabel/root", value_name = "DEVICE")]
    device: String,
    /// Where the node registers its attestation key (`/register-ak`)
    #[arg(long, value_name = "URL")]
    register: Option<String>,
    /// An Ignition config that this is added to; refused where something secret is in it
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
}

fn resource(text: &str) -> Result<ResourceUri, String> {
    ResourceUri::from_clevis(text).map_err(|error| error.to_string())
}

pub(crate) fn run(ignition: &Ignition) -> Result<()> {
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    let ca = read(&ignition.ca)?;
    let base = match &ignition.with {
        Some(path) => base(&read(path)?).with_context(|| path.display().to_string())?,
        None => Map::new(),
    };
    output::json(&ignition.render(&ca, base)?)
}

impl Ignition {
    /// The config; `base` is what it is added to.
    fn render(&self, ca: &str, mut base: Map<String, Value>) -> Result<Value> {
        for url in [Some(&self.url), self.register.as_ref()].into_iter().flatten() {
            if !url.starts_with("https://") || url.contains('@') {
                bail!(Usage::new(
                    format!("`{url}`"),
                    "give a URL that starts with https://, without a password"
                ));
            }
        }
        let ca = certificates(ca).with_context(|| self.ca.display().to_string())?;
        let pin = json!({"servers": [{"url": self.url, "cert": ca}], "path": format!("{:#}", self.key)});
        let custom = ClevisCustom {
            config: Some(pin.to_string()),
            needs_network: Some(true),
            pin: Some("trustee".to_owned()),
        };
        let mut luks = Luks::new("root".to_owned());
        luks.label = Some(format!("{}-root", self.name));
        luks.device = Some(self.device.clone());
        luks.clevis = Some(Clevis { custom: Some(custom), ..Clevis::default() });
        base.insert("ignition".to_owned(), merged_version(&base));
        push(&mut base, luks)?;
        if let Some(url) = &self.register {
            let registration = json!({"url": url, "certificate": ca});
            base.insert("attestation".to_owned(), json!({"attestation_key": {"registration": registration}}));
        }
        let value = without_nulls(Value::Object(base));
        // What was put together must be whole, and still hold nothing secret.
        secrets(&value)?;
        ignition_config::Config::parse_slice(&serde_json::to_vec(&value)?)
            .context("the config as a whole")?;
        Ok(value)
    }
}

/// The base's own settings of Ignition itself, in the version that knows this kind of pin.
fn merged_version(base: &Map<String, Value>) -> Value {
    let mut own = base.get("ignition").cloned().unwrap_or_else(|| json!({}));
    if let Some(members) = own.as_object_mut() {
        members.insert("version".to_owned(), json!(VERSION));
    }
    own
}

fn push(base: &mut Map<String, Value>, luks: Luks) -> Result<()> {
    let storage = base.entry("storage").or_insert_with(|| json!({}));
    let storage = storage.as_object_mut().context("storage: not an object")?;
    let volumes = storage.entry("luks").or_insert_with(|| json!([]));
    let volumes = volumes.as_array_mut().context("storage.luks: not a list")?;
    if volumes.iter().any(|volume| volume.get("name") == Some(&json!("root"))) {
        bail!(Usage::new("storage.luks has a volume `root` already", "take it out of the config"));
    }
    volumes.push(serde_json::to_value(luks)?);
    Ok(())
}

/// A config of any version that Ignition 3 reads, without anything secret.
fn base(text: &str) -> Result<Map<String, Value>> {
    let (config, unknown) = ignition_config::Config::parse_str(text).context("not an Ignition config")?;
    // What no version knows would be lost, or do what nobody looked at; confidential clusters' own member is looked at.
    if let Some(key) = unknown.iter().map(ToString::to_string).find(|text| !text.contains("$.attestation")) {
        bail!(Usage::new(key, "take it out of the config"));
    }
    drop(config);
    let value: Value = serde_json::from_str(text)?;
    secrets(&value)?;
    match value {
        Value::Object(members) => Ok(members),
        _ => bail!("not an object"),
    }
}

/// PEM of certificates and nothing else: keys lie beside them only too often.
fn certificates(pem: &str) -> Result<String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let found = found.context("not PEM")?;
    if found.is_empty() || pem.matches("-----BEGIN").count() != found.len() {
        bail!(Usage::new(
            "not certificates alone",
            "user-data is read by everybody: give the CA's certificate"
        ));
    }
    Ok(pem.to_owned())
}

/// Refuses what everybody who sees user-data would learn, and names where it stands.
fn secrets(config: &Value) -> Result<()> {
    let mut found = Vec::new();
    walk(config, "$", &mut found);
    match found.first() {
        None => Ok(()),
        Some(place) => bail!(Usage::new(
            format!(
                "{place} is or holds a secret, and user-data is read by everybody between here and the node"
            ),
            "take it out, and let the node fetch it as a resource after it has attested"
        )),
    }
}

/// Members whose value is a secret whatever it is.
const SECRET: [&str; 2] = ["passwordHash", "keyFile"];
/// Marks of secrets within texts and files.
const MARKS: [&str; 4] = ["PRIVATE KEY", "client-key-data", "Bearer ", "aws_secret_access_key"];

fn walk(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let place = format!("{place}.{name}");
                let set = !inner.is_null() && *inner != json!("") && *inner != json!({});
                if set && SECRET.contains(&name.as_str()) {
                    found.push(place.clone());
                }
                walk(inner, &place, found);
            }
            let name = members.get("name").and_then(Value::as_str).unwrap_or_default();
            if members.contains_key("value")
                && ["authorization", "cookie"].contains(&name.to_lowercase().as_str())
            {
                found.push(format!("{place}.value"));
            }
            let compressed =
                members.get("compression").and_then(Value::as_str).is_some_and(|kind| !kind.is_empty());
            let inline =
                members.get("source").and_then(Value::as_str).is_some_and(|url| of_data(url).is_some());
            if compressed && inline {
                // Nobody can look into it here.
                found.push(format!("{place}.source (compressed)"));
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| walk(item, &format!("{place}[{n}]"), found));
        }
        Value::String(text) => {
            let plain = data(text);
            let marked = |text: &str| MARKS.iter().any(|mark| text.contains(mark));
            let user = text
                .split_once("://")
                .is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|host| host.contains('@')));
            if marked(text) || plain.as_deref().is_some_and(marked) || user {
                found.push(place.to_owned());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// What follows the scheme of a data URL; schemes are the same in either case.
fn of_data(url: &str) -> Option<&str> {
    url.split_at_checked(5).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("data:")).map(|(_, rest)| rest)
}

/// What a data URL (RFC 2397) holds, as text.
fn data(url: &str) -> Option<String> {
    let (kind, content) = of_data(url)?.split_once(',')?;
    let bytes = match kind.ends_with(";base64") {
        true => STANDARD.decode(percent(content)).ok()?,
        false => percent(content),
    };
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn percent(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |bytes: &std::str::Bytes<'_>| {
            let mut two = bytes.clone();
            let digit = |b: Option<u8>| char::from(b?).to_digit(16);
            u8::try_from(digit(two.next())? * 16 + digit(two.next())?).ok()
        };
        match (byte, hex(&bytes)) {
            (b'%', Some(value)) => {
                out.push(value);
                bytes.next();
                bytes.next();
            }
            _ => out.push(byte),
        }
    }
    out
}

/// The crate writes absent members as null, which Ignition reads alike and people don't.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, inner)| !inner.is_null());
            Value::Object(kept.map(|(name, inner)| (name, without_nulls(inner))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignition(url: &str, register: Option<&str>) -> Ignition {
        Ignition {
            name: "workers".parse().unwrap(),
            url: url.to_owned(),
            ca: "ca.pem".into(),
            key: "kbs:///default/key/root".parse().unwrap(),
            device: "/dev/disk/by-partlabel/root".to_owned(),
            register: register.map(str::to_owned),
            with: None,
        }
    }

    fn ca() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    #[test]
    fn what_clevis_needs_is_there() {
        let (ca, _) = ca();
        let register = "https://trust.example/register-ak";
        let made = ignition("https://trust.example", Some(register)).render(&ca, Map::new()).unwrap();
        let custom = &made["storage"]["luks"][0]["clevis"]["custom"];
        assert_eq!((custom["pin"].as_str(), custom["needsNetwork"].as_bool()), (Some("trustee"), Some(true)));
        let config: Value = serde_json::from_str(custom["config"].as_str().unwrap()).unwrap();
        assert_eq!(config["path"], "default/key/root");
        assert_eq!(config["servers"][0], json!({"url": "https://trust.example", "cert": ca}));
        assert_eq!(made["attestation"]["attestation_key"]["registration"]["url"], register);
        assert_eq!(made["ignition"]["version"], VERSION);
    }

    #[test]
    fn t22_rendered_user_data_holds_no_secret() {
        let (cert, key) = ca();
        let good = ignition("https://trust.example", None);
        let made = good.render(&cert, Map::new()).unwrap().to_string();
        assert!(!made.contains("PRIVATE"), "{made}");
        for pem in [format!("{cert}{key}"), key.clone(), String::new()] {
            assert!(good.render(&pem, Map::new()).is_err(), "{pem}");
        }
        for url in ["http://trust.example", "https://a:b@trust.example"] {
            assert!(ignition(url, None).render(&cert, Map::new()).is_err(), "{url}");
            assert!(ignition("https://trust.example", Some(url)).render(&cert, Map::new()).is_err(), "{url}");
        }
    }

    #[test]
    fn t22_a_base_with_a_secret_is_refused_by_its_place() {
        let (_, key) = ca();
        let file = |source: String, compression: &str| json!({"files": [{"path": "/a", "contents": {"source": source, "compression": compression}}]});
        let encoded = STANDARD.encode(&key);
        let escaped: String = key.bytes().map(|b| format!("%{b:02x}")).collect();
        let cases = [
            (
                json!({"passwd": {"users": [{"name": "core", "passwordHash": "$6$x"}]}}),
                "$.passwd.users[0].passwordHash",
            ),
            (
                json!({"storage": file(format!("data:;base64,{encoded}"), "")}),
                "$.storage.files[0].contents.source",
            ),
            (json!({"storage": file(format!("data:,{escaped}"), "")}), "$.storage.files[0].contents.source"),
            (json!({"storage": file("data:;base64,H4sI".to_owned(), "gzip")}), "(compressed)"),
            (json!({"storage": file("DATA:;base64,H4sI".to_owned(), "gzip")}), "(compressed)"),
            (
                json!({"storage": file(format!("Data:;base64,{encoded}"), "")}),
                "$.storage.files[0].contents.source",
            ),
            (
                json!({"storage": file("data:,{\"client-key-data\": \"LS0t\"}".to_owned(), "")}),
                "$.storage.files[0].contents.source",
            ),
            (
                json!({"storage": file("data:,-----BEGIN PGP PRIVATE KEY BLOCK-----".to_owned(), "")}),
                "$.storage.files[0].contents.source",
            ),
            (
                json!({"storage": file("https://user:word@host/a".to_owned(), "")}),
                "$.storage.files[0].contents.source",
            ),
            (
                json!({"storage": {"luks": [{"name": "data", "device": "/dev/b", "keyFile": {"source": "data:,key"}}]}}),
                "$.storage.luks[0].keyFile",
            ),
            (
                json!({"storage": {"files": [{"path": "/a", "contents": {"source": "https://host/a",
                    "httpHeaders": [{"name": "Authorization", "value": "Basic x"}]}}]}}),
                "$.storage.files[0].contents.httpHeaders[0].value",
            ),
        ];
        for (mut config, place) in cases {
            config["ignition"] = json!({"version": "3.4.0"});
            let error = base(&config.to_string()).unwrap_err().to_string();
            assert!(error.contains(place), "{place}: {error}");
        }
    }

    #[test]
    fn a_good_base_stays_as_it_was() {
        let text = json!({
            "ignition": {"version": "3.4.0", "timeouts": {"httpTotal": 30}},
            "passwd": {"users": [{"name": "core", "sshAuthorizedKeys": ["ssh-ed25519 AAAA"]}]},
            "storage": {"files": [{"path": "/a", "contents": {"source": "data:,hello"}}]},
        });
        let made = ignition("https://trust.example", None)
            .render(&ca().0, base(&text.to_string()).unwrap())
            .unwrap();
        assert_eq!(made["passwd"], text["passwd"]);
        assert_eq!(made["storage"]["files"], text["storage"]["files"]);
        assert_eq!(made["ignition"], json!({"version": VERSION, "timeouts": {"httpTotal": 30}}));
        let twice = ignition("https://trust.example", None);
        let again = made.as_object().unwrap().clone();
        assert!(twice.render(&ca().0, again).unwrap_err().to_string().contains("already"));
        for bad in [
            "",
            "{}",
            r#"{"ignition":{"version":"2.2.0"}}"#,
            r#"{"ignition":{"version":"3.4.0"},"storag":{}}"#,
        ] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn recorded_configs_are_read_or_refused() {
        let Some((folder, expected)) = ccnode_vectors::stated("ignition") else { return };
        let mut read = 0;
        for (name, stated) in expected["files"].as_object().unwrap() {
            let Ok(text) = std::fs::read_to_string(folder.join(name)) else { continue };
            let good = base(&text).is_ok();
            assert!(!good || stated["is_json"] != false, "{name}");
            read += usize::from(good);
        }
        assert!(read > 20, "{read}");
    }
}
