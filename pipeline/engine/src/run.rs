//! The whole pipeline, read forwards.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::Batch;
use crate::decode::{Columns, Decode};
use crate::lane::{Lane, Leave, Written, chain};
use crate::limits::Limits;
use crate::progress::{LaneState, Progress};
use crate::sink::Sink;
use crate::source::{Partition, Source};
use crate::task;
use crate::watchdog;

/// The parts of a pipeline. One sink per lane: each has its own connection.
pub struct Pipeline<C> {
    /// Where records come from.
    pub source: Arc<dyn Source>,
    /// What makes events of them.
    pub decoder: Arc<dyn Decode<Columns = C>>,
    /// Where events take effect, one writer per lane.
    pub sinks: Vec<Box<dyn Sink<Columns = C>>>,
    /// Every bound.
    pub limits: Limits,
    /// Counters that others read.
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
    /// Whether all that was taken in is committed.
    pub drained: bool,
    /// Why lanes halted, if any did.
    pub halted: Vec<String>,
}

/// Runs a pipeline until `shutdown`, then finishes the batches in flight.
pub async fn run<C: Columns + 'static>(pipeline: Pipeline<C>, shutdown: CancellationToken) -> Summary {
    let Pipeline { source, decoder, sinks, limits, progress } = pipeline;
    let partitions = source.partitions();
    let count = sinks.len().max(1);
    let lanes = sinks.into_iter().enumerate().map(|(index, sink)| {
        // A partition belongs to one lane for as long as this runs, so order within it needs no further care.
        let own: Vec<Partition> = partitions.iter().skip(index).step_by(count).cloned().collect();
        let (source, decoder) = (Arc::clone(&source), Arc::clone(&decoder));
        let (limits, progress, shutdown) = (limits.clone(), Arc::clone(&progress), shutdown.clone());
        task::spawn("lane", async move { keep(index, own, source, decoder, sink, limits, progress, shutdown).await })
    });
    let mut summary = Summary { drained: true, halted: Vec::new() };
    for ended in futures::future::join_all(lanes.collect::<Vec<_>>()).await {
        match ended {
            Ok(Leave::Drained) => {}
            Ok(Leave::Halted(reason)) => summary.halted.push(reason),
            Ok(Leave::Interrupted | Leave::Retake(_)) => summary.drained = false,
            Err(error) => summary.halted.push(chain(&error)),
        }
    }
    summary
}

/// Keeps one lane going: takes its leases again when they moved, restarts it when it stalls.
#[expect(clippy::too_many_arguments, reason = "each is moved in once; a struct would name them a second time")]
async fn keep<C: Columns>(
    index: usize,
    partitions: Vec<Partition>,
    source: Arc<dyn Source>,
    decoder: Arc<dyn Decode<Columns = C>>,
    mut sink: Box<dyn Sink<Columns = C>>,
    limits: Limits,
    progress: Arc<Progress>,
    shutdown: CancellationToken,
) -> Leave {
    let (Some(state), false) = (progress.lane(index), partitions.is_empty()) else { return Leave::Drained };
    loop {
        let lane = Lane {
            source: &*source,
            sink: &mut *sink,
            partitions: &partitions,
            limits: &limits,
            progress: &progress,
            state,
            shutdown: &shutdown,
        };
        let has_lag = || {
            let positions = progress.snapshot().positions;
            let mut own = partitions.iter().filter_map(|partition| Some((partition, positions.get(partition)?)));
            own.any(|(partition, next)| source.lag_records(partition, next).is_some_and(|records| records > 0))
        };
        let left = tokio::select! {
            left = flow(lane, &*decoder) => left,
            () = watchdog::stalled(state, has_lag, limits.stall) => {
                progress.stalled();
                tracing::warn!(lane = index, stall_s = limits.stall.as_secs(), "no progress although there is work: the lane is restarted");
                continue;
            }
        };
        match left {
            Leave::Retake(reason) if !shutdown.is_cancelled() => {
                tracing::warn!(lane = index, %reason, "leases are taken again");
                // Bounds the pace of taking leases when another process keeps taking them too.
                tokio::time::sleep(limits.retry_base).await;
            }
            Leave::Halted(reason) => {
                tracing::error!(lane = index, %reason, "the lane is halted");
                state.set(LaneState::Halted(reason.clone()));
                return Leave::Halted(reason);
            }
            left => {
                state.set(LaneState::Ended);
                return left;
            }
        }
    }
}

/// The flow of records through one lane: source -> batch -> decode -> sink -> commit.
async fn flow<C: Columns>(mut lane: Lane<'_, C>, decoder: &dyn Decode<Columns = C>) -> Leave {
    let mut intake = match lane.acquire().await {
        Ok(intake) => intake,
        Err(leave) => return leave,
    };
    loop {
        if let Err(leave) = lane.go_ahead().await {
            return leave;
        }
        let taken = match lane.gather(&mut intake).await {
            Ok(taken) => taken,
            Err(leave) => return leave,
        };
        lane.state.beat();

        let batch = Batch::decode(taken, decoder);

        let began = Instant::now();
        let receipt = match lane.write(&batch, &intake).await {
            Ok(Written::Whole(receipt)) => receipt,
            Ok(Written::TooSlow { reason }) => {
                lane.divide(&mut intake, batch, &reason, began.elapsed());
                continue;
            }
            Err(leave) => return leave,
        };
        lane.landed(&mut intake, &receipt, began.elapsed());

        if let Err(error) = lane.source.commit(&receipt.checkpoint()).await {
            tracing::debug!(error = %chain(&error), "the stream was not told our position; lag tools see an older one");
        }
    }
}

/// Milliseconds since 1970 by this machine's clock: for freshness only, never for order or leases.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as i64
}
