//! A software TPM for tests of whole steps.
#![allow(dead_code, reason = "each test uses its part")]

use ccnode_tpm_device::{Device, DeviceHandle, Tcti};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// A command whose process inherits nothing but its standard streams. The TSS opens its sockets without close-on-exec; a tool
/// or TPM that held the connection of a test beside would keep that test's TPM busy.
pub(crate) fn program(name: &str) -> Command {
    const CLOSE_AND_EXEC: &str = r#"for fd in /proc/self/fd/*; do
        fd=${fd##*/}; [ "$fd" -gt 2 ] && eval "exec $fd>&-"
    done; exec "$@""#;
    let mut command = Command::new("bash");
    command.args(["-c", CLOSE_AND_EXEC, "bash", name]).stdin(Stdio::null());
    command
}

/// A software TPM with nothing in it; it dies with this value.
pub(crate) struct Swtpm(Child, u16, TempDir);

impl Swtpm {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Another process may take a port between choosing and binding it.
        for _ in 0..20 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let Some(control) = port.checked_add(1) else { continue };
            let mut child = program("swtpm")
                .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
                .args(["--tpmstate", &format!("dir={}", dir.path().display())])
                .args(["--server", &format!("type=tcp,port={port},bindaddr=127.0.0.1,disconnect")])
                .args(["--ctrl", &format!("type=tcp,port={control},bindaddr=127.0.0.1")])
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap_or_else(|e| panic!("swtpm: {e}; install it: apt-get install -y swtpm"));
            for _ in 0..200 {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, control)).is_ok() {
                    return Self(child, port, dir);
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                thread::sleep(Duration::from_millis(25));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("no free pair of ports for swtpm")
    }

    /// Where it is, for the TSS.
    pub(crate) fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.1)
    }

    /// It serves one at a time.
    pub(crate) fn open(&self) -> DeviceHandle {
        let tcti: Tcti = self.tcti().parse().unwrap();
        Device::open(tcti).unwrap()
    }

    /// A folder for what a test's tools read and write.
    pub(crate) fn dir(&self) -> &Path {
        self.2.path()
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
