//! Keeps one lane going, whatever ends its flow for now.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::bounds::Bounds;
use crate::decode::{Columns, Decode};
use crate::flow::flow;
use crate::intake::Intake;
use crate::lane::{DECISION_LOOK, Lane, Leave, look_at_shares};
use crate::position::Partition;
use crate::progress::{LaneState, Progress, SHARES_EVERY};
use crate::sink::Sink;
use crate::source::Source;
use crate::watchdog;

/// Keeps one lane going: takes its leases again when its partitions changed or the leases moved, restarts it when it
/// stalls.
#[expect(clippy::too_many_arguments, reason = "each is moved in once; a struct would name them a second time")]
pub(crate) async fn keep<C: Columns>(
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
    let mut intake = Intake::within(bounds.memory.lane(limits.writers));
    loop {
        let partitions = share.borrow_and_update().clone();
        if partitions.is_empty() {
            state.set(LaneState::Resting);
            if rest(index, &mut intake, &mut share, &mut *sink, &progress, &shutdown).await {
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
        let left = tokio::select! {
            left = flow(lane, &mut intake, &*decoder) => left,
            () = watchdog::stalled(state, || has_lag(&*source, &progress, &partitions), limits.stall) => {
                progress.stalled();
                // The verdict of the pipeline alerts people, once for all lanes; the same holds for a halt.
                tracing::info!(stall_s = limits.stall.as_secs(), "no progress although there is work: the lane is restarted");
                source.revive();
                continue;
            }
        };
        match left {
            Leave::Reassigned if !shutdown.is_cancelled() => tell(&share),
            Leave::Retake(reason) if !shutdown.is_cancelled() => {
                tracing::warn!(%reason, "leases are taken again");
                // Limits how often leases are taken when another process keeps taking them too.
                tokio::time::sleep(limits.retry_base).await;
            }
            Leave::Halted(reason) => {
                if state.halt(&reason) {
                    tracing::info!(%reason, "the lane is halted");
                }
                intake.stuck();
                // A person may have decided how to go on.
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

/// Waits for partitions. Returns false on shutdown.
///
/// The first lane also reads which shares are paused: the endpoints of this process must know them even if other
/// processes read the stream. The first lane is the last to rest, and one connection is enough.
async fn rest<C: Columns>(
    index: usize,
    intake: &mut Intake,
    share: &mut watch::Receiver<Vec<Partition>>,
    sink: &mut dyn Sink<Columns = C>,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> bool {
    // Others may use the memory of the records in hand: the lane that has their partitions now reads them again.
    intake.restart(Vec::new());
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

/// Logs new partitions. A lane also comes here to recheck halted ones; then nothing changed and nothing is logged.
fn tell(share: &watch::Receiver<Vec<Partition>>) {
    if share.has_changed().unwrap_or(false) {
        tracing::info!("leases are taken again: the lane has other partitions now");
    }
}

/// Waits for a new assignment or for `wait`. Returns false on shutdown.
async fn changes(share: &mut watch::Receiver<Vec<Partition>>, wait: Duration, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        () = shutdown.cancelled() => false,
        _ = share.changed() => true,
        () = tokio::time::sleep(wait) => true,
    }
}
