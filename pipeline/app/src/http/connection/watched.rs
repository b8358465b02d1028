//! The body of a request, which tells its [`Visit`] when the client is waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::visit::Visit;

/// A body on its way in.
#[derive(Debug)]
pub(super) struct Watched {
    body: Incoming,
    visit: Arc<Visit>,
    is_waiting: bool,
    has_ended: bool,
}

impl Watched {
    pub(super) fn new(body: Incoming, visit: Arc<Visit>) -> Self {
        let has_ended = body.is_end_stream();
        Watched { body, visit, is_waiting: false, has_ended }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() != self.is_waiting {
            self.is_waiting = polled.is_pending();
            self.visit.waits_for_body(self.is_waiting);
        }
        self.has_ended |= matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.is_waiting {
            self.visit.waits_for_body(false);
        }
        if !self.has_ended {
            self.visit.left_unread();
        }
    }
}
