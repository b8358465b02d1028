//! The measurements of a run.

use super::database::Ended;
use super::random::whole;
use crate::concurrency::Pace;
use crate::histogram::Histogram;

/// Goodput after a change is averaged over this many seconds: more hides how fast it came back, less is noise.
const RECOVERY_OVER: usize = 5;
/// Goodput is back when it is at this part of the best.
const RECOVERED: f64 = 0.9;

/// Collects what one instance does.
#[derive(Debug)]
pub(super) struct Meter {
    pace: Pace,
    paced_at: f64,
    limit_seconds: f64,
    limit_first: usize,
    limit_most: usize,
    changes: u64,
    pub(super) batch_changes: u64,
    open_at: f64,
    open_seconds: f64,
    open_most: usize,
    /// Sum of (end - begin) of ended transactions; below, of the begins of open ones: the other side of Little's law.
    stayed: f64,
    begun: f64,
    transactions: u64,
    records: u64,
    failed: u64,
    age_seconds: f64,
    wait_seconds: f64,
    ages: Histogram,
    by_second: Vec<f64>,
}

impl Meter {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            paced_at: 0.0,
            limit_seconds: 0.0,
            limit_first: pace.concurrency,
            limit_most: pace.concurrency,
            changes: 0,
            batch_changes: 0,
            open_at: 0.0,
            open_seconds: 0.0,
            open_most: 0,
            stayed: 0.0,
            begun: 0.0,
            transactions: 0,
            records: 0,
            failed: 0,
            age_seconds: 0.0,
            wait_seconds: 0.0,
            ages: Histogram::default(),
            by_second: Vec::new(),
        }
    }

    /// This pace holds from now on.
    pub(super) fn paced(&mut self, now: f64, pace: Pace) {
        if pace.concurrency == self.pace.concurrency {
            return;
        }
        self.limit_seconds += self.pace.concurrency as f64 * (now - self.paced_at);
        self.paced_at = now;
        self.changes += 1;
        self.limit_most = self.limit_most.max(pace.concurrency);
        self.pace = pace;
    }

    /// A transaction was begun while `open` were open.
    pub(super) fn opened(&mut self, now: f64, open: usize) {
        self.count_open(now, open);
        self.open_most = self.open_most.max(open + 1);
        self.begun += now;
    }

    /// One of `open` open transactions has ended.
    pub(super) fn closed(&mut self, now: f64, open: usize, ended: &Ended) {
        self.count_open(now, open);
        self.begun -= ended.began;
        self.stayed += now - ended.began;
        if !ended.committed {
            self.failed += 1;
            return;
        }
        self.transactions += 1;
        self.records += ended.records;
        for (came, records) in &ended.groups {
            self.age_seconds += (now - came) * *records as f64;
            self.wait_seconds += (ended.began - came) * *records as f64;
            self.ages.record(whole((now - came) * 1000.0), *records);
        }
        let second = usize::try_from(whole(now.floor())).unwrap_or(0);
        if self.by_second.len() <= second {
            self.by_second.resize(second + 1, 0.0);
        }
        if let Some(records) = self.by_second.get_mut(second) {
            *records += ended.records as f64;
        }
    }

    fn count_open(&mut self, now: f64, open: usize) {
        self.open_seconds += open as f64 * (now - self.open_at);
        self.open_at = now;
    }
}

/// The result of a run, over all instances.
#[derive(Clone, Debug)]
pub struct Run {
    /// Seconds that were simulated.
    pub seconds: f64,
    /// Records committed.
    pub records: u64,
    /// Transactions committed.
    pub transactions: u64,
    /// Transactions that failed.
    pub failed: u64,
    /// Transactions open on average, over time.
    pub concurrency: f64,
    /// Transactions allowed on average, over time.
    pub limit: f64,
    /// The most transactions that were allowed at a time.
    pub limit_most: usize,
    /// What was allowed at first.
    pub limit_first: usize,
    /// The most that were open at a time in one instance.
    pub open_most: usize,
    /// Changes of the allowed concurrency per minute, of one instance.
    pub changes_per_minute: f64,
    /// Changes of the batch size per minute, of one instance.
    pub batch_changes_per_minute: f64,
    /// Seconds from a record's arrival to its commit, on average.
    pub age_mean: f64,
    /// Seconds from a record's arrival to the beginning of its transaction, on average.
    pub wait_mean: f64,
    /// The 99th percentile of the seconds to commit, in milliseconds, at most 19 % too high.
    pub age_p99_ms: u64,
    /// Jain's index of fairness of the records of each instance: 1 when all have the same (Jain, Chiu, Hawe, 1984).
    pub fairness: f64,
    /// The error of Little's law, as a part of the mean concurrency: rounding, or the simulator is wrong.
    pub little: f64,
    /// Records committed in each second.
    pub by_second: Vec<f64>,
}

impl Run {
    pub(super) fn new(seconds: f64, meters: &mut [(&mut Meter, usize)]) -> Self {
        let mut open_seconds = 0.0;
        let mut stayed = 0.0;
        let mut limit_seconds = 0.0;
        for (meter, open) in meters.iter_mut() {
            meter.count_open(seconds, *open);
            open_seconds += meter.open_seconds;
            stayed += meter.stayed + *open as f64 * seconds - meter.begun;
            limit_seconds += meter.limit_seconds + meter.pace.concurrency as f64 * (seconds - meter.paced_at);
        }
        let all: Vec<&Meter> = meters.iter().map(|(meter, _)| &**meter).collect();
        let sum = |of: fn(&Meter) -> f64| all.iter().map(|meter| of(meter)).sum::<f64>();
        let each = |of: fn(&Meter) -> f64| sum(of) / all.len() as f64;
        let records = sum(|meter| meter.records as f64);
        let squares = sum(|meter| (meter.records as f64).powi(2));
        let ages = all.iter().filter_map(|meter| meter.ages.read().quantile_ms(0.99)).max().unwrap_or(0);
        let mut by_second = vec![0.0; usize::try_from(whole(seconds.ceil())).unwrap_or(0)];
        for meter in &all {
            by_second.iter_mut().zip(&meter.by_second).for_each(|(sum, records)| *sum += records);
        }
        Self {
            seconds,
            records: all.iter().map(|meter| meter.records).sum(),
            transactions: all.iter().map(|meter| meter.transactions).sum(),
            failed: all.iter().map(|meter| meter.failed).sum(),
            concurrency: open_seconds / seconds,
            limit: limit_seconds / seconds,
            limit_most: all.iter().map(|meter| meter.limit_most).max().unwrap_or(0),
            limit_first: all.iter().map(|meter| meter.limit_first).max().unwrap_or(0),
            open_most: all.iter().map(|meter| meter.open_most).max().unwrap_or(0),
            changes_per_minute: each(|meter| meter.changes as f64) / seconds * 60.0,
            batch_changes_per_minute: each(|meter| meter.batch_changes as f64) / seconds * 60.0,
            age_mean: sum(|meter| meter.age_seconds) / records.max(1.0),
            wait_mean: sum(|meter| meter.wait_seconds) / records.max(1.0),
            age_p99_ms: ages,
            fairness: records * records / (squares * all.len() as f64).max(1.0),
            little: (open_seconds - stayed).abs() / open_seconds.max(1e-9),
            by_second,
        }
    }

    /// Records committed per second.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        self.records as f64 / self.seconds
    }

    /// Records per second from one time to the other, in seconds.
    #[must_use]
    pub fn goodput_between(&self, from: f64, to: f64) -> f64 {
        let from = second(from);
        let to = second(to);
        let records = self.by_second.iter().take(to).skip(from).sum::<f64>();
        records / (to.saturating_sub(from)).max(1) as f64
    }

    /// Seconds from `from` until goodput over five seconds is at 90 % of `best`; `None` if it is not before `to`.
    #[must_use]
    pub fn recovery(&self, from: f64, to: f64, best: f64) -> Option<f64> {
        let from = second(from);
        let to = second(to).min(self.by_second.len());
        let part = self.by_second.get(from..to)?;
        let windows = part.windows(RECOVERY_OVER);
        let means = windows.map(|window| window.iter().sum::<f64>() / RECOVERY_OVER as f64);
        // Counted to the window's beginning: the seconds until its goodput can be known are no loss.
        means.enumerate().find(|(_, mean)| *mean >= best * RECOVERED).map(|(at, _)| at as f64)
    }
}

fn second(at: f64) -> usize {
    usize::try_from(whole(at)).unwrap_or(0)
}
