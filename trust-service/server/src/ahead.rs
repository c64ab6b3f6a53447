//! Reads of a connection that take much at once, by a buffer that it has only while something is in it.

use bytes::{Buf as _, BytesMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

/// Bytes that one read takes.
const AT_ONCE: usize = 32 * 1024;

/// A stream that is read 32 KiB at a time, whatever its reader asks for; writes go through.
///
/// A buffer that is empty is given back: a thousand connections that wait for their peers have none, and the next one to be read finds
/// the memory of the last in the processor's caches.
#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    stream: S,
    ahead: BytesMut,
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, ahead: BytesMut::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            let mut ahead = BytesMut::with_capacity(AT_ONCE);
            ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut ahead))?;
            self.ahead = ahead;
        }
        let taken = self.ahead.len().min(out.remaining());
        out.put_slice(self.ahead.get(..taken).unwrap_or_default());
        self.ahead.advance(taken);
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::timeout;

    #[tokio::test]
    async fn what_is_read_in_pieces_is_what_was_sent() {
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let (mut peer, stream) = duplex(sent.len());
        peer.write_all(&sent).await.unwrap();
        drop(peer);
        let (mut stream, mut read, mut piece) = (ReadAhead::new(stream), Vec::new(), [0; 4_000]);
        loop {
            let got = stream.read(&mut piece).await.unwrap();
            if got == 0 {
                break;
            }
            read.extend_from_slice(&piece[..got]);
        }
        assert_eq!(read, sent);
    }

    #[tokio::test]
    async fn one_read_takes_much_and_an_empty_buffer_is_given_back() {
        let (mut peer, stream) = duplex(AT_ONCE * 2);
        let mut stream = ReadAhead::new(stream);
        peer.write_all(&[7; AT_ONCE]).await.unwrap();
        stream.read_exact(&mut [0; 10]).await.unwrap();
        assert_eq!(stream.ahead.len(), AT_ONCE - 10);
        stream.read_exact(&mut [0; AT_ONCE - 10]).await.unwrap();
        peer.write_all(&[7; 20]).await.unwrap();
        stream.read_exact(&mut [0; 10]).await.unwrap();
        assert_ne!(stream.ahead.capacity(), 0);
        stream.read_exact(&mut [0; 10]).await.unwrap();
        assert_eq!(stream.ahead.capacity(), 0);
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken() {
        let (mut peer, stream) = duplex(64);
        let mut stream = ReadAhead::new(stream);
        let reader = tokio::spawn(async move { stream.read_u8().await.unwrap() });
        tokio::task::yield_now().await;
        peer.write_all(&[7]).await.unwrap();
        let read = timeout(Duration::from_secs(10), reader).await.unwrap();
        assert_eq!(read.unwrap(), 7);
    }

    #[tokio::test]
    async fn writes_go_through() {
        let (mut peer, stream) = duplex(64);
        let mut stream = ReadAhead::new(stream);
        assert!(stream.is_write_vectored());
        let slices = [IoSlice::new(b"ans"), IoSlice::new(b"wer")];
        assert_eq!(stream.write_vectored(&slices).await.unwrap(), 6);
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        peer.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
    }
}
