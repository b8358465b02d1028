//! One of the two numbers that are sought: what is known of it, and when to try another.

use super::Knob;
use super::evidence::Evidence;
use super::reading::Around;

/// Right after something was learnt the next trial comes so soon, seconds.
const REST_MIN: f64 = 1.0;

/// After each trial that changed nothing the next comes so many times later.
const REST_GROWS: f64 = 1.5;

/// The part of goodput that trials may cost when nothing more is learnt: where one costs much the next comes later.
const TRIALS_COST: f64 = 0.02;

/// It comes within so many seconds all the same: goodput that has changed for good is to be found again within a minute.
const PAID_OFF_MAX: f64 = 45.0;

/// Deviation of a ratio above which little is known.
const DOUBT: f64 = 0.02;

/// One number.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) knob: Knob,
    pub(super) evidence: Evidence,
    /// Trials are so many times as much, or as little.
    steps: (f64, f64),
    rest: f64,
    rest_max: f64,
    pub(super) due: f64,
    more_next: bool,
}

impl Axis {
    pub(super) fn new(knob: Knob, evidence: Evidence, steps: (f64, f64), rest_max: f64, now: f64) -> Self {
        Self { knob, evidence, steps, rest: REST_MIN, rest_max, due: now, more_next: true }
    }

    /// Another number to compare with, in turn more and fewer.
    pub(super) fn next_trial(&mut self, around: &Around<'_>) -> Option<usize> {
        let (here, most) = around.of(self.knob);
        let beside = |factor: f64| {
            let near = self.evidence.beside(here, factor, most)?;
            // Further off there is more to see: worth it as long as little is known.
            if self.knob == Knob::Records || self.evidence.doubt_between(here, near) < DOUBT {
                Some(near)
            } else {
                self.evidence.beside(here, factor * factor, most)
            }
        };
        let more = || beside(self.steps.0);
        let fewer = || beside(self.steps.1);
        let to = if self.more_next { more().or_else(fewer) } else { fewer().or_else(more) };
        self.more_next = !self.more_next;
        to
    }

    /// A trial is over: it taught something or not, and cost as much as so many seconds without work.
    pub(super) fn tried(&mut self, now: f64, taught: bool, lost_seconds: f64) {
        self.rest = if taught { REST_MIN } else { (self.rest * REST_GROWS).min(self.rest_max) };
        let paid_off = if taught { 0.0 } else { (lost_seconds / TRIALS_COST).min(PAID_OFF_MAX) };
        self.due = now + self.rest.max(paid_off);
    }

    /// A trial came to nothing.
    pub(super) fn postpone(&mut self, now: f64) {
        self.due = now + self.rest;
    }

    /// The next trial is due now, and the ones after it soon.
    pub(super) fn hurry(&mut self, now: f64) {
        (self.rest, self.due) = (REST_MIN, now);
    }

    /// The next trial is of more, or of fewer.
    pub(super) fn turn(&mut self, more: bool) {
        self.more_next = more;
    }
}
