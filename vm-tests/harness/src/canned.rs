//! An HTTPS service that gives the same answer to everything, for clients that should survive it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certs::{self, CertKey};

/// The answer to every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Canned {
    /// A status with a body of a content type.
    Answer {
        /// Status code.
        status: u16,
        /// Content type.
        kind: &'static str,
        /// Body.
        body: Vec<u8>,
    },
    /// Status 200 and a body of this many bytes, announced truly.
    Oversized(u64),
    /// Status 200 and a body that never ends.
    Endless,
    /// Status 200 and a body a byte a second.
    Trickle,
    /// Bytes that are not HTTP.
    Garbage,
    /// Nothing, with the connection kept open.
    Nothing,
    /// Nothing, with the connection closed.
    Close,
}

/// A running service; dropping it ends the listening.
#[derive(Debug)]
pub struct CannedHttps {
    port: u16,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
}

impl CannedHttps {
    /// Serves `canned` under the certificate.
    ///
    /// # Errors
    /// When the certificate and key cannot be used, or there is no free port.
    pub fn start(cert: &CertKey, canned: Canned) -> Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certs::chain(&cert.cert_pem)?, certs::key(&cert.key_pem)?)?;
        let config = Arc::new(config);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicUsize::new(0));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (config, canned) = (Arc::clone(&config), canned.clone());
                let counter = Arc::clone(&counter);
                // Clients that break off are what the service is for.
                thread::spawn(move || serve(stream, config, &canned, &counter));
            }
        });
        Ok(Self { port, stop, requests })
    }

    /// The service's port on the loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many requests have come, over all connections.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for CannedHttps {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _gone = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    canned: &Canned,
    counter: &AtomicUsize,
) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut tls = StreamOwned::new(connection, stream);
    while read_request(&mut tls)? {
        counter.fetch_add(1, Ordering::SeqCst);
        match canned {
            Canned::Answer { status, kind, body } => {
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} .\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n"
                );
                tls.write_all(head.as_bytes())?;
                tls.write_all(body)?;
            }
            Canned::Oversized(length) => {
                write!(tls, "HTTP/1.1 200 .\r\ncontent-length: {length}\r\n\r\n")?;
                io::copy(&mut io::repeat(b' ').take(*length), &mut tls)?;
            }
            Canned::Endless => {
                tls.write_all(b"HTTP/1.1 200 .\r\n\r\n")?;
                io::copy(&mut io::repeat(b' '), &mut tls)?;
            }
            Canned::Trickle => {
                tls.write_all(b"HTTP/1.1 200 .\r\n\r\n")?;
                loop {
                    tls.write_all(b" ")?;
                    tls.flush()?;
                    thread::sleep(Duration::from_secs(1));
                }
            }
            Canned::Garbage => tls.write_all(&[0xff; 512])?,
            Canned::Nothing => return io::copy(&mut tls, &mut io::sink()).map(drop),
            Canned::Close => return Ok(()),
        }
        tls.flush()?;
    }
    Ok(())
}

/// Reads one request, head and announced body; false when the client has closed.
fn read_request(stream: &mut impl Read) -> io::Result<bool> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if head.len() > 64 * 1024 || stream.read(&mut byte)? == 0 {
            return Ok(false);
        }
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<u64>().ok());
    io::copy(&mut stream.take(length.unwrap_or(0)), &mut io::sink())?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Ca;
    use rustls::{ClientConfig, ClientConnection};

    fn ask(canned: Canned) -> Vec<u8> {
        let ca = Ca::new("service").unwrap();
        let service = CannedHttps::start(&ca.server(&["10.0.2.100"]).unwrap(), canned).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(certs::roots(ca.cert_pem()).unwrap())
            .with_no_client_auth();
        let connection = ClientConnection::new(Arc::new(config), "10.0.2.100".try_into().unwrap()).unwrap();
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, service.port())).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut tls = StreamOwned::new(connection, stream);
        tls.write_all(b"POST /x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        let mut answer = Vec::new();
        let _cut = tls.take(200_000).read_to_end(&mut answer);
        assert_eq!(service.requests(), 1);
        answer
    }

    #[test]
    fn an_answer() {
        let answer = ask(Canned::Answer { status: 500, kind: "text/plain", body: b"oops".to_vec() });
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.ends_with("\r\n\r\noops"), "{answer}");
    }

    #[test]
    fn bodies_too_long() {
        assert!(ask(Canned::Oversized(100_000)).len() > 100_000);
        assert_eq!(ask(Canned::Endless).len(), 200_000);
    }

    #[test]
    fn no_answers() {
        assert_eq!(ask(Canned::Garbage), [0xff; 512]);
        assert_eq!(ask(Canned::Nothing), b"");
        assert_eq!(ask(Canned::Close), b"");
    }
}
