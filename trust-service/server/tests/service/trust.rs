//! A trust service in a folder of its own: in the test's process, or the shipped program.

use crate::fixture::{Admin, builder};
use ccnode_server::init::{self, Options};
use ccnode_server::serve::{Reload, ServeError, Server};
use ccnode_server::service::Service;
use ccnode_server::store::SqliteStore;
use reqwest::{Certificate as Ca, Client, Identity};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running service; its folder outlives a restart.
pub(crate) struct Trust {
    folder: tempfile::TempDir,
    running: Option<Running>,
}

struct Running {
    node: SocketAddr,
    admin: SocketAddr,
    how: How,
}

enum How {
    /// In the test's own process.
    Within {
        service: Arc<Service<SqliteStore>>,
        reload: Reload,
        stop: oneshot::Sender<()>,
        ended: JoinHandle<()>,
    },
    /// The shipped program.
    Program(tokio::process::Child),
}

impl Trust {
    /// A new service with an empty store.
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same with an edited `config.toml`.
    pub(crate) async fn with(edit: impl FnOnce(&mut ccnode_server::config::Config)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let mut trust = Self { folder, running: None };
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let options = Options {
            names: vec!["10.0.2.100".into()],
            listen: any,
            admin_listen: any,
            cluster_server: Some("https://10.0.2.101:6443".into()),
            cluster_server_ca: None,
        };
        init::init(&trust.dir(), &options).await.unwrap();
        let mut config = ccnode_server::config::Config::load(&trust.dir()).unwrap();
        edit(&mut config);
        std::fs::write(trust.dir().join("config.toml"), toml::to_string(&config).unwrap()).unwrap();
        trust.start().await;
        trust
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.folder.path().join("trust")
    }

    pub(crate) async fn start(&mut self) {
        let server = Server::bind(&self.dir()).await.unwrap();
        let (service, node, admin) = (server.service().clone(), server.address(), server.admin_address());
        let reload = server.reload();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        self.running = Some(Running { node, admin, how: How::Within { service, reload, stop, ended } });
    }

    pub(crate) async fn stop(&mut self) {
        match self.running.take().unwrap().how {
            How::Within { stop, ended, .. } => {
                stop.send(()).unwrap();
                ended.await.unwrap();
            }
            How::Program(mut child) => {
                signal(&child, "TERM");
                assert!(child.wait().await.unwrap().success());
            }
        }
    }

    /// What the program writes to standard error goes here.
    pub(crate) fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap()
    }

    /// Ends it, and starts the shipped program in its place, or another one that becomes it.
    pub(crate) async fn run(&mut self, mut program: tokio::process::Command) {
        self.stop().await;
        let log = std::fs::File::create(self.log_file()).unwrap();
        let mut child = program.stderr(log).kill_on_drop(true).spawn().unwrap();
        let address = |log: &str, of: &str| -> Option<SocketAddr> {
            let line = log.lines().find(|line| line.ends_with(of))?;
            line.split(' ').nth(2)?.parse().ok()
        };
        loop {
            let log = self.log();
            let addresses = (address(&log, "for nodes"), address(&log, "for administrators"));
            if let (Some(node), Some(admin)) = addresses {
                self.running = Some(Running { node, admin, how: How::Program(child) });
                return;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended: {log}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// The program's process.
    pub(crate) fn process(&self) -> u32 {
        match &self.running().how {
            How::Program(child) => child.id().unwrap(),
            How::Within { .. } => panic!("no program"),
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        match &self.running().how {
            How::Program(child) => signal(child, name),
            How::Within { .. } => panic!("no program"),
        }
    }

    /// What SIGHUP does to the program.
    pub(crate) async fn reload(&self) -> Result<(), ServeError> {
        match &self.running().how {
            How::Within { reload, .. } => reload.reload().await,
            How::Program(_) => panic!("signal it"),
        }
    }

    /// Ends it, and starts it from what is on disk.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    /// Kills it without any ending, and starts it from what is on disk.
    pub(crate) async fn crash(&mut self) {
        match self.running.take().unwrap().how {
            How::Within { ended, .. } => ended.abort(),
            How::Program(mut child) => child.kill().await.unwrap(),
        }
        self.start().await;
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub(crate) fn service(&self) -> &Arc<Service<SqliteStore>> {
        match &self.running().how {
            How::Within { service, .. } => service,
            How::Program(_) => panic!("in a process of its own"),
        }
    }

    pub(crate) fn node_address(&self) -> SocketAddr {
        self.running().node
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.running().admin
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.running().node)
    }

    pub(crate) fn ca(&self) -> Ca {
        Ca::from_pem(&std::fs::read(self.dir().join("tls/ca.pem")).unwrap()).unwrap()
    }

    /// A client that trusts the service's CA alone.
    pub(crate) fn client(&self) -> Client {
        builder().add_root_certificate(self.ca()).build().unwrap()
    }

    /// The administrator that `init` made.
    pub(crate) fn admin(&self) -> Admin {
        self.admin_of(&self.dir().join("admin/cert.pem"), &self.dir().join("admin/key.pem"))
    }

    pub(crate) fn admin_of(&self, cert: &Path, key: &Path) -> Admin {
        let pem = [std::fs::read(key).unwrap(), std::fs::read(cert).unwrap()].concat();
        self.admin_with(&pem)
    }

    pub(crate) fn admin_with(&self, pem: &[u8]) -> Admin {
        let identity = Identity::from_pem(pem).unwrap();
        let client = builder().add_root_certificate(self.ca()).identity(identity).build().unwrap();
        Admin { client, base: format!("https://{}", self.running().admin) }
    }
}

/// The shipped program, serving the folder.
pub(crate) fn program(dir: &Path) -> tokio::process::Command {
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_ccnode-trust"));
    program.arg("serve").arg(dir);
    program
}

fn signal(child: &tokio::process::Child, name: &str) {
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}
