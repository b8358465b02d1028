//! A histogram of durations with bounded error and no allocation: 4 buckets per doubling, so a quantile is at most
//! 19 % above the true value. Counts per batch, not per record, keep it off the hot path.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets per doubling. More would cost memory and cache for a precision that is never needed.
const STEPS: u32 = 4;
/// Covers up to 2^28 ms, three days.
const BUCKETS: usize = 28 * STEPS as usize;

/// Counts values in milliseconds.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    max: AtomicU64,
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: [const { AtomicU64::new(0) }; BUCKETS], max: AtomicU64::new(0), sum: AtomicU64::new(0) }
    }
}

/// A reading of a [`Histogram`], to be subtracted from a later one.
#[derive(Clone, Debug)]
pub struct Reading {
    counts: Vec<u64>,
    /// The largest value since the start.
    pub max_ms: u64,
    /// The sum of all values.
    pub sum_ms: u64,
}

fn bucket(value_ms: u64) -> usize {
    if value_ms < u64::from(STEPS) {
        return value_ms as usize;
    }
    let exponent = value_ms.ilog2();
    let step = (value_ms >> (exponent - 2)) & 0b11;
    (((exponent - 1) * STEPS) as usize + step as usize).min(BUCKETS - 1)
}

fn upper_bound_ms(bucket: usize) -> u64 {
    if bucket < STEPS as usize {
        return bucket as u64;
    }
    let exponent = bucket as u32 / STEPS + 1;
    let step = bucket as u64 % u64::from(STEPS);
    ((u64::from(STEPS) + step + 1) << (exponent - 2)) - 1
}

impl Histogram {
    /// Counts `times` values of `value_ms`.
    pub fn record(&self, value_ms: u64, times: u64) {
        if let Some(count) = self.counts.get(bucket(value_ms)) {
            count.fetch_add(times, Relaxed);
        }
        self.max.fetch_max(value_ms, Relaxed);
        self.sum.fetch_add(value_ms.saturating_mul(times), Relaxed);
    }

    /// The counts so far.
    pub fn read(&self) -> Reading {
        let counts = self.counts.iter().map(|count| count.load(Relaxed)).collect();
        Reading { counts, max_ms: self.max.load(Relaxed), sum_ms: self.sum.load(Relaxed) }
    }
}

impl Reading {
    /// The counts between `earlier` and this reading. `max_ms` stays that of the whole time.
    pub fn since(&self, earlier: &Reading) -> Reading {
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.saturating_sub(*then)).collect();
        Reading { counts, max_ms: self.max_ms, sum_ms: self.sum_ms.saturating_sub(earlier.sum_ms) }
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The quantile `share` of all values, in milliseconds (0.5 is the median); `None` if there are none.
    pub fn quantile_ms(&self, share: f64) -> Option<u64> {
        let rank = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(upper_bound_ms(index).min(self.max_ms))
    }

    /// Cumulative counts up to each bound in milliseconds, for exposition.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut seen = 0;
        self.counts.iter().enumerate().map(move |(index, count)| {
            seen += count;
            (upper_bound_ms(index), seen)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_quantile_is_never_below_and_at_most_a_quarter_above(mut values in prop::collection::vec(0u64..1_000_000, 1..300), share in 0.01f64..1.0) {
            let histogram = Histogram::default();
            for value in &values {
                histogram.record(*value, 1);
            }
            values.sort_unstable();
            let exact = values[((values.len() as f64 * share).ceil() as usize).max(1) - 1];
            let shown = histogram.read().quantile_ms(share).unwrap();
            prop_assert!(shown >= exact && shown as f64 <= exact as f64 * 1.25 + 1.0, "{shown} for {exact}");
        }
    }

    #[test]
    fn a_difference_counts_only_what_came_between() {
        let histogram = Histogram::default();
        histogram.record(10, 5);
        let before = histogram.read();
        histogram.record(1000, 2);
        let between = histogram.read().since(&before);
        assert_eq!(between.count(), 2);
        assert!(between.quantile_ms(0.1).unwrap() >= 1000);
        assert!(Histogram::default().read().quantile_ms(0.5).is_none());
    }
}
