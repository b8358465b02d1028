//! The whole pipeline, read forwards.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::assign::Shares;
use crate::batch::Batch;
use crate::cap::Cap;
use crate::decode::{Columns, Decode};
use crate::gate::Gate;
use crate::intake::Intake;
use crate::lane::{DECISION_LOOK, Lane, Leave, Written, chain, look_at_shares};
use crate::limits::Limits;
use crate::progress::{LaneState, Progress, SHARES_EVERY};
use crate::sink::Sink;
use crate::source::{Partition, Source};
use crate::spread::Spread;
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
    /// Where its lanes ask for a turn; shared with the other pipelines that write to the same database.
    pub gate: Arc<Gate>,
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
    /// Whether all batches that were under way are committed.
    pub drained: bool,
    /// Why lanes halted, if any did.
    pub halted: Vec<String>,
}

/// Runs a pipeline until `shutdown`, then finishes the batches in flight.
pub async fn run<C: Columns + 'static>(pipeline: Pipeline<C>, shutdown: CancellationToken) -> Summary {
    let Pipeline { source, decoder, sinks, limits, gate, progress } = pipeline;
    let bounds = Arc::new(Bounds {
        spread: Spread::new(sinks.len(), limits.writers_min),
        cap: Cap::new(limits.records_per_second_max),
        gate,
        limits,
    });
    let shares = Shares::new(sinks.len());
    let lanes = sinks.into_iter().zip(shares.subscribe()).enumerate().map(|(index, (sink, share))| {
        // A partition belongs to one lane at a time, so order within it needs no further care.
        let (source, decoder) = (Arc::clone(&source), Arc::clone(&decoder));
        let (bounds, progress, shutdown) = (Arc::clone(&bounds), Arc::clone(&progress), shutdown.clone());
        task::spawn("lane", async move { keep(index, share, source, decoder, sink, bounds, progress, shutdown).await })
    });
    let lanes: Vec<_> = lanes.collect();
    let ended = async {
        shares.follow(&*source, &bounds.spread, &progress, &shutdown).await;
        futures::future::join_all(lanes).await
    };
    let ended = tokio::select! {
        ended = ended => ended,
        never = bounds.gate.keep_time() => match never {},
    };
    let mut summary = Summary { drained: true, halted: Vec::new() };
    for ended in ended {
        match ended {
            // Its partitions are another's now, who writes what it had in hand.
            Ok(Leave::Drained | Leave::Reassigned) => {}
            Ok(Leave::Halted(reason)) => summary.halted.push(reason),
            Ok(Leave::Interrupted | Leave::Retake(_)) => summary.drained = false,
            Err(error) => summary.halted.push(chain(&error)),
        }
    }
    source.close().await;
    summary
}

/// What the lanes of a pipeline have in common.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    pub(crate) gate: Arc<Gate>,
    pub(crate) cap: Cap,
    pub(crate) spread: Spread,
}

/// Keeps one lane going: takes its leases again when its partitions changed or the leases moved, restarts it when it
/// stalls.
#[expect(clippy::too_many_arguments, reason = "each is moved in once; a struct would name them a second time")]
async fn keep<C: Columns>(
    index: usize,
    mut share: watch::Receiver<Vec<Partition>>,
    source: Arc<dyn Source>,
    decoder: Arc<dyn Decode<Columns = C>>,
    mut sink: Box<dyn Sink<Columns = C>>,
    bounds: Arc<Bounds>,
    progress: Arc<Progress>,
    shutdown: CancellationToken,
) -> Leave {
    let limits = &bounds.limits;
    let Some(state) = progress.lane(index) else { return Leave::Drained };
    let mut intake = Intake::new(Vec::new(), limits.queue_bytes());
    loop {
        let partitions = share.borrow_and_update().clone();
        if partitions.is_empty() {
            state.set(LaneState::Resting);
            if rest(index, &mut share, &mut *sink, &progress, &shutdown).await {
                continue;
            }
            state.set(LaneState::Ended);
            return Leave::Drained;
        }
        let lane = Lane {
            source: &*source,
            sink: &mut *sink,
            share: &mut share,
            began: Instant::now(),
            limits,
            bounds: &bounds,
            waited: Duration::ZERO,
            is_last: false,
            progress: &progress,
            state,
            shutdown: &shutdown,
        };
        let has_lag = || has_lag(&*source, &progress, &partitions);
        let left = tokio::select! {
            left = flow(lane, &mut intake, &*decoder) => left,
            () = watchdog::stalled(state, has_lag, limits.stall) => {
                progress.stalled();
                // Persons hear of it where everything is judged, once for all lanes; so, too, of a halt.
                tracing::info!(lane = index, stall_s = limits.stall.as_secs(), "no progress although there is work: the lane is restarted");
                source.revive();
                continue;
            }
        };
        match left {
            Leave::Reassigned if !shutdown.is_cancelled() => tell(index, &share),
            Leave::Retake(reason) if !shutdown.is_cancelled() => {
                tracing::warn!(lane = index, %reason, "leases are taken again");
                // Bounds the pace of taking leases when another process keeps taking them too.
                tokio::time::sleep(limits.retry_base).await;
            }
            Leave::Halted(reason) => {
                if state.halt(&reason) {
                    tracing::info!(lane = index, %reason, "the lane is halted");
                }
                // Somebody may have said how to go on.
                if !changes(&mut share, DECISION_LOOK, &shutdown).await {
                    return Leave::Halted(reason);
                }
            }
            left => {
                state.set(LaneState::Ended);
                return left;
            }
        }
    }
}

/// Waits for partitions. False if it is time to stop.
///
/// The endpoints of this process must know which shares are put aside, also where others read the stream. The first lane
/// is the last to rest, and one connection is enough.
async fn rest<C: Columns>(
    index: usize,
    share: &mut watch::Receiver<Vec<Partition>>,
    sink: &mut dyn Sink<Columns = C>,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> bool {
    let wait = if index == 0 { SHARES_EVERY } else { Duration::MAX };
    let goes_on = changes(share, wait, shutdown).await;
    if goes_on && index == 0 {
        look_at_shares(sink, progress, shutdown).await;
    }
    goes_on
}

/// Whether the stream has records that are not in the sink.
fn has_lag(source: &dyn Source, progress: &Progress, partitions: &[Partition]) -> bool {
    let positions = progress.snapshot().positions;
    let mut own = partitions.iter().filter_map(|partition| Some((partition, positions.get(partition)?)));
    own.any(|(partition, next)| source.lag_records(partition, next).is_some_and(|records| records > 0))
}

/// Tells that a lane has other partitions, unless it only looks if somebody said how a halted one goes on.
fn tell(lane: usize, share: &watch::Receiver<Vec<Partition>>) {
    if share.has_changed().unwrap_or(false) {
        tracing::info!(lane, "leases are taken again: the lane has other partitions now");
    }
}

/// Waits until a lane has other partitions, or for so long. False if it is time to stop.
async fn changes(share: &mut watch::Receiver<Vec<Partition>>, wait: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        _ = share.changed() => true,
        () = tokio::time::sleep(wait) => true,
    }
}

/// The flow of records through one lane: source -> batch -> decode -> sink -> commit.
async fn flow<C: Columns>(mut lane: Lane<'_, C>, intake: &mut Intake, decoder: &dyn Decode<Columns = C>) -> Leave {
    if let Err(leave) = lane.acquire(intake).await {
        return leave;
    }
    loop {
        if let Err(leave) = lane.go_ahead(intake, decoder).await {
            return leave;
        }
        let (taken, work) = match lane.gather(intake).await {
            Ok(gathered) => gathered,
            Err(leave) => return leave,
        };
        lane.state.beat();

        let batch = Batch::decode(taken, decoder, &lane.progress.aside());

        let began = Instant::now();
        let written = lane.write(&batch, work, intake).await;
        // What it waited for its turn says nothing about what it cost.
        let took = began.elapsed().saturating_sub(lane.waited);
        let receipt = match written {
            Written::Whole(receipt) => receipt,
            Written::TooSlow { reason } => {
                lane.divide(intake, batch, &reason, took);
                continue;
            }
            Written::Nothing(leave) => {
                // What of it is still ours when the leases are taken again need not be read again.
                intake.give_back(batch.into_taken());
                return leave;
            }
        };
        lane.landed(intake, &receipt, took);

        if let Err(error) = lane.source.commit(&receipt.checkpoint()).await {
            tracing::debug!(error = %chain(&error), "the stream was not told our position; lag tools see an older one");
        }

        for flooding in lane.progress.watch_flood(&lane.limits.flood, &receipt) {
            if let Err(leave) = lane.put_aside(&flooding).await {
                return leave;
            }
        }
    }
}

/// Milliseconds since 1970 by this machine's clock: for freshness only, never for order or leases.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as i64
}
