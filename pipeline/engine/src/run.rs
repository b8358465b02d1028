//! A pipeline from its start to its end: one lane for each sink, kept going by `keep`, and the partitions spread
//! over them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::assign::Shares;
use crate::bounds::Bounds;
use crate::cap::Cap;
use crate::decode::{Columns, Decode};
use crate::gate::Gate;
use crate::keep::keep;
use crate::lane::{Leave, chain};
use crate::limits::{BatchLimits, Limits};
use crate::progress::Progress;
use crate::sink::Sink;
use crate::source::Source;
use crate::spread::Spread;
use crate::task;

/// The parts of a pipeline. One sink per lane: each has its own connection.
pub struct Pipeline<C> {
    /// Where records come from.
    pub source: Arc<dyn Source>,
    /// Turns records into events.
    pub decoder: Arc<dyn Decode<Columns = C>>,
    /// Where events take effect, one writer per lane.
    pub sinks: Vec<Box<dyn Sink<Columns = C>>>,
    /// Every limit.
    pub limits: Limits,
    /// Where its lanes ask for a turn; shared by all pipelines that write to the same database.
    pub gate: Arc<Gate>,
    /// The counters, which status, metrics and the page read.
    pub progress: Arc<Progress>,
}

impl<C> std::fmt::Debug for Pipeline<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("source", &self.source).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// How a pipeline ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Whether all batches that were under way are committed.
    pub drained: bool,
    /// Why lanes halted, if any did.
    pub halted: Vec<String>,
}

/// Runs a pipeline until `shutdown`, then finishes the batches in flight.
pub async fn run<C: Columns + 'static>(pipeline: Pipeline<C>, shutdown: CancellationToken) -> Summary {
    let Pipeline { source, decoder, sinks, limits, gate, progress } = pipeline;
    let batch = BatchLimits { bytes_max: limits.batch_bytes(), ..limits.batch.clone() };
    let bounds = Arc::new(Bounds {
        spread: Spread::new(sinks.len(), limits.writers_min),
        cap: Cap::new(limits.records_per_second_max),
        gate: gate.join(&progress.pipeline, limits.batch.freshness(), &batch),
        memory: limits.budget().join(),
        limits,
    });
    let shares = Shares::new(sinks.len());
    let lanes = sinks.into_iter().zip(shares.subscribe()).enumerate().map(|(index, (sink, share))| {
        // A partition belongs to one lane at a time, so order within it needs no further care.
        let source = Arc::clone(&source);
        let decoder = Arc::clone(&decoder);
        let bounds = Arc::clone(&bounds);
        let progress = Arc::clone(&progress);
        let shutdown = shutdown.clone();
        // Each log line of a lane, and of its sink and source, names the lane. A span of a lower level would be left out
        // by commands, which log only what is wrong.
        let span = tracing::error_span!("lane", pipeline = progress.pipeline, number = index);
        let kept = async move { keep(index, share, source, decoder, sink, bounds, progress, shutdown).await };
        task::spawn("lane", kept.instrument(span))
    });
    let lanes: Vec<_> = lanes.collect();
    let ended = async {
        shares.follow(&*source, &bounds.spread, &progress, &shutdown).await;
        futures::future::join_all(lanes).await
    };
    let ended = tokio::select! {
        ended = ended => ended,
        never = bounds.gate.gate().keep_time() => match never {},
    };
    let mut summary = Summary { drained: true, halted: Vec::new() };
    for ended in ended {
        match ended {
            // Its partitions belong to another lane now, which writes the records it had in hand.
            Ok(Leave::Drained | Leave::Reassigned) => {}
            Ok(Leave::Halted(reason)) => summary.halted.push(reason),
            Ok(Leave::Interrupted | Leave::Retake(_)) => summary.drained = false,
            Err(error) => summary.halted.push(chain(&error)),
        }
    }
    source.close().await;
    summary
}
