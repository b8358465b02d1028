//! The state shared by the tasks that read a queue.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::client::Queue;
use super::counters::{Counters, add};
use super::error::Error;
use super::inbox::Inbox;
use super::pace::Pace;

/// First and longest wait before a retry; the longest bounds how late the return of a queue is noticed.
pub(super) const RETRY_BASE: Duration = Duration::from_millis(200);
pub(super) const RETRY_CAP: Duration = Duration::from_secs(20);

/// A queue, its messages in this process, and its last errors.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) inbox: Inbox,
    pub(super) counters: Arc<Counters>,
    pub(super) pace: Pace,
    /// Why nothing is received, if receiving fails.
    trouble: Mutex<Option<Error>>,
    /// Messages that wait in the queue, if that is known.
    pub(super) waiting: watch::Sender<Option<u64>>,
    pub(super) revived: watch::Sender<u64>,
    /// Polls that are not answered yet.
    pub(super) polls: watch::Sender<usize>,
}

impl Shared {
    pub(super) fn new(queue: Queue, counters: Arc<Counters>) -> Self {
        let options = Arc::clone(&queue.options);
        Shared {
            queue,
            inbox: Inbox::new(options.messages_max, options.bytes_max),
            counters,
            pace: Pace::new(options.receivers_max),
            trouble: Mutex::default(),
            waiting: watch::Sender::new(None),
            revived: watch::Sender::new(0),
            polls: watch::Sender::new(0),
        }
    }

    /// Counts and logs a failed call.
    pub(super) fn failed(&self, error: &Error, attempt: u32) {
        add(&self.counters.errors, 1);
        tracing::warn!(%error, attempt, "the queue does not answer as it should");
    }

    pub(super) fn trouble(&self) -> Option<Error> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_trouble(&self, trouble: Option<Error>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
