//! What was done with the messages of a queue: counted once per call, read by status and metrics.

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
    /// Receipts of messages that were here already: they were visible again too early.
    pub again: u64,
    /// Messages deleted, or found to be so.
    pub deleted: u64,
    /// Messages that could not be deleted in many tries: they come again, which is harmless.
    pub undeleted: u64,
    /// Times that a message was kept invisible for longer.
    pub extended: u64,
    /// Messages that are not kept invisible any more, though not deleted: they are too old, or their handle is void.
    pub let_go: u64,
    /// Calls that failed.
    pub errors: u64,
}

impl Counters {
    /// All of them now.
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
