//! The operator's cap on records per second. A lane waits for it before its turn, so that a waiting lane holds no turn.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The cap is spent in at least this many steps per second. Fewer: one transaction after a pause may hold more than the
/// database was meant to get in that time. More: smaller transactions, which cost more for each record.
const SHARES_PER_SECOND: u64 = 4;

/// The cap of one pipeline.
#[derive(Debug)]
pub(crate) struct Cap {
    limiter: Option<Limiter>,
}

#[derive(Debug)]
struct Limiter {
    limiter: RateLimiter<NotKeyed, InMemoryState, Timer, NoOpMiddleware<Duration>>,
    /// Records that may be written at once after a pause.
    burst: NonZeroU32,
    /// Lanes wait one after the other, so that small batches do not pass a large one for ever.
    queue: Mutex<()>,
}

/// The clock of the runtime, which tests can stop.
#[derive(Clone, Debug)]
struct Timer(Instant);

impl Clock for Timer {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Cap {
    /// A cap of this many records per second; 0 is no cap.
    pub(crate) fn new(records_per_second: u64) -> Cap {
        let rate = NonZeroU32::new(u32::try_from(records_per_second).unwrap_or(u32::MAX));
        let limiter = rate.map(|rate| {
            let burst = u32::try_from(u64::from(rate.get()) / SHARES_PER_SECOND).ok().and_then(NonZeroU32::new);
            let burst = burst.unwrap_or(NonZeroU32::MIN);
            let quota = Quota::per_second(rate).allow_burst(burst);
            let limiter = RateLimiter::direct_with_clock(quota, Timer(Instant::now()));
            Limiter { limiter, burst, queue: Mutex::new(()) }
        });
        Cap { limiter }
    }

    /// The most records that a batch may hold.
    pub(crate) fn records_max(&self) -> usize {
        self.limiter.as_ref().map_or(usize::MAX, |limiter| limiter.burst.get() as usize)
    }

    /// Waits until this many records may be written; calls `waits` first if it has to wait.
    pub(crate) async fn pass(&self, records: usize, waits: impl FnOnce()) {
        let Some(Limiter { limiter, burst, queue }) = &self.limiter else { return };
        let mut left = u32::try_from(records).unwrap_or(u32::MAX);
        let mut waits = Some(waits);
        let _turn = queue.lock().await;
        // A batch is larger than the burst only if it was made under another cap: then it takes several steps.
        while let Some(records) = NonZeroU32::new(left.min(burst.get())) {
            match limiter.check_n(records) {
                Ok(Ok(())) => left -= records.get(),
                Ok(Err(not_yet)) => {
                    waits.take().into_iter().for_each(|waits| waits());
                    tokio::time::sleep(not_yet.wait_time_from(limiter.clock().now())).await;
                }
                // Cannot happen: no step is larger than the burst.
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records written in `seconds` by several lanes with batches of these sizes.
    async fn written(cap: u64, batches: &[usize], seconds: u64) -> u64 {
        let cap = Cap::new(cap);
        let written = std::sync::atomic::AtomicU64::new(0);
        let lanes = batches.iter().map(|records| async {
            loop {
                cap.pass(*records, || {}).await;
                written.fetch_add(*records as u64, std::sync::atomic::Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let lanes = futures::future::join_all(lanes.collect::<Vec<_>>());
        tokio::time::timeout(Duration::from_secs(seconds), lanes).await.ok();
        written.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_is_written_than_the_cap_and_hardly_less() {
        for (cap, batches) in [(1, &[1][..]), (1_000, &[250, 10, 1]), (1_000, &[250, 250]), (50_000, &[10_000, 5])] {
            let seconds = 20;
            let written = written(cap, batches, seconds).await;
            let most = cap * seconds + cap / SHARES_PER_SECOND + 1;
            assert!((cap * seconds * 95 / 100..=most).contains(&written), "{written} with a cap of {cap}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_batch_is_not_passed_by_small_ones_for_ever() {
        let cap = Cap::new(1_000);
        let small = async {
            loop {
                cap.pass(1, || {}).await;
                tokio::task::yield_now().await;
            }
        };
        let large = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let began = Instant::now();
            cap.pass(250, || {}).await;
            began.elapsed()
        };
        let waited = tokio::select! {
            () = small => unreachable!(),
            waited = large => waited,
        };
        assert!(waited <= Duration::from_millis(300), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_cap_nobody_waits() {
        let cap = Cap::new(0);
        cap.pass(usize::MAX, || unreachable!()).await;
        assert_eq!(cap.records_max(), usize::MAX);
    }
}
