//! `ccnode pool publish` and `import`: a pool for Confidential Containers Trustee, and reference values back from it.

mod export;
pub(crate) mod ignition;
mod rego;
mod tdx;
#[cfg(test)]
mod tests;
mod token;

use crate::args::Global;
use crate::client::Client;
use crate::error::{Refused, Usage};
use crate::output;
use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ccnode_appraise::HardwarePolicy;
use ccnode_protocol::admin::{
    self, ImageRecord, LastEvidence, NodeFilter, NodeRecord, NodeState, PlatformRecord, ResourceRecord, Rule,
};
use ccnode_protocol::{ATTESTATION_POLICY, PoolName, REFERENCE_VALUE, RESOURCE_POLICY, ReferenceValuePost};
use export::{Export, Node, Source, file_name, names};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where Trustee is, and as whom it is spoken to.
#[derive(clap::Args)]
pub(crate) struct Trustee {
    /// CA of Trustee's certificate, PEM
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Private key of a Trustee administrator: Ed25519, PKCS #8 in PEM
    #[arg(long, value_name = "FILE")]
    auth_key: Option<PathBuf>,
}

/// `ccnode pool publish`.
#[derive(clap::Args)]
pub(crate) struct Publish {
    /// The pool
    name: PoolName,
    /// URL of Trustee; needs --ca and --auth-key
    #[arg(long, value_name = "URL", requires = "ca", requires = "auth_key", required_unless_present = "out")]
    to_trustee: Option<String>,
    /// Write policies and reference values into this folder, to be read first
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    trustee: Trustee,
}

/// `ccnode pool import`.
#[derive(clap::Args)]
pub(crate) struct Import {
    /// The pool, which must be the service's pool of stock clients
    name: PoolName,
    /// URL of Trustee
    #[arg(long, value_name = "URL", requires = "ca", requires = "auth_key")]
    from_trustee: String,
    #[command(flatten)]
    trustee: Trustee,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    pool: &'a PoolName,
    reference_values: &'a BTreeMap<String, Vec<String>>,
    not_enforced: &'a [String],
}

impl Trustee {
    fn connect(&self, url: &str) -> Result<Client> {
        if !url.starts_with("https://") {
            bail!(Usage::new(format!("`{url}`"), "give Trustee's URL, which starts with https://"));
        }
        let (Some(ca), Some(key)) = (&self.ca, &self.auth_key) else {
            bail!(Usage::new("Trustee needs to know its administrator", "give --ca and --auth-key"));
        };
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
        let token = token::token(&read(key)?).with_context(|| key.display().to_string())?;
        Client::with_token(url, &read(ca)?, &token).with_context(|| ca.display().to_string())
    }
}

pub(crate) async fn publish(global: &Global, client: &Client, publish: Publish) -> Result<()> {
    let Publish { name, to_trustee, out, trustee } = publish;
    let export = source(client, &name).await?.export();
    if let Some(dir) = &out {
        write(dir, &name, &export)?;
    }
    if let Some(url) = &to_trustee {
        post(&trustee.connect(url)?, &export).await?;
    }
    let Export { values, warnings, .. } = &export;
    if global.json {
        return output::json(&Report {
            version: 1,
            pool: &name,
            reference_values: values,
            not_enforced: warnings,
        });
    }
    let rows: Vec<[String; 2]> = values
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| [name.clone(), value.clone()]))
        .collect();
    output::table(["reference value", ""], &rows)?;
    eprintln!("Trustee does not enforce, of what this service does for the pool:");
    warnings.iter().for_each(|warning| eprintln!("  - {warning}"));
    Ok(())
}

/// All that the service says of the pool.
async fn source(client: &Client, name: &PoolName) -> Result<Source> {
    let pool: admin::Pool = client.get(&admin::path(admin::POOL, &[name])).await?;
    let hardware: HardwarePolicy = client.get(&admin::path(admin::POOL_HARDWARE, &[name])).await?;
    let platforms: Vec<PlatformRecord> = client.get(admin::PLATFORMS).await?;
    let images: Vec<ImageRecord> = client.get(admin::IMAGES).await?;
    let resources: Vec<ResourceRecord> = client.get(admin::RESOURCES).await?;
    let filter = NodeFilter { pool: Some(name.clone()), state: Some(NodeState::Active) };
    let records: Vec<NodeRecord> = client.list(admin::NODES, &filter).await?;
    let mut nodes = Vec::with_capacity(records.len());
    for record in records {
        let ak = match client.get::<LastEvidence>(&admin::path(admin::NODE_EVIDENCE, &[&record.name])).await {
            Ok(evidence) => ak(&evidence),
            Err(error) if error.is::<Refused>() => None,
            Err(error) => return Err(error),
        };
        nodes.push(Node { name: record.name, kind: record.kind, ak });
    }
    Ok(Source {
        pool,
        hardware,
        platforms: platforms.into_iter().map(|record| (record.id, record.tuple)).collect(),
        images: images.into_iter().map(|record| (record.id, record.tuple)).collect(),
        nodes,
        resources,
    })
}

/// The attestation key that the node proved last, as it sent it: an accepted verdict vouches for it.
fn ak(evidence: &LastEvidence) -> Option<String> {
    let attestation = evidence.attestation.as_ref().filter(|_| evidence.verdict.accepted)?;
    attestation.tee_evidence.primary_evidence.get("ak_public")?.as_str().map(str::to_owned)
}

fn write(dir: &Path, pool: &PoolName, export: &Export) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let values = serde_json::to_string_pretty(&export.values)?;
    let files = [
        (file_name(pool, "attestation"), &export.attestation),
        (file_name(pool, "resources"), &export.resources),
        (format!("{pool}-reference-values.json"), &values),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The resource policy first: until all of it is there, nobody is given more than before.
async fn post(trustee: &Client, export: &Export) -> Result<()> {
    let policy = |text: &str| URL_SAFE_NO_PAD.encode(text);
    trustee.tell(RESOURCE_POLICY, &json!({"policy": policy(&export.resources)})).await?;
    trustee.tell(REFERENCE_VALUE, &message(&export.values)?).await?;
    // `default` is taken, too, and never read.
    let body = json!({"type": "rego", "policy_id": "default_cpu", "policy": policy(&export.attestation)});
    trustee.tell(ATTESTATION_POLICY, &body).await
}

fn message(values: &impl Serialize) -> Result<ReferenceValuePost> {
    let payload = STANDARD.encode(serde_json::to_vec(values)?);
    Ok(ReferenceValuePost { version: "0.1.0".to_owned(), kind: "sample".to_owned(), payload })
}

pub(crate) async fn import(global: &Global, client: &Client, import: Import) -> Result<()> {
    let Import { name, from_trustee, trustee } = import;
    // Before anything is posted: values count at once, for the pool that the service's configuration names.
    let pool: admin::Pool = client.get(&admin::path(admin::POOL, &[&name])).await?;
    if !pool.rules.contains(&Rule::DangerNoActivation) {
        bail!(Usage::new(
            format!("pool {name} takes no stock clients"),
            "name the pool of [stock] in the service's config.toml, or give this one the rule danger-no-activation"
        ));
    }
    let remote = trustee.connect(&from_trustee)?;
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    for value in names() {
        match remote.get::<Value>(&format!("{REFERENCE_VALUE}/{value}")).await {
            Ok(list) => {
                found.insert(value, list);
            }
            // The stock service says so of a name that it has not.
            Err(error) if error.downcast_ref::<Refused>().is_some_and(Refused::is_of_reference_values) => {}
            Err(error) => return Err(error),
        }
    }
    if found.is_empty() {
        bail!(Usage::new(format!("{from_trustee} has no reference values of TPMs"), "post them there first"));
    }
    client.tell(REFERENCE_VALUE, &message(&found)?).await?;
    let path = admin::path(admin::POOL_REFERENCE_VALUES, &[&name]);
    let posted: BTreeMap<String, Value> = client.get(&path).await?;
    if !found.keys().all(|value| posted.contains_key(value)) {
        bail!(Usage::new(
            format!("the reference values are those of another pool than {name} now"),
            "name the pool that [stock] of the service's config.toml names"
        ));
    }
    crate::rules::values(global.json, &posted)
}
