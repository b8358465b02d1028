//! One run: the backlog into empty tables, for a time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use millstream_engine::Progress;
use serde::Serialize;
use tokio::time::Instant;

use super::{Curve, MEMORY_BYTES, TOPIC};
use crate::bench::ground::Ground;
use crate::bench::ours::{Found, Setting, progress};
use crate::node::Node;

/// Interval between two readings: well below what a transaction takes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// State of a run at its end.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ended {
    /// Transactions, and records in each of the last ones.
    pub(super) transactions: u64,
    pub(super) batch_records_p50: u64,
    #[serde(flatten)]
    pub(super) found: Found,
}

/// A run in progress.
pub(super) struct Draining {
    node: Node,
    progress: Arc<Progress>,
    pub(super) began: Instant,
    pub(super) curve: Curve,
    events: u64,
}

impl Draining {
    /// Starts cold.
    pub(super) async fn start(ground: &mut Ground, setting: Setting, events: u64) -> anyhow::Result<Draining> {
        ground.fresh().await?;
        let mut config = ground.config_on(TOPIC);
        config.limits.memory_bytes = MEMORY_BYTES;
        setting.apply(&mut config);
        let began = Instant::now();
        let node = Node::start(config).await?;
        let progress = progress(&node)?;
        Ok(Draining { node, progress, began, curve: Curve::default(), events })
    }

    /// Seconds since its start.
    pub(super) fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    /// Watches until a time, in seconds since the start.
    pub(super) async fn until(&mut self, seconds: f64) -> anyhow::Result<()> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while self.seconds() < seconds {
            looks.tick().await;
            let records = self.progress.snapshot().records;
            self.curve.push(self.seconds(), records);
            ensure!(
                records < self.events,
                "the backlog of {} events is at its end: ask for more --events",
                self.events
            );
        }
        Ok(())
    }

    /// Ends it.
    pub(super) async fn stop(self) -> anyhow::Result<(Curve, Ended)> {
        let now = self.progress.snapshot();
        let found = Found::of(&self.node);
        let summary = self.node.drain().await;
        ensure!(summary.halted.is_empty(), "the pipeline ended with {summary:?}");
        let batch_records_p50 = now.batch_records.quantile_ms(0.5).unwrap_or(0);
        Ok((self.curve, Ended { transactions: now.transactions, batch_records_p50, found }))
    }
}

/// Starts cold, watches for a time, ends.
pub(super) async fn run(
    ground: &mut Ground,
    setting: Setting,
    duration: Duration,
    events: u64,
) -> anyhow::Result<(Curve, Ended)> {
    let mut draining = Draining::start(ground, setting, events).await?;
    draining.until(duration.as_secs_f64()).await?;
    draining.stop().await
}
