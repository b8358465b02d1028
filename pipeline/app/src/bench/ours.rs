//! Millstream as one of the shapes compared: with fixed batch and concurrency, or with its defaults.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use millstream_connectors::sinks::stream::{Append, NewRecord};
use millstream_engine::Progress;
use millstream_engine::concurrency::Decision;
use serde::Serialize;
use tokio::time::Instant;

use super::generate::Generator;
use super::incident::Load;
use crate::config::{Concurrency, Config, SinkKind};
use crate::node::Node;

/// Interval between appends of what has arrived: short enough not to make rows late.
const APPEND_EVERY: Duration = Duration::from_millis(10);
/// Maximum records of one append: bounds memory if the stream is slower than the arrivals.
const APPEND_RECORDS_MAX: u64 = 5_000;

/// Maximum number of decisions shown of a run: more than any run should have.
const DECISIONS_MAX: usize = 1_000;

/// What decides on batch and concurrency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// Held: this number of records per transaction, and of concurrent transactions.
    Fixed { records: usize, concurrency: usize },
    /// Millstream without a setting, optionally with a higher maximum of concurrent transactions.
    Itself { concurrency_max: Option<usize> },
}

impl Setting {
    /// Applies this to the pipelines of a configuration.
    pub(super) fn apply(self, config: &mut Config) {
        for pipeline in &mut config.pipeline {
            match self {
                Setting::Fixed { records, concurrency } => {
                    pipeline.batch_records_max = records;
                    pipeline.concurrency = Concurrency { min: concurrency, max: concurrency };
                    pipeline.freeze = true;
                }
                Setting::Itself { concurrency_max } => {
                    pipeline.concurrency.max = concurrency_max.unwrap_or(pipeline.concurrency.max);
                }
            }
        }
    }
}

/// State of the controller at the end of a run, and its decisions.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Found {
    /// Number of concurrent transactions.
    pub(super) concurrency: usize,
    /// Records in a transaction.
    pub(super) records: usize,
    /// The decisions, oldest first.
    pub(super) decisions: Vec<Decision>,
}

impl Found {
    /// Reads them from a running node.
    pub(super) fn of(node: &Node) -> Found {
        let pace = node.gate.look().pace;
        let latest = node.gate.decisions(DECISIONS_MAX);
        let decisions = latest.into_iter().rev().map(|entry| entry.decision).collect();
        Found { concurrency: pace.concurrency, records: pace.records, decisions }
    }

    /// One line for each decision.
    pub(super) fn lines(&self) -> String {
        let line = |decision: &Decision| {
            let figures = decision.figures.iter().map(|(name, value)| format!(" {name}={value:.3}"));
            format!(
                "{:>8.2} s  {:?} {} -> {}: {:?}{}\n",
                decision.at.as_secs_f64(),
                decision.knob,
                decision.from,
                decision.to,
                decision.reason,
                figures.collect::<String>(),
            )
        };
        self.decisions.iter().map(line).collect()
    }
}

/// The counters of the one pipeline.
pub(super) fn progress(node: &Node) -> anyhow::Result<Arc<Progress>> {
    Ok(Arc::clone(&node.pipeline_into(SinkKind::Metadata).context("no pipeline of objects")?.progress))
}

/// Appends arriving events to the stream of the one pipeline, for ever. The backlog is there already.
pub(super) async fn feed(stream: Arc<dyn Append>, load: Load, began: Instant, seed: u64) -> anyhow::Result<()> {
    let mut generator = Generator::new(seed, millstream_engine::clock::now_ms() - 1000);
    let mut appended = load.backlog;
    let mut turns = tokio::time::interval(APPEND_EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let due = load.arrived(began.elapsed().as_secs_f64()).saturating_sub(appended).min(APPEND_RECORDS_MAX);
        if due == 0 {
            continue;
        }
        let record = |_| {
            let event = generator.next_event();
            NewRecord { key: event.key, headers: Vec::new(), payload: event.payload }
        };
        stream.append((0..due).map(record).collect()).await.context("append what arrived")?;
        appended += due;
    }
}
