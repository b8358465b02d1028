//! Sui's adaptive limiter.

use std::collections::VecDeque;

use super::{Limiter, Sample, cut};
use crate::testing::simulator::random::Random;

/// `initial_limit`.
const INITIAL: f64 = 10.0;
/// `max_limit`.
const MOST: f64 = 100_000.0;
/// `probe_interval_ms`, in seconds; each is up to a tenth shorter or longer.
const INTERVAL: f64 = 1.0;
/// `startup_growth_factor`.
const STARTUP_GROWTH: f64 = 2.0;
/// `full_pipe_threshold`.
const FULL_GROWTH: f64 = 0.25;
/// `full_pipe_rounds`.
const FULL_ROUNDS: u32 = 3;
/// `headroom_factor`.
const HEADROOM: f64 = 0.85;
/// `probe_up_gain`.
const PROBE_UP: f64 = 1.25;
/// The factor of the limit while the baseline is measured.
const PROBE_DOWN: f64 = 0.75;
/// `probe_bw_intervals`.
const PROBE_EVERY: u32 = 10;
/// The gain that keeps a probe upwards.
const PROBE_GAIN: f64 = 1.10;
/// Weight of the last interval in the average of throughput.
const EMA: f64 = 0.3;
/// Below this part of the last average, throughput declines.
const DECLINE: f64 = 0.95;
/// `error_rate_threshold`.
const ERRORS: f64 = 0.05;
/// `error_backoff_ratio`.
const ERROR_BACKOFF: f64 = 0.5;
/// Errors are counted over twice the limit, within these bounds.
const ERROR_WINDOW: (usize, usize) = (100, 10_000);
/// `latency_backoff_ratio`.
const LATENCY_BACKOFF: f64 = 0.9;
/// `queue_signal_beta`.
const QUEUE: f64 = 6.0;
/// `brake_percentile`.
const PERCENTILE: f64 = 0.95;
/// Fewer samples than this have no percentile.
const PERCENTILE_SAMPLES: usize = 10;
/// Seconds until the baseline is measured again.
const BASELINE_FRESH: f64 = 30.0;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Startup { best: f64, stalled: u32 },
    Cruise { intervals: u32 },
    ProbeUp { before: f64, throughput: f64 },
    ProbeDown { before: f64 },
}

/// Sui's `Adaptive` (MystenLabs/sui, `crates/sui-concurrency-limiter/src/adaptive.rs`, the version with three phases,
/// e1e3ccf; a later one drops the startup and the brake on latency).
///
/// Each second or so, with `X` the commits per second and `E` their average (0.3): **startup** doubles while `E` is 25
/// % above the best, and after three rounds without that goes to `0.85 L / 2`; **cruise** adds `sqrt(L)` unless `E`
/// fell under 0.95 of the last, takes off a twentieth when fewer than half of `L` were open, and each ten intervals
/// probes: **up** to `1.25 L`, kept if `E` gained 10 %; else, if the baseline is older than 30 s, **down** to `0.75 L`
/// for an interval to measure the 95 % round trip as baseline. Then, if `L (1 - baseline / p95) > 6`, times 0.9. At any
/// time more than 5 % errors halve. Begins with 10.
#[derive(Debug)]
pub struct SuiAdaptive {
    limit: f64,
    phase: Phase,
    began: f64,
    length: f64,
    commits: u64,
    rtts: Vec<f64>,
    peak: usize,
    errors: VecDeque<bool>,
    average: Option<f64>,
    baseline: Option<(f64, f64)>,
    spared: bool,
    random: Random,
}

impl SuiAdaptive {
    /// The jitter comes from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            limit: INITIAL,
            phase: Phase::Startup { best: 0.0, stalled: 0 },
            began: 0.0,
            length: INTERVAL,
            commits: 0,
            rtts: Vec::new(),
            peak: 0,
            errors: VecDeque::new(),
            average: None,
            baseline: None,
            spared: false,
            random: Random::new(seed, 902),
        }
    }

    fn count_error(&mut self, dropped: bool) {
        let window = (cut(self.limit) * 2).clamp(ERROR_WINDOW.0, ERROR_WINDOW.1);
        self.errors.push_back(dropped);
        while self.errors.len() > window {
            self.errors.pop_front();
        }
        let errors = self.errors.iter().filter(|error| **error).count() as f64;
        if errors > 0.0 && errors / self.errors.len() as f64 > ERRORS {
            self.limit = (self.limit * ERROR_BACKOFF).ceil().max(1.0);
            self.phase = Phase::Cruise { intervals: 0 };
            self.errors.clear();
        }
    }

    fn interval(&mut self, now: f64, throughput: f64) {
        let before = self.average;
        let average = before.map_or(throughput, |average| EMA * throughput + (1.0 - EMA) * average);
        self.average = Some(average);
        let tail = self.tail();
        let unused = ((self.peak * 2) as f64) < self.limit;
        let declines = before.is_some_and(|before| average < before * DECLINE);
        match self.phase {
            Phase::Startup { best, stalled } => self.startup(average, best, stalled, unused),
            Phase::Cruise { intervals } => {
                if unused {
                    self.limit = (self.limit * 0.95).ceil();
                } else if !declines {
                    self.limit += self.limit.sqrt().floor().max(1.0);
                }
                self.phase = Phase::Cruise { intervals: intervals + 1 };
                if !unused && !declines && intervals + 1 >= PROBE_EVERY {
                    self.phase = Phase::ProbeUp { before: self.limit, throughput: average };
                    self.limit = (self.limit * PROBE_UP).ceil();
                }
            }
            Phase::ProbeUp { before, throughput } => {
                self.phase = Phase::Cruise { intervals: 0 };
                if average < throughput * PROBE_GAIN {
                    self.limit = before;
                    if self.baseline.is_none_or(|(_, at)| now - at > BASELINE_FRESH) {
                        self.limit = (before * PROBE_DOWN).ceil();
                        self.phase = Phase::ProbeDown { before };
                    }
                }
            }
            Phase::ProbeDown { before } => {
                if let Some(tail) = tail {
                    self.baseline = Some((tail, now));
                    self.spared = true;
                }
                self.limit = before;
                self.phase = Phase::Cruise { intervals: 0 };
            }
        }
        self.brake(tail);
        self.limit = self.limit.clamp(1.0, MOST);
    }

    fn startup(&mut self, average: f64, best: f64, stalled: u32, unused: bool) {
        if unused {
            return;
        }
        let growth = if best > 0.0 { (average - best) / best } else { 1.0 };
        if growth >= FULL_GROWTH {
            self.phase = Phase::Startup { best: average, stalled: 0 };
            self.limit = (self.limit * STARTUP_GROWTH).ceil();
        } else if stalled + 1 >= FULL_ROUNDS {
            self.limit = (self.limit * HEADROOM / STARTUP_GROWTH).ceil();
            self.phase = Phase::Cruise { intervals: 0 };
        } else {
            self.phase = Phase::Startup { best, stalled: stalled + 1 };
        }
    }

    fn brake(&mut self, tail: Option<f64>) {
        if std::mem::take(&mut self.spared) {
            return;
        }
        if let (Some((baseline, _)), Some(tail)) = (self.baseline, tail)
            && tail > baseline
            && self.limit * (1.0 - baseline / tail) > QUEUE
        {
            self.limit = (self.limit * LATENCY_BACKOFF).ceil();
        }
    }

    fn tail(&mut self) -> Option<f64> {
        if self.rtts.len() < PERCENTILE_SAMPLES {
            return None;
        }
        self.rtts.sort_by(f64::total_cmp);
        self.rtts.get(cut((self.rtts.len() as f64 * PERCENTILE).ceil()).saturating_sub(1)).copied()
    }
}

impl Limiter for SuiAdaptive {
    const NAME: &'static str = "sui_adaptive";

    fn ended(&mut self, sample: &Sample) {
        self.peak = self.peak.max(sample.inflight);
        if !sample.dropped {
            self.commits += 1;
            self.rtts.push(sample.rtt);
        }
        self.count_error(sample.dropped);
        let passed = sample.now - self.began;
        if passed >= self.length && self.commits > 0 {
            self.interval(sample.now, self.commits as f64 / passed);
            self.began = sample.now;
            self.commits = 0;
            self.peak = 0;
            self.rtts.clear();
            self.length = INTERVAL * self.random.between(0.9, 1.1);
        }
    }

    fn limit(&self) -> usize {
        cut(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sui's own tests `startup_doubles_limit_when_throughput_grows` and `startup_drain_formula`: doubled while it
    /// pays, three rounds without gain, then `ceil(0.85 L / 2)`.
    #[test]
    fn it_doubles_at_first_and_then_drains() {
        let mut sui = SuiAdaptive::new(1);
        let mut limits = Vec::new();
        for second in 1..=10 {
            // A server for forty at a time.
            sui.peak = sui.limit();
            sui.interval(f64::from(second), sui.limit.min(40.0) * 100.0);
            limits.push(sui.limit());
        }
        // The average lags, so growth is seen for longer than it lasts: 25 % above the best of the average.
        assert_eq!(limits[..2], [20, 40], "{limits:?}");
        let top = limits.iter().copied().max().unwrap();
        assert!(top.is_multiple_of(10) && (top / 10).is_power_of_two(), "{limits:?}");
        assert!(limits.contains(&cut((top as f64 * HEADROOM / 2.0).ceil())), "{limits:?}");
    }

    /// Sui's own test `cruise_additive_increase`: 100 becomes 110.
    #[test]
    fn cruising_adds_the_square_root() {
        let mut sui = SuiAdaptive { limit: 100.0, phase: Phase::Cruise { intervals: 0 }, ..SuiAdaptive::new(1) };
        sui.peak = 100;
        sui.interval(1.0, 1000.0);
        assert_eq!(sui.limit(), 110);
    }

    /// Sui's own test `error_brake_fires_per_sample`: 11 errors among 200 halve 100.
    #[test]
    fn more_than_a_twentieth_of_errors_halves() {
        let mut sui = SuiAdaptive { limit: 100.0, began: 1e9, ..SuiAdaptive::new(1) };
        for sample in 0..201 {
            assert_eq!(sui.limit(), 100);
            sui.ended(&Sample { now: 0.0, rtt: 0.01, inflight: 0, dropped: sample >= 190 });
        }
        assert_eq!(sui.limit(), 50);
    }
}
