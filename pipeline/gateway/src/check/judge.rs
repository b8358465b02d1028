//! When a task counts as healthy: after how many probes, and how soon the next one is due.

use std::time::Duration;

/// Probes in a row that answer, until an unhealthy task is healthy again.
const UP: u8 = 2;
/// Probes in a row that do not, until a task is unhealthy. Fewer: one lost packet takes a task out.
const DOWN: u8 = 3;
/// Time between probes of a task that nobody has judged: it should not wait for a whole interval to be routable.
const FIRST_EVERY: Duration = Duration::from_millis(250);
/// How far the interval varies, so that probes do not come all at once.
const SPREAD: f64 = 0.2;

/// What is known of the health of one port of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Judge {
    /// What was published last, by whichever checker.
    known: Option<bool>,
    /// Probes in a row with the same result.
    row: u8,
    /// The result of that row.
    last: bool,
}

impl Judge {
    pub(super) fn new(known: Option<bool>) -> Self {
        Judge { known, row: 0, last: true }
    }

    pub(super) fn known(&self) -> Option<bool> {
        self.known
    }

    /// Takes the result of a probe; returns the new health if that is to be published. A task that nobody has judged is
    /// healthy with the first probe that it answers: until then it gets no requests, so nothing is lost by trust.
    pub(super) fn probed(&mut self, is_well: bool) -> Option<bool> {
        if self.last == is_well {
            self.row = self.row.saturating_add(1);
        } else {
            self.row = 1;
            self.last = is_well;
        }
        let needed = match (is_well, self.known) {
            (true, None) => 1,
            (true, Some(_)) => UP,
            (false, _) => DOWN,
        };
        let is_new = self.known != Some(is_well) && self.row >= needed;
        is_new.then_some(is_well)
    }

    /// Whether the last probe was not answered as it should.
    pub(super) fn is_failing(&self) -> bool {
        self.row > 0 && !self.last
    }

    /// It was published.
    pub(super) fn published(&mut self, is_well: bool) {
        self.known = Some(is_well);
    }

    /// The facts say this, whatever was published: the next probe tells it again if that is not so.
    pub(super) fn known_is(&mut self, known: Option<bool>) {
        self.known = known;
    }

    /// The time until the next probe; `random` is from 0 to 1.
    pub(super) fn next(&self, interval: Duration, random: f64) -> Duration {
        let every = if self.known.is_none() { FIRST_EVERY.min(interval) } else { interval };
        every.mul_f64(1.0 - SPREAD + 2.0 * SPREAD * random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(judge: &mut Judge, results: &[bool]) -> Vec<bool> {
        let mut told = Vec::new();
        for result in results {
            if let Some(healthy) = judge.probed(*result) {
                judge.published(healthy);
                told.push(healthy);
            }
        }
        told
    }

    #[test]
    fn a_new_task_is_healthy_with_its_first_answer_and_bad_after_three_silences() {
        assert_eq!(probes(&mut Judge::new(None), &[true]), [true]);
        assert_eq!(probes(&mut Judge::new(None), &[false, false]), Vec::<bool>::new());
        assert_eq!(probes(&mut Judge::new(None), &[false, false, false, false]), [false]);
        assert_eq!(probes(&mut Judge::new(None), &[false, false, true]), [true], "it had been starting");
    }

    #[test]
    fn only_transitions_are_told_two_up_and_three_down() {
        let mut judge = Judge::new(Some(true));
        assert_eq!(probes(&mut judge, &[true, false, false, true, false, false]), Vec::<bool>::new());
        assert_eq!(probes(&mut judge, &[false, false]), [false]);
        assert_eq!(probes(&mut judge, &[true, false, true]), Vec::<bool>::new());
        assert_eq!(probes(&mut judge, &[true, true]), [true]);
    }

    #[test]
    fn a_new_task_is_asked_often_and_others_around_the_interval() {
        let interval = Duration::from_secs(5);
        assert!(Judge::new(None).next(interval, 0.5) == FIRST_EVERY);
        let judge = Judge::new(Some(false));
        assert_eq!(judge.next(interval, 0.0), Duration::from_secs(4));
        assert_eq!(judge.next(interval, 1.0), Duration::from_secs(6));
    }
}
