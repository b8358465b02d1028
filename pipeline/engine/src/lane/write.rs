//! Writing a batch: its turn at the gate, its retries, and reading ahead meanwhile.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{IDLE_WAIT, Lane, Leave, Written, chain};
use crate::batch::Batch;
use crate::bounds::Bounds;
use crate::clock::now_ms;
use crate::concurrency::{Ending, Work};
use crate::decode::Columns;
use crate::gate::Turn;
use crate::intake::Intake;
use crate::progress::LaneState;
use crate::retry::Recovery;
use crate::sink::SinkError;
use crate::source::Source;

/// A batch is divided when it was too slow this often in a row: the first time may have been bad luck with a lock. A
/// part of a divided batch has been too slow already, so for a part once is enough.
const SLOW_IN_A_ROW: u32 = 2;

impl<C: Columns> Lane<'_, C> {
    /// Writes a batch, retrying for as long as the sink asks for that. Meanwhile the queues are filled again, so that
    /// with a backlog the next batch waits for no fetch; they are not filled after shutdown.
    pub(crate) async fn write(&mut self, batch: &Batch<C>, work: Work, intake: &mut Intake) -> Written {
        self.waited = Duration::ZERO;
        match self.try_write(batch, work, intake).await {
            Ok(written) => written,
            Err(leave) => Written::Nothing(leave),
        }
    }

    async fn try_write(&mut self, batch: &Batch<C>, work: Work, intake: &mut Intake) -> Result<Written, Leave> {
        let source = self.source;
        let shutdown = self.shutdown;
        let mut backoff = self.backoff();
        let slow_max = if intake.is_part(batch.ranges()) { 1 } else { SLOW_IN_A_ROW };
        let mut slow = 0;
        loop {
            // Each attempt takes its own turn: the time between two attempts is not the database's.
            let turn = beside(self.turn(batch, work), read_ahead(source, intake, shutdown)).await;
            let error = match beside(self.sink.write(batch), read_ahead(source, intake, shutdown)).await {
                Ok(receipt) => {
                    turn.end(Ending::Committed);
                    self.state.set(LaneState::Working);
                    return Ok(Written::Whole(receipt));
                }
                Err(error) => {
                    turn.end(error.ending());
                    error
                }
            };
            slow = if error.recovery() == Recovery::Split { slow + 1 } else { 0 };
            match error {
                // Another lane of this process has already taken its leases.
                SinkError::Fenced { .. } if self.is_reassigned() => return Err(Leave::Reassigned),
                error @ SinkError::Fenced { .. } => {
                    // With jitter, so that two processes that both claim it do not keep taking it from each other.
                    tokio::time::sleep(backoff.next_wait()).await;
                    if let Err(error) = self.source.confirm().await {
                        tracing::warn!(error = %chain(&error), "it is not known who owns the partitions now");
                    }
                    return Err(Leave::Retake(error.to_string()));
                }
                error @ (SinkError::Moved { .. } | SinkError::Resumed { .. }) => {
                    return Err(Leave::Retake(error.to_string()));
                }
                error if slow >= slow_max => {
                    self.progress.retried();
                    self.state.set(LaneState::Working);
                    return Ok(Written::TooSlow { reason: chain(&error) });
                }
                error => {
                    intake.stuck();
                    self.wait_out("write a batch", &error, &mut backoff).await?;
                }
            }
        }
    }

    /// Waits until this batch may be written.
    async fn turn(&mut self, batch: &Batch<C>, work: Work) -> Turn {
        let Bounds { gate, cap, .. } = self.bounds;
        let began = Instant::now();
        self.state.waits();
        cap.pass(work.records, || gate.gate().capped()).await;
        // A range without records counts as accepted now.
        let oldest_ms = batch.records().iter().map(|record| record.published_at_ms).min().unwrap_or_else(now_ms);
        let turn = gate.enter(oldest_ms, work).await;
        self.state.waits_no_more();
        self.state.beat();
        self.waited += began.elapsed();
        turn
    }

    /// Gives back a batch that took too long in one piece, to be taken again in parts.
    pub(crate) fn divide(&self, intake: &mut Intake, batch: Batch<C>, reason: &str, took: Duration) {
        let records = batch.records().len();
        let partitions = batch.ranges().len();
        let first = batch.ranges().first();
        let (partition, from) = first.map(|range| (&range.partition, &range.from)).unzip();
        let partition = partition.map(tracing::field::display);
        let from = from.map(tracing::field::display);
        if records > 1 {
            tracing::warn!(partition, from, partitions, records, error = %reason, "too slow in one piece: it is divided");
        } else {
            tracing::warn!(partition, from, error = %reason, "one record is too slow: it waits and holds its partition");
        }
        for range in batch.ranges() {
            let reason = format!("partition {} waits at {}: {reason}", range.partition, range.from);
            self.progress.slow(&range.partition, reason);
        }
        intake.divide(batch.into_taken(), took, &self.backoff());
    }
}

/// Runs `other` for as long as `work` takes.
async fn beside<T>(work: impl Future<Output = T>, other: impl Future<Output = Infallible>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = other => match never {},
    }
}

/// Fills the queues until it is dropped or the process shuts down. An error ends it: the next fetch meets it again.
async fn read_ahead(source: &dyn Source, intake: &mut Intake, shutdown: &CancellationToken) -> Infallible {
    loop {
        let wants = intake.wants();
        if wants.is_empty() {
            break;
        }
        let fetched = tokio::select! {
            fetched = source.fetch(&wants, IDLE_WAIT) => fetched,
            () = shutdown.cancelled() => break,
        };
        match fetched {
            Ok(batches) => intake.accept(batches),
            Err(_) => break,
        }
    }
    std::future::pending().await
}
