//! What is known of one pipeline: what it may put into a transaction, what that costs, how much it puts into one now.
//!
//! Pipelines write different records: a size or a cost found for one says nothing of another.

use super::batch::Batch;
use super::cost::Cost;
use super::{Allowance, Settings};

/// The weight of each transaction in a pipeline's share of the latest ones, which are about this many.
const LATEST: f64 = 40.0;

/// A pipeline with a smaller share of the latest transactions does not count.
const SHARE_MIN: f64 = 0.01;

/// How much longer a record of one pipeline may count than one of another, whatever was measured.
const WEIGHT_MOST: f64 = 1000.0;

/// One pipeline.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The most records in a transaction.
    pub(super) records: usize,
    pub(super) cost: Cost,
    pub(super) batch: Batch,
    pub(super) allowance: Allowance,
    /// Its share of the latest committed transactions, 0 to 1.
    share: f64,
}

/// The cost of a transaction of any pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Mix {
    /// The mean time of the latest transactions, in seconds; 0 when there was none.
    pub(super) recent_seconds: f64,
    /// The time that all but a few transactions take at most, in seconds.
    pub(super) long_seconds: f64,
    /// Variance of a transaction's time, relative to its expected time.
    pub(super) noise: f64,
    /// Whether enough transactions were measured to know how much their times vary.
    pub(super) is_known: bool,
}

impl Part {
    pub(super) fn new(allowance: Allowance, records: usize) -> Self {
        Self { records, cost: Cost::default(), batch: Batch::new(), allowance, share: 0.0 }
    }

    /// What the operator allows, within what this pipeline may have.
    pub(super) fn within(&self, settings: &Settings) -> Settings {
        self.allowance.within(settings)
    }

    /// The largest size that the limits allow.
    pub(super) fn most(&self, settings: &Settings) -> usize {
        self.batch.most(self.records, &self.cost, &self.within(settings))
    }
}

impl Allowance {
    /// The settings within this allowance.
    pub(super) fn within(&self, settings: &Settings) -> Settings {
        Settings {
            records_max: settings.records_max.min(self.records_max),
            bytes_max: settings.bytes_max.min(self.bytes_max),
            freshness: self.freshness.unwrap_or(settings.freshness),
            ..settings.clone()
        }
    }
}

/// A transaction of one of the pipelines was committed.
pub(super) fn committed(parts: &mut [Part], pipeline: usize) {
    for (index, part) in parts.iter_mut().enumerate() {
        part.share += (f64::from(u8::from(index == pipeline)) - part.share) / LATEST;
    }
}

/// The cost of a transaction over all pipelines, by their shares of the latest ones.
pub(super) fn mix(parts: &[Part]) -> Mix {
    let is_written = |part: &&Part| part.share >= SHARE_MIN;
    let mut written = parts.iter().filter(is_written);
    let of = |part: &Part| Mix {
        recent_seconds: part.cost.recent_seconds(),
        long_seconds: part.cost.long_seconds(),
        noise: part.cost.noise(),
        is_known: part.cost.is_known(),
    };
    let first = written.next().or(parts.first());
    if written.next().is_none() {
        return first.map(of).unwrap_or_default();
    }
    let mut sum = Mix { is_known: true, ..Mix::default() };
    let all: f64 = parts.iter().filter(is_written).map(|part| part.share).sum();
    for part in parts.iter().filter(is_written) {
        let one = of(part);
        sum.recent_seconds += part.share / all * one.recent_seconds;
        sum.noise += part.share / all * one.noise;
        sum.long_seconds = sum.long_seconds.max(one.long_seconds);
        sum.is_known &= one.is_known;
    }
    sum
}

/// What a record of a pipeline counts in the work of all: as many as those of the first pipeline that cost the same.
pub(super) fn weight(parts: &[Part], pipeline: usize) -> f64 {
    let seconds =
        |index: usize| parts.get(index).and_then(|part| part.cost.record_seconds()).filter(|cost| *cost > 0.0);
    match (pipeline, seconds(0), seconds(pipeline)) {
        (1.., Some(first), Some(own)) => (own / first).clamp(1.0 / WEIGHT_MOST, WEIGHT_MOST),
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn part(records: usize, seconds_each: f64) -> Part {
        let mut part = Part::new(Allowance::default(), records);
        for round in 0..200 {
            let records = records * (1 + round % 2);
            let took = Duration::from_secs_f64(0.004 + records as f64 * seconds_each);
            part.cost.committed(took, records, records * 100, 4);
        }
        part.cost.fit();
        part
    }

    #[test]
    fn what_a_transaction_costs_goes_by_who_writes() {
        let mut parts = [part(100, 0.0001), part(1000, 0.001)];
        assert_eq!(mix(&parts).recent_seconds, parts[0].cost.recent_seconds(), "nobody has written yet");
        (0..400).for_each(|_| committed(&mut parts, 1));
        assert_eq!(mix(&parts).recent_seconds, parts[1].cost.recent_seconds());
        (0..400).for_each(|round| committed(&mut parts, round % 2));
        let mean = 0.5 * (parts[0].cost.recent_seconds() + parts[1].cost.recent_seconds());
        let both = mix(&parts);
        assert!((both.recent_seconds / mean - 1.0).abs() < 0.02, "{both:?}");
        assert_eq!(both.long_seconds, parts[1].cost.long_seconds());
    }

    #[test]
    fn a_record_that_costs_ten_times_as_much_counts_ten_times() {
        let parts = [part(100, 0.0001), part(100, 0.001), Part::new(Allowance::default(), 1)];
        let weights = [0, 1, 2].map(|pipeline| weight(&parts, pipeline));
        assert_eq!((weights[0], weights[2]), (1.0, 1.0));
        assert!((weights[1] - 10.0).abs() < 0.5, "{weights:?}");
    }
}
