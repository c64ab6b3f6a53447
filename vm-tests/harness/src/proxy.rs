//! A TCP proxy that spoils what it carries, to stand between a guest and a service.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What happens to a connection. It is settled when the connection comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Carried unspoilt.
    Pass,
    /// Closed at once.
    Refuse,
    /// Carried until the service has sent this many bytes, then closed.
    CutAfter(usize),
    /// Carried, each piece of the service's answer this much later.
    Delay(Duration),
    /// Answered with bytes that are no TLS record.
    Garbage,
    /// Answered with bytes that never end.
    Endless,
    /// Answered with these bytes, then closed.
    Raw(Vec<u8>),
    /// Read, and never answered.
    Swallow,
}

/// A running proxy; dropping it ends the listening, and connections go on until their ends close.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    service: u16,
    fault: Mutex<Fault>,
    seen: AtomicUsize,
    stop: AtomicBool,
}

impl FaultProxy {
    /// Starts a proxy in front of a port of the loopback; it passes until [`FaultProxy::set`] says otherwise.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(service: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            service,
            fault: Mutex::new(Fault::Pass),
            seen: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let inner = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if inner.stop.load(Ordering::SeqCst) {
                    return;
                }
                inner.seen.fetch_add(1, Ordering::SeqCst);
                let fault = inner.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let service = inner.service;
                // Ends break off at will here; that is what the proxy is for.
                thread::spawn(move || fault.meet(client, service));
            }
        });
        Ok(Self { port, shared, thread: Some(thread) })
    }

    /// The proxy's port on the loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Settles what happens to connections from now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// How many connections have come.
    #[must_use]
    pub fn seen(&self) -> usize {
        self.shared.seen.load(Ordering::SeqCst)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // The listener looks at `stop` once a connection comes.
        let _gone = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Fault {
    fn meet(self, mut client: TcpStream, service: u16) -> io::Result<()> {
        match self {
            Self::Pass => carry(client, service, usize::MAX, Duration::ZERO),
            Self::CutAfter(bytes) => carry(client, service, bytes, Duration::ZERO),
            Self::Delay(delay) => carry(client, service, usize::MAX, delay),
            Self::Refuse => client.shutdown(Shutdown::Both),
            Self::Garbage => {
                let noise: Vec<u8> =
                    (0..4096u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
                answer(&mut client, &noise)
            }
            Self::Raw(bytes) => answer(&mut client, &bytes),
            Self::Endless => loop {
                client.write_all(&[b'x'; 4096])?;
            },
            Self::Swallow => io::copy(&mut client, &mut io::sink()).map(drop),
        }
    }
}

/// Sends bytes and reads on until the client closes, lest a reset overtake the answer.
fn answer(client: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    client.write_all(bytes)?;
    client.shutdown(Shutdown::Write)?;
    client.set_read_timeout(Some(Duration::from_secs(2)))?;
    io::copy(client, &mut io::sink()).map(drop)
}

fn carry(client: TcpStream, service: u16, limit: usize, delay: Duration) -> io::Result<()> {
    let service = TcpStream::connect((Ipv4Addr::LOCALHOST, service))?;
    let (mut up_from, mut up_to) = (client.try_clone()?, service.try_clone()?);
    thread::spawn(move || {
        let _broken_off = io::copy(&mut up_from, &mut up_to);
        let _gone = up_to.shutdown(Shutdown::Write);
    });
    let done = down(&service, &client, limit, delay);
    let _gone = client.shutdown(Shutdown::Both);
    let _gone = service.shutdown(Shutdown::Both);
    done
}

fn down(mut service: &TcpStream, mut client: &TcpStream, limit: usize, delay: Duration) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    let mut left = limit;
    while left > 0 {
        let n = service.read(&mut buffer)?.min(left);
        if n == 0 {
            return Ok(());
        }
        thread::sleep(delay);
        client.write_all(buffer.get(..n).unwrap_or_default())?;
        left -= n;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// Serves `hello` to each connection once it has sent a byte.
    fn service() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if stream.read_exact(&mut [0]).is_ok() {
                    stream.write_all(b"hello").unwrap();
                }
            }
        });
        port
    }

    fn ask(proxy: &FaultProxy) -> Vec<u8> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let _refused = stream.write_all(b"?");
        let mut answer = Vec::new();
        let _cut = stream.take(100_000).read_to_end(&mut answer);
        answer
    }

    #[test]
    fn every_fault() {
        let proxy = FaultProxy::start(service()).unwrap();
        assert_eq!(ask(&proxy), b"hello");
        proxy.set(Fault::Refuse);
        assert_eq!(ask(&proxy), b"");
        proxy.set(Fault::CutAfter(2));
        assert_eq!(ask(&proxy), b"he");
        proxy.set(Fault::Garbage);
        assert_eq!(ask(&proxy).len(), 4096);
        proxy.set(Fault::Endless);
        assert_eq!(ask(&proxy).len(), 100_000);
        proxy.set(Fault::Raw(b"HTTP/1.1 500 \r\n\r\n".to_vec()));
        assert_eq!(ask(&proxy), b"HTTP/1.1 500 \r\n\r\n");
        proxy.set(Fault::Swallow);
        assert_eq!(ask(&proxy), b"");
        proxy.set(Fault::Delay(Duration::from_millis(100)));
        let start = Instant::now();
        assert_eq!(ask(&proxy), b"hello");
        assert!(start.elapsed() >= Duration::from_millis(100));
        assert_eq!(proxy.seen(), 8);
    }

    #[test]
    fn ends_with_its_value() {
        let proxy = FaultProxy::start(1).unwrap();
        let port = proxy.port();
        drop(proxy);
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}
