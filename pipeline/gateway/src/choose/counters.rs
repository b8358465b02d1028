//! What choosing counts, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters that only grow. One for each gateway.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests whose drawn revision had no routable task, so that another one was drawn.
    pub redistributed: AtomicU64,
    /// Attempts chosen among all tasks that can be reached, because less than half of them are usable.
    pub panic: AtomicU64,
    /// Attempts sent to a draining task, because there was nothing else.
    pub draining: AtomicU64,
    /// Attempts refused because every task had its `concurrency_max`.
    pub saturated: AtomicU64,
    /// Attempts refused because no task could be sent anything.
    pub no_routable_task: AtomicU64,
    /// Breakers opened, those that opened again after their one request included.
    pub breaker_openings: AtomicU64,
    /// Breakers that would have opened, and did not because half of the tasks were out already.
    pub breaker_refused: AtomicU64,
    /// Tasks found unreachable: the connection was refused or timed out.
    pub hard_failures: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }
}
