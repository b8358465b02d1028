//! Samples of a run, second by second, and the evaluation at its end.

use std::time::Duration;

use millstream_engine::histogram::Reading;
use serde::Serialize;
use tokio::time::Instant;

use super::Load;
use crate::bench::ground::Ground;
use crate::bench::ours::Found;

/// Interval between two checks of the queue. A shorter one would mostly measure itself.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Checks in a second: everything else is measured once per second.
const LOOKS_PER_SAMPLE: u32 = 10;
/// Age of the queue at the end, in seconds, beyond which a run has not kept up. Batching and a busy machine take less.
const LATE: f64 = 2.0;
/// A run that did less than this share has not kept up either: at the limit the queue grows slowly. A batch more or
/// less at the end is below a hundredth of twenty seconds.
const KEPT_UP: f64 = 0.98;

/// What to measure, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) load: Load,
    /// The first seconds load code and make tables known; they are not measured. None with a backlog.
    pub(super) warm: Duration,
    pub(super) duration: Duration,
}

/// The counters of a shape at one moment.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) committed: u64,
    pub(super) transactions: u64,
    /// Attempts that the database refused.
    pub(super) refused: u64,
    pub(super) freshness: Reading,
}

/// One second of a run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Sample {
    /// The end of this second, since the start.
    pub(super) seconds: f64,
    pub(super) database_cpu_share: f64,
    pub(super) transactions_per_second: f64,
    pub(super) events_per_second: f64,
    pub(super) queue_delay_seconds: f64,
    /// `None` if nothing was committed, and with a backlog.
    pub(super) freshness_p50_ms: Option<u64>,
    pub(super) freshness_p99_ms: Option<u64>,
}

/// A run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Course {
    pub(super) shape: &'static str,
    pub(super) load: Load,
    /// The measured part, in seconds.
    pub(super) seconds: f64,
    /// PostgreSQL's CPU, of the processors that it has.
    pub(super) database_cpu_share: f64,
    pub(super) database_cpu_ms_per_event: f64,
    pub(super) transactions_per_second: f64,
    pub(super) events_per_second: f64,
    pub(super) queue_delay_end_seconds: f64,
    pub(super) queue_delay_p99_seconds: f64,
    pub(super) freshness_p50_ms: Option<u64>,
    pub(super) freshness_p99_ms: Option<u64>,
    pub(super) refused: u64,
    pub(super) verdict: Verdict,
    pub(super) samples: Vec<Sample>,
    /// State of the controller, if there is one.
    pub(super) found: Option<Found>,
}

/// What became of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub(super) enum Verdict {
    /// It stays short.
    KeepsUp,
    /// It grows: this is the rate of the writer.
    FallsBehind { events_per_second: f64 },
    /// The backlog was gone after this time.
    Drained { seconds: f64 },
    /// The backlog shrinks, and would be gone after this time.
    Drains { seconds: f64 },
}

impl Verdict {
    fn of(load: Load, seconds: f64, committed: u64, events_per_second: f64) -> Verdict {
        let delay = load.delay(seconds, committed);
        if load.backlog == 0 {
            let kept_up = delay < LATE && events_per_second >= load.rate * KEPT_UP;
            return if kept_up { Verdict::KeepsUp } else { Verdict::FallsBehind { events_per_second } };
        }
        if delay < LATE {
            return Verdict::Drained { seconds };
        }
        let gains = events_per_second - load.rate;
        if gains <= 0.0 {
            return Verdict::FallsBehind { events_per_second };
        }
        Verdict::Drains { seconds: seconds + load.arrived(seconds).saturating_sub(committed) as f64 / gains }
    }
}

/// Watches a run until its time is over or its backlog is gone.
pub(super) async fn watch(
    ground: &Ground,
    shape: &'static str,
    plan: Plan,
    began: Instant,
    counts: impl Fn() -> Counts,
) -> Course {
    let cores = ground.cores.len() as f64;
    let look = || (began.elapsed().as_secs_f64(), ground.cpu_seconds(), counts());
    let warm = plan.warm.as_secs_f64();
    tokio::time::sleep_until(began + plan.warm).await;
    let first = look();
    let mut samples = Vec::new();
    let mut delays = Vec::new();
    let mut last = first.clone();
    let mut looks = tokio::time::interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    loop {
        for _ in 0..LOOKS_PER_SAMPLE {
            looks.tick().await;
            delays.push(plan.load.delay(began.elapsed().as_secs_f64(), counts().committed));
        }
        let now = look();
        samples.push(sample(plan.load, cores, &last, &now));
        let is_drained = plan.load.backlog > 0 && plan.load.delay(now.0, now.2.committed) < LATE;
        last = now;
        if is_drained || last.0 >= warm + plan.duration.as_secs_f64() {
            break;
        }
    }
    delays.sort_unstable_by(f64::total_cmp);
    let whole = sample(plan.load, cores, &first, &last);
    let events = last.2.committed.saturating_sub(first.2.committed).max(1) as f64;
    Course {
        shape,
        load: plan.load,
        seconds: last.0 - first.0,
        database_cpu_share: whole.database_cpu_share,
        database_cpu_ms_per_event: (last.1 - first.1) * 1000.0 / events,
        transactions_per_second: whole.transactions_per_second,
        events_per_second: whole.events_per_second,
        queue_delay_end_seconds: whole.queue_delay_seconds,
        queue_delay_p99_seconds: delays.get(delays.len().saturating_sub(1) * 99 / 100).copied().unwrap_or(0.0),
        freshness_p50_ms: whole.freshness_p50_ms,
        freshness_p99_ms: whole.freshness_p99_ms,
        refused: last.2.refused - first.2.refused,
        verdict: Verdict::of(plan.load, last.0, last.2.committed, whole.events_per_second),
        samples,
        found: None,
    }
}

fn sample(load: Load, cores: f64, from: &(f64, f64, Counts), to: &(f64, f64, Counts)) -> Sample {
    let seconds = (to.0 - from.0).max(1e-3);
    let per_second = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
    // A backlog was appended a moment ago, so its freshness would be wrong.
    let fresh = (load.backlog == 0).then(|| to.2.freshness.since(&from.2.freshness));
    let quantile = |share| fresh.as_ref()?.quantile_ms(share);
    Sample {
        seconds: to.0,
        database_cpu_share: (to.1 - from.1) / seconds / cores,
        transactions_per_second: per_second(from.2.transactions, to.2.transactions),
        events_per_second: per_second(from.2.committed, to.2.committed),
        queue_delay_seconds: load.delay(to.0, to.2.committed),
        freshness_p50_ms: quantile(0.5),
        freshness_p99_ms: quantile(0.99),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_says_what_becomes_of_the_queue() {
        let steady = Load { rate: 200.0, backlog: 0 };
        assert_eq!(Verdict::of(steady, 20.0, 3_990, 199.5), Verdict::KeepsUp);
        // The queue is short, but only because the run was short.
        assert_eq!(Verdict::of(steady, 2.0, 150, 75.0), Verdict::FallsBehind { events_per_second: 75.0 });
        assert_eq!(Verdict::of(steady, 20.0, 3_000, 150.0), Verdict::FallsBehind { events_per_second: 150.0 });
        let late = Load { rate: 200.0, backlog: 10_000 };
        assert_eq!(Verdict::of(late, 20.0, 13_990, 700.0), Verdict::Drained { seconds: 20.0 });
        assert_eq!(Verdict::of(late, 20.0, 6_000, 300.0), Verdict::Drains { seconds: 100.0 });
        assert_eq!(Verdict::of(late, 20.0, 3_000, 150.0), Verdict::FallsBehind { events_per_second: 150.0 });
    }
}
