//! How many records a transaction may hold: the bounds, and a smaller transaction now and then.
//!
//! The size is first set from the measured cost and then compared, like concurrency. Now and then one transaction is
//! smaller, because transactions of one size do not show what a transaction costs and what a record costs.

use super::Settings;
use super::cost::Cost;
use super::ladder::nearest;

/// The first size: a transaction's own cost is a small part of it, and it does not hold locks for long.
const RECORDS_START: usize = 6000;

/// The smallest size: below it a transaction's own cost cannot be told from that of its records.
pub(super) const RECORDS_MIN: usize = 16;

/// Part of the longest time allowed that a transaction may take on average: the longest take a multiple of the average.
const TIME_PART: f64 = 0.5;

/// One of this many transactions is small; every second one until the cost is known.
const SMALL_EVERY: u64 = 8;

/// The size of transactions.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    begun: u64,
    full: Full,
}

/// How many of the latest transactions were full.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Full(f64);

impl Full {
    /// A transaction was begun.
    pub(super) fn begun(&mut self, full: bool) {
        self.0 += 0.1 * (f64::from(u8::from(full)) - self.0);
    }

    /// Whether most of the latest transactions left records behind.
    pub(super) fn mostly(self) -> bool {
        self.0 > 0.5
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { begun: 0, full: Full::default() }
    }

    /// The first size, in records. An operator who freezes from the start gets the largest size allowed.
    pub(super) fn start(settings: &Settings) -> usize {
        let start = if settings.freeze { settings.records_max } else { RECORDS_START.min(settings.records_max) };
        start.max(1)
    }

    /// A transaction was begun.
    pub(super) fn begun(&mut self, full: bool) {
        self.begun = self.begun.wrapping_add(1);
        self.full.begun(full);
    }

    /// Whether most of the latest transactions left records behind.
    pub(super) fn mostly_full(&self) -> bool {
        self.full.mostly()
    }

    /// The most records of the next transaction: `records`, or half as many when a small one is due.
    pub(super) fn next(&self, records: usize, cost: &Cost) -> usize {
        let every = if !cost.is_known() { 2 } else { SMALL_EVERY };
        let small = self.mostly_full() && records >= 2 * RECORDS_MIN && self.begun % every == 1;
        if small { records / 2 } else { records }
    }

    /// The largest size that the limits allow, given the time that transactions of `records` records take.
    pub(super) fn most(&self, records: usize, cost: &Cost, settings: &Settings) -> usize {
        let most = settings.records_max.max(1);
        let took = cost.recent_seconds();
        let each = cost.record_bytes();
        let by_bytes = if each > 0.0 { settings.bytes_max as f64 / each } else { f64::INFINITY };
        let by_time = if took > 0.0 && self.mostly_full() {
            let by_time = records as f64 * settings.transaction_max.as_secs_f64() * TIME_PART / took;
            // If a transaction's own cost is half of its time, smaller ones are hardly shorter.
            by_time.max(cost.transaction_records())
        } else {
            f64::INFINITY
        };
        nearest(by_bytes.min(by_time).min(most as f64)).max(RECORDS_MIN.min(most))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::concurrency::{Controller, Settings};

    #[test]
    fn who_freezes_from_the_start_holds_what_is_allowed() {
        let settings = Settings {
            concurrency_min: 3,
            concurrency_max: 3,
            concurrency_max_together: 0,
            records_max: 7_000,
            bytes_max: 16 << 20,
            freshness: Duration::from_millis(250),
            transaction_max: Duration::from_secs(2),
            records_per_second_max: 0,
            freeze: true,
        };
        let held = Controller::new(settings.clone(), Duration::ZERO).pace(0);
        assert_eq!((held.concurrency, held.records), (3, 7_000));
        let free = Controller::new(Settings { freeze: false, ..settings }, Duration::ZERO).pace(0);
        assert!(free.records < 7_000, "who does not begins with less: {free:?}");
    }
}
