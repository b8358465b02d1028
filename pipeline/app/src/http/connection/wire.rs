//! The socket below the HTTP library: it tells the [`Visit`] what passes, turns the library's own bare refusals into
//! problem documents, and discards what a client still sends when it has its answer, so that the client reads the
//! answer (RFC 9112, section 9.6).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::problem::bare;
use super::visit::Visit;

/// Bytes discarded at a time.
const SCRATCH_BYTES: usize = 16 << 10;

/// A socket of one visit.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    visit: Arc<Visit>,
    /// Written in place of the library's bytes.
    own: BytesMut,
    is_shut: bool,
    is_at_end: bool,
    discarded_bytes: usize,
    discard_bytes_max: usize,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, visit: Arc<Visit>, discard_bytes_max: usize) -> Self {
        let own = BytesMut::new();
        Wire { stream, visit, own, is_shut: false, is_at_end: false, discarded_bytes: 0, discard_bytes_max }
    }

    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() {
            let wrote = match Pin::new(&mut self.stream).poll_write(cx, &self.own) {
                Poll::Ready(wrote) => wrote?,
                Poll::Pending => {
                    self.visit.stuck();
                    return Poll::Pending;
                }
            };
            self.visit.wrote(wrote);
            self.own.advance(wrote);
        }
        Poll::Ready(Ok(()))
    }

    /// Checks whether the client leaves while the server works: nothing is read then, so it would go unnoticed.
    fn look_for_end(&self, cx: &mut Context<'_>) {
        if !self.visit.is_busy() {
            return;
        }
        let mut byte = [0];
        match self.stream.poll_peek(cx, &mut ReadBuf::new(&mut byte)) {
            Poll::Ready(Ok(0)) => self.visit.shut(false),
            Poll::Ready(Err(_)) => self.visit.shut(true),
            // The next request, or nothing: the task is woken when that changes.
            Poll::Ready(Ok(_)) | Poll::Pending => {}
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        self.is_at_end |= read == 0 && buffer.remaining() > 0;
        self.visit.read(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_own(cx))?;
        if let Some((kept, document)) = bare(buffer) {
            self.visit.left_unread();
            self.own.extend_from_slice(buffer.get(..kept).unwrap_or_default());
            self.own.extend_from_slice(&document);
            return Poll::Ready(Ok(buffer.len()));
        }
        match Pin::new(&mut self.stream).poll_write(cx, buffer) {
            Poll::Ready(wrote) => {
                self.visit.wrote(*wrote.as_ref().unwrap_or(&0));
                Poll::Ready(wrote)
            }
            Poll::Pending => {
                self.visit.stuck();
                Poll::Pending
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A head alone, which may be the library's own.
        if let [only] = buffers {
            return self.poll_write(cx, only);
        }
        ready!(self.poll_own(cx))?;
        match Pin::new(&mut self.stream).poll_write_vectored(cx, buffers) {
            Poll::Ready(wrote) => {
                self.visit.wrote(*wrote.as_ref().unwrap_or(&0));
                Poll::Ready(wrote)
            }
            Poll::Pending => {
                self.visit.stuck();
                Poll::Pending
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(cx))?;
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.visit.flushed();
        self.look_for_end(cx);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_own(cx))?;
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        if !self.visit.discards() || self.is_at_end {
            return Poll::Ready(Ok(()));
        }
        let mut scratch = vec![0; SCRATCH_BYTES];
        while self.discarded_bytes < self.discard_bytes_max {
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            match buffer.filled().len() {
                0 => break,
                read => self.discarded_bytes += read,
            }
        }
        Poll::Ready(Ok(()))
    }
}
