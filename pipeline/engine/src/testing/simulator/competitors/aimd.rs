//! Netflix's AIMD.

use super::{Limiter, Sample, cut};

/// `initialLimit`.
const INITIAL: usize = 10;
/// `backoffRatio`.
const BACKOFF: f64 = 0.9;
/// `DEFAULT_TIMEOUT` in seconds: what takes longer counts as refused.
const TIMEOUT: f64 = 5.0;

/// `AIMDLimit` (Netflix/concurrency-limits,
/// `concurrency-limits-core/src/main/java/com/netflix/concurrency/limits/limit/AIMDLimit.java`): additive increase,
/// multiplicative decrease (Chiu and Jain, 1989).
///
/// After each round trip: refused or longer than 5 s: `max(1, min(L - 1, floor(0.9 L)))`; at least half of `L` open:
/// `L + 1`. Begins with 10, without a bound.
#[derive(Debug)]
pub struct Aimd {
    limit: usize,
    backoff: f64,
}

impl Default for Aimd {
    fn default() -> Self {
        Self { limit: INITIAL, backoff: BACKOFF }
    }
}

impl Limiter for Aimd {
    const NAME: &'static str = "netflix_aimd";

    fn ended(&mut self, sample: &Sample) {
        if sample.dropped || sample.rtt > TIMEOUT {
            self.limit = cut(self.limit as f64 * self.backoff).min(self.limit - 1).max(1);
        } else if sample.inflight * 2 >= self.limit {
            self.limit += 1;
        }
    }

    fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The saw-tooth: halved whenever more than `most` are refused, plus one in between, the mean is 3/4 of the most
    /// (Mathis et al., The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm, 1997).
    #[test]
    fn halved_at_the_top_its_mean_is_three_quarters_of_it() {
        let most = 100;
        let mut sum = 0.0;
        let rounds = 10_000;
        let mut aimd = Aimd { limit: most / 2, backoff: 0.5 };
        for _ in 0..rounds {
            let inflight = aimd.limit;
            sum += inflight as f64;
            aimd.ended(&Sample { now: 0.0, rtt: 0.01, inflight, dropped: inflight >= most });
        }
        let mean = sum / f64::from(rounds) / most as f64;
        assert!((mean - 0.75).abs() < 0.01, "{mean}");
    }

    #[test]
    fn what_is_not_used_does_not_grow() {
        let mut aimd = Aimd::default();
        aimd.ended(&Sample { now: 0.0, rtt: 0.01, inflight: 4, dropped: false });
        assert_eq!(aimd.limit(), 10);
    }
}
