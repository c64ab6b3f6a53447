//! A relay between device and TPM that records every command and answer, and may slip commands of its own in between.

use crate::fixture::{free_pair, tcti};
use ccnode_tpm_device::{Device, DeviceHandle};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// TPM_CC of the commands that tests look for.
pub(crate) const QUOTE: u32 = 0x158;
pub(crate) const ACTIVATE: u32 = 0x147;
pub(crate) const START_AUTH_SESSION: u32 = 0x176;
pub(crate) const PCR_READ: u32 = 0x17e;
pub(crate) const NV_READ: u32 = 0x14e;
pub(crate) const FLUSH: u32 = 0x165;
pub(crate) const GET_RANDOM: u32 = 0x17b;

/// One command as it crossed the wire, with its answer.
#[derive(Clone)]
pub(crate) struct Exchange {
    pub(crate) code: u32,
    pub(crate) command: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

/// What a relay does to a command.
pub(crate) enum Meddling {
    Pass,
    /// Slips another command in before it.
    After(Vec<u8>),
    /// Keeps it from the TPM and answers with a response code.
    Refuse(u32),
}

type Meddle = Box<dyn FnMut(u32, &[u8]) -> Meddling + Send>;

pub(crate) struct Relay {
    port: u16,
    seen: Arc<Mutex<Vec<Exchange>>>,
}

impl Relay {
    /// Listens in front of the TPM at `tpm`.
    pub(crate) fn watching(tpm: u16) -> Self {
        Self::new(tpm, |_, _| Meddling::Pass)
    }

    /// Listens in front of the TPM at `tpm` and does to each command (code, bytes) what `meddle` says.
    pub(crate) fn new(tpm: u16, meddle: impl FnMut(u32, &[u8]) -> Meddling + Send + 'static) -> Self {
        let (port, data, control) = loop {
            let port = free_pair();
            let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
            if let (Ok(data), Ok(control)) = (bind(port), bind(port + 1)) {
                break (port, data, control);
            }
        };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, mut meddle): (_, Meddle) = (Arc::clone(&seen), Box::new(meddle));
        thread::spawn(move || {
            for client in data.incoming() {
                let Ok(server) = connect(tpm) else { continue };
                relay_commands(client.unwrap(), server, &log, &mut meddle).ok();
            }
        });
        thread::spawn(move || {
            for client in control.incoming() {
                let Ok(server) = connect(tpm + 1) else { continue };
                let client = client.unwrap();
                let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pump(from, to));
                thread::spawn(move || pump(server, client));
            }
        });
        Self { port, seen }
    }

    pub(crate) fn open(&self) -> DeviceHandle {
        Device::open(tcti(self.port)).unwrap()
    }

    /// What crossed so far, without what was slipped in, and without commands that the TPM put off with TPM_RC_RETRY,
    /// as it does at the first use of a key: the TSS sends those again by itself.
    pub(crate) fn seen(&self) -> Vec<Exchange> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|e| e.answer[6..10] != [0, 0, 0x09, 0x22]).cloned().collect()
    }

    pub(crate) fn count(&self, code: u32) -> usize {
        self.seen().iter().filter(|e| e.code == code).count()
    }
}

/// TPM2_PCR_Extend of the SHA-256 bank with an empty password.
pub(crate) fn extend_command(pcr: u32, digest: [u8; 32]) -> Vec<u8> {
    let password = [&0x4000_0009u32.to_be_bytes()[..], &[0, 0, 0, 0, 0]].concat();
    let body = [
        &0x182u32.to_be_bytes()[..],
        &pcr.to_be_bytes(),
        &9u32.to_be_bytes(),
        &password,
        &1u32.to_be_bytes(),
        &[0x00, 0x0b],
        &digest,
    ]
    .concat();
    let size = u32::try_from(body.len() + 6).unwrap();
    [&[0x80, 0x02][..], &size.to_be_bytes(), &body].concat()
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn relay_commands(
    mut client: TcpStream,
    mut server: TcpStream,
    log: &Mutex<Vec<Exchange>>,
    meddle: &mut Meddle,
) -> io::Result<()> {
    client.set_nodelay(true)?;
    loop {
        let command = message(&mut client)?;
        let code = u32::from_be_bytes(command[6..10].try_into().unwrap());
        let answer = match meddle(code, &command) {
            Meddling::Refuse(rc) => [&[0x80, 0x01, 0, 0, 0, 10][..], &rc.to_be_bytes()].concat(),
            Meddling::Pass => exchange(&mut server, &command)?,
            Meddling::After(slipped_in) => {
                let answer = exchange(&mut server, &slipped_in)?;
                assert_eq!(answer[6..10], [0; 4], "the command slipped in failed");
                exchange(&mut server, &command)?
            }
        };
        log.lock().unwrap().push(Exchange { code, command, answer: answer.clone() });
        client.write_all(&answer)?;
    }
}

fn exchange(server: &mut TcpStream, command: &[u8]) -> io::Result<Vec<u8>> {
    server.write_all(command)?;
    message(server)
}

/// A command or an answer: tag, size of the whole, code, and the rest.
fn message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 10];
    stream.read_exact(&mut bytes)?;
    let size = u32::from_be_bytes(bytes[2..6].try_into().unwrap());
    bytes.resize(usize::try_from(size).unwrap(), 0);
    stream.read_exact(&mut bytes[10..])?;
    Ok(bytes)
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Write).ok();
}
