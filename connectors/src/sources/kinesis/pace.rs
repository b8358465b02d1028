//! Limits the calls to a shard.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

/// The first wait after a refusal. A shard's limits are per second.
const BACKOFF_BASE: Duration = Duration::from_millis(200);

/// The longest wait after a refusal. Longer: reading a shard of several applications resumes late.
const BACKOFF_CAP: Duration = Duration::from_secs(10);

/// Calls of one shard: at most `per_second` in any second, none right after an answer without records, and after a
/// refusal exponentially fewer, with full jitter.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: NonZeroU32,
    /// The last calls, not more than are allowed in a second.
    calls: VecDeque<Instant>,
    not_before: Option<Instant>,
    refusals: u32,
    refused_since: Option<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Pace { per_second, calls: VecDeque::new(), not_before: None, refusals: 0, refused_since: None }
    }

    /// When the next call may be made. It counts as made, so call this once for each.
    pub(super) fn next_call(&mut self) -> Instant {
        let now = Instant::now();
        let mut at = self.not_before.take().map_or(now, |not_before| not_before.max(now));
        if self.calls.len() >= self.per_second.get() as usize
            && let Some(oldest) = self.calls.pop_front()
        {
            at = at.max(oldest + Duration::from_secs(1));
        }
        self.calls.push_back(at);
        at
    }

    /// The answer had no records: the next call waits for its share of a second.
    pub(super) fn rest(&mut self) {
        self.answered();
        self.not_before = Some(Instant::now() + Duration::from_secs(1) / self.per_second.get());
    }

    /// The call was answered.
    pub(super) fn answered(&mut self) {
        self.refusals = 0;
        self.refused_since = None;
    }

    /// The call was refused as one too many; returns for how long calls have been refused.
    pub(super) fn refused(&mut self) -> Duration {
        let step = BACKOFF_BASE.saturating_mul(1 << self.refusals.min(10)).min(BACKOFF_CAP);
        self.refusals = self.refusals.saturating_add(1);
        let now = Instant::now();
        self.not_before = Some(now + step.mul_f64(rand::rng().random_range(0.0..=1.0)));
        now - *self.refused_since.get_or_insert(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn calls(pace: &mut Pace, count: u32, mut then: impl FnMut(&mut Pace)) -> Duration {
        let began = Instant::now();
        for _ in 0..count {
            tokio::time::sleep_until(pace.next_call()).await;
            then(pace);
        }
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn no_second_has_more_calls_than_allowed() {
        let mut pace = Pace::new(NonZeroU32::new(5).unwrap());
        assert!(calls(&mut pace, 5, Pace::answered).await < Duration::from_millis(10), "a backlog is read at once");
        let took = calls(&mut pace, 20, Pace::answered).await;
        assert!(took >= Duration::from_secs(4) && took < Duration::from_millis(4_100), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_without_records_is_asked_at_even_distances() {
        let mut pace = Pace::new(NonZeroU32::new(4).unwrap());
        let took = calls(&mut pace, 9, Pace::rest).await;
        assert!(took >= Duration::from_secs(2) && took < Duration::from_millis(2_100), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_answered_by_longer_waits_until_one_call_is_answered() {
        let mut pace = Pace::new(NonZeroU32::new(5).unwrap());
        let mut longest = Duration::ZERO;
        for _ in 0..200 {
            let began = Instant::now();
            tokio::time::sleep_until(pace.next_call()).await;
            let waited = began.elapsed();
            assert!(waited <= BACKOFF_CAP + Duration::from_millis(2), "{waited:?}");
            longest = longest.max(waited);
            pace.refused();
        }
        assert!(longest > BACKOFF_CAP / 2, "the waits grow: {longest:?}");
        pace.answered();
        tokio::time::sleep(BACKOFF_CAP).await;
        assert_eq!(pace.refused(), Duration::ZERO, "counted anew");
    }
}
