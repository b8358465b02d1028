//! Counters of the messages of a queue: updated once per call, read by status and metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The shared counters of one queue.
#[derive(Debug, Default)]
pub struct Counters {
    pub(super) received: AtomicU64,
    pub(super) again: AtomicU64,
    pub(super) deleted: AtomicU64,
    pub(super) undeleted: AtomicU64,
    pub(super) extended: AtomicU64,
    pub(super) let_go: AtomicU64,
    pub(super) errors: AtomicU64,
}

/// Counts since the process started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages received, each receipt.
    pub received: u64,
    /// Receipts of messages that this process already had: they became visible too early.
    pub again: u64,
    /// Messages deleted, or already gone.
    pub deleted: u64,
    /// Messages that could not be deleted after all retries: they come again, which is harmless.
    pub undeleted: u64,
    /// Extensions of the invisibility of a message.
    pub extended: u64,
    /// Messages no longer kept invisible though not deleted: they are too old, or their handle is void.
    pub let_go: u64,
    /// Calls that failed.
    pub errors: u64,
}

impl Counters {
    /// The current values.
    pub fn counts(&self) -> Counts {
        Counts {
            received: self.received.load(Relaxed),
            again: self.again.load(Relaxed),
            deleted: self.deleted.load(Relaxed),
            undeleted: self.undeleted.load(Relaxed),
            extended: self.extended.load(Relaxed),
            let_go: self.let_go.load(Relaxed),
            errors: self.errors.load(Relaxed),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Relaxed);
}
