//! Hard evidence that a task cannot be reached: its connection was refused, or timed out, at this gateway.
//!
//! Out for one second, doubled with each failure up to thirty, then one try. The same state is used for probation,
//! whose first try needs no failure before it: at most one try of a task runs at a time.

use std::time::Duration;

use tokio::time::Instant;

/// Smaller: a dead task costs more connections. Larger: a task that was started again waits longer.
const OUT_MIN: Duration = Duration::from_secs(1);
/// A task that is dead for long costs two connections a minute.
const OUT_MAX: Duration = Duration::from_secs(30);

/// Whether a task can be reached, as far as this gateway knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nothing is known against it.
    Open,
    /// It could not be reached, and is not tried now.
    Out,
    /// It could not be reached, and may be tried once.
    Due,
}

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hard {
    /// Failures since the last connection; 0 where it can be reached.
    failures: u32,
    until: Option<Instant>,
    /// When the next try may begin of a task that can be reached, and did not say that it is well.
    rests_until: Option<Instant>,
    /// The number of the try that runs.
    trying: Option<u64>,
    tries: u64,
}

impl Hard {
    pub(crate) fn reach(&self, now: Instant) -> Reach {
        match self.until {
            None => Reach::Open,
            Some(until) if self.trying.is_some() || now < until => Reach::Out,
            Some(_) => Reach::Due,
        }
    }

    /// Whether any try failed since the last connection.
    pub(crate) fn is_out(&self) -> bool {
        self.until.is_some()
    }

    /// Begins the one try, and gives its number; `None` where one runs or it is too early.
    pub(crate) fn try_once(&mut self, now: Instant) -> Option<u64> {
        let is_early = |until: Option<Instant>| until.is_some_and(|until| now < until);
        if self.trying.is_some() || is_early(self.until) || is_early(self.rests_until) {
            return None;
        }
        self.tries += 1;
        self.trying = Some(self.tries);
        self.trying
    }

    /// The try reached the task. One that is not the running one changes nothing.
    pub(crate) fn reached(&mut self, number: u64) -> bool {
        let is_it = self.trying == Some(number);
        if is_it {
            *self = Self { tries: self.tries, ..Self::default() };
        }
        is_it
    }

    /// The try reached the task, which did not say that it is well: the next one follows in a second, however often.
    pub(crate) fn unwell(&mut self, number: u64, now: Instant) {
        if self.reached(number) {
            self.rests_until = Some(now + OUT_MIN);
        }
    }

    /// The try ended without an answer to the question: the next one may begin.
    pub(crate) fn given_up(&mut self, number: u64) {
        if self.trying == Some(number) {
            self.trying = None;
        }
    }

    /// A connection failed: that of a try, or that of a request. Returns whether that was not known.
    ///
    /// Requests that fail together count once: what is out is made later only by its try.
    pub(crate) fn failed(&mut self, number: Option<u64>, now: Instant) -> bool {
        let counts = match number {
            Some(_) => self.trying == number,
            None => self.until.is_none() && self.trying.is_none(),
        };
        if counts {
            let out = OUT_MIN.saturating_mul(1 << self.failures.min(16)).min(OUT_MAX);
            self.failures = self.failures.saturating_add(1);
            self.until = Some(now + out);
            self.trying = None;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_out_for_one_second_doubling_to_thirty_with_one_try_each() {
        let mut now = Instant::now();
        let mut hard = Hard::default();
        assert!(hard.failed(None, now));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let out = Duration::from_secs(seconds);
            assert_eq!(hard.reach(now + out - Duration::from_millis(1)), Reach::Out);
            assert_eq!(hard.try_once(now + out - Duration::from_millis(1)), None);
            now += out;
            assert_eq!(hard.reach(now), Reach::Due);
            let number = hard.try_once(now);
            assert!(number.is_some());
            assert_eq!((hard.reach(now), hard.try_once(now)), (Reach::Out, None), "one try at a time");
            assert!(hard.failed(number, now));
        }
    }

    #[test]
    fn a_task_that_answers_badly_can_be_reached_and_is_tried_each_second() {
        let mut now = Instant::now();
        let mut hard = Hard::default();
        assert!(hard.failed(None, now));
        now += OUT_MIN;
        for _ in 0..8 {
            let number = hard.try_once(now).unwrap();
            hard.unwell(number, now);
            assert_eq!((hard.reach(now), hard.try_once(now)), (Reach::Open, None));
            now += OUT_MIN;
        }
        assert!(hard.failed(None, now), "and what could not be reached is out again");
        assert_eq!(hard.reach(now + OUT_MIN), Reach::Due);
    }

    #[test]
    fn requests_that_fail_together_count_once() {
        let now = Instant::now();
        let mut hard = Hard::default();
        assert!(hard.failed(None, now));
        assert!(!hard.failed(None, now));
        assert_eq!(hard.reach(now + OUT_MIN), Reach::Due);
    }

    #[test]
    fn only_the_running_try_makes_a_task_reachable_again() {
        let now = Instant::now();
        let mut hard = Hard::default();
        hard.failed(None, now);
        let old = hard.try_once(now + OUT_MIN).unwrap();
        hard.given_up(old);
        let new = hard.try_once(now + OUT_MIN).unwrap();
        assert!(!hard.reached(old) && !hard.failed(Some(old), now));
        assert_eq!(hard.reach(now + OUT_MAX), Reach::Out);
        assert!(hard.reached(new));
        assert_eq!(hard.reach(now), Reach::Open);
        assert!(hard.failed(None, now));
        assert_eq!(hard.reach(now + OUT_MIN), Reach::Due, "the delay begins anew");
    }
}
