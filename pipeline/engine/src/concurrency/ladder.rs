//! The numbers that are tried, of transactions at a time and of records in each: steps of about one factor.
//!
//! Wider steps would overshoot the smallest number that is enough; narrower ones cannot be told apart by measuring.

/// Rungs from the fewest to the most, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ladder(Vec<usize>);

impl Ladder {
    /// Rungs from `min` to `max`, each `factor` times the one before, and at least one more. At least one rung for any
    /// arguments: the fewest is 1 or more, the most is not below it.
    pub(super) fn new(min: usize, max: usize, factor: f64) -> Self {
        let min = min.max(1);
        let max = max.max(min);
        let mut rungs = vec![min];
        let mut last = min;
        while last < max {
            last = nearest(last as f64 * factor).max(last + 1).min(max);
            rungs.push(last);
        }
        Self(rungs)
    }

    pub(super) fn rungs(&self) -> &[usize] {
        &self.0
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The index of the highest rung that is not above this number; of the lowest for a smaller number.
    pub(super) fn at_most(&self, concurrency: usize) -> usize {
        self.0.partition_point(|rung| *rung <= concurrency).saturating_sub(1)
    }

    /// The number of a rung; of the highest if there is no such rung.
    pub(super) fn number(&self, rung: usize) -> usize {
        self.0.get(rung).or(self.0.last()).copied().unwrap_or(1)
    }

    /// The rung nearest to this multiple of a rung, another than itself if there is one.
    pub(super) fn beside(&self, rung: usize, factor: f64) -> usize {
        let wanted = self.number(rung) as f64 * factor;
        let below = self.at_most(nearest(wanted));
        let above = (below + 1).min(self.len().saturating_sub(1));
        let nearer_above = wanted * wanted > self.number(below) as f64 * self.number(above) as f64;
        let found = if nearer_above { above } else { below };
        if factor > 1.0 {
            found.max(rung + 1).min(self.len().saturating_sub(1))
        } else {
            found.min(rung.saturating_sub(1))
        }
    }
}

/// The nearest whole number, 0 for a negative one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
pub(super) fn nearest(number: f64) -> usize {
    number.round().clamp(0.0, 1e9) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_first_then_steps() {
        let ladder = Ladder::new(1, 40, 1.12);
        assert_eq!(ladder.rungs(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17, 19, 21, 24, 27, 30, 34, 38, 40]);
        assert_eq!(ladder.number(ladder.at_most(16)), 15);
        assert_eq!(ladder.number(ladder.beside(ladder.at_most(8), 1.4)), 11);
        assert_eq!(ladder.number(ladder.beside(ladder.at_most(2), 1.2)), 3);
        assert_eq!(ladder.number(ladder.beside(ladder.at_most(2), 0.9)), 1);
        assert_eq!(ladder.number(ladder.beside(ladder.at_most(40), 1.4)), 40);
    }

    #[test]
    fn limits_that_make_no_sense_give_one_rung() {
        assert_eq!(Ladder::new(0, 0, 2.0).rungs(), [1]);
        assert_eq!(Ladder::new(5, 3, 2.0).rungs(), [5]);
        assert_eq!(Ladder::new(5, 3, 2.0).at_most(2), 0);
    }
}
