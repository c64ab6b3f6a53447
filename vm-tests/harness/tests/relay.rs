//! The relay program, fed as QEMU feeds it.

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;

#[test]
fn carries_both_ways_and_ends_with_the_service() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).unwrap();
        stream.write_all(&vec![asked[0]; 300_000]).unwrap();
    });
    let mut relay = Command::new(env!("CARGO_BIN_EXE_vm-relay"))
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut guest = relay.stdin.take().unwrap();
    guest.write_all(b"more").unwrap();
    let mut answer = Vec::new();
    relay.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
    assert_eq!(answer, vec![b'm'; 300_000]);
    assert!(relay.wait().unwrap().success());
    service.join().unwrap();
}

#[test]
fn an_answer_is_not_cut_at_its_line_ends() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let service = thread::spawn(move || listener.accept().unwrap().0.write_all(b"one\ntwo").unwrap());
    // Each write is a packet of its own here.
    let (guest, inside) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::empty()).unwrap();
    let relay = Command::new(env!("CARGO_BIN_EXE_vm-relay"))
        .arg(port.to_string())
        .stdin(Stdio::null())
        .stdout(inside)
        .status()
        .unwrap();
    assert!(relay.success());
    service.join().unwrap();
    let mut packet = [0; 64];
    let len = File::from(guest).read(&mut packet).unwrap();
    assert_eq!(&packet[..len], b"one\ntwo");
}

#[test]
fn a_closed_port_ends_quietly() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let out = Command::new(env!("CARGO_BIN_EXE_vm-relay")).arg(port.to_string()).output().unwrap();
    assert!(out.status.success() && out.stdout.is_empty() && out.stderr.is_empty());
}

#[test]
fn nonsense_is_a_usage_error() {
    let out = Command::new(env!("CARGO_BIN_EXE_vm-relay")).arg("443x").output().unwrap();
    assert_eq!(out.status.code(), Some(2));
}
