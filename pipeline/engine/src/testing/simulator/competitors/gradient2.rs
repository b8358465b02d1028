//! Netflix's Gradient2.

use super::{Limiter, Sample, cut};

/// `initialLimit`.
const INITIAL: f64 = 20.0;
/// The published `minLimit` is 20, "not desirable when used as back-pressure for batch apps", which this is: so 1.
const LEAST: f64 = 1.0;
/// `maxConcurrency`.
const MOST: f64 = 200.0;
/// `queueSize`: how much it may grow while round trips stay as long as they were.
const QUEUE: f64 = 4.0;
/// `smoothing`.
const SMOOTHING: f64 = 0.2;
/// `longWindow`: round trips (windows of them) in the long average.
const LONG: f64 = 600.0;
/// Up to this many windows the long average is a plain mean.
const WARM: u64 = 10;
/// `WindowedLimit`: a window has at least this many round trips,
const WINDOW_SAMPLES: u64 = 10;
/// and lasts this long, in seconds.
const WINDOW_SECONDS: f64 = 1.0;

/// `Gradient2Limit` in `WindowedLimit` (Netflix/concurrency-limits,
/// `concurrency-limits-core/src/main/java/com/netflix/concurrency/limits/limit/{Gradient2Limit,WindowedLimit}.java`).
///
/// After each window of a second and at least ten round trips, with `s` their mean and `l` the exponential average of
/// `s` over 600 windows (factor `2 / 601`, a plain mean of the first ten): `l` times 0.9 if `l > 2 s`; nothing more
/// if fewer than half of `L` were open; else `g = l / s` between 0.5 and 1 and `L = 0.8 L + 0.2 (g L + 4)`. Begins with
/// 20, at most 200.
#[derive(Debug)]
pub struct Gradient2 {
    limit: f64,
    long: f64,
    windows: u64,
    next: f64,
    sum: f64,
    count: u64,
    inflight: usize,
}

impl Default for Gradient2 {
    fn default() -> Self {
        Self { limit: INITIAL, long: 0.0, windows: 0, next: 0.0, sum: 0.0, count: 0, inflight: 0 }
    }
}

impl Gradient2 {
    /// A window has passed.
    fn update(&mut self, short: f64, inflight: usize) {
        self.windows += 1;
        let factor = if self.windows <= WARM { 1.0 / self.windows as f64 } else { 2.0 / (LONG + 1.0) };
        self.long += factor * (short - self.long);
        let long = self.long;
        if long / short > 2.0 {
            self.long *= 0.9;
        }
        if (inflight as f64) < self.limit / 2.0 {
            return;
        }
        let gradient = (long / short).clamp(0.5, 1.0);
        let limit = self.limit * (1.0 - SMOOTHING) + (self.limit * gradient + QUEUE) * SMOOTHING;
        self.limit = limit.clamp(LEAST, MOST);
    }
}

impl Limiter for Gradient2 {
    const NAME: &'static str = "netflix_gradient2";

    fn ended(&mut self, sample: &Sample) {
        // A refused transaction counts with its time, as in the original.
        self.sum += sample.rtt;
        self.count += 1;
        self.inflight = self.inflight.max(sample.inflight);
        if sample.now <= self.next {
            return;
        }
        self.next = sample.now + WINDOW_SECONDS;
        if self.count >= WINDOW_SAMPLES {
            self.update(self.sum / self.count as f64, self.inflight);
        }
        self.sum = 0.0;
        self.count = 0;
        self.inflight = 0;
    }

    fn limit(&self) -> usize {
        cut(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Netflix/concurrency-limits issue 134 (comment of 2024-11): under sustained mild overload, a gradient of about
    /// 0.8, the limit creeps up: the long average learns the overload and calls it normal.
    #[test]
    fn under_sustained_mild_overload_it_drifts_up() {
        let mut gradient = Gradient2::default();
        // A server for ten at a time: beyond that, round trips grow with the number of open transactions.
        let mut settled = 0.0;
        let mut later = 0.0;
        for window in 0..3000 {
            let open = gradient.limit;
            let short = 0.01 * (open / 10.0).max(1.0);
            gradient.update(short, cut(open));
            match window {
                50 => settled = gradient.limit,
                1500 => later = gradient.limit,
                _ => {}
            }
        }
        assert!(settled > 20.0, "{settled}");
        // Six times what the server can do, and still growing.
        assert!(
            gradient.limit > 2.0 * settled && gradient.limit > later + 10.0,
            "{settled}, {later}, {}",
            gradient.limit
        );
    }

    /// With round trips that do not change, it settles nowhere: +0.2 x 4 each window, up to the most.
    #[test]
    fn it_grows_by_four_fifths_each_window_while_round_trips_stay_the_same() {
        let mut gradient = Gradient2::default();
        for _ in 0..10 {
            gradient.update(0.01, 100);
        }
        assert!((gradient.limit - 28.0).abs() < 1e-9, "{}", gradient.limit);
    }
}
