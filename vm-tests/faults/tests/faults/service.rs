//! The real `ccnode-trust` as a process: made once, copied for each test, killed, started again, and with a disk that is full.

use crate::full::Small;
use ccnode_protocol::PoolName;
use ccnode_protocol::admin::{self, EkRootAdd, OnUnknown, Pair, PoolCreate, Reader, Rule, TrustLevel};
use ccnode_server::config::{Config, FILE, StockConfig};
use ccnode_server::init::{self, Options};
use ccnode_testkit::Boot;
use reqwest::{Body, Certificate, Client, Identity, Method};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// What the nodes' pool may read.
pub(crate) const RESOURCE: &str = "kbs:///default/disk/root";
pub(crate) const CONTENT: &[u8] = b"the key of a LUKS volume";
const START: Duration = Duration::from_secs(60);
/// Writes beyond a limit give an error and no signal, as on a full disk; and nobody's sockets are inherited (the TSS leaves its open).
const LAUNCH: &str = r#"trap '' XFSZ
for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"; done
exec "$0" "$@""#;

pub(crate) fn pool() -> PoolName {
    "workers".parse().unwrap()
}

pub(crate) fn verity() -> ccnode_evidence::Sha256Digest {
    ccnode_evidence::Sha256Digest::of(b"root source")
}

/// The program, built beforehand: a test binary lies in target/*/deps, a program in target/*.
fn program() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let beside = this.ancestors().nth(2).unwrap().join("ccnode-trust");
    assert!(beside.is_file(), "ccnode-trust is not built: cargo build -p ccnode-server");
    beside
}

/// A service in a folder of its own; its clones are the same one.
#[derive(Clone)]
pub(crate) struct Service(Arc<Inner>);

struct Inner {
    /// Unmounted before its folder goes.
    small: Option<Small>,
    folder: tempfile::TempDir,
    child: tokio::sync::Mutex<Option<Child>>,
    ports: Mutex<Option<Ports>>,
}

#[derive(Clone, Copy)]
struct Ports {
    pid: u32,
    nodes: SocketAddr,
    admins: SocketAddr,
}

impl Service {
    /// A new one whose pool enrols nodes of these makers, in both modes, and lets them read [`RESOURCE`].
    pub(crate) async fn made(makers: &[String]) -> Self {
        let service = Self::of(tempfile::tempdir().unwrap(), None);
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let options = Options {
            names: vec!["127.0.0.1".into()],
            listen: any,
            admin_listen: any,
            cluster_server: Some("https://127.0.0.1:6443".into()),
            cluster_server_ca: None,
        };
        init::init(&service.dir(), &options).await.unwrap();
        let mut config = Config::load(&service.dir()).unwrap();
        config.stock = Some(StockConfig {
            pool: pool(),
            admin_keys: Vec::new(),
            newcomers_per_minute: 1000,
            waiting: 1000,
        });
        std::fs::write(service.dir().join(FILE), toml::to_string(&config).unwrap()).unwrap();
        service.start().await;
        service.fill(makers).await;
        service.stop().await;
        service
    }

    fn of(folder: tempfile::TempDir, small: Option<Small>) -> Self {
        Self(Arc::new(Inner { small, folder, child: tokio::sync::Mutex::new(None), ports: Mutex::new(None) }))
    }

    /// A started twin of one that is stopped: same keys, same state; on a small file system of its own, if need be.
    pub(crate) async fn twin(&self, small: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let small = small.then(|| Small::on(folder.path()).unwrap());
        let twin = Self::of(folder, small);
        copy_tree(&self.dir(), &twin.dir());
        twin.start().await;
        twin
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.folder.path().join("trust")
    }

    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir().join(name)).unwrap()
    }

    /// Where nodes come in, while it runs.
    pub(crate) fn nodes(&self) -> Option<SocketAddr> {
        self.0.ports.lock().unwrap().map(|ports| ports.nodes)
    }

    /// Starts it, unless it runs.
    pub(crate) async fn start(&self) {
        let mut place = self.0.child.lock().await;
        if place.is_some() {
            return;
        }
        let mut command = Command::new("bash");
        command.args(["-c", LAUNCH]).arg(program()).arg("serve").arg(self.dir()).env_remove("CCNODE_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        let listening = async {
            while addresses.len() < 2 {
                let line = lines.next_line().await.unwrap().expect("the service ended");
                let address = line.strip_prefix("listening on ").and_then(|rest| rest.split(' ').next());
                addresses.extend(address.and_then(|text| text.parse::<SocketAddr>().ok()));
            }
        };
        tokio::time::timeout(START, listening).await.expect("the service does not start");
        // Read to its end, lest it wait for whoever reads.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let ports = Ports { pid: child.id().unwrap(), nodes: addresses[0], admins: addresses[1] };
        *self.0.ports.lock().unwrap() = Some(ports);
        *place = Some(child);
    }

    /// kill -9.
    pub(crate) async fn kill(&self) {
        let mut place = self.0.child.lock().await;
        if let Some(mut child) = place.take() {
            child.start_kill().unwrap();
            child.wait().await.unwrap();
        }
        *self.0.ports.lock().unwrap() = None;
    }

    /// SIGTERM; it must end well.
    pub(crate) async fn stop(&self) {
        let mut place = self.0.child.lock().await;
        let mut child = place.take().expect("it runs");
        let pid = child.id().unwrap().to_string();
        assert!(Command::new("kill").arg(pid).status().await.unwrap().success());
        assert!(child.wait().await.unwrap().success());
        *self.0.ports.lock().unwrap() = None;
    }

    /// From now on the service's file system has no space, where it is one of its own; else every write of the service to a file fails.
    /// Or neither.
    pub(crate) async fn disk_is_full(&self, full: bool) {
        if let Some(small) = &self.0.small {
            return if full { small.fill() } else { small.free() };
        }
        let Some(pid) = self.0.ports.lock().unwrap().map(|ports| ports.pid) else { return };
        let limit = if full { "--fsize=0:unlimited" } else { "--fsize=unlimited:unlimited" };
        let set = Command::new("prlimit").args(["--pid", &pid.to_string(), limit]).status().await.unwrap();
        assert!(set.success());
    }

    /// What `ccnode-trust audit verify` says of a service that is stopped.
    pub(crate) async fn audit_verified(&self) -> Result<(), String> {
        let ended = Command::new(program()).args(["audit", "verify"]).arg(self.dir()).output().await.unwrap();
        match ended.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&ended.stderr).into_owned()),
        }
    }

    async fn fill(&self, makers: &[String]) {
        let wish = PoolCreate {
            name: pool(),
            on_unknown: OnUnknown::Enrol,
            rules: vec![Rule::DangerNoActivation, Rule::DangerHostIsTrusted],
            on_foreign_disk: Default::default(),
            allow_init_data: false,
            cluster: None,
        };
        self.json(Method::POST, admin::POOLS, &wish).await;
        for certificate in makers.iter().cloned() {
            let root = EkRootAdd { certificate, level: TrustLevel::HypervisorVtpm };
            self.json(Method::POST, &admin::path(admin::EK_ROOTS, &[&pool()]), &root).await;
        }
        let boot = boot();
        let (platform, mut image) = (boot.platform_tuple("qemu"), boot.image_tuple("worker", "1", verity()));
        image.cmdline.push_str(&format!(" ccnode.roothash={}", verity()));
        self.json(Method::POST, admin::PLATFORMS, &platform).await;
        self.json(Method::POST, admin::IMAGES, &image).await;
        let pair = Pair { platform: platform.id(), image: image.id() };
        self.json(Method::POST, &admin::path(admin::PAIRS, &[&pool()]), &pair).await;
        let path = format!("{}/{}", admin::RESOURCES, RESOURCE.strip_prefix("kbs:///").unwrap());
        self.send(Method::PUT, &path, CONTENT.to_vec()).await;
        self.json(Method::POST, &format!("{path}/readers"), &Reader::Pool(pool())).await;
    }

    async fn json(&self, method: Method, path: &str, body: &impl Serialize) {
        self.send(method, path, serde_json::to_vec(body).unwrap()).await;
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<Body>) {
        let pem = [self.file("admin/key.pem"), self.file("admin/cert.pem")].concat();
        let ca = Certificate::from_pem(&self.file("tls/ca.pem")).unwrap();
        let identity = Identity::from_pem(&pem).unwrap();
        let client =
            Client::builder().use_rustls_tls().add_root_certificate(ca).identity(identity).build().unwrap();
        let admins = self.0.ports.lock().unwrap().unwrap().admins;
        let request = client.request(method, format!("https://{admins}{path}"));
        let answer = request.header("content-type", "application/json").body(body).send().await.unwrap();
        let status = answer.status();
        assert!(status.is_success(), "{path}: {status}: {}", answer.text().await.unwrap());
    }
}

/// What every node boots: IMA is off, for no TPM says beforehand what its boot aggregate will be.
pub(crate) fn boot() -> Boot {
    Boot::standard().without_ima()
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), &target).unwrap()),
        }
    }
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
}
