//! Records written over time.

/// Seconds since the start, and records committed by then; a point wherever the number changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Curve {
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// Adds a point, later than those before it.
    pub(super) fn push(&mut self, seconds: f64, records: u64) {
        let records = records as f64;
        if self.points.last().is_none_or(|(_, last)| records > *last) {
            self.points.push((seconds, records));
        }
    }

    /// Records per second between two times: what was committed in between. To measure from commit to commit would
    /// yield too much where several transactions end together, with a long time before and after.
    pub(super) fn rate(&self, from: f64, to: f64) -> f64 {
        (self.records_at(to) - self.records_at(from)) / (to - from)
    }

    /// The rate around each second, to be drawn.
    pub(super) fn rates(&self, around: f64) -> Vec<(f64, f64)> {
        let end = self.points.last().map_or(0.0, |(at, _)| *at);
        let seconds = (1..).map(f64::from).take_while(|second| second + around <= end);
        seconds.map(|second| (second, self.rate(second - around, second + around))).collect()
    }

    /// Records committed by a time.
    pub(super) fn records_at(&self, seconds: f64) -> f64 {
        let before = self.points.iter().take_while(|(at, _)| *at <= seconds);
        before.last().map_or(0.0, |(_, records)| *records)
    }

    /// Records per second while these rows were written; beyond the end of the curve, the rate at its end.
    pub(super) fn rate_over(&self, from: f64, to: f64) -> f64 {
        let time = |records: f64| interpolate(self.points.iter().map(|(at, records)| (*records, *at)), records);
        let end = self.points.last().map_or(0.0, |(at, _)| *at);
        let first = time(from);
        let last = time(to);
        // Too few of these rows are in the curve to measure a rate.
        if last - first < 1.0 || last > end {
            return self.rate(end * 2.0 / 3.0, end);
        }
        (to - from) / (last - first)
    }
}

/// The value at a place between points that both grow; after the last one along the last piece.
fn interpolate(points: impl Iterator<Item = (f64, f64)> + Clone, place: f64) -> f64 {
    let pairs = points.clone().zip(points.skip(1));
    let mut value = 0.0;
    for (from, to) in pairs {
        let share = (place - from.0) / (to.0 - from.0);
        if share < 0.0 {
            break;
        }
        value = from.1 + share * (to.1 - from.1);
        if share <= 1.0 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of 1,000 a second apart.
    fn curve(per_second: u64, seconds: u64) -> Curve {
        let mut curve = Curve::default();
        for at in 0..=seconds {
            curve.push(at as f64, at * per_second);
            curve.push(at as f64 + 0.5, at * per_second);
        }
        curve
    }

    #[test]
    fn a_rate_is_what_was_committed_in_between() {
        let curve = curve(1_000, 10);
        assert_eq!((curve.rate(2.5, 7.5), curve.rate(2.0, 7.0), curve.rate(20.0, 30.0)), (1_000.0, 1_000.0, 0.0));
        assert_eq!(curve.rates(1.0).len(), 9);
        assert_eq!((curve.records_at(0.0), curve.records_at(2.5), curve.records_at(11.0)), (0.0, 2_000.0, 10_000.0));
    }

    #[test]
    fn transactions_that_end_together_are_no_more_than_they_are() {
        let mut lumps = Curve::default();
        for lump in 0..10_u32 {
            for part in 0..8_u32 {
                let at = f64::from(lump) * 4.0 + f64::from(part) * 0.01;
                lumps.push(at, u64::from(lump * 8 + part) * 1_000);
            }
        }
        // Two thousand a second, whatever the window begins and ends with.
        let rates: Vec<f64> =
            (0..40).map(|tenth| lumps.rate(2.0 + f64::from(tenth) / 10.0, 22.0 + f64::from(tenth) / 10.0)).collect();
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        assert!((mean - 2_000.0).abs() < 20.0, "{mean}");
    }

    #[test]
    fn a_rate_over_rows_is_that_of_when_they_were_written() {
        let mut curve = curve(1_000, 10);
        for at in 11..=21u64 {
            curve.push(at as f64, 10_000 + (at - 10) * 500);
        }
        assert_eq!((curve.rate_over(2_000.0, 6_000.0), curve.rate_over(11_000.0, 14_000.0)), (1_000.0, 500.0));
        // Beyond its end it goes on as it ended.
        assert_eq!(curve.rate_over(14_000.0, 40_000.0), 500.0);
    }
}
