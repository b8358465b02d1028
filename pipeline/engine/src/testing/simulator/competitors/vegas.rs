//! Netflix's Vegas.

use super::{Limiter, Sample, cut};
use crate::testing::simulator::random::Random;

/// `initialLimit`.
const INITIAL: f64 = 20.0;
/// `maxConcurrency`.
const MOST: f64 = 1000.0;
/// `probeMultiplier`: the shortest round trip is forgotten after about this multiple of the limit, in round trips.
const PROBE: f64 = 30.0;

/// `VegasLimit` (Netflix/concurrency-limits,
/// `concurrency-limits-core/src/main/java/com/netflix/concurrency/limits/limit/VegasLimit.java`), without a window, as
/// that library's limiters use it by default.
///
/// After each round trip, with `r0` the shortest and `l = max(1, floor(log10 L))`: the queue is
/// `ceil(L (1 - r0 / r))`; refused: `L - l`; less than half of `L` open: nothing; queue `<= l`: `L + 6 l`; `< 3 l`:
/// `L + l`; `> 6 l`: `L - l`. After `30 j L` round trips, `j` from 0.5 to 1, `r0` is taken anew from the next.
/// Begins with 20, at most 1,000.
#[derive(Debug)]
pub struct Vegas {
    limit: f64,
    shortest: Option<f64>,
    count: f64,
    jitter: f64,
    random: Random,
}

impl Vegas {
    /// The jitter comes from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, 901);
        Self { limit: INITIAL, shortest: None, count: 0.0, jitter: random.between(0.5, 1.0), random }
    }
}

impl Limiter for Vegas {
    const NAME: &'static str = "netflix_vegas";

    fn ended(&mut self, sample: &Sample) {
        self.count += 1.0;
        if self.jitter * PROBE * self.limit <= self.count {
            self.jitter = self.random.between(0.5, 1.0);
            self.count = 0.0;
            self.shortest = Some(sample.rtt);
            return;
        }
        let Some(shortest) = self.shortest.filter(|shortest| sample.rtt >= *shortest) else {
            self.shortest = Some(sample.rtt);
            return;
        };
        let log = self.limit.log10().floor().max(1.0);
        let queue = (self.limit * (1.0 - shortest / sample.rtt)).ceil();
        let limit = if sample.dropped {
            self.limit - log
        } else if ((sample.inflight * 2) as f64) < self.limit {
            return;
        } else if queue <= log {
            self.limit + 6.0 * log
        } else if queue < 3.0 * log {
            self.limit + log
        } else if queue > 6.0 * log {
            self.limit - log
        } else {
            return;
        };
        self.limit = limit.clamp(1.0, MOST);
    }

    fn limit(&self) -> usize {
        cut(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Vegas is for: "a small number of queued units", between alpha (3) and beta (6) (Brakmo and Peterson, TCP
    /// Vegas, 1995, with the bounds of this implementation), whether it comes from below or from above.
    #[test]
    fn the_queue_settles_between_alpha_and_beta() {
        for servers in [10.0, 17.0, 30.0, 45.0] {
            let mut vegas = Vegas::new(1);
            vegas.ended(&Sample { now: 0.0, rtt: 0.01, inflight: 1, dropped: false });
            // Fewer round trips than it takes to forget the shortest.
            for _ in 0..250 {
                let rtt = 0.01 * (vegas.limit / servers).max(1.0);
                vegas.ended(&Sample { now: 0.0, rtt, inflight: vegas.limit(), dropped: false });
            }
            let queue = vegas.limit - servers;
            assert!((2.0..=6.0).contains(&queue), "{queue} queued at {servers} servers");
        }
    }

    /// Netflix/concurrency-limits issue 165: once the shortest round trip is forgotten under load, a loaded round trip
    /// counts as an unloaded one, and the queue grows.
    #[test]
    fn forgetting_the_shortest_under_load_lets_the_queue_grow() {
        let mut vegas = Vegas::new(1);
        for _ in 0..20_000 {
            let rtt = 0.01 * (vegas.limit / 10.0).max(1.0);
            vegas.ended(&Sample { now: 0.0, rtt, inflight: vegas.limit(), dropped: false });
        }
        assert!(vegas.limit > 10.0 + 2.0 * 6.0, "{}", vegas.limit);
    }
}
