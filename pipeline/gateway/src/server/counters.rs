//! What forwarding counts, for the metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the time to the head of a response, in milliseconds; what is above all of them is counted last.
pub const HEAD_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000, 15_000, 60_000];

/// How an attempt ended without a response that could be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// No connection.
    Connect,
    /// The connection closed before the request was begun.
    Unsent,
    /// The connection broke before the head was there.
    Reset,
    /// What came was no response.
    Protocol,
    /// The head did not come in time.
    TimedOut,
    /// The response did not name the task or its revision.
    Foreign,
    /// The task answered 502, 503 or 504, and another one was tried.
    Unavailable,
    /// The client did not send the body of its request as it should.
    Client,
}

/// Counters that only grow. One for each gateway.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    over_budget: AtomicU64,
    broken: AtomicU64,
    upgrades: AtomicU64,
    misses: [AtomicU64; Miss::ALL.len()],
    head: [AtomicU64; HEAD_MS.len() + 1],
    head_us: AtomicU64,
}

/// The counters at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests whose head was read.
    pub requests: u64,
    /// Requests refused before a task was chosen: malformed, without route, too many.
    pub refused: u64,
    /// Requests that no task answered.
    pub failed: u64,
    /// Attempts after the first of a request.
    pub retried: u64,
    /// Requests that were not sent again because the budget of the service was spent.
    pub over_budget: u64,
    /// Responses that broke off after their head.
    pub broken: u64,
    /// Requests that became tunnels.
    pub upgrades: u64,
    /// Attempts that missed, by how.
    pub misses: Vec<(Miss, u64)>,
    /// Heads of responses by the time until they came: the last one counts what is above all of [`HEAD_MS`].
    pub head: [u64; HEAD_MS.len() + 1],
    /// The sum of these times in microseconds.
    pub head_us: u64,
}

impl Miss {
    /// Every one.
    pub const ALL: [Miss; 8] = [
        Miss::Connect,
        Miss::Unsent,
        Miss::Reset,
        Miss::Protocol,
        Miss::TimedOut,
        Miss::Foreign,
        Miss::Unavailable,
        Miss::Client,
    ];

    /// Its name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Miss::Connect => "connect",
            Miss::Unsent => "unsent",
            Miss::Reset => "reset",
            Miss::Protocol => "protocol",
            Miss::TimedOut => "timed_out",
            Miss::Foreign => "foreign",
            Miss::Unavailable => "unavailable",
            Miss::Client => "client",
        }
    }
}

impl Counters {
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.failed.fetch_add(1, Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retried.fetch_add(1, Relaxed);
    }

    pub(crate) fn over_budget(&self) {
        self.over_budget.fetch_add(1, Relaxed);
    }

    pub(crate) fn broken(&self) {
        self.broken.fetch_add(1, Relaxed);
    }

    pub(crate) fn upgraded(&self) {
        self.upgrades.fetch_add(1, Relaxed);
    }

    pub(crate) fn missed(&self, miss: Miss) {
        self.misses[miss as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn answered(&self, elapsed: Duration) {
        let at = HEAD_MS.iter().position(|bound| elapsed <= Duration::from_millis(*bound)).unwrap_or(HEAD_MS.len());
        self.head[at].fetch_add(1, Relaxed);
        self.head_us.fetch_add(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// The counters now. They are read one after the other, so sums may be off by requests that end meanwhile.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            requests: self.requests.load(Relaxed),
            refused: self.refused.load(Relaxed),
            failed: self.failed.load(Relaxed),
            retried: self.retried.load(Relaxed),
            over_budget: self.over_budget.load(Relaxed),
            broken: self.broken.load(Relaxed),
            upgrades: self.upgrades.load(Relaxed),
            misses: Miss::ALL.iter().map(|miss| (*miss, self.misses[*miss as usize].load(Relaxed))).collect(),
            head: std::array::from_fn(|at| self.head[at].load(Relaxed)),
            head_us: self.head_us.load(Relaxed),
        }
    }
}

impl Snapshot {
    /// Attempts that ended so.
    pub fn missed(&self, miss: Miss) -> u64 {
        self.misses.iter().find(|(found, _)| *found == miss).map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_head_is_counted_below_the_first_bound_that_holds_it() {
        let counters = Counters::default();
        for elapsed in [1, 2, 3, 60_000, 60_001].map(Duration::from_millis) {
            counters.answered(elapsed);
        }
        let snapshot = counters.snapshot();
        assert_eq!(snapshot.head, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(snapshot.head_us, 120_007_000);
    }

    #[test]
    fn each_miss_is_counted_under_its_own_name() {
        let counters = Counters::default();
        for (at, miss) in Miss::ALL.into_iter().enumerate() {
            (0..=at).for_each(|_| counters.missed(miss));
        }
        let snapshot = counters.snapshot();
        assert_eq!(snapshot.missed(Miss::Connect), 1);
        assert_eq!(snapshot.missed(Miss::Client), 8);
    }
}
