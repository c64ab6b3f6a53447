//! `ccnode-trust`: makes, runs and audits a trust service.

use anyhow::Context as _;
use ccnode_server::init::Options;
use ccnode_server::serve::Server;
use ccnode_server::service::{Service, read};
use ccnode_server::{audit, init};
use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// The trust service: decides which nodes get the keys of their disks and the
/// certificates with which they join the cluster.
#[derive(Parser)]
#[command(version, max_term_width = 80)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a folder with CA, keys, database and configuration
    Init {
        /// The folder; must be absent or empty
        dir: PathBuf,
        /// Host name or address by which nodes reach the service; may be repeated
        #[arg(long = "name", value_name = "HOST_OR_IP")]
        names: Vec<String>,
        /// Where nodes come in
        #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
        listen: SocketAddr,
        /// Where administrators come in
        #[arg(long, default_value = "127.0.0.1:8444", value_name = "ADDRESS")]
        admin_listen: SocketAddr,
        /// API server of the pools that name no cluster of their own
        #[arg(long, value_name = "URL")]
        cluster_server: Option<String>,
        /// CA of the API server's certificate [default: the folder's cluster CA]
        #[arg(long, value_name = "FILE", requires = "cluster_server")]
        cluster_server_ca: Option<PathBuf>,
    },
    /// Run the service until SIGTERM or SIGINT
    Serve {
        /// The folder that `init` made
        dir: PathBuf,
    },
    /// The audit log
    #[command(subcommand)]
    Audit(Audit),
}

#[derive(Subcommand)]
enum Audit {
    /// Check that no row was changed, removed or cut off
    Verify {
        /// The folder that `init` made
        dir: PathBuf,
        /// A checkpoint that was kept elsewhere [default: the folder's]
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let filter = std::env::var("CCNODE_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.context("no runtime").and_then(|runtime| runtime.block_on(run(command))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The chain of causes as one sentence; many a cause is quoted by the error above it.
fn sentence(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        _ if text.contains(&cause) => text,
        _ => format!("{text}: {cause}"),
    })
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init { dir, names, listen, admin_listen, cluster_server, cluster_server_ca } => {
            let options = Options { names, listen, admin_listen, cluster_server, cluster_server_ca };
            init::init(&dir, &options).await.context("no service was made")
        }
        Command::Serve { dir } => serve(&dir).await,
        Command::Audit(Audit::Verify { dir, checkpoint }) => verify(&dir, checkpoint).await,
    }
}

async fn serve(dir: &Path) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = Server::bind(dir).await.context("the service does not start")?;
    eprintln!("listening on {} for nodes", server.address());
    eprintln!("listening on {} for administrators", server.admin_address());
    server
        .run(async move {
            tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
        })
        .await;
    Ok(())
}

async fn verify(dir: &Path, checkpoint: Option<PathBuf>) -> anyhow::Result<()> {
    let service = Service::open(dir).await?;
    let path = checkpoint.unwrap_or_else(|| dir.join(audit::CHECKPOINT));
    let checkpoint: audit::Checkpoint = serde_json::from_str(&read(path.clone())?)
        .with_context(|| format!("{}: no checkpoint", path.display()))?;
    let rows = audit::verify(&service.store, Some((&checkpoint, &service.token))).await?;
    eprintln!("{rows} rows, unbroken; the checkpoint vouches for row {}", checkpoint.seq);
    Ok(())
}
