//! A process that writes: its records, its lanes, its policy.

use std::time::Duration;

use super::agenda::{Agenda, Happening};
use super::arrivals::Waiting;
use super::database::{Database, Ended};
use super::measure::Meter;
use super::policy::Policy;
use super::random::Random;
use crate::concurrency::{Ending, Event, Pace, Work};

/// Bytes of a record.
pub const RECORD_BYTES: usize = 500;
/// The first wait of a lane that failed, in seconds; each further wait is twice as long.
const WAIT_FIRST: f64 = 0.1;
/// The longest wait, in seconds.
const WAIT_MOST: f64 = 5.0;

/// A process that writes.
pub(super) struct Instance {
    number: usize,
    policy: Box<dyn Policy>,
    pub(super) records: Waiting,
    meter: Meter,
    lanes: usize,
    open: usize,
    /// Lanes that wait because they failed.
    failed: usize,
    failures: usize,
    wake: f64,
    told: usize,
    random: Random,
}

impl Instance {
    pub(super) fn new(number: usize, policy: Box<dyn Policy>, records: Waiting, lanes: usize, random: Random) -> Self {
        let meter = Meter::new(policy.pace());
        Self {
            number,
            policy,
            records,
            meter,
            lanes,
            open: 0,
            failed: 0,
            failures: 0,
            wake: f64::INFINITY,
            told: 0,
            random,
        }
    }

    /// The measurements, and how many transactions are open.
    pub(super) fn finish(&mut self) -> (&mut Meter, usize) {
        self.meter.batch_changes = self.policy.batch_changes();
        (&mut self.meter, self.open)
    }

    pub(super) fn tell(&mut self, now: f64, event: &Event) {
        self.policy.on_event(Duration::from_secs_f64(now), event);
        self.meter.paced(now, self.policy.pace());
    }

    /// A lane is available again.
    pub(super) fn recovered(&mut self) {
        self.failed -= 1;
    }

    /// The planned wake-up has come.
    pub(super) fn lingered(&mut self) {
        self.wake = f64::INFINITY;
    }

    /// Begins as many transactions as are allowed.
    pub(super) fn dispatch(&mut self, now: f64, database: &mut Database, agenda: &mut Agenda) {
        loop {
            let pace = self.policy.pace();
            if self.open >= pace.concurrency || self.open + self.failed >= self.lanes || !self.is_ready(now, pace) {
                break;
            }
            let groups = self.records.take(pace.records as u64, now);
            let records = groups.iter().map(|group| usize::try_from(group.1).unwrap_or(usize::MAX)).sum();
            let work = Work { pipeline: 0, records, bytes: records * RECORD_BYTES, full: self.records.records() > 0 };
            self.meter.opened(now, self.open);
            self.open += 1;
            database.begin(now, self.number, groups, agenda);
            self.tell(now, &Event::Begun(work));
        }
        self.plan(agenda);
        self.tell_waiting(now);
    }

    /// A transaction of this instance has ended.
    pub(super) fn ended(&mut self, now: f64, ended: &Ended, agenda: &mut Agenda) {
        self.meter.closed(now, self.open, ended);
        self.open -= 1;
        let records = usize::try_from(ended.records).unwrap_or(usize::MAX);
        let ending = if ended.committed { Ending::Committed } else { Ending::Overload };
        if ended.committed {
            self.failures = 0;
        } else {
            self.records.give_back(&ended.groups);
            // Each lane counts its own failures; they fail together.
            let step = WAIT_FIRST * 2_f64.powf((self.failures / self.lanes.max(1)) as f64);
            agenda.at(now + step.min(WAIT_MOST) * self.random.between(0.5, 1.0), Happening::Recovered(self.number));
            self.failed += 1;
            self.failures += 1;
        }
        let work = Work { pipeline: 0, records, bytes: records * RECORD_BYTES, full: self.records.records() > 0 };
        self.tell(now, &Event::Ended { began: Duration::from_secs_f64(ended.began), work, ending });
    }

    fn is_ready(&self, now: f64, pace: Pace) -> bool {
        if self.records.records() >= pace.records.max(1) as u64 {
            return true;
        }
        // Half a nanosecond allows for rounding.
        self.records.oldest().is_some_and(|oldest| now + 5e-10 >= oldest + pace.linger.as_secs_f64())
    }

    /// Plans a wake-up for when the oldest record has waited long enough.
    fn plan(&mut self, agenda: &mut Agenda) {
        let pace = self.policy.pace();
        let Some(oldest) = self.records.oldest() else { return };
        let due = oldest + pace.linger.as_secs_f64();
        if self.open < pace.concurrency && due < self.wake {
            self.wake = due;
            agenda.at(due, Happening::Lingered(self.number));
        }
    }

    /// Tells the policy how many lanes hold a batch and wait for a turn, when that number has changed.
    fn tell_waiting(&mut self, now: f64) {
        let pace = self.policy.pace();
        let lanes = self.lanes.saturating_sub(self.open + self.failed);
        let waiting = if self.records.is_endless() {
            lanes
        } else if self.is_ready(now, pace) {
            let batches = self.records.records() / pace.records.max(1) as u64;
            usize::try_from(batches.max(1)).unwrap_or(lanes).min(lanes)
        } else {
            0
        };
        if waiting != self.told {
            self.told = waiting;
            self.tell(now, &Event::Waiting(waiting));
        }
    }
}
