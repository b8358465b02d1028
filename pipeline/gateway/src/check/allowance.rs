//! How many probes may begin now.

use std::time::Duration;

use tokio::time::Instant;

/// Probes that were not begun are made up for within this time, and no longer.
const KEPT: Duration = Duration::from_millis(100);

/// A token bucket: so many probes a second.
#[derive(Debug)]
pub(super) struct Allowance {
    per_second: f64,
    left: f64,
    grown: Instant,
}

impl Allowance {
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        Allowance { per_second: per_second.max(1).into(), left: 1.0, grown: now }
    }

    /// Adds what the time since the last call allows.
    pub(super) fn grow(&mut self, now: Instant) {
        let more = self.per_second * now.saturating_duration_since(self.grown).as_secs_f64();
        // At any rate there is room for one, so that no part of it is lost.
        self.left = (self.left + more).min(self.per_second * KEPT.as_secs_f64() + 1.0);
        self.grown = now;
    }

    /// Whether one more may begin.
    pub(super) fn take(&mut self) -> bool {
        let may = self.left >= 1.0;
        if may {
            self.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_begin_than_are_allowed_and_a_pause_is_not_made_up_for() {
        let begin = Instant::now();
        for per_second in [1, 3, 10, 1_000] {
            let mut allowance = Allowance::new(per_second, begin);
            let mut count = 0;
            for look in 1..=200 {
                allowance.grow(begin + Duration::from_millis(50) * look);
                while allowance.take() {
                    count += 1;
                }
            }
            // Ten seconds, and the first one at once; sums of fractions may miss one by their last digit.
            assert!((per_second * 10 - 1..=per_second * 10 + 1).contains(&count), "{count} at {per_second} a second");
            allowance.grow(begin + Duration::from_secs(3_600));
            let burst = (0..10_000).take_while(|_| allowance.take()).count();
            assert_eq!(burst, per_second as usize / 10 + 1);
        }
    }
}
