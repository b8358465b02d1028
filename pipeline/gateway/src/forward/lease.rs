//! What one attempt holds until its response body ends: its place at the task, and the connection.

use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

use super::replay::{Outgoing, Source};
use crate::choose::Attempt;
use crate::server::counters::Counters;

/// See the module. Dropped without [`Lease::end`] it closes the connection.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) attempt: Attempt,
    pub(crate) sender: SendRequest<Outgoing>,
    pub(crate) source: Source,
    pub(crate) counters: Arc<Counters>,
    /// How long the connection may be kept; `None` where its framing is in doubt.
    pub(crate) keep: Option<Duration>,
    /// Idle connections that the task's pool holds.
    pub(crate) pool_max: usize,
}

impl Lease {
    /// The response has ended as it should: the connection goes back, unless the request has not ended yet.
    pub(crate) fn end(self) {
        let has_ended = self.source.has_ended() && self.source.fault().is_none();
        match self.keep {
            Some(keep) if has_ended => {
                self.attempt.task().pool.put(self.sender, keep, self.pool_max, Instant::now());
            }
            _ => self.source.cancel(),
        }
    }

    /// The response broke off, or the client went away.
    pub(crate) fn give_up(self, is_broken: bool) {
        if is_broken {
            self.counters.broken();
        }
        self.source.cancel();
    }
}
