//! An image that follows its host's hints, the hints, and the proxy that one of them names.

use anyhow::{Context as _, Result, ensure};
use ccnode_vm_harness::{Machine, Story};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::stage::{Built, Stage, build_recipe, test_recipe};

/// The fw_cfg item that ccnode-init looks for.
const ITEM: &str = "opt/ccnode/init-data";
/// An address that QEMU's DHCP server never gives.
pub const ADDRESS: &str = "10.0.2.77/24";
/// What the user file holds.
pub const MOTD: &str = "rack 7, by its host";
/// Where the guest sees the proxy.
const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 102), 3128);
/// Where the image looks for the service; the proxy leads there, nothing else does.
const SERVICE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 100), 443);

/// Builds the image whose configuration lets a host give `hints`: a list of TOML.
///
/// # Errors
/// When the build fails.
pub fn image(story: &Story, hints: &str) -> Result<Built> {
    let keys = &Stage::get()?.keys;
    // One tree for all of these images: the initramfs alone differs.
    let shared = test_recipe("1", keys)?;
    let own = story.path("recipe");
    let copied = Command::new("cp").arg("-a").arg(shared.parent().context("a folder")?).arg(&own).status()?;
    ensure!(copied.success(), "copying the recipe failed");
    let config = own.join("node.toml");
    let text = fs::read_to_string(&config)?;
    fs::write(&config, format!("init-data = \"allowed\"\nhints = {hints}\n{text}"))?;
    let path = own.join("recipe.toml");
    let mut recipe: toml::Table = fs::read_to_string(&path)?.parse()?;
    let modules = recipe.get_mut("kernel").and_then(|kernel| kernel.get_mut("modules"));
    modules.and_then(|m| m.as_array_mut()).context("a recipe lists modules")?.push("qemu_fw_cfg".into());
    fs::write(&path, toml::to_string(&recipe)?)?;
    build_recipe(&path, story.path("image"), keys, None)
}

/// Has the host of `machine` hand in an address, a proxy and a file, and leaves no other way to the service than that proxy.
///
/// # Errors
/// When the init-data can't be written.
pub fn handed(machine: Machine, dir: &Path, proxy: &ConnectProxy) -> Result<Machine> {
    let hints = format!(
        "[network]\naddress = \"{ADDRESS}\"\ngateway = \"10.0.2.2\"\nproxy = \"http://{PROXY}\"\n[files]\nmotd = \"{MOTD}\"\n"
    );
    let text =
        format!("version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"ccnode.toml\" = '''\n{hints}'''\n");
    fs::write(dir.join("init-data.toml"), &text)?;
    Ok(machine.fw_cfg(ITEM, &text).forward(PROXY, proxy.port).forward(SERVICE, 1))
}

/// A proxy that leads a CONNECT for the service to a port of the loopback, and refuses all else. It ends with the process.
#[derive(Debug)]
pub struct ConnectProxy {
    port: u16,
    carried: Arc<AtomicUsize>,
}

impl ConnectProxy {
    /// Starts it in front of the service at `service`.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(service: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let carried = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&carried);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let count = Arc::clone(&count);
                thread::spawn(move || connect(client, service, &count));
            }
        });
        Ok(Self { port, carried })
    }

    /// How many connections it led to the service.
    #[must_use]
    pub fn carried(&self) -> usize {
        self.carried.load(Ordering::SeqCst)
    }
}

fn connect(mut near: TcpStream, service: u16, count: &AtomicUsize) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 4096 {
        let mut byte = [0];
        near.read_exact(&mut byte)?;
        head.extend(byte);
    }
    if !head.starts_with(format!("CONNECT {SERVICE} ").as_bytes()) {
        return near.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n");
    }
    let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, service))?;
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    count.fetch_add(1, Ordering::SeqCst);
    let (mut from, mut to) = (near.try_clone()?, far.try_clone()?);
    thread::spawn(move || {
        let _broken_off = io::copy(&mut from, &mut to);
        let _gone = to.shutdown(Shutdown::Write);
    });
    let _broken_off = io::copy(&mut far, &mut near);
    near.shutdown(Shutdown::Write)
}
