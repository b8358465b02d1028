//! What a transaction costs: `T = a + b * records`, by least squares in which old transactions lose weight.
//!
//! The cost tells how large a transaction should be, and whether one took unusually long for its size. The ratio
//! `a / b` does not change when everything slows down by one factor, so it holds for any concurrency. The fitted times
//! are therefore parts of the recent mean: a change that affects all of them cancels.

use std::time::Duration;

/// The weight that the past keeps at each transaction: after 400 transactions one counts half. Fewer would follow
/// noise, more would follow a change too late.
const KEEP: f64 = 0.998_268_6;

/// The weight of each transaction in the recent mean, which covers about the last twenty.
const RECENT: f64 = 1.0 / 20.0;

/// A sample is capped at this multiple of the recent mean, so that one stall does not shift it.
const RECENT_MOST: f64 = 3.0;

/// Transactions before any fit is believed.
const SAMPLES_MIN: f64 = 16.0;

/// Transactions before the variance of their times is believed.
const KNOWN: f64 = 24.0;

/// A slope whose error is larger than this part of it is not believed: the last good one holds.
const ERROR_MAX: f64 = 0.5;

/// The weight that is left to transactions measured at another size.
const RESIZED: f64 = 0.2;

/// A transaction is slow above this multiple of the time that the model predicts.
const SLOW: f64 = 2.5;

/// The measured cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Cost {
    weight: f64,
    records: f64,
    seconds: f64,
    seconds_squared: f64,
    bytes: f64,
    fit: Fit,
    /// The mean time of the latest transactions.
    recent: f64,
    model: Option<Model>,
    /// Standard deviation of `transaction_records`.
    error_records: f64,
    /// Mean square of the model's error, relative to its prediction.
    noise: f64,
    /// The part of the latest transactions that were slow.
    slow: f64,
}

/// Sums of the fit: how times, as parts of the recent mean, differ from one transaction to the next, over how their
/// records differ. A slowdown of all transactions cancels in such a difference.
#[derive(Clone, Copy, Debug, Default)]
struct Fit {
    last: Option<Sample>,
    weight: f64,
    records: f64,
    parts: f64,
    records_apart: f64,
    parts_apart: f64,
    product: f64,
}

/// A transaction, and the recent mean time before it.
#[derive(Clone, Copy, Debug)]
struct Sample {
    records: f64,
    seconds: f64,
    recent: f64,
}

/// The cost in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Model {
    /// Of a transaction, whatever it holds.
    pub(super) transaction: f64,
    /// Of a record.
    pub(super) record: f64,
}

impl Cost {
    /// A transaction was committed, one of about `concurrency` at a time.
    pub(super) fn committed(&mut self, took: Duration, records: usize, bytes: usize, concurrency: usize) {
        let seconds = took.as_secs_f64();
        let records = records as f64;
        self.judge(seconds, records, concurrency);
        self.fit.add(records, seconds, self.recent);
        self.recent = if self.recent > 0.0 {
            self.recent + RECENT * (seconds.min(self.recent * RECENT_MOST) - self.recent)
        } else {
            seconds
        };
        for (sum, value) in [
            (&mut self.weight, 1.0),
            (&mut self.records, records),
            (&mut self.seconds, seconds),
            (&mut self.seconds_squared, seconds * seconds),
            (&mut self.bytes, bytes as f64),
        ] {
            *sum = *sum * KEEP + value;
        }
    }

    /// Measures how far off the model was.
    fn judge(&mut self, seconds: f64, records: f64, concurrency: usize) {
        let expected = self.expected(records);
        if self.weight < 4.0 || expected <= 0.0 {
            return;
        }
        let part = seconds / expected;
        let few = 1.0 / 40.0;
        self.noise += few * ((part - 1.0).min(5.0).powi(2) - self.noise);
        let recent = 1.0 / (2.0 * concurrency as f64).max(20.0);
        self.slow += recent * (f64::from(u8::from(part > SLOW)) - self.slow);
    }

    /// The time that a transaction of `records` records is expected to take, in seconds; 0 when nothing is known.
    fn expected(&self, records: f64) -> f64 {
        match self.model {
            Some(model) => model.transaction + model.record * records,
            None => self.mean_seconds(),
        }
    }

    /// Fits the model anew. Keeps the last good ratio when the fit is bad.
    pub(super) fn fit(&mut self) {
        if self.weight < SAMPLES_MIN {
            return;
        }
        let mean_records = self.records / self.weight;
        let mean_seconds = self.mean_seconds();
        match self.fit.as_records() {
            Some((as_records, error)) => {
                self.error_records = error;
                let record = mean_seconds / (as_records + mean_records);
                self.model = Some(Model { transaction: as_records * record, record });
            }
            None => self.scale(mean_records, mean_seconds),
        }
    }

    /// Scales the model to the mean: as far as is known, everything got slower or faster by one factor.
    fn scale(&mut self, mean_records: f64, mean_seconds: f64) {
        if let Some(model) = &mut self.model {
            let expected = model.transaction + model.record * mean_records;
            if expected > 0.0 && mean_seconds > 0.0 {
                model.transaction *= mean_seconds / expected;
                model.record *= mean_seconds / expected;
            }
        }
    }

    #[cfg(test)]
    pub(super) fn model(&self) -> Option<Model> {
        self.model
    }

    /// A transaction's own cost, as a number of records; 0 while that is not known.
    pub(super) fn transaction_records(&self) -> f64 {
        self.model.map_or(0.0, |model| model.transaction / model.record)
    }

    /// What a record costs, in seconds, if that is known.
    pub(super) fn record_seconds(&self) -> Option<f64> {
        self.model.map(|model| model.record)
    }

    /// Standard deviation of `transaction_records`.
    pub(super) fn error_records(&self) -> f64 {
        self.error_records
    }

    /// The mean time of a transaction in seconds; 0 when there was none.
    pub(super) fn mean_seconds(&self) -> f64 {
        if self.weight > 0.0 { self.seconds / self.weight } else { 0.0 }
    }

    /// The mean time of the latest transactions in seconds; 0 when there was none.
    pub(super) fn recent_seconds(&self) -> f64 {
        self.recent
    }

    /// The time that all but a few transactions take at most, in seconds.
    pub(super) fn long_seconds(&self) -> f64 {
        if self.weight < 2.0 {
            return self.mean_seconds();
        }
        let mean = self.mean_seconds();
        mean + 2.0 * (self.seconds_squared / self.weight - mean * mean).max(0.0).sqrt()
    }

    /// The mean size of a record in bytes; 0 when there was none.
    pub(super) fn record_bytes(&self) -> f64 {
        if self.records > 0.0 { self.bytes / self.records } else { 0.0 }
    }

    /// Variance of a transaction's time, relative to its expected time.
    pub(super) fn noise(&self) -> f64 {
        self.noise
    }

    /// Whether enough transactions were measured to know how much their times vary.
    pub(super) fn is_known(&self) -> bool {
        self.weight >= KNOWN
    }

    /// Whether most of the latest transactions took much longer than the model predicts.
    pub(super) fn is_slow(&self) -> bool {
        self.slow > 0.5
    }

    /// Forgets slow transactions: a brake has answered them.
    pub(super) fn forget_slow(&mut self) {
        self.slow = 0.0;
    }

    /// Transactions have another size now: the recent mean becomes the time expected of them, until they are measured.
    pub(super) fn resized(&mut self, from: usize, to: usize) {
        let from = from as f64;
        let to = to as f64;
        let grown = if self.model.is_some() { self.expected(to) / self.expected(from) } else { to / from };
        if grown.is_finite() {
            self.recent *= grown;
        }
        self.fit.fade(RESIZED);
    }

    /// Reduces the weight of all earlier measurements to this part: the database has changed.
    pub(super) fn fade(&mut self, part: f64) {
        for sum in [&mut self.weight, &mut self.records, &mut self.seconds, &mut self.seconds_squared, &mut self.bytes]
        {
            *sum *= part;
        }
        self.fit.fade(part);
    }
}

impl Fit {
    fn add(&mut self, records: f64, seconds: f64, recent: f64) {
        let Some(before) = self.last.replace(Sample { records, seconds, recent }) else { return };
        if before.recent <= 0.0 {
            return;
        }
        // Both relative to the mean before either of them, so that the first does not change how they differ.
        let part = |seconds: f64| (seconds / before.recent).min(RECENT_MOST);
        let apart = (records - before.records, part(seconds) - part(before.seconds));
        let records = 0.5 * (records + before.records);
        let part = 0.5 * (part(seconds) + part(before.seconds));
        for (sum, value) in [
            (&mut self.weight, 1.0),
            (&mut self.records, records),
            (&mut self.parts, part),
            (&mut self.records_apart, apart.0 * apart.0),
            (&mut self.parts_apart, apart.1 * apart.1),
            (&mut self.product, apart.0 * apart.1),
        ] {
            *sum = *sum * KEEP + value;
        }
    }

    /// A transaction's own cost as a number of records, and its standard deviation, if they can be known.
    fn as_records(&self) -> Option<(f64, f64)> {
        if self.weight < SAMPLES_MIN {
            return None;
        }
        let records = self.records / self.weight;
        let part = self.parts / self.weight;
        if self.records_apart <= 1e-6 * self.weight * records * records || self.records_apart <= 0.0 {
            return None;
        }
        let slope = self.product / self.records_apart;
        let unexplained = (self.parts_apart - slope * self.product).max(0.0);
        let error = (unexplained / (self.records_apart * self.weight)).sqrt();
        (slope > 0.0 && error <= ERROR_MAX * slope)
            .then(|| ((part / slope - records).max(0.0), part / slope * error / slope))
    }

    fn fade(&mut self, kept: f64) {
        let Fit { last, weight, records, parts, records_apart, parts_apart, product } = self;
        *last = None;
        for sum in [weight, records, parts, records_apart, parts_apart, product] {
            *sum *= kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(samples: impl IntoIterator<Item = (f64, usize)>) -> Cost {
        let mut cost = Cost::default();
        for (seconds, records) in samples {
            cost.committed(Duration::from_secs_f64(seconds), records, records * 100, 4);
        }
        cost.fit();
        cost
    }

    #[test]
    fn finds_what_a_transaction_and_a_record_cost() {
        let cost = fed((0..200).map(|n| 100 + n % 2 * 100).map(|records| (0.004 + records as f64 * 0.0003, records)));
        let model = cost.model().unwrap();
        assert!((model.transaction - 0.004).abs() < 1e-6, "{model:?}");
        assert!((model.record - 0.0003).abs() < 1e-9, "{model:?}");
        assert!((cost.transaction_records() - 13.333).abs() < 0.01);
        assert!((cost.record_bytes() - 100.0).abs() < 1e-6);
    }

    #[test]
    fn a_database_that_gets_slower_and_faster_is_no_cost_of_records() {
        // Twice as slow for a hundred transactions at a time, which are larger as well.
        let slow = |n: usize| 1.0 + f64::from(u8::from(n / 100 % 2 == 1));
        let records = |n: usize| (1 + n % 2) * (100 + n / 100 % 2 * 50);
        let cost = fed((0..800).map(|n| (slow(n) * (0.040 + records(n) as f64 * 0.0004), records(n))));
        assert!((90.0..=110.0).contains(&cost.transaction_records()), "{}", cost.transaction_records());
        assert!(cost.error_records() < 20.0, "{}", cost.error_records());
    }

    #[test]
    fn transactions_of_another_size_take_what_they_are_expected_to_until_they_come() {
        let samples = (0..200).map(|n| 100 + n % 2 * 100).map(|records| (0.005 + records as f64 * 0.0001, records));
        let mut cost = fed(samples);
        let before = cost.recent_seconds();
        cost.resized(150, 50);
        assert!((cost.recent_seconds() / before - 0.5).abs() < 0.01, "a transaction counts as 50 records");
        let mut unknown = fed([(0.1, 10)]);
        unknown.resized(10, 5);
        assert!((unknown.recent_seconds() - 0.05).abs() < 1e-9);
    }

    #[test]
    fn keeps_the_last_good_model_scaled_when_nothing_varies() {
        let mut cost =
            fed((0..200).map(|n| 100 + n % 2 * 100).map(|records| (0.004 + records as f64 * 0.0003, records)));
        let before = cost.transaction_records();
        cost.fade(0.0);
        for _ in 0..50 {
            cost.committed(Duration::from_millis(98), 150, 15_000, 4);
        }
        cost.fit();
        assert!((cost.transaction_records() - before).abs() < 1e-6);
        assert!((cost.model().unwrap().record - 0.0006).abs() < 1e-6, "twice as slow");
    }

    #[test]
    fn says_nothing_of_no_or_one_or_equal_samples() {
        assert_eq!(fed([]).model(), None);
        assert_eq!(fed([(0.1, 10)]).model(), None);
        assert_eq!(fed([(0.1, 10); 100]).model(), None);
        assert_eq!(fed([(0.0, 0); 100]).model(), None);
        assert_eq!(fed([]).long_seconds(), 0.0);
    }

    #[test]
    fn more_records_that_take_less_are_not_believed() {
        assert_eq!(fed((0..100).map(|n| (1.0 / (n as f64 + 1.0), n * 10))).model(), None);
    }

    #[test]
    fn one_outlier_is_not_slow_and_most_are() {
        let mut cost = fed((0..200).map(|n| (0.1, 100 + n % 2)));
        cost.committed(Duration::from_secs(30), 100, 0, 4);
        assert!(!cost.is_slow());
        for _ in 0..20 {
            cost.committed(Duration::from_secs(1), 100, 0, 4);
        }
        assert!(cost.is_slow());
    }
}
