//! Which batch is next: first which pipeline, then which of its batches.
//!
//! Between pipelines, the first rule that applies decides:
//! 1. A pipeline that waits and was passed by [`PASSED_MAX`] times is next.
//! 2. If some waiting record is older than its pipeline's freshness goal, the pipeline is next that had the least time
//!    of transactions. A deadline that has passed says nothing any more about who is in a hurry: the records of a
//!    backlog are always older than fresh ones. With equal shares of time instead, a pipeline that needs less than its
//!    share waits for at most one transaction, however large the backlog of another is, and that backlog gets all the
//!    time that is left.
//! 3. Otherwise the earliest deadline is next: the time of the oldest record plus the freshness goal. No deadline is
//!    missed as long as that can be done at all.
//!
//! Time that a pipeline did not use is not saved up: one that begins to wait after a pause, or while nobody was late,
//! counts as having had as much as the others, but for one transaction. Among the batches of one pipeline the one with the oldest record is
//! next, as long as no other is passed by [`PASSED_MAX`] times.

use std::time::Duration;

use tokio::sync::oneshot;

/// This many others may be served before a pipeline, or a batch of one, that waits. Fewer: pipelines are served in
/// turns, whatever their goals and needs. More: a pipeline with long transactions waits longer beside short ones.
const PASSED_MAX: u64 = 4;

/// The number of a batch that never had to wait.
pub(super) const NOBODY: u64 = 0;

/// A turn of a pipeline counts as this many seconds until one of its turns has ended.
const SECONDS_FIRST: f64 = 0.01;

/// Batches that wait for a turn, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Vec<Waiting>,
    joined: u64,
    accounts: Vec<Account>,
    /// The most seconds that a pipeline had had when it was given a turn.
    level: f64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    pipeline: usize,
    oldest_ms: i64,
    /// Turns given to its pipeline before it joined.
    granted: u64,
    grant: oneshot::Sender<()>,
}

/// What one pipeline had so far.
#[derive(Clone, Debug, Default)]
struct Account {
    goal_ms: i64,
    granted: u64,
    /// Turns given to others since it waits.
    passed: u64,
    /// Seconds of its transactions that have ended.
    had: f64,
    /// Seconds that its transactions under way are expected to take, and how many they are.
    expected: f64,
    in_flight: usize,
    /// Seconds that its last transaction took.
    last: f64,
}

impl Account {
    fn served(&self) -> f64 {
        self.had + self.expected
    }

    fn begin(&mut self) {
        self.granted += 1;
        self.passed = 0;
        self.in_flight += 1;
        self.expected += if self.last > 0.0 { self.last } else { SECONDS_FIRST };
    }

    fn end(&mut self, took: Duration) {
        // The expected times of turns under way are not told apart; together they are exact.
        self.expected -= self.expected / self.in_flight.max(1) as f64;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.had += took.as_secs_f64();
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The batches of one pipeline that wait.
    pub(super) fn waiting(&self, pipeline: usize) -> usize {
        self.waiting.iter().filter(|waiting| waiting.pipeline == pipeline).count()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Sets the freshness goal of a pipeline.
    pub(super) fn goal(&mut self, pipeline: usize, freshness: Duration) {
        self.account(pipeline).goal_ms = i64::try_from(freshness.as_millis()).unwrap_or(i64::MAX);
    }

    fn account(&mut self, pipeline: usize) -> &mut Account {
        if self.accounts.len() <= pipeline {
            self.accounts.resize_with(pipeline + 1, Account::default);
        }
        &mut self.accounts[pipeline]
    }

    /// A pipeline that had nothing under way and nothing waiting begins about where the others are.
    fn wake(&mut self, pipeline: usize) {
        if self.account(pipeline).in_flight == 0 && self.waiting(pipeline) == 0 {
            let level = self.owed_from();
            let account = self.account(pipeline);
            account.passed = 0;
            account.had = account.had.max(level);
        }
    }

    /// The seconds that a pipeline counts as having had at least. A lane that asks again right after its transaction has
    /// not paused: what its pipeline is behind by then, a transaction at most, is its own.
    fn owed_from(&self) -> f64 {
        self.level - self.accounts.iter().map(|account| account.last).fold(SECONDS_FIRST, f64::max)
    }

    /// A pipeline has a turn. While nobody is late nobody is owed anything.
    fn serve(&mut self, pipeline: usize, is_late: bool) {
        self.level = self.level.max(self.account(pipeline).had);
        self.account(pipeline).begin();
        if !is_late {
            let level = self.owed_from();
            self.accounts.iter_mut().for_each(|account| account.had = account.had.max(level));
        }
    }

    /// Returns the number to leave with.
    pub(super) fn join(&mut self, pipeline: usize, oldest_ms: i64, grant: oneshot::Sender<()>) -> u64 {
        self.wake(pipeline);
        self.joined += 1;
        let granted = self.account(pipeline).granted;
        self.waiting.push(Waiting { number: self.joined, pipeline, oldest_ms, granted, grant });
        self.joined
    }

    /// Returns false if the batch has its turn already.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.number != number);
        self.waiting.len() < before
    }

    /// Notes that a batch of this pipeline has a turn without having waited.
    pub(super) fn begin(&mut self, pipeline: usize) {
        self.wake(pipeline);
        self.serve(pipeline, false);
    }

    /// Notes that a turn of this pipeline is given back, and how long its transaction took; 0 if there was none.
    pub(super) fn end(&mut self, pipeline: usize, took: Duration) {
        let account = self.account(pipeline);
        account.end(took);
        if !took.is_zero() {
            account.last = took.as_secs_f64();
        }
    }

    /// Gives a turn to the next batch. Returns false if none waits. `now_ms` is the time of day.
    pub(super) fn grant(&mut self, now_ms: i64) -> bool {
        let Some((pipeline, is_late)) = self.next_pipeline(now_ms) else { return false };
        let Some(index) = self.next_of(pipeline) else { return false };
        // A batch that left is no longer in the queue, so this one receives its grant.
        let next = self.waiting.remove(index);
        for waiting in 0..self.accounts.len() {
            if waiting != next.pipeline && self.waiting(waiting) > 0 {
                self.account(waiting).passed += 1;
            }
        }
        self.serve(next.pipeline, is_late);
        next.grant.send(()).ok();
        true
    }

    /// The earliest deadline of a pipeline's batches, if it has any.
    fn deadline_ms(&self, pipeline: usize) -> Option<i64> {
        let own = self.waiting.iter().filter(|waiting| waiting.pipeline == pipeline);
        let goal_ms = self.accounts.get(pipeline)?.goal_ms;
        own.map(|waiting| waiting.oldest_ms.saturating_add(goal_ms)).min()
    }

    /// The next pipeline, and whether any is late.
    fn next_pipeline(&self, now_ms: i64) -> Option<(usize, bool)> {
        let all = self.accounts.iter().enumerate();
        let candidates = || all.clone().filter_map(|(index, own)| Some((index, own, self.deadline_ms(index)?)));
        let passed = candidates().filter(|(_, own, _)| own.passed >= PASSED_MAX).max_by_key(|(_, own, _)| own.passed);
        let is_late = candidates().any(|(.., deadline_ms)| deadline_ms < now_ms);
        if let Some((index, ..)) = passed {
            return Some((index, is_late));
        }
        let next = if is_late {
            candidates()
                .min_by(|(_, a, _), (_, b, _)| a.served().total_cmp(&b.served()).then(a.goal_ms.cmp(&b.goal_ms)))
        } else {
            candidates().min_by_key(|(.., deadline_ms)| *deadline_ms)
        };
        next.map(|(index, ..)| (index, is_late))
    }

    /// The place in the queue of a pipeline's next batch.
    fn next_of(&self, pipeline: usize) -> Option<usize> {
        let own = || self.waiting.iter().enumerate().filter(|(_, waiting)| waiting.pipeline == pipeline);
        let granted = self.accounts.get(pipeline)?.granted;
        let first = own().next()?;
        if granted.saturating_sub(first.1.granted) >= PASSED_MAX {
            return Some(first.0);
        }
        own().min_by_key(|(_, waiting)| (waiting.oldest_ms, waiting.number)).map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests;
