//! `ccnode pool`: what the nodes of a pool must prove.

use crate::admin::{confirmed, connect, image, one, platform};
use crate::args::{EkRoot, EkRootArg, ForeignArg, Global, InitDataArg, Pool};
use crate::client::Client;
use crate::error::{Refused, Usage};
use crate::hardware;
use crate::output::{self, short, time, word};
use crate::rules::{self, ReferenceValues};
use anyhow::{Context as _, Result, bail};
use ccnode_appraise::HardwarePolicy;
use ccnode_evidence::Code;
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::{self, EkRootAdd, Pair, PoolCreate, PoolEdit, Rule};
use ccnode_protocol::grants::Cluster;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) async fn run(global: &Global, command: Pool) -> Result<()> {
    may_lose(&command)?;
    if let Pool::Ignition(ignition) = &command {
        return crate::trustee::ignition::run(ignition);
    }
    let client = connect(global)?;
    match command {
        Pool::Create {
            name,
            on_unknown,
            rules,
            on_foreign_disk,
            init_data,
            ek_roots,
            cluster_server,
            cluster_ca,
            ..
        } => {
            let roots = ek_roots.iter().map(read_root).collect::<Result<Vec<_>>>()?;
            let rules: Vec<Rule> = rules.into_iter().map(Rule::from).collect();
            let body = PoolCreate {
                name: name.clone(),
                on_unknown: on_unknown.into(),
                rules,
                on_foreign_disk: on_foreign_disk.into(),
                allow_init_data: init_data.is_allowed(),
                cluster: cluster(cluster_server, cluster_ca)?,
            };
            let mut pool: admin::Pool = client.post(admin::POOLS, &body).await?;
            for root in roots.into_iter().flatten() {
                match client.post(&admin::path(admin::EK_ROOTS, &[&name]), &root).await {
                    Ok(more) => pool = more,
                    Err(error) => {
                        // Half a pool would be in the way of the next try.
                        client.delete(&admin::path(admin::POOL, &[&name])).await?;
                        return Err(error.context(format!("no pool `{name}` was made")));
                    }
                }
            }
            shown(global, &client, &pool).await
        }
        Pool::List => list(global, &client).await,
        Pool::Show { name } => shown(global, &client, &get(&client, &name).await?).await,
        Pool::Edit {
            name,
            on_unknown,
            rules,
            no_rules,
            on_foreign_disk,
            init_data,
            cluster_server,
            cluster_ca,
            ..
        } => {
            let rules: Vec<Rule> = rules.into_iter().map(Rule::from).collect();
            let edit = PoolEdit {
                on_unknown: on_unknown.map(Into::into),
                rules: (no_rules || !rules.is_empty()).then_some(rules),
                on_foreign_disk: on_foreign_disk.map(Into::into),
                allow_init_data: init_data.map(InitDataArg::is_allowed),
                cluster: cluster(cluster_server, cluster_ca)?,
            };
            let pool = client.patch(&admin::path(admin::POOL, &[&name]), &edit).await?;
            shown(global, &client, &pool).await
        }
        Pool::Delete { name } => client.delete(&admin::path(admin::POOL, &[&name])).await,
        Pool::Allow { name, platform, image } => {
            let pair = pair(&client, &platform, &image).await?;
            let pool = client.post(&admin::path(admin::PAIRS, &[&name]), &pair).await?;
            shown(global, &client, &pool).await
        }
        Pool::Disallow { name, platform, image } => {
            let pair = pair(&client, &platform, &image).await?;
            client.delete(&admin::path(admin::PAIR, &[&name, &pair.platform, &pair.image])).await
        }
        Pool::Hardware { name, set } => demands(global, &client, &name, set.as_deref()).await,
        Pool::Publish(publish) => crate::trustee::publish(global, &client, publish).await,
        // It needs no service.
        Pool::Ignition(_) => Ok(()),
        Pool::Import(import) => crate::trustee::import(global, &client, import).await,
        Pool::ReferenceValues(ReferenceValues::Show { pool }) => {
            let path = admin::path(admin::POOL_REFERENCE_VALUES, &[&pool]);
            let posted: BTreeMap<String, Value> = client.get(&path).await?;
            rules::values(global.json, &posted)
        }
        Pool::ReferenceValues(ReferenceValues::Clear { pool, .. }) => {
            client.delete(&admin::path(admin::POOL_REFERENCE_VALUES, &[&pool])).await
        }
        Pool::EkRoot(EkRoot::Add { pool, root }) => {
            let (mut last, mut there) = (None, None);
            for root in read_root(&root)? {
                match client.post::<admin::Pool>(&admin::path(admin::EK_ROOTS, &[&pool]), &root).await {
                    Ok(more) => last = Some(more),
                    // A bundle of CAs is added whole, whichever of them the pool has.
                    Err(error) if is_conflict(&error) => there = Some(error),
                    Err(error) => return Err(error),
                }
            }
            match (last, there) {
                (Some(pool), _) => shown(global, &client, &pool).await,
                (None, Some(error)) => Err(error),
                (None, None) => Ok(()),
            }
        }
        Pool::EkRoot(EkRoot::Remove { pool, id }) => {
            let roots = get(&client, &pool).await?.ek_roots;
            let root = one("ek-root", &format!("ccnode pool show {pool}"), &id, roots, |root| root.id)?;
            client.delete(&admin::path(admin::EK_ROOT, &[&pool, &root.id])).await
        }
    }
}

/// A pool that wipes costs whatever is on the root partitions that its nodes find; without reference values, others decide.
fn may_lose(command: &Pool) -> Result<()> {
    let (name, yes) = match command {
        Pool::Create { name, yes, on_foreign_disk: ForeignArg::Wipe, .. }
        | Pool::Edit { name, yes, on_foreign_disk: Some(ForeignArg::Wipe), .. } => (name, *yes),
        Pool::ReferenceValues(ReferenceValues::Clear { pool, yes }) => {
            return confirmed(*yes, || {
                format!("stock clients of {pool} are judged by platforms and images then")
            });
        }
        _ => return Ok(()),
    };
    confirmed(yes, || format!("nodes of {name} will overwrite whatever else is on a root partition"))
}

async fn get(client: &Client, name: &PoolName) -> Result<admin::Pool> {
    client.get(&admin::path(admin::POOL, &[name])).await
}

async fn pair(client: &Client, platform_id: &str, image_id: &str) -> Result<Pair> {
    let platform = platform(client, platform_id).await?.id;
    let image = image(client, image_id).await?.id;
    Ok(Pair { platform, image })
}

fn cluster(server: Option<String>, ca: Option<PathBuf>) -> Result<Option<Cluster>> {
    let (Some(server), Some(ca)) = (server, ca) else { return Ok(None) };
    if !server.starts_with("https://") {
        let next = "give the API server's URL, which starts with https://";
        bail!(Usage::new(format!("--cluster-server `{server}`"), next));
    }
    let ca = std::fs::read_to_string(&ca).with_context(|| format!("reading {}", ca.display()))?;
    Ok(Some(Cluster { server, ca }))
}

/// Whether the service says that it is there already.
fn is_conflict(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Refused>().is_some_and(|Refused(problem)| problem.code == Some(Code::Conflict))
}

/// A PEM file may hold several certificates: each becomes a root of its own.
fn read_root(arg: &EkRootArg) -> Result<Vec<EkRootAdd>> {
    const END: &str = "-----END CERTIFICATE-----";
    let text =
        std::fs::read_to_string(&arg.file).with_context(|| format!("reading {}", arg.file.display()))?;
    let roots: Vec<EkRootAdd> = text
        .split_inclusive(END)
        .filter(|part| part.contains(END))
        .map(|part| EkRootAdd { certificate: format!("{}\n", part.trim()), level: arg.level })
        .collect();
    anyhow::ensure!(!roots.is_empty(), "{} holds no PEM certificate", arg.file.display());
    Ok(roots)
}

async fn list(global: &Global, client: &Client) -> Result<()> {
    let pools: Vec<admin::Pool> = client.get(admin::POOLS).await?;
    if global.json {
        return output::json(&pools);
    }
    let rows: Vec<[String; 5]> = pools
        .iter()
        .map(|pool| {
            [
                pool.name.to_string(),
                word(&pool.on_unknown),
                pool.nodes.to_string(),
                pool.pairs.len().to_string(),
                pool.rules.iter().map(word).collect::<Vec<_>>().join(", "),
            ]
        })
        .collect();
    output::table(["name", "on-unknown", "nodes", "pairs", "rules"], &rows)
}

async fn shown(global: &Global, client: &Client, pool: &admin::Pool) -> Result<()> {
    if global.json {
        return output::json(pool);
    }
    let demands: HardwarePolicy = client.get(&admin::path(admin::POOL_HARDWARE, &[&pool.name])).await?;
    let mut fields = vec![
        ("pool", pool.name.to_string()),
        ("on-unknown", word(&pool.on_unknown)),
        ("on-foreign-disk", word(&pool.on_foreign_disk)),
        ("init-data", if pool.allow_init_data { "allowed" } else { "refused" }.to_owned()),
        ("nodes", pool.nodes.to_string()),
    ];
    fields.extend(pool.rules.iter().map(|rule| ("rule", word(rule))));
    fields.extend(hardware::demanded(&demands));
    for root in &pool.ek_roots {
        let until = time(root.not_after);
        fields.push((
            "ek-root",
            format!("{}  {}  {}  until {until}", short(&root.id), word(&root.level), root.subject),
        ));
    }
    if let Some(cluster) = &pool.cluster {
        fields.push(("cluster", cluster.server.clone()));
    }
    for pair in &pool.pairs {
        fields.push((
            "allowed",
            format!("platform {} with image {}", short(&pair.platform), short(&pair.image)),
        ));
    }
    output::fields(&fields)?;
    rules::notes(&pool.rules);
    Ok(())
}

/// The policy that is in force, after `set` took its place.
async fn demands(global: &Global, client: &Client, name: &PoolName, set: Option<&Path>) -> Result<()> {
    let path = admin::path(admin::POOL_HARDWARE, &[name]);
    let policy: HardwarePolicy = match set {
        None => client.get(&path).await?,
        Some(file) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            let policy: HardwarePolicy = toml::from_str(&text).map_err(|e| {
                let said = e.to_string();
                Usage::new(
                    format!("{}: {}", file.display(), said.trim_end()),
                    "docs/configuration.md has the members",
                )
            })?;
            client.put(&path, &policy).await?
        }
    };
    match global.json {
        true => output::json(&policy),
        false => output::line(toml::to_string_pretty(&policy)?.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_policy_is_one() {
        let page = include_str!("../../docs/configuration.md");
        let example = page.split("```toml").last().and_then(|rest| rest.split("```").next()).unwrap();
        let digits = |n: usize| (format!("<{n} hex digits>"), "1".repeat(n));
        let text =
            [digits(64), digits(96)].iter().fold(example.to_owned(), |t, (from, to)| t.replace(from, to));
        let policy: HardwarePolicy = toml::from_str(&text).unwrap();
        assert_eq!((policy.snp_launches.len(), policy.vtpm_keepers.snp_measurements.len()), (1, 1));
        assert!(ccnode_appraise::Hardware::new(policy).is_ok());
    }

    #[test]
    fn every_member_of_a_policy_is_documented() {
        let page = include_str!("../../docs/configuration.md");
        let tables =
            ["", "[snp]", "[snp.platform]", "[snp.guest-policy]", "[snp.minimum-tcb.milan]", "[tdx]"];
        let more = ["[tdx.collateral]", "[azure]", "[vtpm-keepers]", "[[snp-launches]]", "[[tdx-launches]]"];
        let mut members = 0;
        for table in tables.into_iter().chain(more) {
            // serde names what it would have taken.
            let error = toml::from_str::<HardwarePolicy>(&format!("{table}\nx = 1\n")).unwrap_err();
            let (_, due) = error.message().split_once("expected ").unwrap();
            for member in due.split('`').skip(1).step_by(2) {
                let named = ["`", "] ", "[", "."]
                    .map(|before| format!("{before}{member}"))
                    .map(|name| [format!("{name}`"), format!("{name}]")]);
                assert!(named.iter().flatten().any(|form| page.contains(form)), "{table} {member}");
                members += 1;
            }
        }
        assert!(members > 70, "{members}");
    }
}
