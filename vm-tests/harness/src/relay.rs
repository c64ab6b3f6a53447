//! Copies stdin and stdout to a port of the host's loopback, once per connection that a guest opens.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::linux::net::TcpStreamExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, thread};

use anyhow::{Context, Result, bail};

/// First argument that makes a program with [`serve_if_asked`] a relay.
pub const FLAG: &str = "--vm-relay";

/// How long the other end may stay silent after the guest has closed its side.
const LINGER: Duration = Duration::from_secs(30);

static SERVES: OnceLock<()> = OnceLock::new();

/// Call this first in `main` of a program that boots machines: QEMU then starts that very program as the relay, and no
/// helper binary has to be built beside it. Returns the status to exit with if the program was started as the relay.
#[must_use]
pub fn serve_if_asked() -> Option<ExitCode> {
    let mut args = env::args_os().skip(1);
    if args.next().is_some_and(|first| first == FLAG) {
        return Some(serve(args.next()));
    }
    SERVES.get_or_init(|| ());
    None
}

/// The program to run as the relay, and the argument that goes before the port.
pub(crate) fn program() -> Result<(PathBuf, &'static str)> {
    let this = env::current_exe().context("finding the running program")?;
    if SERVES.get().is_some() {
        return Ok((this, FLAG));
    }
    // A test binary lies in target/*/deps, a program in target/*.
    let beside = this.ancestors().skip(1).take(2).map(|dir| dir.join("vm-relay"));
    match beside.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok((path, "")),
        None => bail!("vm-relay is not built: cargo build -p ccnode-vm-harness"),
    }
}

/// Serves one connection to the port named by `port`. A closed port ends quietly: to the guest it is a closed connection.
#[must_use]
pub fn serve(port: Option<OsString>) -> ExitCode {
    let Some(port) = port.and_then(|p| p.to_str()?.parse::<u16>().ok()) else {
        eprintln!("usage: vm-relay PORT");
        return ExitCode::from(2);
    };
    if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
        // Either side may break off at any time; the guest sees the connection end, which is all there is to say.
        let _broken_off = copy(stream);
    }
    ExitCode::SUCCESS
}

fn copy(service: TcpStream) -> io::Result<()> {
    service.set_nodelay(true)?;
    // Standard output's own buffer would send an answer in two parts, cut at its last line end.
    let (mut guest, mut answers) = (Guest::new(io::stdin())?, Guest::new(io::stdout())?.file);
    let mut to_service = service.try_clone()?;
    thread::spawn(move || {
        let _broken_off = pump(&mut guest, &mut to_service);
        let _gone = to_service.shutdown(Shutdown::Write);
        thread::sleep(LINGER);
        std::process::exit(0);
    });
    pump(&mut &service, &mut answers)
}

/// The guest's end: QEMU hands over a TCP socket of the loopback, on which neither side switches delays off. Small parts
/// would each wait 40 ms for an acknowledgement that is put off as long.
struct Guest {
    file: File,
    /// The same socket; where it is none, its options can't be set, and need not be.
    socket: TcpStream,
}

impl Guest {
    fn new(end: impl AsFd) -> io::Result<Self> {
        let file = File::from(end.as_fd().try_clone_to_owned()?);
        let socket = TcpStream::from(end.as_fd().try_clone_to_owned()?);
        let _pipe = socket.set_nodelay(true);
        Ok(Self { file, socket })
    }
}

impl Read for Guest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer);
        // Sends the acknowledgement that is due; the kernel forgets the option at once.
        let _pipe = self.socket.set_quickack(true);
        read
    }
}

fn pump(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..n).unwrap_or_default())?;
        to.flush()?;
    }
}
