//! `ccnode resource`: secrets that the service keeps for nodes, and who reads them. What they hold is never shown.

use crate::admin::{confirmed, connect};
use crate::args::Global;
use crate::output::{self, time};
use anyhow::{Context as _, Result};
use ccnode_protocol::admin::{self, Reader, ResourceRecord};
use ccnode_protocol::{NodeName, PoolName, ResourceUri, limits};
use clap::Subcommand;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

#[derive(Subcommand)]
pub(crate) enum Resource {
    /// Set a resource to what a file holds
    ///
    /// The node whose name the repository is may read it; anybody else only by `ccnode resource allow`. No command
    /// shows what a resource holds.
    Set {
        /// Name
        #[arg(value_name = "REPOSITORY/TYPE/TAG", value_parser = resource_name)]
        name: ResourceUri,
        /// The file; - is standard input
        file: PathBuf,
    },
    /// List resources, without what they hold
    List,
    /// Let a node, or all nodes of a pool, read a resource
    #[command(override_usage = "ccnode resource allow REPOSITORY/TYPE/TAG --node NAME|--pool NAME")]
    Allow(Readers),
    /// Take back what `allow` allowed
    #[command(override_usage = "ccnode resource disallow REPOSITORY/TYPE/TAG --node NAME|--pool NAME")]
    Disallow(Readers),
    /// Delete a resource for good
    Delete {
        /// Name
        #[arg(value_name = "REPOSITORY/TYPE/TAG", value_parser = resource_name)]
        name: ResourceUri,
        /// Confirm that what it holds may be lost
        #[arg(long)]
        yes: bool,
    },
}

#[derive(clap::Args)]
pub(crate) struct Readers {
    /// Name
    #[arg(value_name = "REPOSITORY/TYPE/TAG", value_parser = resource_name)]
    pub(crate) name: ResourceUri,
    #[command(flatten)]
    pub(crate) reader: ReaderArg,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ReaderArg {
    /// The node
    #[arg(long)]
    pub(crate) node: Option<NodeName>,
    /// The pool
    #[arg(long)]
    pub(crate) pool: Option<PoolName>,
}

/// With or without the scheme, as clevis writes it.
fn resource_name(text: &str) -> Result<ResourceUri, String> {
    ResourceUri::from_clevis(text).map_err(|error| error.to_string())
}

pub(crate) async fn run(global: &Global, command: Resource) -> Result<()> {
    if let Resource::Delete { name, yes } = &command {
        confirmed(*yes, || format!("what {name:#} holds is lost"))?;
    }
    match command {
        Resource::Set { name, file } => {
            let content = read(&file)?;
            let record = connect(global)?.put_bytes(&path(admin::RESOURCE, &name), &content).await?;
            shown(global, &[record])
        }
        Resource::List => {
            shown(global, &connect(global)?.get::<Vec<ResourceRecord>>(admin::RESOURCES).await?)
        }
        Resource::Allow(Readers { name, reader }) => {
            let path = path(admin::RESOURCE_READERS, &name);
            match self::reader(reader) {
                Some(reader) => shown(global, &[connect(global)?.post(&path, &reader).await?]),
                None => Ok(()),
            }
        }
        Resource::Disallow(Readers { name, reader }) => {
            let path = match self::reader(reader) {
                Some(Reader::Node(node)) => of(admin::RESOURCE_NODE, &name, &node),
                Some(Reader::Pool(pool)) => of(admin::RESOURCE_POOL, &name, &pool),
                None => return Ok(()),
            };
            connect(global)?.delete(&path).await
        }
        Resource::Delete { name, .. } => connect(global)?.delete(&path(admin::RESOURCE, &name)).await,
    }
}

/// clap sees to it that one of the two is there.
fn reader(arg: ReaderArg) -> Option<Reader> {
    arg.node.map(Reader::Node).or(arg.pool.map(Reader::Pool))
}

fn path(template: &str, name: &ResourceUri) -> String {
    let [repository, kind, tag] = name.parts();
    admin::path(template, &[&repository, &kind, &tag])
}

fn of(template: &str, name: &ResourceUri, reader: &dyn std::fmt::Display) -> String {
    let [repository, kind, tag] = name.parts();
    admin::path(template, &[&repository, &kind, &tag, reader])
}

/// No more than the service takes, and a byte, so that it is the service that refuses what is longer.
fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let most = u64::try_from(limits::RESOURCE)?.saturating_add(1);
    let mut content = Zeroizing::new(Vec::with_capacity(limits::RESOURCE + 1));
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(most).read_to_end(&mut content),
        false => std::fs::File::open(file).and_then(|open| open.take(most).read_to_end(&mut content)),
    };
    read.with_context(|| format!("reading {}", file.display()))?;
    Ok(content)
}

fn shown(global: &Global, records: &[ResourceRecord]) -> Result<()> {
    if global.json {
        return output::json(&records);
    }
    let rows: Vec<[String; 4]> = records
        .iter()
        .map(|record| {
            let nodes = record.nodes.iter().map(|node| format!("node {node}"));
            let pools = record.pools.iter().map(|pool| format!("pool {pool}"));
            let readers: Vec<String> = nodes.chain(pools).collect();
            [
                format!("{:#}", record.name),
                record.size.to_string(),
                time(record.updated),
                if readers.is_empty() { "-".to_owned() } else { readers.join(", ") },
            ]
        })
        .collect();
    output::table(["name", "bytes", "set", "also read by"], &rows)
}
