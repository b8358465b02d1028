//! How many records a transaction may hold: the bounds, and the small ones in between.
//!
//! The size is fed forward from the measured cost and then compared, like concurrency. Once in a while a smaller one is
//! asked for, because what a transaction and what a record costs cannot be learnt from transactions of one size.

use super::Settings;
use super::cost::Cost;
use super::ladder::nearest;

/// To begin with: enough that a transaction's own cost is a small part, and few enough not to hold locks for long.
const RECORDS_START: usize = 6000;

/// Fewer are never asked for: below it the cost of a transaction cannot be seen apart from its records'.
pub(super) const RECORDS_MIN: usize = 16;

/// The part of the longest time allowed that a transaction may take on the average: the longest take some times that.
const TIME_PART: f64 = 0.5;

/// Every so many transactions one is small; every second until the cost is known.
const SMALL_EVERY: u64 = 8;

/// The size of transactions.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    begun: u64,
    /// The part of the latest transactions that were full.
    full: f64,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self { begun: 0, full: 0.0 }
    }

    /// With how many records to begin. Who freezes from the start has chosen: what is allowed is what is held.
    pub(super) fn start(settings: &Settings) -> usize {
        let start = if settings.freeze { settings.records_max } else { RECORDS_START.min(settings.records_max) };
        start.max(1)
    }

    /// A transaction was begun.
    pub(super) fn begun(&mut self, full: bool) {
        self.begun = self.begun.wrapping_add(1);
        self.full += 0.1 * (f64::from(u8::from(full)) - self.full);
    }

    /// Whether most of the latest transactions left something behind.
    pub(super) fn mostly_full(&self) -> bool {
        self.full > 0.5
    }

    /// The most records of the next transaction, when transactions are to hold so many.
    pub(super) fn next(&self, records: usize, cost: &Cost) -> usize {
        let every = if !cost.is_known() { 2 } else { SMALL_EVERY };
        let small = self.mostly_full() && records >= 2 * RECORDS_MIN && self.begun % every == 1;
        if small { records / 2 } else { records }
    }

    /// The most records that the limits allow, transactions of so many taking as long as they do.
    pub(super) fn most(&self, records: usize, cost: &Cost, settings: &Settings) -> usize {
        let most = settings.records_max.max(1);
        let took = cost.recent_seconds();
        let each = cost.record_bytes();
        let by_bytes = if each > 0.0 { settings.bytes_max as f64 / each } else { f64::INFINITY };
        let by_time = if took > 0.0 && self.mostly_full() {
            let by_time = records as f64 * settings.transaction_max.as_secs_f64() * TIME_PART / took;
            // Where a transaction's own cost is half of it, smaller ones are hardly shorter.
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
        let held = Controller::new(settings.clone(), Duration::ZERO).pace();
        assert_eq!((held.concurrency, held.records), (3, 7_000));
        let free = Controller::new(Settings { freeze: false, ..settings }, Duration::ZERO).pace();
        assert!(free.records < 7_000, "who does not begins with less: {free:?}");
    }
}
