//! How goodput depends on a number, of transactions at a time or of records in each: a family of curves, each weighed
//! by how well it predicts the measurements.
//!
//! A curve has a knee `k`, a sharpness `p` (1: the soft knee of a serial part, 32: the hard one of a few processors)
//! and a loss `r` beyond the knee: `X(c) ~ c / ((1 + (c/k)^p)^(1/p) + r (c/k)^2)`. Only ratios between two
//! concurrencies are measured, close in time, so that a slowdown of both cancels. No single curve is believed: the
//! answer is the mean over all of them, which is why a few noisy pairs do not move it far.

use super::ladder::Ladder;

/// Values of the sharpness `p` of the knee.
const SHARPNESS: [f64; 6] = [1.0, 1.6, 2.5, 5.0, 10.0, 32.0];

/// Values of the loss `r` beyond the knee.
const LOSS: [f64; 5] = [0.0, 0.03, 0.1, 0.3, 1.0];

/// Each knee is this multiple of the one before: finer than can be measured.
const KNEE_STEP: f64 = 1.12;

/// Degrees of freedom of Student's distribution, which the errors of pairs are assumed to follow: an outlier counts
/// against a curve, but not without limit.
const FREEDOM: f64 = 4.0;

/// Curves below this weight are left out of an answer.
const WEIGHT_MIN: f64 = 1e-6;

/// No curve is quite right: this part of a ratio's logarithm may be the family's own error.
const MISFIT: f64 = 0.04;

/// No measurement is exact either: two concurrencies are never told apart better than this.
const FLOOR: f64 = 0.015;

/// A comparison of two concurrencies: the factor by which goodput differed, and how well it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    /// The rung compared from.
    pub(super) from: usize,
    /// The rung compared to.
    pub(super) to: usize,
    /// Logarithm of the goodput at `to` over that at `from`.
    pub(super) ratio: f64,
    /// Variance of `ratio`.
    pub(super) variance: f64,
    /// When it was measured, seconds.
    pub(super) at: f64,
    /// How much the pair is still believed, 0 to 1, besides its age.
    pub(super) trust: f64,
}

/// All curves over the rungs of a ladder.
#[derive(Clone, Debug)]
pub(super) struct Curves {
    rungs: usize,
    /// Logarithm of goodput, curve after curve, rung after rung; the highest of each curve is 0.
    values: Vec<f64>,
    /// Logarithm of each curve's weight before anything is measured.
    priors: Vec<f64>,
    /// The weight of each curve; the sum is 1.
    weights: Vec<f64>,
    /// For each rung the part of the most goodput that it gives, as the mean over all curves.
    shares: Vec<f64>,
    /// The mean of that part's logarithm.
    levels: Vec<f64>,
}

impl Curves {
    /// `sharp`: how much likelier hard knees are than soft ones, and low than high ones, before anything is measured.
    pub(super) fn new(ladder: &Ladder, sharp: f64, lossless: f64) -> Self {
        let mut values = Vec::new();
        let mut priors = Vec::new();
        let highest = ladder.number(ladder.len()) as f64 * 3.0;
        let mut knee = ladder.number(0) as f64 * 0.6;
        while knee < highest {
            for sharpness in SHARPNESS {
                for loss in LOSS {
                    priors.push(-sharp * (1.0 / sharpness + 0.5 * f64::ln(knee)) - lossless * loss.sqrt());
                    push(&mut values, ladder, knee, sharpness, loss);
                }
            }
            knee *= KNEE_STEP;
        }
        let zeros = vec![0.0; ladder.len()];
        let weights = vec![1.0; priors.len()];
        let shares = zeros.clone();
        let mut this = Self { rungs: ladder.len(), values, priors, weights, shares, levels: zeros };
        this.weigh([], 0.0, 1.0);
        this
    }

    /// Weighs every curve by the pairs; a pair as old as the half-life counts half.
    pub(super) fn weigh<'a>(&mut self, pairs: impl IntoIterator<Item = &'a Pair>, now: f64, half_life: f64) {
        self.weights.copy_from_slice(&self.priors);
        for pair in pairs {
            let age = (now - pair.at).max(0.0);
            let trust = pair.trust * (-std::f64::consts::LN_2 * age / half_life).exp();
            let variance = pair.variance + FLOOR * FLOOR + (MISFIT * pair.ratio) * (MISFIT * pair.ratio);
            for (curve, weight) in self.values.chunks_exact(self.rungs).zip(&mut self.weights) {
                let off = pair.ratio - (at(curve, pair.to) - at(curve, pair.from));
                *weight -= trust * (FREEDOM + 1.0) / 2.0 * (1.0 + off * off / variance / FREEDOM).ln();
            }
        }
        let best = self.weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        for weight in &mut self.weights {
            *weight = (*weight - best).exp();
            sum += *weight;
        }
        self.weights.iter_mut().for_each(|weight| *weight /= sum);
        self.shares.fill(0.0);
        self.levels.fill(0.0);
        for (curve, weight) in self.values.chunks_exact(self.rungs).zip(&self.weights) {
            if *weight < WEIGHT_MIN {
                continue;
            }
            let answers = self.shares.iter_mut().zip(&mut self.levels);
            for ((share, level), value) in answers.zip(curve) {
                *share += weight * value.exp();
                *level += weight * value;
            }
        }
    }

    /// The part of the most goodput that this rung is believed to give, 0 to 1.
    pub(super) fn share(&self, rung: usize) -> f64 {
        at(&self.shares, rung)
    }

    /// The believed logarithm of the ratio between two rungs, and its variance.
    pub(super) fn ratio(&self, from: usize, to: usize) -> (f64, f64) {
        let mut mean = 0.0;
        let mut square = 0.0;
        for (curve, weight) in self.values.chunks_exact(self.rungs).zip(&self.weights) {
            let ratio = at(curve, to) - at(curve, from);
            mean += weight * ratio;
            square += weight * ratio * ratio;
        }
        (mean, (square - mean * mean).max(0.0))
    }

    /// The believed logarithm of this rung's part of the most goodput.
    pub(super) fn level(&self, rung: usize) -> f64 {
        at(&self.levels, rung)
    }
}

fn push(values: &mut Vec<f64>, ladder: &Ladder, knee: f64, sharpness: f64, loss: f64) {
    let start = values.len();
    for rung in ladder.rungs() {
        let c = *rung as f64;
        let bend = (1.0 + (c / knee).powf(sharpness)).powf(1.0 / sharpness);
        values.push((c / (bend + loss * (c / knee) * (c / knee))).ln());
    }
    let added = values.iter_mut().skip(start);
    let top = added.fold(f64::NEG_INFINITY, |top, value| top.max(*value));
    values.iter_mut().skip(start).for_each(|value| *value -= top);
}

fn at(values: &[f64], rung: usize) -> f64 {
    values.get(rung).or(values.last()).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(ladder: &Ladder, goodput: impl Fn(f64) -> f64, arms: &[(usize, usize)]) -> Vec<Pair> {
        let pair = |(from, to): &(usize, usize)| Pair {
            from: ladder.at_most(*from),
            to: ladder.at_most(*to),
            ratio: (goodput(*to as f64) / goodput(*from as f64)).ln(),
            variance: 0.0004,
            at: 0.0,
            trust: 1.0,
        };
        arms.iter().map(pair).collect()
    }

    fn enough(max: usize, goodput: impl Fn(f64) -> f64, arms: &[(usize, usize)]) -> usize {
        let ladder = Ladder::new(1, max, 1.12);
        let mut curves = Curves::new(&ladder, 0.0, 0.0);
        curves.weigh(&measured(&ladder, goodput, arms), 0.0, 100.0);
        let found = (0..ladder.len()).find(|rung| curves.share(*rung) >= 0.97);
        ladder.number(found.unwrap_or(ladder.len()))
    }

    const DOUBLING: [(usize, usize); 7] = [(2, 4), (4, 8), (8, 16), (16, 32), (16, 24), (16, 12), (16, 11)];

    #[test]
    fn finds_the_knee_of_a_few_processors() {
        let found = enough(64, |c| c.min(8.0), &[(2, 4), (4, 8), (8, 16), (8, 11), (8, 6), (9, 7)]);
        assert!((8..=9).contains(&found), "{found}");
    }

    #[test]
    fn finds_the_soft_knee_of_the_scalability_law() {
        let law = |c: f64| c / (1.0 + 0.05 * (c - 1.0) + 0.001 * c * (c - 1.0));
        let found = enough(64, law, &DOUBLING);
        let most = (1..=64).map(|c| law(f64::from(c))).fold(0.0, f64::max);
        assert!(law(found as f64) >= 0.95 * most, "{found}");
        assert!(found <= 26, "{found}");
    }

    #[test]
    fn one_is_enough_when_more_lose() {
        assert_eq!(enough(32, |c| 1.0 / c.sqrt(), &[(2, 4), (2, 1), (2, 3)]), 1);
    }

    #[test]
    fn knows_nothing_without_pairs() {
        let ladder = Ladder::new(1, 64, 1.12);
        let curves = Curves::new(&ladder, 0.0, 0.0);
        assert!(curves.share(ladder.at_most(32)) < 0.97);
        assert!(curves.ratio(ladder.at_most(8), ladder.at_most(16)).1 > 0.03, "nor how steep it is");
    }
}
