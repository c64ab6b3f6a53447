//! The service under load: made, started on a core of its own, told of the fleet, and watched.

use crate::connection::Peer;
use crate::figures::Measured;
use crate::nodes::Nodes;
use crate::process;
use anyhow::{Context as _, Result, ensure};
use ccnode_protocol::admin::{self, EkRootAdd, OnUnknown, Pair, PoolCreate, Rule, TrustLevel};
use ccnode_server::config::{Config, FILE};
use ccnode_server::init::{self, Options};
use ccnode_server::pki;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Certificate, Client, Identity};
use serde::Serialize;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The nodes' pool.
pub(crate) const POOL: &str = "workers";
const START: Duration = Duration::from_secs(60);

pub(crate) struct Trust {
    dir: PathBuf,
    program: PathBuf,
    core: usize,
    running: Option<Running>,
}

struct Running {
    child: Child,
    pid: u32,
    nodes: SocketAddr,
    admins: SocketAddr,
    peer: Peer,
}

impl Trust {
    /// A new service in `dir`; all nodes come from one address here, so that limits of an address are lifted, and no other.
    pub(crate) async fn make(dir: &Path, program: PathBuf, core: usize) -> Result<Self> {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let options = Options {
            names: vec!["127.0.0.1".into()],
            listen: any,
            admin_listen: any,
            cluster_server: Some("https://127.0.0.1:6443".into()),
            cluster_server_ca: None,
        };
        init::init(dir, &options).await?;
        let mut config = Config::load(dir)?;
        config.limits.connections = 4_096;
        config.limits.connections_per_address = config.limits.connections;
        config.limits.attestations_per_address = config.limits.attestations;
        config.limits.sessions_per_minute_per_address = u32::MAX;
        config.limits.releases_per_minute_per_node = u32::MAX;
        std::fs::write(dir.join(FILE), toml::to_string(&config)?)?;
        Ok(Self { dir: dir.to_owned(), program, core, running: None })
    }

    /// Another service in `dir` with all that this one has; it is stopped.
    pub(crate) fn copy(&self, dir: &Path) -> Result<Self> {
        ensure!(self.running.is_none(), "it is running");
        copy(&self.dir, dir)?;
        Ok(Self { dir: dir.to_owned(), program: self.program.clone(), core: self.core, running: None })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.dir
    }

    pub(crate) async fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("serve").arg(&self.dir).env_remove("CCNODE_LOG").kill_on_drop(true);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let pid = child.id().context("it ended at once")?;
        process::pin_other(pid, self.core)?;
        let mut lines = BufReader::new(child.stderr.take().context("its messages")?).lines();
        let mut addresses = Vec::new();
        let listening = async {
            while addresses.len() < 2 {
                let line = lines.next_line().await?.context("the service ended")?;
                let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next());
                addresses.extend(address.and_then(|text| text.parse::<SocketAddr>().ok()));
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(START, listening).await.context("the service does not start")??;
        tokio::spawn(async move {
            // What it logs as it does everywhere is part of its cost; only what is wrong is shown.
            while let Ok(Some(line)) = lines.next_line().await {
                if !line.contains(r#""level":"INFO""#) {
                    eprintln!("{line}");
                }
            }
        });
        let &[nodes, admins] = addresses.as_slice() else { anyhow::bail!("two addresses were due") };
        let peer = Peer::new(nodes, &std::fs::read(self.dir.join("tls/ca.pem"))?)?;
        self.running = Some(Running { child, pid, nodes, admins, peer });
        Ok(())
    }

    pub(crate) async fn stop(&mut self) -> Result<()> {
        let mut running = self.running.take().context("it is not running")?;
        kill(Pid::from_raw(i32::try_from(running.pid)?), Signal::SIGTERM)?;
        let status = running.child.wait().await?;
        ensure!(status.success(), "the service at {} ended with {status}", running.nodes);
        Ok(())
    }

    fn running(&self) -> Result<&Running> {
        self.running.as_ref().context("it is not running")
    }

    pub(crate) fn peer(&self) -> Result<Peer> {
        Ok(self.running()?.peer.clone())
    }

    pub(crate) fn resident(&self) -> Result<f64> {
        process::resident(self.running()?.pid)
    }

    /// What the sessions took of the nodes' time and of the service's.
    pub(crate) async fn measured(
        &self,
        sessions: impl Future<Output = Result<Vec<Duration>>>,
    ) -> Result<Measured> {
        let pid = self.running()?.pid;
        let (before, start) = (process::cpu_time(pid)?, Instant::now());
        let times = sessions.await?;
        Ok(Measured { wall: start.elapsed(), cpu: process::cpu_time(pid)? - before, times })
    }

    /// A pool that takes the fleet.
    pub(crate) async fn allow(&self, nodes: &Nodes) -> Result<()> {
        let wish = PoolCreate {
            name: POOL.parse()?,
            on_unknown: OnUnknown::Enrol,
            rules: vec![Rule::DangerHostIsTrusted],
            on_foreign_disk: Default::default(),
            allow_init_data: false,
            cluster: None,
        };
        self.post(admin::POOLS, &wish).await?;
        for der in [nodes.maker().root(), nodes.maker().intermediate()] {
            let certificate = pki::pem("CERTIFICATE", &der);
            let root = EkRootAdd { certificate, level: TrustLevel::HypervisorVtpm };
            self.post(&admin::path(admin::EK_ROOTS, &[&POOL]), &root).await?;
        }
        let platform = nodes.boot().platform_tuple("q35");
        let mut image = nodes.boot().image_tuple("worker", "1", Nodes::verity());
        image.cmdline.push_str(&format!(" ccnode.roothash={}", Nodes::verity()));
        self.post(admin::PLATFORMS, &platform).await?;
        self.post(admin::IMAGES, &image).await?;
        let pair = Pair { platform: platform.id(), image: image.id() };
        self.post(&admin::path(admin::PAIRS, &[&POOL]), &pair).await
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<()> {
        let file = |name: &str| std::fs::read(self.dir.join(name));
        let pem = [file("admin/key.pem")?, file("admin/cert.pem")?].concat();
        let client = Client::builder()
            .use_rustls_tls()
            .add_root_certificate(Certificate::from_pem(&file("tls/ca.pem")?)?)
            .identity(Identity::from_pem(&pem)?)
            .build()?;
        let url = format!("https://{}{path}", self.running()?.admins);
        let response = client.post(url).json(body).send().await?;
        let status = response.status();
        ensure!(status.is_success(), "{path}: {status}: {}", response.text().await?);
        Ok(())
    }
}

/// A folder and all below it, with modes.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir(to)?;
    std::fs::set_permissions(to, std::fs::metadata(from)?.permissions())?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
