//! Watches a replay: shows how far it is and what it waits for, and ends it when nothing more can be read.

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

/// Interval between two readings of the progress.
const LOOK: Duration = Duration::from_millis(100);
/// Interval of progress lines if no bar shows progress.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Interval of messages about a standstill, the first one after the same time.
const STILL: Duration = Duration::from_secs(5);
/// If a partition is halted, a standstill of the rest for this long is the end: longer than a transaction may take.
const GIVE_UP: Duration = Duration::from_secs(30);

/// Runs it, and stops it once every range is at its end or cannot go on.
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

/// Does work that may have to wait for others, and reports it if it waits.
pub(super) async fn telling<T>(work: impl Future<Output = T>, waits_for: &str) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(STILL, work.as_mut()).await {
            Ok(done) => return done,
            Err(_) => screen::complain(&format!("waits for {waits_for}")),
        }
    }
}

/// What was seen and printed so far.
#[derive(Debug)]
struct Watch<'s> {
    source: &'s Ranges,
    bar: ProgressBar,
    /// The furthest progress, and since when.
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
        // If another process takes a lease, positions move back.
        if passed > self.passed {
            self.passed = passed;
            self.moved = Instant::now();
        }
        if left.iter().all(|left| snapshot.halted.contains_key(&left.partition)) {
            return true;
        }
        // There is no freshness goal here: of the verdict, only halts and the answers of the database matter.
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

    /// Prints a line without tearing the bar apart.
    fn say(&self, text: &str) {
        self.bar.suspend(|| screen::complain(text));
    }
}
