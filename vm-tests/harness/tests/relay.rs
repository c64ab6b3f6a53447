//! The relay program, fed as QEMU feeds it.

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
