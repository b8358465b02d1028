//! Informational responses (1xx) on their way to the client, and the connection of a client that carries them.
//!
//! hyper's server has no way to send them. They are put between responses by the connection itself: only while a request
//! is being answered, so nothing of its response was written yet, and only when all that hyper had of the response before
//! was written. A 1xx that comes at another moment is dropped, which a client cannot tell from none.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::forward::headers::{OURS, remove_per_connection};

/// Bytes of 1xx responses that wait. More are dropped: a task may send any number of them.
const QUEUE: usize = 16 << 10;
/// How long a closed connection is read from: a client that still sends would otherwise lose the response to a reset.
const LINGER: Duration = Duration::from_millis(250);

/// 1xx responses that wait to be written. See the module.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: Vec<u8>,
    /// The number of the attempt that may add to it: one that was given up may still get some.
    turn: u64,
    is_open: bool,
    /// Whether hyper holds bytes that it has not written.
    is_dirty: bool,
    waker: Option<Waker>,
}

impl Hints {
    /// Begins an attempt, and gives its number.
    pub(crate) fn begin(&self) -> u64 {
        let mut state = self.state();
        state.turn += 1;
        state.is_open = true;
        state.turn
    }

    /// Ends the attempt: nothing is passed on any more.
    pub(crate) fn end(&self) {
        self.state().is_open = false;
    }

    /// Passes a 1xx response of an attempt on. 100 is not: the client got it when its body was read.
    pub(crate) fn push(&self, turn: u64, status: StatusCode, headers: &HeaderMap) {
        let mut state = self.state();
        if !state.is_open || state.turn != turn {
            return;
        }
        if status == StatusCode::CONTINUE || state.is_dirty || state.queue.len() > QUEUE {
            return;
        }
        let mut headers = headers.clone();
        remove_per_connection(&mut headers);
        let line = format!("HTTP/1.1 {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or("Information"));
        state.queue.extend_from_slice(line.as_bytes());
        for (name, value) in headers.iter().filter(|(name, _)| !name.as_str().starts_with(OURS)) {
            state.queue.extend_from_slice(name.as_str().as_bytes());
            state.queue.extend_from_slice(b": ");
            state.queue.extend_from_slice(value.as_bytes());
            state.queue.extend_from_slice(b"\r\n");
        }
        state.queue.extend_from_slice(b"\r\n");
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection of a client.
#[derive(Debug)]
pub(crate) struct Stream {
    inner: TcpStream,
    hints: Arc<Hints>,
    /// Runs while the connection is read from for the last time.
    linger: Option<Pin<Box<Sleep>>>,
    /// Its place among the connections of clients; a tunnel has it as well.
    _permit: OwnedSemaphorePermit,
}

impl Stream {
    pub(crate) fn new(inner: TcpStream, hints: Arc<Hints>, permit: OwnedSemaphorePermit) -> Self {
        Self { inner, hints, linger: None, _permit: permit }
    }

    /// Writes the 1xx responses that wait.
    fn poll_hints(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.hints.state();
        while !state.queue.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &state.queue))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.queue.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_hints(cx))?;
        self.hints.state().is_dirty = true;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_hints(cx))?;
        self.hints.state().is_dirty = true;
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper calls this when it holds no bytes, at the end of each look at the connection.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        {
            let mut state = self.hints.state();
            state.is_dirty = false;
            state.waker = Some(cx.waker().clone());
        }
        ready!(self.poll_hints(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        }
        let linger = this.linger.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + LINGER)));
        let mut waste = [0; 4_096];
        while linger.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => (),
                // The client has closed too, or is gone.
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(hints: &Hints) -> String {
        String::from_utf8(hints.state().queue.clone()).unwrap()
    }

    #[test]
    fn only_the_attempt_that_waits_for_its_head_may_pass_anything_on() {
        let hints = Hints::default();
        let headers = HeaderMap::new();
        let first = hints.begin();
        hints.push(first, StatusCode::EARLY_HINTS, &headers);
        hints.end();
        hints.push(first, StatusCode::PROCESSING, &headers);
        let second = hints.begin();
        hints.push(first, StatusCode::PROCESSING, &headers);
        assert_eq!(waiting(&hints), "HTTP/1.1 103 Early Hints\r\n\r\n");
        hints.push(second, StatusCode::PROCESSING, &headers);
        assert!(waiting(&hints).ends_with("HTTP/1.1 102 Processing\r\n\r\n"));
    }

    #[test]
    fn nothing_is_put_into_a_response_that_is_not_written_to_its_end() {
        let hints = Hints::default();
        let turn = hints.begin();
        hints.state().is_dirty = true;
        hints.push(turn, StatusCode::EARLY_HINTS, &HeaderMap::new());
        assert_eq!(waiting(&hints), "");
    }

    #[test]
    fn a_task_cannot_fill_the_memory_with_them() {
        let hints = Hints::default();
        let turn = hints.begin();
        (0..10_000).for_each(|_| hints.push(turn, StatusCode::EARLY_HINTS, &HeaderMap::new()));
        assert!(waiting(&hints).len() < QUEUE + 100);
    }
}
