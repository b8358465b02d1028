//! Records of one partition that the sink could not take in one piece: how they are divided, and when they come again.
//!
//! They are always the first that wait in their partition, so a part is a number of records and needs no positions.
//! Only the first part is halved and later ones stay whole: when a lock is gone, a few large parts remain, not many
//! small ones.

use std::time::Duration;

use tokio::time::Instant;

use crate::retry::Backoff;

/// The parts that remain of records that were too slow together.
#[derive(Debug)]
pub(super) struct Parts {
    /// Records in each part, the next one last.
    sizes: Vec<usize>,
    backoff: Backoff,
    due: Instant,
}

impl Parts {
    /// `records` in one part.
    pub(super) fn new(records: usize, backoff: Backoff) -> Self {
        Parts { sizes: vec![records.max(1)], backoff, due: Instant::now() }
    }

    /// Records that are taken next, alone.
    pub(super) fn next(&self) -> usize {
        self.sizes.last().copied().unwrap_or(1)
    }

    /// When they may be taken.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// The next part was too slow. A single record is never given up, only retried. The part rests for at least `took`,
    /// as long as it kept the lane busy, so that the other partitions have half of the time.
    pub(super) fn halve(&mut self, took: Duration) {
        if let Some(size) = self.sizes.pop_if(|size| *size > 1) {
            self.sizes.extend([size - size / 2, size / 2]);
        }
        self.due = Instant::now() + self.backoff.next_wait().max(took);
    }

    /// The next part is written. Returns whether it was the last.
    pub(super) fn written(&mut self) -> bool {
        self.sizes.pop();
        self.backoff.reset();
        self.due = Instant::now();
        self.sizes.is_empty()
    }
}
