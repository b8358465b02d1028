//! Goodput within windows of time, measured without errors at their edges.
//!
//! Counting the transactions that end within a window errs by those in flight at its edges, and transactions that begin
//! together end together. So each committed transaction is spread evenly over the time it took, and a window gets the
//! part that lies within it. Only committed transactions count.

use std::time::Duration;

/// Windows that transactions may still add to. A transaction longer than all of them loses its oldest part.
const KEPT: usize = 8;

/// What was committed of one pipeline; a transaction that lies partly in a window counts with that part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) records: f64,
    pub(super) transactions: f64,
    /// Seconds that the transactions took, one after the other.
    pub(super) seconds: f64,
}

/// One stretch of time at one concurrency.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Window {
    id: u64,
    start: f64,
    /// Infinite while it is open.
    end: f64,
    tallies: Vec<Tally>,
    /// Seconds in which all turns were taken and more was ready.
    busy: f64,
}

impl Window {
    /// Its length up to `now`, in seconds.
    pub(super) fn seconds(&self, now: f64) -> f64 {
        (self.end.min(now) - self.start).max(0.0)
    }

    /// Transactions committed in it; one that lies partly in it counts with that part.
    pub(super) fn transactions(&self) -> f64 {
        self.tallies.iter().map(|tally| tally.transactions).sum()
    }

    /// What was committed of one pipeline.
    pub(super) fn tally(&self, pipeline: usize) -> Tally {
        self.tallies.get(pipeline).copied().unwrap_or_default()
    }

    /// Records per second. 0 for a window without time.
    pub(super) fn records_per_second(&self) -> f64 {
        self.rate(|_| (1.0, 0.0))
    }

    /// Work per second, in records. For each pipeline `cost` returns what a record of it counts, and how many records
    /// each of its transactions counts as besides its own. Unlike records alone, work does not change when transactions
    /// get larger.
    pub(super) fn rate(&self, cost: impl Fn(usize) -> (f64, f64)) -> f64 {
        let seconds = self.end - self.start;
        if !seconds.is_finite() || seconds <= 0.0 {
            return 0.0;
        }
        let work = |(pipeline, tally): (usize, &Tally)| {
            let (record, transaction_records) = cost(pipeline);
            record * (tally.records + transaction_records * tally.transactions)
        };
        self.tallies.iter().enumerate().map(work).sum::<f64>() / seconds
    }

    /// The part of its time up to `now` in which all turns were taken and more was ready.
    pub(super) fn busy_share(&self, now: f64) -> f64 {
        let seconds = self.seconds(now);
        if seconds > 0.0 { self.busy / seconds } else { 0.0 }
    }
}

/// The last windows, newest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter {
    windows: std::collections::VecDeque<Window>,
    next: u64,
}

impl Meter {
    /// Ends the open window, if there is one, and opens another, at once or `after` seconds later.
    pub(super) fn open(&mut self, now: f64, after: f64) -> u64 {
        self.close(now);
        self.windows.truncate(KEPT - 1);
        self.next += 1;
        let start = now + after.max(0.0);
        let window = Window { id: self.next, start, end: f64::INFINITY, ..Window::default() };
        self.windows.push_front(window);
        self.next
    }

    /// Ends the open window.
    pub(super) fn close(&mut self, now: f64) {
        if let Some(window) = self.windows.front_mut() {
            window.end = window.end.min(now.max(window.start));
        }
    }

    /// The window with this number, while it is kept.
    pub(super) fn window(&self, id: u64) -> Option<&Window> {
        self.windows.iter().find(|window| window.id == id)
    }

    /// A transaction of this pipeline was committed.
    pub(super) fn committed(&mut self, began: Duration, ended: Duration, pipeline: usize, records: usize) {
        let began = began.as_secs_f64();
        let ended = ended.as_secs_f64();
        let took = (ended - began).max(1e-9);
        for window in &mut self.windows {
            let part = (ended.min(window.end) - began.max(window.start)) / took;
            if part > 0.0 {
                if window.tallies.len() <= pipeline {
                    window.tallies.resize(pipeline + 1, Tally::default());
                }
                if let Some(tally) = window.tallies.get_mut(pipeline) {
                    tally.records += part.min(1.0) * records as f64;
                    tally.transactions += part.min(1.0);
                    tally.seconds += part.min(1.0) * took;
                }
            }
            // The other windows are older still.
            if window.start <= began {
                break;
            }
        }
    }

    /// From `from` to `to` all turns were taken and more was ready.
    pub(super) fn busy(&mut self, from: f64, to: f64) {
        if let Some(window) = self.windows.front_mut() {
            window.busy += (to.min(window.end) - from.max(window.start)).max(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_spread_over_the_windows_it_took() {
        let mut meter = Meter::default();
        let first = meter.open(0.0, 0.0);
        let second = meter.open(10.0, 1.0);
        meter.close(21.0);
        meter.committed(Duration::from_secs(5), Duration::from_secs(15), 0, 100);
        let rate = |id| meter.window(id).map(Window::records_per_second);
        assert_eq!(rate(first), Some(5.0));
        assert_eq!(rate(second), Some(4.0), "the second between the windows belongs to none");
    }

    #[test]
    fn transactions_that_end_together_give_the_rate_they_have() {
        let mut meter = Meter::default();
        let window = meter.open(0.25, 0.0);
        meter.close(3.5);
        for round in 0..5 {
            for _ in 0..4 {
                meter.committed(Duration::from_secs(round), Duration::from_secs(round + 1), 0, 10);
            }
        }
        assert!((meter.window(window).map_or(0.0, Window::records_per_second) - 40.0).abs() < 1e-6);
    }

    #[test]
    fn a_window_without_time_or_of_the_future_has_no_rate() {
        let mut meter = Meter::default();
        let window = meter.open(5.0, 1.0);
        meter.committed(Duration::from_secs(9), Duration::from_secs(4), 0, 10);
        meter.close(5.0);
        assert_eq!(meter.window(window).map(Window::records_per_second), Some(0.0));
        assert_eq!(meter.window(window).map(|window| window.busy_share(5.0)), Some(0.0));
    }
}
