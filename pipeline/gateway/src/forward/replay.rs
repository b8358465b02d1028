//! The body of a request: streamed from the client to a task, and kept to be sent again while it is small.
//!
//! A [`Source`] belongs to the request, an [`Outgoing`] to one attempt. Only the newest one may read: one of an earlier
//! attempt, which hyper may still hold, gets an error. Trailers of requests are dropped: they would pass by the rules for
//! headers.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// Why the body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The client sent a body that breaks its framing, or closed the connection.
    #[error("the body of the request is broken")]
    Broken,
    /// The client did not send the next part in time.
    #[error("the body of the request did not come in time")]
    Idle,
    /// Another attempt sends it now, or the response has ended.
    #[error("the body of the request is no longer wanted")]
    Unwanted,
}

#[derive(Debug)]
struct State {
    /// `None` when it has ended.
    body: Option<Incoming>,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// Bytes to keep; 0 where it is never sent again.
    keep_max: usize,
    /// Whether something was passed on and not kept.
    is_lost: bool,
    /// The number of the attempt that may read.
    turn: u64,
    fault: Option<Fault>,
    /// When the last part was passed on.
    moved: Instant,
    waker: Option<Waker>,
}

/// The body of a request.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    state: Arc<Mutex<State>>,
    size: Option<u64>,
    idle: Duration,
}

/// The body of one attempt.
#[derive(Debug)]
pub(crate) struct Outgoing {
    source: Source,
    turn: u64,
    at: usize,
    sent: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Source {
    /// Keeps up to `keep_max` bytes; `idle` is the most time between two parts.
    pub(crate) fn new(body: Incoming, keep_max: usize, idle: Duration, now: Instant) -> Self {
        let size = body.size_hint().exact();
        let state = State {
            body: (!body.is_end_stream()).then_some(body),
            kept: Vec::new(),
            kept_bytes: 0,
            keep_max,
            is_lost: false,
            turn: 0,
            fault: None,
            moved: now,
            waker: None,
        };
        Self { state: Arc::new(Mutex::new(state)), size, idle }
    }

    /// The body for the next attempt, from the beginning; all that were made before end with an error.
    pub(crate) fn outgoing(&self) -> Outgoing {
        let mut state = self.state();
        state.turn += 1;
        debug_assert!(!state.is_lost, "a body that is not whole is not sent again");
        Outgoing { source: self.clone(), turn: state.turn, at: 0, sent: 0, timer: None }
    }

    /// Whether it can still be sent from the beginning.
    pub(crate) fn is_whole(&self) -> bool {
        let state = self.state();
        !state.is_lost && state.fault.is_none()
    }

    /// Whether the client has sent all of it.
    pub(crate) fn has_ended(&self) -> bool {
        self.state().body.is_none()
    }

    /// Why the client's part of it failed.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.state().fault
    }

    /// When the last part was passed on.
    pub(crate) fn moved(&self) -> Instant {
        self.state().moved
    }

    /// Forgets what was kept: it will not be sent again.
    pub(crate) fn settle(&self) {
        let mut state = self.state();
        state.keep_max = 0;
        state.is_lost |= state.kept_bytes > 0;
    }

    /// Stops reading from the client: the response has ended.
    pub(crate) fn cancel(&self) {
        let mut state = self.state();
        state.turn += 1;
        state.body = None;
        state.kept.clear();
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outgoing {
    /// Whether the newest attempt may still send it, and what is there of it.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let mut guard = self.source.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        if state.turn != self.turn {
            return Poll::Ready(Some(Err(Fault::Unwanted)));
        }
        if let Some(fault) = state.fault {
            return Poll::Ready(Some(Err(fault)));
        }
        if let Some(data) = state.kept.get(self.at) {
            self.at += 1;
            return Poll::Ready(Some(Ok(data.clone())));
        }
        loop {
            let Some(body) = &mut state.body else { return Poll::Ready(None) };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => {
                    state.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(None) => state.body = None,
                Poll::Ready(Some(Err(_))) => {
                    state.body = None;
                    state.fault = Some(Fault::Broken);
                    return Poll::Ready(Some(Err(Fault::Broken)));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    state.pass(&data);
                    // Parts that were kept are counted, so that the next ones are not taken for them.
                    self.at = state.kept.len();
                    return Poll::Ready(Some(Ok(data)));
                }
            }
        }
    }
}

impl State {
    fn pass(&mut self, data: &Bytes) {
        self.moved = Instant::now();
        if self.body.as_ref().is_some_and(Body::is_end_stream) {
            self.body = None;
        }
        if !self.is_lost && self.kept_bytes + data.len() <= self.keep_max {
            self.kept_bytes += data.len();
            // A copy: a part of the read buffer would keep all of that buffer.
            self.kept.push(Bytes::copy_from_slice(data));
        } else {
            self.is_lost = true;
            self.kept = Vec::new();
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Poll::Ready(part) = self.poll_data(cx) {
            self.timer = None;
            if let Some(Ok(data)) = &part {
                self.sent += data.len() as u64;
            }
            return Poll::Ready(part.map(|part| part.map(Frame::data)));
        }
        let until = Instant::now() + self.source.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(timer.as_mut().poll(cx));
        let mut state = self.source.state();
        state.fault = Some(Fault::Idle);
        state.body = None;
        Poll::Ready(Some(Err(Fault::Idle)))
    }

    fn is_end_stream(&self) -> bool {
        let state = self.source.state();
        state.turn == self.turn && state.body.is_none() && state.fault.is_none() && self.at >= state.kept.len()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size.map_or_else(SizeHint::default, |size| SizeHint::with_exact(size.saturating_sub(self.sent)))
    }
}
