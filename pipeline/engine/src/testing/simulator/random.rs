//! Random numbers that are the same for the same seed.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// Above this a Poisson count is drawn as a normal number: the error is far below what is measured here.
const POISSON_EXACT_MAX: f64 = 40.0;

/// A source of random numbers with the distributions that plants need.
#[derive(Clone, Debug)]
pub(super) struct Random(SmallRng);

impl Random {
    /// The same seed gives the same numbers; streams of one seed do not depend on each other.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(stream)))
    }

    /// Above 0, at most 1.
    pub(super) fn unit(&mut self) -> f64 {
        1.0 - self.0.random::<f64>()
    }

    /// A number between the two.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }

    /// Standard normal, after Box and Muller (1958).
    pub(super) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Lognormal of mean 1 with this coefficient of variation.
    pub(super) fn lognormal(&mut self, cv: f64) -> f64 {
        if cv == 0.0 {
            return 1.0;
        }
        let variance = (1.0 + cv * cv).ln();
        (variance.sqrt() * self.normal() - variance / 2.0).exp()
    }

    /// A Poisson count with this mean.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > POISSON_EXACT_MAX {
            return whole(mean + mean.sqrt() * self.normal());
        }
        let limit = (-mean).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

/// The nearest whole number, 0 for a negative one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
pub(super) fn whole(number: f64) -> u64 {
    number.round().clamp(0.0, 1e15) as u64
}
