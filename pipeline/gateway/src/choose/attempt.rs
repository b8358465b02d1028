//! One attempt of a request at one task: in flight until it is dropped.
//!
//! How it ended is told once, by [`Attempt::head`] or [`Attempt::failed`]; what is told later changes nothing. An
//! attempt that is dropped untold (the client went away) says nothing of the task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;

use super::breaker::Outcome;
use super::counters::Counters;
use super::sets::may_open;
use crate::table::view::Line;
use crate::table::{TaskState, Tasks};

/// How an attempt failed before the head of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No connection: refused, unreachable, or not made in time. The task is not chosen until a try reached it.
    Connect,
    /// The connection broke before the head was there, or what came was no response.
    Reset,
    /// The head did not come in time.
    TimedOut,
}

/// See the module.
#[derive(Debug)]
#[must_use = "an attempt that is dropped is no longer in flight"]
pub struct Attempt {
    task: Arc<TaskState>,
    tasks: Arc<Tasks>,
    line: Arc<Line>,
    begun: Instant,
    tries: Tries,
    is_told: AtomicBool,
}

/// The tries that an attempt is, by their numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tries {
    pub(super) reach: Option<u64>,
    pub(super) breaker: Option<u64>,
}

impl Attempt {
    /// The caller has taken a place among the requests of the task; it is given back when this is dropped.
    pub(super) fn begin(task: Arc<TaskState>, tasks: Arc<Tasks>, line: Arc<Line>, tries: Tries, now: Instant) -> Self {
        Self { task, tasks, line, begun: now, tries, is_told: AtomicBool::new(false) }
    }

    /// The task that it is sent to.
    pub fn task(&self) -> &Arc<TaskState> {
        &self.task
    }

    /// A connection is there. Need not be told: a head says the same.
    pub fn connected(&self) {
        if let Some(number) = self.tries.reach {
            let mut record = self.task.record();
            record.hard.reached(number);
            self.task.mark(&record);
        }
    }

    /// The head of the final response came, with this status.
    pub fn head(&self, now: Instant, status: u16) {
        if self.is_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let outcome = match status {
            502..=504 => Outcome::Bad,
            429 => Outcome::Busy,
            _ => Outcome::Good,
        };
        let elapsed = now.saturating_duration_since(self.begun);
        let mut record = self.task.record();
        match (outcome, status) {
            (Outcome::Bad, _) => record.peak.failed(elapsed, now),
            // The task answered, but did not do its work: its speed is not that of its work.
            (Outcome::Busy, _) | (_, 500..) => record.peak.raise(elapsed, now),
            _ => record.peak.answered(elapsed, now),
        }
        drop(record);
        self.connected();
        self.judge(outcome, now);
    }

    /// It failed before a head came.
    pub fn failed(&self, now: Instant, failure: Failure) {
        if self.is_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut record = self.task.record();
        record.peak.failed(now.saturating_duration_since(self.begun), now);
        if failure != Failure::Connect {
            drop(record);
            self.connected();
            return self.judge(Outcome::Bad, now);
        }
        if record.hard.failed(self.tries.reach, now) {
            Counters::add(&self.line.counters.hard_failures);
        }
        if let Some(number) = self.tries.breaker {
            record.breaker.given_up(number, now);
        }
        self.task.mark(&record);
        // After the mark: whoever finds no mark must not forget the service.
        let service = Arc::clone(&record.service);
        drop(record);
        self.line.suspects.add(&service);
    }

    /// Gives the result to the breaker.
    fn judge(&self, outcome: Outcome, now: Instant) {
        let mut record = self.task.record();
        let has_opened = match self.tries.breaker {
            Some(number) => record.breaker.tried(number, outcome, self.task.seed(), now),
            None if record.breaker.result(outcome, now) => {
                drop(record);
                return self.open(now);
            }
            None => false,
        };
        if has_opened {
            Counters::add(&self.line.counters.breaker_openings);
        }
        self.task.mark(&record);
    }

    /// Opens the breaker, unless too many of the revision are open.
    fn open(&self, now: Instant) {
        let tasks = Tasks::newer(&self.tasks, &self.line);
        // One at a time: two that open at once must not both be the last one allowed.
        let _opening = self.line.opening();
        if !may_open(&tasks, now) {
            return Counters::add(&self.line.counters.breaker_refused);
        }
        let mut record = self.task.record();
        if !record.breaker.is_out() {
            record.breaker.open(self.task.seed(), now);
            self.task.mark(&record);
            Counters::add(&self.line.counters.breaker_openings);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !*self.is_told.get_mut() && (self.tries.reach.is_some() || self.tries.breaker.is_some()) {
            let mut record = self.task.record();
            if let Some(number) = self.tries.reach {
                record.hard.given_up(number);
            }
            if let Some(number) = self.tries.breaker {
                record.breaker.given_up(number, self.begun);
            }
            self.task.mark(&record);
        }
        self.task.leave();
        if self.tasks.concurrency_max.is_some() {
            self.line.freed.notify_one();
        }
    }
}
