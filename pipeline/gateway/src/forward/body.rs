//! The body of a response: streamed from a task to the client, part by part.
//!
//! The attempt is in flight until it ends. A part that does not come in time, and a route's total time, break it off: the
//! client sees that the response is not whole, because its framing does not end.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::lease::Lease;

/// Why a response broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The task broke off.
    #[error("the response of the task broke off")]
    Task(#[source] hyper::Error),
    /// The next part did not come in time.
    #[error("the response of the task did not go on in time")]
    Idle,
}

/// The body of a response of the gateway.
#[derive(Debug, Default)]
pub struct Body {
    inner: Inner,
}

#[derive(Debug, Default)]
enum Inner {
    #[default]
    Empty,
    /// Made by the gateway.
    Full(Bytes),
    Streamed(Box<Streamed>),
}

/// Comes from a task.
#[derive(Debug)]
struct Streamed {
    body: Incoming,
    lease: Option<Lease>,
    idle: Duration,
    until: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Body {
    /// A body made by the gateway.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self { inner: Inner::Full(bytes.into()) }
    }

    /// The body of a response of a task; `until` is when the route's time is over.
    pub(crate) fn streamed(body: Incoming, lease: Lease, idle: Duration, until: Option<Instant>) -> Self {
        if body.is_end_stream() {
            lease.end();
            return Self::default();
        }
        Self { inner: Inner::Streamed(Box::new(Streamed { body, lease: Some(lease), idle, until, timer: None })) }
    }
}

impl Streamed {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.timer = None;
            let frame = frame.map(|frame| frame.map_err(Broken::Task));
            match &frame {
                None => self.lease.take().into_iter().for_each(Lease::end),
                Some(Err(_)) => self.give_up(true),
                Some(Ok(_)) => (),
            }
            return Poll::Ready(frame);
        }
        let idle = self.idle;
        let until = self.until;
        let timer = self.timer.get_or_insert_with(|| {
            let next = Instant::now() + idle;
            Box::pin(sleep_until(until.map_or(next, |until| next.min(until))))
        });
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.give_up(true);
        Poll::Ready(Some(Err(Broken::Idle)))
    }

    fn give_up(&mut self, is_broken: bool) {
        if let Some(lease) = self.lease.take() {
            lease.give_up(is_broken);
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        // hyper drops a body of known length with its last byte, without asking for its end.
        match self.body.is_end_stream() {
            true => self.lease.take().into_iter().for_each(Lease::end),
            false => self.give_up(false),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.inner {
            Inner::Streamed(streamed) => streamed.poll(cx),
            Inner::Full(_) => match std::mem::take(&mut self.inner) {
                Inner::Full(bytes) if !bytes.is_empty() => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Poll::Ready(None),
            },
            Inner::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Empty => true,
            Inner::Full(bytes) => bytes.is_empty(),
            Inner::Streamed(streamed) => streamed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Empty => SizeHint::with_exact(0),
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Streamed(streamed) => streamed.body.size_hint(),
        }
    }
}
