//! The cost of a task: a peak-sensitive average of the time until it sends the head of a response.
//!
//! A slower response raises it at once, faster ones lower it with a decay of ten seconds. It is projected to the time
//! of the question without being changed, so that a task that nobody sends requests to is tried again some time.

use std::time::Duration;

use tokio::time::Instant;

/// Larger: one slow response keeps requests away for longer. Smaller: the average follows single responses.
const DECAY: Duration = Duration::from_secs(10);

/// The cost of a task of a group in which nothing is known.
pub(crate) const UNKNOWN: Duration = Duration::from_millis(30);

/// A failure counts as this, at least: a task that fails fast must not look like the fastest.
const FAILURE_MIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Peak {
    /// Seconds, at the time of `at`.
    value: f64,
    at: Option<Instant>,
}

impl Peak {
    /// Where it begins, when the task is considered for the first time.
    pub(crate) fn begin(&mut self, value: Duration, now: Instant) {
        if self.at.is_none() {
            self.value = value.as_secs_f64();
            self.at = Some(now);
        }
    }

    /// In seconds, projected to `now`; `None` before it began.
    pub(crate) fn cost(&self, now: Instant) -> Option<f64> {
        self.at.map(|at| self.value * remaining(at, now))
    }

    /// A response with this time to its head.
    pub(crate) fn answered(&mut self, elapsed: Duration, now: Instant) {
        let sample = elapsed.as_secs_f64();
        self.value = match self.at {
            Some(at) if self.value * remaining(at, now) > sample => {
                let keep = remaining(at, now);
                self.value * keep + sample * (1.0 - keep)
            }
            _ => sample,
        };
        self.at = Some(now);
    }

    /// A failure, or a response that says that the task did not do its work. It never lowers the cost.
    pub(crate) fn failed(&mut self, elapsed: Duration, now: Instant) {
        self.raise(elapsed.max(FAILURE_MIN), now);
    }

    /// A sample that may raise the cost and never lowers it.
    pub(crate) fn raise(&mut self, elapsed: Duration, now: Instant) {
        let sample = elapsed.as_secs_f64();
        if self.cost(now).is_none_or(|cost| sample > cost) {
            self.value = sample;
            self.at = Some(now);
        }
    }
}

/// The part of a value that is left of it.
fn remaining(at: Instant, now: Instant) -> f64 {
    let passed = now.saturating_duration_since(at).as_secs_f64();
    (-passed / DECAY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(value: f64) -> Duration {
        Duration::from_secs_f64(value)
    }

    fn near(value: Option<f64>, expected: f64) {
        let value = value.unwrap();
        assert!((value - expected).abs() < expected * 1e-9, "{value} is not {expected}");
    }

    #[test]
    fn a_slower_response_counts_at_once_and_faster_ones_with_a_decay_of_ten_seconds() {
        let start = Instant::now();
        let mut peak = Peak::default();
        peak.answered(seconds(0.1), start);
        peak.answered(seconds(0.5), start);
        near(peak.cost(start), 0.5);
        peak.answered(seconds(0.1), start);
        near(peak.cost(start), 0.5);
        let keep = (-1.0_f64).exp();
        peak.answered(seconds(0.1), start + DECAY);
        near(peak.cost(start + DECAY), 0.5 * keep + 0.1 * (1.0 - keep));
    }

    #[test]
    fn it_is_projected_without_being_changed() {
        let start = Instant::now();
        let mut peak = Peak::default();
        peak.answered(seconds(1.0), start);
        near(peak.cost(start + DECAY), (-1.0_f64).exp());
        near(peak.cost(start), 1.0);
    }

    #[test]
    fn a_failure_counts_as_one_second_at_least_and_never_lowers_the_cost() {
        let start = Instant::now();
        let mut peak = Peak::default();
        peak.answered(seconds(0.01), start);
        peak.failed(seconds(0.001), start);
        near(peak.cost(start), 1.0);
        peak.failed(seconds(3.0), start);
        near(peak.cost(start), 3.0);
        peak.failed(seconds(0.001), start);
        peak.raise(seconds(0.001), start);
        near(peak.cost(start), 3.0);
    }

    #[test]
    fn it_begins_once() {
        let start = Instant::now();
        let mut peak = Peak::default();
        assert!(peak.cost(start).is_none());
        peak.begin(seconds(0.2), start);
        peak.begin(seconds(0.9), start);
        near(peak.cost(start), 0.2);
    }
}
