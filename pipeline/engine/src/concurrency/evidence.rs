//! What is known about goodput by one number: the pairs that were compared, and the curves that they support.

use std::collections::VecDeque;

use super::curves::{Curves, Pair};
use super::ladder::Ladder;

/// A prediction that moved by less than this is not added again.
const SAME: f64 = 0.003;

/// The number of pairs that are kept.
const PAIRS: usize = 60;

/// A pair counts half after the database has been worked for this long (seconds).
const HALF_LIFE: f64 = 300.0;

/// A pair this many standard deviations off what was believed means that the database has changed.
const SURPRISE: f64 = 3.0;

/// Above this standard deviation of a ratio, little is known about it.
pub(super) const DOUBT: f64 = 0.02;

/// The part of their trust that older pairs keep after such a surprise.
const SURPRISED: f64 = 0.15;

/// Evidence, and where it points.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    /// Per cent of goodput that a number must give more for each per cent that it is higher.
    price: f64,
    /// How much more than staying a change must be worth.
    margin: f64,
    factor: f64,
    /// What is expected before anything is measured: see [`Curves::new`].
    sharp: f64,
    lossless: f64,
    ladder: Ladder,
    curves: Curves,
    pairs: VecDeque<Pair>,
    /// The cost model's prediction for a pair that was not compared, or not yet.
    foretold: Option<Pair>,
    /// Seconds in which the database was worked: only then do pairs age.
    clock: f64,
}

impl Evidence {
    /// Evidence about numbers from `min` to `max`, each about `factor` times the one before.
    pub(super) fn new(
        min: usize,
        max: usize,
        factor: f64,
        (price, margin): (f64, f64),
        (sharp, lossless): (f64, f64),
    ) -> Self {
        let ladder = Ladder::new(min, max, factor);
        Self {
            price,
            sharp,
            lossless,
            margin,
            factor,
            foretold: None,
            curves: Curves::new(&ladder, sharp, lossless),
            ladder,
            pairs: VecDeque::with_capacity(PAIRS),
            clock: 0.0,
        }
    }

    /// Makes numbers from `min` to `max` possible, too. What was measured beyond narrower limits stays known for when
    /// those are lifted: the caller of `better` gives the limits.
    pub(super) fn widen(&mut self, min: usize, max: usize) {
        let fewest = self.ladder.number(0);
        let most = self.ladder.number(self.ladder.len());
        let ladder = Ladder::new(min.min(fewest), max.max(most), self.factor);
        if ladder == self.ladder {
            return;
        }
        let before = std::mem::replace(&mut self.ladder, ladder);
        self.curves = Curves::new(&self.ladder, self.sharp, self.lossless);
        for pair in &mut self.pairs {
            pair.from = self.ladder.at_most(before.number(pair.from));
            pair.to = self.ladder.at_most(before.number(pair.to));
        }
        self.foretold = None;
        self.weigh();
    }

    /// The database has been worked for this many seconds.
    pub(super) fn worked(&mut self, seconds: f64) {
        self.clock += seconds;
    }

    /// Adds a comparison of two numbers. Returns whether it contradicts what was believed.
    pub(super) fn compared(&mut self, from: usize, to: usize, ratio: f64, variance: f64) -> bool {
        let from = self.ladder.at_most(from);
        let to = self.ladder.at_most(to);
        if from == to || !ratio.is_finite() || !variance.is_finite() {
            return false;
        }
        let (believed, doubt) = self.curves.ratio(from, to);
        let deviation = (variance + doubt + 0.0004).sqrt();
        let surprised = self.pairs.len() > 2 && (ratio - believed).abs() > SURPRISE * deviation;
        if surprised {
            self.doubt(SURPRISED);
        }
        self.pairs.truncate(PAIRS - 1);
        self.pairs.push_front(self.pair(from, to, ratio, variance));
        self.weigh();
        surprised
    }

    /// Adds a model's prediction of the factor by which goodput differs between the two. Replaces the one before.
    pub(super) fn foretell(&mut self, from: usize, to: usize, ratio: f64, variance: f64) {
        let from = self.ladder.at_most(from);
        let to = self.ladder.at_most(to);
        let pair = self.pair(from, to, ratio, variance);
        let before = std::mem::replace(&mut self.foretold, (from != to && ratio.is_finite()).then_some(pair));
        // The prediction comes every second, mostly the same: weighing all curves again would be wasted work.
        let same = before.is_some_and(|old| old.from == from && old.to == to && (old.ratio - ratio).abs() < SAME);
        if !same {
            self.weigh();
        }
    }

    /// Whether `better` would leave `from` for `to`, or for more, if a comparison gave this ratio and variance.
    pub(super) fn would_leave(
        &mut self,
        from: usize,
        to: usize,
        (ratio, variance): (f64, f64),
        ceiling: usize,
    ) -> bool {
        let rung = self.ladder.at_most(from);
        let other = self.ladder.at_most(to);
        self.pairs.push_front(self.pair(rung, other, ratio, variance));
        self.weigh();
        let leaves = self.better(from, (1, ceiling)).is_some_and(|better| better >= to);
        self.pairs.pop_front();
        self.weigh();
        leaves
    }

    /// Standard deviation of the logarithm of the ratio between two numbers.
    pub(super) fn doubt_between(&self, from: usize, to: usize) -> f64 {
        self.curves.ratio(self.ladder.at_most(from), self.ladder.at_most(to)).1.sqrt()
    }

    /// Whether the ratio between the two is well known, and this measurement agrees with it.
    pub(super) fn is_as_believed(&self, from: usize, to: usize, ratio: f64, variance: f64) -> bool {
        let (believed, doubt) = self.curves.ratio(self.ladder.at_most(from), self.ladder.at_most(to));
        doubt.sqrt() < DOUBT && (ratio - believed).abs() < (variance + doubt).sqrt()
    }

    /// Reduces the trust in all pairs to this part.
    pub(super) fn doubt(&mut self, part: f64) {
        self.pairs.iter_mut().for_each(|pair| pair.trust *= part);
        self.pairs.retain(|pair| pair.trust > 0.001);
        self.weigh();
    }

    /// The number to go to from here, if any: the one that is worth the most, at most twice or half as many.
    ///
    /// A number is worth the logarithm of its believed goodput, less the price times its own logarithm. That is a slope
    /// and not a part of the most, because the most is unknown while all measurements are noisy.
    pub(super) fn better(&self, number: usize, (floor, ceiling): (usize, usize)) -> Option<usize> {
        let [bottom, here, top] = [floor, number, ceiling].map(|number| self.ladder.at_most(number));
        if self.pairs.is_empty() {
            // Nothing is known: only a trial can tell. But from a higher number nothing is tried without evidence.
            let to = self.ladder.beside(here, 2.0).min(top);
            return (to > here && number <= self.ladder.number(0).max(2)).then(|| self.ladder.number(to));
        }
        let mut best = here;
        let mut best_worth = f64::NEG_INFINITY;
        for rung in bottom..=top {
            let worth = self.worth(rung);
            if worth > best_worth + 1e-9 {
                best = rung;
                best_worth = worth;
            }
        }
        if best == here || best_worth - self.worth(here) < self.margin {
            return None;
        }
        let to =
            if best > here { best.min(self.ladder.beside(here, 2.0)) } else { best.max(self.ladder.beside(here, 0.5)) };
        Some(self.ladder.number(to))
    }

    /// What a change that gave this ratio is worth, as a logarithm: below 0 it is not worth it.
    pub(super) fn worth_of(&self, from: usize, to: usize, ratio: f64) -> f64 {
        ratio - self.price * (to as f64 / from as f64).ln()
    }

    fn worth(&self, rung: usize) -> f64 {
        self.curves.level(rung) - self.price * (self.ladder.number(rung) as f64).ln()
    }

    /// Whether the slope here is still steep: a little more would write a good part of it more.
    pub(super) fn wants_more(&self, number: usize) -> bool {
        let here = self.ladder.at_most(number);
        let (ratio, _) = self.curves.ratio(here.saturating_sub(1), here);
        let from = self.ladder.number(here.saturating_sub(1));
        let to = self.ladder.number(here);
        to > from && ratio > 0.3 * (to as f64 / from as f64).ln()
    }

    /// The part of the most goodput that this number is believed to give, 0 to 1.
    pub(super) fn share(&self, number: usize) -> f64 {
        self.curves.share(self.ladder.at_most(number))
    }

    /// The next number to compare with, up or down by `factor`; `None` at the end of the ladder or above the ceiling.
    pub(super) fn beside(&self, number: usize, factor: f64, ceiling: usize) -> Option<usize> {
        let here = self.ladder.at_most(number);
        let there = self.ladder.beside(here, factor).min(self.ladder.at_most(ceiling).max(here));
        (there != here).then(|| self.ladder.number(there))
    }

    /// The highest rung at or below a number.
    pub(super) fn rung_below(&self, number: usize) -> usize {
        self.ladder.number(self.ladder.at_most(number))
    }

    /// A comparison of two rungs, made now.
    fn pair(&self, from: usize, to: usize, ratio: f64, variance: f64) -> Pair {
        Pair { from, to, ratio, variance, at: self.clock, trust: 1.0 }
    }

    fn weigh(&mut self) {
        self.curves.weigh(self.pairs.iter().chain(&self.foretold), self.clock, HALF_LIFE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_believed_is_not_believed_yet() {
        let mut sizes = Evidence::new(16, 10_000, 1.41, (0.015, 0.01), (-1.6, 5.0));
        let before = sizes.share(5_478);
        assert!(sizes.would_leave(5_478, 10_000, (-0.05, 0.06), 10_000), "who knows so little expects more of more");
        assert!(!sizes.would_leave(5_478, 10_000, (-0.6, 0.02), 10_000), "half as much is clear enough");
        assert!(!sizes.would_leave(5_478, 10_000, (0.3, 0.02), 6_000), "no more than this is allowed");
        assert_eq!((sizes.better(5_478, (1, 10_000)), sizes.share(5_478)), (None, before));
    }

    #[test]
    fn what_was_measured_beyond_narrower_limits_is_known_when_they_are_lifted() {
        let mut numbers = Evidence::new(1, 64, 1.12, (0.11, 0.005), (1.3, 0.0));
        numbers.compared(4, 8, 0.69, 0.001);
        numbers.compared(8, 16, 0.0, 0.001);
        let before = numbers.share(4);
        numbers.widen(1, 5);
        assert_eq!((numbers.share(4), numbers.better(4, (1, 5))), (before, Some(5)));
        numbers.widen(1, 100);
        assert!(numbers.better(4, (1, 100)) == Some(8) && numbers.doubt_between(8, 16) < 0.05);
    }
}
