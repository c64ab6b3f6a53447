//! A TCP proxy that changes nothing and tells when something passes, to say what a service had heard at which moment.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// What passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passing {
    /// Bytes of the guest that the service does not have yet.
    Up,
    /// Bytes of the service that the guest does not have yet.
    Down,
}

/// A running tap; dropping it ends the listening, and connections go on until their ends close.
#[derive(Debug)]
pub struct Tap {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Watch = Arc<Mutex<dyn FnMut(Passing) + Send>>;

impl Tap {
    /// Starts a tap in front of a port of the loopback. Nothing passes before `watch` has seen it, and it sees one thing at a time.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(service: u16, watch: impl FnMut(Passing) + Send + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (stop, watch): (_, Watch) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(watch)));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let watch = Arc::clone(&watch);
                // A connection that breaks off is the business of its ends.
                thread::spawn(move || carry(client, service, &watch));
            }
        });
        Ok(Self { port, stop, thread: Some(thread) })
    }

    /// The tap's port on the loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // The listener looks at `stop` once a connection comes.
        let _gone = TcpStream::connect(SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port));
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

fn carry(client: TcpStream, service: u16, watch: &Watch) -> io::Result<()> {
    let service = TcpStream::connect((Ipv4Addr::LOCALHOST, service))?;
    let (client_twin, service_twin, watch_twin) =
        (client.try_clone()?, service.try_clone()?, Arc::clone(watch));
    thread::spawn(move || {
        let _broken_off = pass(&client_twin, &service_twin, Passing::Up, &watch_twin);
        let _gone = service_twin.shutdown(Shutdown::Write);
    });
    let done = pass(&service, &client, Passing::Down, watch);
    let _gone = client.shutdown(Shutdown::Both);
    let _gone = service.shutdown(Shutdown::Both);
    done
}

fn pass(mut from: &TcpStream, mut to: &TcpStream, what: Passing, watch: &Watch) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        // While one looks, nothing else passes.
        let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
        watch(what);
        to.write_all(buffer.get(..n).unwrap_or_default())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_seen_before_it_arrives() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let service = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (at_service, at_watch) = (Arc::clone(&seen), Arc::clone(&seen));
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            let before = at_service.lock().unwrap().clone();
            stream.write_all(&[byte[0] + 1]).unwrap();
            before
        });
        let tap = Tap::start(service, move |what| at_watch.lock().unwrap().push(what)).unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, tap.port())).unwrap();
        stream.write_all(&[7]).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [8]);
        assert_eq!(served.join().unwrap(), [Passing::Up]);
        assert_eq!(*seen.lock().unwrap(), [Passing::Up, Passing::Down]);
    }
}
