//! Vector's adaptive request concurrency.

use super::{Limiter, Sample, cut};

/// `initial_concurrency`.
const INITIAL: usize = 1;
/// `max_concurrency_limit`.
const MOST: usize = 200;
/// `decrease_ratio`.
const DECREASE: f64 = 0.9;
/// `ewma_alpha`.
const ALPHA: f64 = 0.4;
/// `rtt_deviation_scale`.
const DEVIATIONS: f64 = 2.5;

/// Vector's ARC (vectordotdev/vector, `src/sinks/util/adaptive_concurrency/{mod,controller}.rs`; RFC 1858 of Vector).
///
/// Once per round trip, as long as the average one: with `m` and `v` the exponentially weighted mean and variance of
/// round trips (`d = x - m`; `m += 0.4 d`; `v = 0.6 (v + 0.4 d^2)`) and `x` the mean of this interval, +1 if the limit
/// was reached, nothing was refused and `x <= m`; times 0.9, rounded down, if something was refused or
/// `x >= m + 2.5 sqrt(v)`. Begins with 1, at most 200. Only what was not refused counts as a round trip.
#[derive(Debug)]
pub struct Arc {
    limit: usize,
    past: Option<(f64, f64)>,
    next: f64,
    sum: f64,
    count: u64,
    refused: bool,
    reached: bool,
}

impl Default for Arc {
    fn default() -> Self {
        Self { limit: INITIAL, past: None, next: 0.0, sum: 0.0, count: 0, refused: false, reached: false }
    }
}

impl Arc {
    fn manage(&mut self, current: Option<f64>, mean: f64, variance: f64) {
        let threshold = mean + DEVIATIONS * variance.sqrt();
        if self.limit < MOST && self.reached && !self.refused && current.is_some_and(|rtt| rtt <= mean) {
            self.limit += 1;
        } else if self.limit > 1 && (self.refused || current.unwrap_or(0.0) >= threshold) {
            self.limit = cut(self.limit as f64 * DECREASE).max(1);
        }
    }
}

impl Limiter for Arc {
    const NAME: &'static str = "vector_arc";

    fn begun(&mut self, inflight: usize) {
        self.reached |= inflight >= self.limit;
    }

    fn ended(&mut self, sample: &Sample) {
        self.refused |= sample.dropped;
        if !sample.dropped {
            self.sum += sample.rtt;
            self.count += 1;
        }
        let current = (self.count > 0).then(|| self.sum / self.count as f64);
        let Some((mean, variance)) = self.past else {
            if let Some(rtt) = current {
                self.past = Some((rtt, 0.0));
                self.next = sample.now + rtt;
            }
            return;
        };
        if sample.now < self.next {
            return;
        }
        self.manage(current, mean, variance);
        let mut length = mean;
        if let Some(rtt) = current {
            let difference = rtt - mean;
            let increment = ALPHA * difference;
            length = mean + increment;
            self.past = Some((length, (1.0 - ALPHA) * (variance + difference * increment)));
        }
        self.next = sample.now + length;
        self.sum = 0.0;
        self.count = 0;
        self.refused = false;
        self.reached = false;
    }

    fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vector's own test of a constant link: the limit grows by one each round trip
    /// (`tests/data/adaptive-concurrency/constant-link.toml`: time-weighted, it ends at what is offered).
    #[test]
    fn on_a_constant_link_it_grows_by_one_each_round_trip() {
        let mut arc = Arc::default();
        // A number without rounding error: the least difference counts, which is why Vector's tests round.
        let rtt = 0.125;
        let mut now = 0.0;
        for _ in 0..50 {
            now += rtt;
            let limit = arc.limit();
            for inflight in 1..=limit {
                arc.begun(inflight);
            }
            for inflight in 1..=limit {
                arc.ended(&Sample { now, rtt, inflight, dropped: false });
            }
        }
        // One for each of fifty round trips but the first, which sets the baseline.
        assert!((48..=50).contains(&arc.limit()), "{}", arc.limit());
        // A refusal takes off a tenth, once per round trip.
        let before = arc.limit();
        for inflight in 1..=20 {
            arc.begun(inflight);
            arc.ended(&Sample { now: now + rtt, rtt, inflight, dropped: true });
        }
        assert_eq!(arc.limit(), cut(before as f64 * DECREASE));
    }
}
