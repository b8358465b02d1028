//! A replay watched: it says how far it is and what it waits for, and ends where nothing more can be read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use millstream_engine::{Partition, Snapshot, Summary, Verdict, task};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ranges::Ranges;
use crate::cli::screen;
use crate::domain::Ready;

/// Between two looks at the progress.
const LOOK: Duration = Duration::from_millis(100);
/// How often progress is told where no bar shows it.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How often a standstill is told, the first time after as long.
const STILL: Duration = Duration::from_secs(5);
/// Where something is halted, a standstill of the rest is the end after this: longer than a transaction may take.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Runs it, and stops it where every range is at its end, or cannot go on.
pub(super) async fn until_done(ready: Ready, source: &Ranges) -> anyhow::Result<Summary> {
    let progress = Arc::clone(&ready.progress);
    let stop = CancellationToken::new();
    let mut running = task::spawn("replay", ready.run(stop.clone()));
    let mut watch = Watch::new(source)?;
    let summary = loop {
        tokio::select! {
            ended = &mut running => break ended?,
            stopped = tokio::signal::ctrl_c() => {
                stopped?;
                stop.cancel();
            }
            () = tokio::time::sleep(LOOK) => {
                if watch.is_over(&progress.snapshot()) {
                    stop.cancel();
                }
            }
        }
    };
    watch.bar.finish_and_clear();
    Ok(summary)
}

/// Does what may have to wait for others, and says so if it does.
pub(super) async fn telling<T>(work: impl Future<Output = T>, waits_for: &str) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(STILL, work.as_mut()).await {
            Ok(done) => return done,
            Err(_) => screen::complain(&format!("waits for {waits_for}")),
        }
    }
}

/// What was seen and said so far.
#[derive(Debug)]
struct Watch<'s> {
    source: &'s Ranges,
    bar: ProgressBar,
    /// The most that was passed, and since when.
    passed: u64,
    moved: Instant,
    told: Instant,
    halted: BTreeSet<Partition>,
}

impl<'s> Watch<'s> {
    fn new(source: &'s Ranges) -> anyhow::Result<Self> {
        let style = "{wide_bar} {human_pos}/{human_len} records, {per_sec}, {eta} left";
        let bar = ProgressBar::new(source.records()).with_style(ProgressStyle::with_template(style)?);
        let now = Instant::now();
        Ok(Watch { source, bar, passed: 0, moved: now, told: now, halted: BTreeSet::new() })
    }

    /// Whether nothing more can be read: every partition is at its end or halted, or the pipeline is.
    fn is_over(&mut self, snapshot: &Snapshot) -> bool {
        let left = self.source.left(&snapshot.positions);
        let behind: u64 = left.iter().map(|left| left.to - left.next).sum();
        let passed = self.source.records().saturating_sub(behind);
        self.bar.set_position(passed);
        // Leases that another takes move positions back.
        if passed > self.passed {
            (self.passed, self.moved) = (passed, Instant::now());
        }
        if left.iter().all(|left| snapshot.halted.contains_key(&left.partition)) {
            return true;
        }
        // There is no freshness goal here: only what is halted, and what the database says, matters of the verdict.
        let verdict = snapshot.verdict(snapshot, 0, Duration::MAX, 0);
        let is_halted = matches!(verdict, Verdict::Halted { .. });
        if is_halted && (snapshot.halted.is_empty() || self.moved.elapsed() >= GIVE_UP) {
            return true;
        }
        self.tell_halted(snapshot);
        self.tell(&verdict);
        false
    }

    fn tell_halted(&mut self, snapshot: &Snapshot) {
        for (partition, reason) in &snapshot.halted {
            if self.halted.insert(partition.clone()) {
                let reason = screen::escape(reason);
                self.say(&format!("partition {partition} is halted, the others are read to their end: {reason}"));
            }
        }
    }

    fn tell(&mut self, verdict: &Verdict) {
        let still = self.moved.elapsed();
        let is_still = still >= STILL;
        let is_shown = !is_still && !self.bar.is_hidden();
        if is_shown || self.told.elapsed() < if is_still { STILL } else { TELL_EVERY } {
            return;
        }
        self.told = Instant::now();
        let passed = screen::grouped(self.passed);
        let total = screen::grouped(self.source.records());
        let how = if is_still {
            let why = match verdict {
                Verdict::Braked { reason } => screen::escape(reason),
                _ => "it waits for the stream, for the database, or for leases that another replay of this pipeline holds"
                    .to_owned(),
            };
            format!("; nothing has moved for {} s: {why}", still.as_secs())
        } else {
            String::new()
        };
        self.say(&format!("{passed} of {total} records are read again{how}"));
    }

    /// Says something without tearing the bar apart.
    fn say(&self, text: &str) {
        self.bar.suspend(|| screen::complain(text));
    }
}
