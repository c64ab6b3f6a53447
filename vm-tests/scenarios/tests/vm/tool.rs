//! The administrators' tool against a running service: what it says to machines when something is wrong. No VM is booted.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::Story;
use ccnode_vm_scenarios::stage::project;
use ccnode_vm_scenarios::{Trust, TrustDir};
use serde_json::Value;
use std::ffi::OsStr;
use std::fmt::Debug;

/// The exit status, the code, and a part of message or next step.
fn fails<S: AsRef<OsStr> + Debug>(
    trust: &Trust,
    args: &[S],
    status: i32,
    code: &str,
    words: &str,
) -> Result<Value> {
    let (got, error) = trust.dir().cli_fails(args)?;
    let said = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    ensure!((got, said("code")) == (status, code), "{args:?}: {got}, {error}");
    ensure!(said("message").contains(words) || said("next").contains(words), "{args:?}: {error}");
    ensure!(!said("message").is_empty() && !said("next").is_empty(), "{args:?}: {error}");
    Ok(error)
}

/// A pool whose cluster nobody will join.
fn pool(trust: &Trust) -> Vec<String> {
    let ca = trust.dir().path().join("cluster-ca/cert.pem").to_string_lossy().into_owned();
    let args = ["pool", "create", "workers", "--cluster-server", "https://10.0.2.101", "--cluster-ca", &ca];
    args.map(str::to_owned).to_vec()
}

/// A refusal has the service's code, its next step and the id by which the service's log finds it.
pub(crate) fn tool_errors_are_json(story: &Story) -> Result<()> {
    let mut trust = TrustDir::init(story.path("trust"))?.serve()?;
    trust.cli(&pool(&trust))?;
    let conflict = fails(&trust, &pool(&trust), 3, "conflict", "workers")?;
    ensure!(conflict.get("correlation-id").is_some_and(Value::is_string), "{conflict}");
    fails(&trust, &["pool", "show", "other"], 3, "not-found", "list")?;
    fails(&trust, &["pool", "show", "NO NAME"], 2, "usage", "--help")?;

    let other = TrustDir::init(story.path("other"))?.serve()?;
    std::fs::copy(trust.dir().path().join("admin/url"), other.dir().path().join("admin/url"))?;
    fails(&other, &["pool", "list"], 5, "untrusted", "renew")?;
    trust.kill();
    fails(&trust, &["pool", "list"], 4, "unreachable", "serve")?;
    Ok(())
}

/// An id of the wrong kind is recognised, and so is a pair the wrong way round.
pub(crate) fn tool_tells_tuple_kinds_apart(story: &Story) -> Result<()> {
    let trust = TrustDir::init(story.path("trust"))?.serve()?;
    let data = |name: &str| project().join("images/tests/data").join(name).to_string_lossy().into_owned();
    let image = trust.cli(&["image", "register", &data("ovmf-2022.11-uki.tuple.json")])?;
    let platform = trust.cli(&["platform", "record", &data("ovmf-2022.11-uki.eventlog")])?;
    let id = |value: &Value| value.get("id").and_then(Value::as_str).map(str::to_owned).context("no id");
    let (image, platform) = (id(&image)?, id(&platform)?);
    trust.cli(&pool(&trust))?;
    let exchanged = ["pool", "allow", "workers", "--platform", &image, "--image", &platform];
    fails(&trust, &exchanged, 2, "usage", "is an image, no platform")?;
    fails(&trust, &["image", "show", &platform], 2, "usage", "is a platform, no image")?;
    fails(&trust, &["image", "show", ""], 2, "usage", "ccnode image list")?;
    trust.cli(&["pool", "allow", "workers", "--platform", &platform, "--image", &image])?;
    Ok(())
}

/// A pool's cluster changes, a bundle of CAs is added whole, and what is not there is said not to be.
pub(crate) fn tool_edits_pools_and_knows_names(story: &Story) -> Result<()> {
    let trust = TrustDir::init(story.path("trust"))?.serve()?;
    trust.cli(&pool(&trust))?;
    let file = |name: &str| trust.dir().path().join(name).to_string_lossy().into_owned();
    let (one, two, both) = (file("tls/ca.pem"), file("cluster-ca/cert.pem"), file("both.pem"));
    let server = "https://10.0.2.102:6443";
    let edited = trust.cli(&["pool", "edit", "workers", "--cluster-server", server, "--cluster-ca", &one])?;
    ensure!(edited.pointer("/cluster/server").and_then(Value::as_str) == Some(server), "{edited}");
    fails(&trust, &["pool", "edit", "workers", "--cluster-server", server], 2, "usage", "--help")?;

    let add = |file: &str| {
        ["pool", "ek-root", "add", "workers", &format!("{file}:hypervisor-vtpm")].map(str::to_owned)
    };
    trust.cli(&add(&one))?;
    std::fs::write(&both, [std::fs::read(&one)?, std::fs::read(&two)?].concat())?;
    let roots = trust.cli(&add(&both))?;
    ensure!(roots.get("ek-roots").and_then(Value::as_array).map(Vec::len) == Some(2), "{roots}");
    fails(&trust, &add(&both), 3, "conflict", "EK root")?;

    fails(&trust, &["refusal", "list", "--node", "workers-typo"], 3, "not-found", "workers-typo")?;
    fails(&trust, &["proposal", "approve", "7"], 3, "not-found", "7")?;
    fails(&trust, &["node", "allow-once", "workers-typo", "--refusal", "1"], 3, "not-found", "workers-typo")?;
    fails(&trust, &["node", "rebind", "workers-typo", "workers-other"], 3, "not-found", "workers-typo")?;
    ensure!(trust.cli(&["proposal", "list"])?.as_array().is_some_and(Vec::is_empty), "proposals");
    Ok(())
}
