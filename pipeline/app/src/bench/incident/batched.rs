//! The shapes that millstream writes in: fixed batches, and what it finds by itself.

use anyhow::{Context as _, ensure};
use millstream_engine::task;
use std::sync::Arc;
use tokio::time::Instant;

use super::course::{self, Counts, Course, Plan};
use crate::bench::backlog::Backlog;
use crate::bench::ground::Ground;
use crate::bench::ours::{Found, Setting, feed, progress};
use crate::config::SinkKind;
use crate::node::Node;

/// Runs millstream under a load.
pub(super) async fn run(
    ground: &mut Ground,
    name: &'static str,
    setting: Setting,
    plan: Plan,
    seed: u64,
) -> anyhow::Result<Course> {
    let mut config = ground.fresh().await?;
    setting.apply(&mut config);
    if plan.load.backlog > 0 {
        let start_ms = millstream_engine::clock::now_ms() - (plan.load.at(0).abs() * 1000.0) as i64;
        Backlog::of(plan.load.backlog, seed, start_ms).append(&config).await.context("make the backlog")?;
    }
    let began = Instant::now();
    let node = Node::start(config).await?;
    let progress = progress(&node)?;
    let stream =
        node.pipeline_into(SinkKind::Metadata).and_then(|pipeline| pipeline.stream.clone()).context("no stream")?;
    let feed = task::spawn("feed", feed(Arc::clone(&stream), plan.load, began, seed + 1));
    let counts = || {
        let now = progress.snapshot();
        Counts {
            committed: now.records,
            transactions: now.transactions,
            refused: now.retries,
            freshness: now.freshness,
        }
    };
    let mut course = course::watch(ground, name, plan, began, counts).await;
    course.found = Some(Found::of(&node));
    ensure!(!feed.is_finished(), "the stream took no more of what arrived: {:?}", feed.await);
    feed.abort();
    let summary = node.drain().await;
    ensure!(summary.halted.is_empty(), "the pipeline ended with {summary:?}");
    Ok(course)
}
