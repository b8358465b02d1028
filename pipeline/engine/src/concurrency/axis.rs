//! One of the two numbers that are sought: what is known about it, and when to try another value.

use super::Knob;
use super::evidence::{DOUBT, Evidence};
use super::reading::Around;

/// Seconds until the next trial, right after a trial that taught something.
const REST_MIN: f64 = 1.0;

/// Each trial that changed nothing multiplies the time until the next one by this.
const REST_GROWS: f64 = 1.5;

/// The longest time until the next trial is at least this multiple of the time a trial takes.
const TRIALS_APART: f64 = 4.0;

/// Part of the goodput that trials of fewer may cost while they teach nothing: a costly trial puts off the next.
const TRIALS_COST: f64 = 0.005;

/// The longest that cost puts off a trial, in seconds: a change too slow to show as a step in goodput must be found.
const PAID_OFF_MAX: f64 = 240.0;

/// Seconds after the beginning, with few transactions at a time, in which no fewer are tried.
const FEWER_FIRST: f64 = 10.0;

/// One of the two numbers, with its evidence and its trials.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) knob: Knob,
    pub(super) evidence: Evidence,
    /// Factors by which a trial of more, and one of fewer, differs from the present number.
    steps: (f64, f64),
    rest: f64,
    rest_max: f64,
    pub(super) due: f64,
    /// No trial of fewer begins before this time: it costs goodput, and a trial of more does not.
    fewer_due: f64,
    more_next: bool,
    /// The concurrency at which another number was last tried.
    pub(super) tried_at: usize,
    /// The number found before a limit moved it, and the number it was moved to.
    moved: Option<(usize, usize)>,
}

impl Axis {
    pub(super) fn new(knob: Knob, evidence: Evidence, steps: (f64, f64), rest_max: f64, now: f64) -> Self {
        let fewer_due = if knob == Knob::Concurrency { now + FEWER_FIRST } else { now };
        Self {
            knob,
            evidence,
            steps,
            rest: REST_MIN,
            rest_max,
            due: now,
            fewer_due,
            more_next: true,
            tried_at: 0,
            moved: None,
        }
    }

    /// Applies other limits and returns the number within them. A number that a limit had moved returns to the one
    /// found before, but not above `most`; with `None` it stays. A number that was stepped or braked since then stays.
    pub(super) fn limit(&mut self, here: usize, (min, max): (usize, usize), most: Option<usize>) -> usize {
        self.evidence.widen(min, max);
        let found = self.moved.filter(|(_, to)| *to == here).map_or(here, |(found, _)| found);
        let to = most.map_or(here, |most| found.min(most.max(here))).clamp(min, max);
        self.moved = (to != found).then_some((found, to));
        to
    }

    /// Another number to compare with, alternately more and fewer; `alone`: no other process writes to the database.
    pub(super) fn next_trial(&mut self, now: f64, around: &Around<'_>, alone: bool) -> Option<usize> {
        let (here, most) = around.of(self.knob);
        let beside = |factor: f64| {
            let near = self.evidence.beside(here, factor, most)?;
            // A larger step shows more. It is worth it while little is known, and only alone: other processes that try
            // would measure what was taken from them.
            if self.knob == Knob::Records || !alone || self.evidence.doubt_between(here, near) < DOUBT {
                Some(near)
            } else {
                let far = self.evidence.beside(here, factor * factor, most);
                far.filter(|far| *far >= around.least(self.knob)).or(Some(near))
            }
        };
        let more = || beside(self.steps.0);
        let fewer = || beside(self.steps.1).filter(|to| now >= self.fewer_due && *to >= around.least(self.knob));
        let to = if self.more_next { more().or_else(fewer) } else { fewer().or_else(more) };
        self.more_next = !self.more_next;
        to
    }

    /// A trial is over: it taught something or not, and cost as much goodput as `lost_seconds` without work.
    pub(super) fn tried(&mut self, now: f64, taught: bool, lasted: f64, lost_seconds: f64) {
        let rest_max = self.rest_max.max(TRIALS_APART * lasted);
        self.rest = if taught { REST_MIN } else { (self.rest * REST_GROWS).min(rest_max) };
        self.due = now + self.rest;
        if !taught {
            self.fewer_due = self.fewer_due.max(now + (lost_seconds / TRIALS_COST).min(PAID_OFF_MAX));
        }
    }

    /// A trial ended without a result.
    pub(super) fn postpone(&mut self, now: f64) {
        self.due = now + self.rest;
    }

    /// The next trial is due now, and the ones after it soon.
    pub(super) fn hurry(&mut self, now: f64) {
        self.rest = REST_MIN;
        self.due = now;
        self.fewer_due = now;
    }

    /// Makes the next trial one of more, or one of fewer.
    pub(super) fn turn(&mut self, more: bool) {
        self.more_next = more;
    }
}

#[cfg(test)]
mod tests {
    use super::super::part::Mix;
    use super::*;

    /// Eight transactions at a time, of at most 64.
    fn around() -> Around<'static> {
        Around {
            parts: &[],
            mix: Mix::default(),
            sizing: 0,
            concurrency: 8,
            records: 1_000,
            concurrency_most: 64,
            concurrency_least: 1,
            records_most: 10_000,
            capped_at: f64::INFINITY,
            full: true,
        }
    }

    #[test]
    fn who_was_moved_by_a_limit_goes_back_when_it_is_lifted() {
        let evidence = Evidence::new(1, 64, 1.12, (0.11, 0.005), (0.0, 0.0));
        let mut axis = Axis::new(Knob::Concurrency, evidence, (1.5, 0.7), 25.0, 0.0);
        let any = Some(64);
        assert_eq!(axis.limit(40, (1, 30), any), 30);
        assert_eq!(axis.limit(30, (1, 5), any), 5);
        assert_eq!(axis.limit(5, (1, 64), None), 5, "frozen");
        assert_eq!(axis.limit(5, (1, 20), any), 20, "as far as it may");
        assert_eq!(axis.limit(20, (1, 64), Some(12)), 20, "no more than is borne, and no less than it is");
        assert_eq!(axis.limit(20, (1, 64), any), 40);
        assert_eq!(axis.limit(40, (1, 10), any), 10);
        assert_eq!(axis.limit(10, (1, 64), Some(12)), 12, "the rest is not forgotten");
        assert_eq!(axis.limit(12, (1, 64), any), 40);
        assert_eq!(axis.limit(40, (1, 10), any), 10);
        assert_eq!(axis.limit(4, (1, 64), any), 4, "fewer were found to be enough");
        assert_eq!(axis.limit(4, (6, 64), any), 6);
        assert_eq!(axis.limit(6, (1, 64), None), 6, "frozen");
        assert_eq!(axis.limit(6, (1, 64), any), 4, "a fewest, too");
    }

    #[test]
    fn trials_that_take_long_come_later() {
        let evidence = Evidence::new(1, 64, 1.12, (0.11, 0.005), (0.0, 0.0));
        let mut axis = Axis::new(Knob::Concurrency, evidence, (1.5, 0.7), 25.0, 0.0);
        let mut rest = |lasted| {
            (0..20).for_each(|_| axis.tried(0.0, false, lasted, 0.0));
            axis.due
        };
        assert_eq!((rest(1.0), rest(10.0)), (25.0, 40.0));
    }

    #[test]
    fn who_shares_the_database_tries_no_number_far_off() {
        let evidence = Evidence::new(1, 64, 1.12, (0.11, 0.005), (0.0, 0.0));
        let axis = Axis::new(Knob::Concurrency, evidence, (1.3, 0.83), 25.0, 0.0);
        let tried = |alone| axis.clone().next_trial(0.0, &around(), alone);
        assert_eq!((tried(true), tried(false)), (Some(13), Some(10)), "of eight");
    }

    #[test]
    fn fewer_than_keep_processors_busy_are_not_tried_and_what_is_nearer_is() {
        let evidence = Evidence::new(1, 64, 1.12, (0.11, 0.005), (0.0, 0.0));
        let mut axis = Axis::new(Knob::Concurrency, evidence, (1.3, 0.83), 25.0, 0.0);
        axis.hurry(0.0);
        let fewer = |least| {
            let mut axis = axis.clone();
            axis.turn(false);
            axis.next_trial(0.0, &Around { concurrency_least: least, ..around() }, true)
        };
        assert_eq!([1, 6, 7, 8].map(fewer), [Some(6), Some(6), Some(7), Some(13)], "of eight");
    }

    #[test]
    fn fewer_are_tried_again_when_what_they_cost_has_paid_off_and_more_at_any_time() {
        let evidence = Evidence::new(1, 64, 1.12, (0.11, 0.005), (0.0, 0.0));
        let mut axis = Axis::new(Knob::Concurrency, evidence, (1.5, 0.7), 25.0, 0.0);
        let around = around();
        let next = |now: f64, axis: &mut Axis| axis.next_trial(now, &around, true).unwrap() > 8;
        axis.turn(false);
        assert!(next(0.0, &mut axis), "it has just begun");
        axis.hurry(1.0);
        axis.turn(false);
        assert!(!next(1.0, &mut axis), "fewer");
        axis.tried(1.0, false, 2.0, 0.5);
        axis.turn(false);
        assert!(next(100.0, &mut axis), "half a second is 0.5 % of 100 s, which are not over");
        axis.turn(false);
        assert!(!next(101.0, &mut axis));
        axis.tried(101.0, false, 2.0, 100.0);
        axis.turn(false);
        assert!(!next(341.0, &mut axis), "after four minutes whatever it cost");
    }
}
