//! `ccnode-trust`: makes, runs and audits a trust service.

mod args;

use anyhow::Context as _;
use args::{Arguments, Audit, Command, Role, Rotate};
use ccnode_server::config::Config;
use ccnode_server::exit::{self, Unmade};
use ccnode_server::host::{self, Deed};
use ccnode_server::init::Options;
use ccnode_server::serve::Server;
use ccnode_server::service::{Service, read};
use ccnode_server::{audit, client, erase, init, pki, renew, rotate};
use clap::Parser as _;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Links the allocator that takes the place of the C library's `malloc`, for Rust and C alike. A request is a thousand small pieces: it takes
/// a twentieth off a session. By Rust's interface to it, each would be asked for with its alignment, which takes longer (docs/adr/0011).
#[used]
static ALLOCATOR: unsafe extern "C" fn(usize) -> *mut std::ffi::c_void = libmimalloc_sys::mi_malloc;

/// What is logged where `CCNODE_LOG` says nothing. That a database has the newest schema is no news to who made it just now.
const FILTER: &str = "info,rusqlite_migration=warn";

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let filter = std::env::var("CCNODE_LOG").unwrap_or_else(|_| FILTER.into());
    tracing_subscriber::fmt()
        .json()
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.context("no runtime").and_then(|runtime| runtime.block_on(run(command))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", sentence(&error));
            ExitCode::from(exit::code(error.chain()))
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
            init::init(&dir, &options).await.context("no service was made")?;
            next_steps(&dir, options.cluster_server.is_none());
            Ok(())
        }
        Command::Serve { dir } => serve(made(&dir)?).await,
        Command::Renew { dir, names } => {
            let deed = Deed { action: "host.renew", object: "certificates" };
            let work = || renew::renew(&dir, &names).map(|()| json!({"names": names}));
            host::audited(made(&dir)?, deed, work).await.context("nothing was renewed")?;
            let dir = dir.display();
            eprintln!("renewed: {RELOAD}; copy {dir}/admin to the administrators");
            Ok(())
        }
        Command::Rotate(what) => rotate(&what).await,
        Command::Client { dir, name, role, out } => {
            let role = match role {
                Role::ClusterAdmin => pki::CLUSTER_ADMIN,
                Role::Metrics => pki::METRICS,
            };
            let work = || client::issue(&dir, &name, role, &out).map(|key| json!({"role": role, "key": key}));
            let deed = Deed { action: "host.client", object: &name };
            host::audited(made(&dir)?, deed, work).await.context("no certificate was issued")?;
            eprintln!("made {}", out.display());
            Ok(())
        }
        Command::Audit(Audit::Verify { dir, checkpoint }) => verify(made(&dir)?, checkpoint).await,
    }
}

/// How the running service takes what was changed.
const RELOAD: &str = "`systemctl reload ccnode-trust` (SIGHUP) has the running service take it";

async fn rotate(what: &Rotate) -> anyhow::Result<()> {
    let (dir, object) = match what {
        Rotate::Kek { dir } => (dir, "kek"),
        Rotate::Token { dir } => (dir, "token"),
        Rotate::Ca { dir, switch: false } => (dir, "ca"),
        Rotate::Ca { dir, switch: true } => (dir, "ca --switch"),
        Rotate::ClusterCa { dir, switch: false } => (dir, "cluster-ca"),
        Rotate::ClusterCa { dir, switch: true } => (dir, "cluster-ca --switch"),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let work = || {
        match what {
            Rotate::Kek { .. } => rotate::kek(dir),
            Rotate::Token { .. } => rotate::token(dir, now.as_secs()),
            Rotate::Ca { switch: false, .. } => rotate::next_ca(dir),
            Rotate::Ca { switch: true, .. } => rotate::switch_ca(dir),
            Rotate::ClusterCa { switch: false, .. } => rotate::next_cluster_ca(dir),
            Rotate::ClusterCa { switch: true, .. } => rotate::switch_cluster_ca(dir),
        }
        .map(|()| json!({}))
    };
    host::audited(made(dir)?, Deed { action: "host.rotate", object }, work).await?;
    let done = match what {
        Rotate::Kek { .. } => {
            "the old key stays beside it as kek.old; the service removes that once nothing is sealed under it"
        }
        Rotate::Token { .. } => "tokens of the old key count until their sessions are over",
        Rotate::Ca { switch: false, .. } => {
            "tls/ca-next.pem: pin it in images beside tls/ca.pem, give admin/ca.pem to the administrators, then --switch"
        }
        Rotate::Ca { switch: true, .. } => {
            "administrators' old certificates count while tls/ca-old.pem is there; copy the folder admin to them"
        }
        Rotate::ClusterCa { switch: false, .. } => {
            "cluster-ca/next.pem: put it beside cluster-ca/cert.pem into the API server's client CA file, then --switch"
        }
        Rotate::ClusterCa { switch: true, .. } => {
            "the API server needs the old one for as long as its last certificates live"
        }
    };
    eprintln!("rotated: {RELOAD}; {done}");
    Ok(())
}

/// The folder, if `init` made it.
fn made(dir: &Path) -> anyhow::Result<&Path> {
    Ok(Unmade::check(dir)?)
}

/// What was made, and what comes next.
fn next_steps(dir: &Path, no_cluster: bool) {
    let dir = dir.display();
    eprintln!("made {dir}; guard {dir}/kek.key: with the database it is the whole cluster");
    if no_cluster {
        eprintln!(
            "no API server is named: each pool needs --cluster-server, or config.toml a section [cluster]"
        );
    }
    eprintln!("next: `ccnode-trust serve {dir}`; administrators take {dir}/admin to ~/.config/ccnode");
}

async fn serve(dir: &Path) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hup = signal(SignalKind::hangup())?;
    let server = Server::bind(dir).await.context("the service does not start")?;
    let reload = server.reload();
    tokio::spawn(async move {
        while hup.recv().await.is_some() {
            if let Err(error) = reload.reload().await {
                tracing::error!(%error, "keys and certificates were not all read again");
            }
        }
    });
    in_use(&server.service().config).iter().for_each(|line| eprintln!("{line}"));
    eprintln!("listening on {} for nodes", server.address());
    eprintln!("listening on {} for administrators", server.admin_address());
    server
        .run(async move {
            tokio::select! { _ = term.recv() => {} _ = int.recv() => {} }
        })
        .await;
    Ok(())
}

/// What the configuration has beside evidence and pools.
fn in_use(config: &Config) -> Vec<String> {
    let bundle = config.collateral.as_ref().map(|of| of.bundle.display().to_string());
    let mirrors = config.mirror.as_ref().map(|of| {
        [("SEV-SNP", &of.snp), ("TDX", &of.tdx)]
            .into_iter()
            .filter_map(|(kind, url)| url.as_ref().map(|url| format!("{url} ({kind})")))
            .collect::<Vec<_>>()
            .join(", ")
    });
    let stock = config.stock.as_ref().map(|of| format!("pool {}", of.pool));
    [("bundle", bundle), ("mirrors", mirrors), ("stock clients", stock)]
        .into_iter()
        .map(|(what, value)| format!("{what}: {}", value.unwrap_or_else(|| "none".to_owned())))
        .collect()
}

async fn verify(dir: &Path, checkpoint: Option<PathBuf>) -> anyhow::Result<()> {
    let service = Service::open(dir).await?;
    let path = checkpoint.unwrap_or_else(|| dir.join(audit::CHECKPOINT));
    let checkpoint: audit::Checkpoint = serde_json::from_str(&read(path.clone())?)
        .with_context(|| format!("{}: no checkpoint", path.display()))?;
    let rows = audit::verify(&service.store, Some((&checkpoint, &service.token.get()))).await?;
    for key in erase::destroyed(&service.store).await? {
        eprintln!("{}", erase::line(&key));
    }
    eprintln!("{rows} rows, unbroken; the checkpoint vouches for row {}", checkpoint.seq);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ccnode_server::config::FILE;

    #[test]
    fn what_is_in_use_is_said() {
        let addresses = "listen = \"127.0.0.1:1\"\nadmin-listen = \"127.0.0.1:2\"\n";
        let of = |text: &str| in_use(&toml::from_str(&format!("{addresses}{text}")).unwrap());
        assert_eq!(of(""), ["bundle: none", "mirrors: none", "stock clients: none"]);
        let all = "[collateral]\nbundle = \"b.json\"\nkeys = []\n[mirror]\nsnp = \"https://kds\"\ntdx = \"https://pccs\"\ncas = []\n\
            [stock]\npool = \"legacy\"\n";
        assert_eq!(
            of(all),
            [
                "bundle: b.json",
                "mirrors: https://kds (SEV-SNP), https://pccs (TDX)",
                "stock clients: pool legacy"
            ]
        );
    }

    #[test]
    fn a_folder_that_init_did_not_make() {
        let dir = tempfile::tempdir().unwrap();
        for none in [dir.path(), &dir.path().join("nowhere")] {
            let error = made(none).unwrap_err().to_string();
            assert!(error.contains(&none.display().to_string()) && error.contains("`ccnode-trust init`"));
        }
        std::fs::write(dir.path().join(FILE), "").unwrap();
        assert!(made(dir.path()).is_ok());
    }
}
