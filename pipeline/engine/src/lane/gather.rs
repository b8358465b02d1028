//! How a lane takes a batch: fetching, lingering, and the size of the batch.

use std::time::Duration;

use tokio::time::Instant;

use super::{DECISION_LOOK, IDLE_WAIT, Lane, Leave};
use crate::batch::Taken;
use crate::bounds::Bounds;
use crate::concurrency::Work;
use crate::decode::Columns;
use crate::intake::Intake;
use crate::progress::LaneState;
use crate::sink::SinkError;
use crate::source::{Record, SourceError, Want};

impl<C: Columns> Lane<'_, C> {
    /// Fetches until a batch is full, its oldest record has waited long enough, or a part of an earlier batch is due.
    /// At shutdown, takes one more batch of the records in hand; the rest was only read ahead, and is read again.
    pub(crate) async fn gather(&mut self, intake: &mut Intake) -> Result<(Vec<Taken>, Work), Leave> {
        let mut backoff = self.backoff();
        // Records that the batch before left over have waited already.
        let mut first_seen = (!intake.is_empty()).then(Instant::now);
        let mut looked_last = false;
        let mut confirmed = Instant::now();
        loop {
            self.look_around(intake, &mut confirmed).await?;
            let wants = intake.wants();
            let records_max = self.records_max();
            let bytes_max = intake.batch_bytes(self.limits);
            let full = intake.records() >= records_max || intake.bytes() >= bytes_max || wants.is_empty();
            let rest = intake.part_due().map(|due| due.saturating_duration_since(Instant::now()));
            let stopping = self.shutdown.is_cancelled();
            let whole = !intake.is_empty() && (full || looked_last || stopping) && !self.is_last;
            if whole || rest.is_some_and(|rest| rest.is_zero()) {
                return Ok(self.take(intake, records_max));
            }
            if stopping {
                return Err(if rest.is_some() { Leave::Interrupted } else { Leave::Drained });
            }
            let mut wait = rest.map_or(IDLE_WAIT, |rest| rest.min(IDLE_WAIT));
            if let Some(at) = first_seen.filter(|_: &Instant| !intake.is_empty()) {
                let linger = self.bounds.gate.linger(self.limits.batch.linger).saturating_sub(at.elapsed());
                wait = wait.min(linger);
                if linger.is_zero() || self.is_at_end(&wants) {
                    // Records that arrive meanwhile are read by one fetch: one per append costs more than its records.
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.shutdown.cancelled() => continue,
                        _ = self.share.changed() => return Err(Leave::Reassigned),
                    }
                    looked_last = wait == linger;
                    wait = Duration::ZERO;
                }
            }
            let fetched = tokio::select! {
                fetched = self.source.fetch(&wants, wait) => fetched,
                () = self.shutdown.cancelled() => continue,
                _ = self.share.changed() => return Err(Leave::Reassigned),
            };
            match fetched {
                Ok(batches) => {
                    backoff.reset();
                    self.state.set(LaneState::Working);
                    intake.accept(batches);
                    if rest.is_some() {
                        // A part that rests on purpose is no stall.
                        self.state.beat();
                    }
                }
                // The records in hand were read before it, and may no longer be anywhere else.
                Err(SourceError::Gap { .. } | SourceError::Damaged { .. }) if !intake.is_empty() => {
                    return Ok(self.take(intake, records_max));
                }
                Err(error @ (SourceError::Gap { .. } | SourceError::Damaged { .. })) => {
                    return Err(Leave::Retake(error.to_string()));
                }
                Err(error) => match self.source_failed(&error, &mut backoff).await {
                    // A shutdown does not need the stream any more.
                    Err(Leave::Interrupted) => continue,
                    waited => waited?,
                },
            }
            if first_seen.is_none() && !intake.is_empty() {
                first_seen = Some(Instant::now());
                self.state.holds_since(Some(intake.oldest_ms().unwrap_or(i64::MAX)));
            }
        }
    }

    /// Checks between two fetches whether the lane has other partitions now, which shares are paused, and, now and
    /// then while there is nothing to write, whether its leases are still its own.
    async fn look_around(&mut self, intake: &Intake, confirmed: &mut Instant) -> Result<(), Leave> {
        if self.is_reassigned() || self.is_decision_due() {
            return Err(Leave::Reassigned);
        }
        self.look_if_due().await;
        if intake.is_empty() && confirmed.elapsed() >= DECISION_LOOK {
            *confirmed = Instant::now();
            // A database that is away is noticed when there is something to write.
            if let Err(lost @ SinkError::Fenced { .. }) = self.sink.confirm().await {
                return Err(Leave::Retake(lost.to_string()));
            }
        }
        Ok(())
    }

    /// How many records a batch may hold now.
    fn records_max(&self) -> usize {
        let Bounds { gate, cap, limits, .. } = self.bounds;
        gate.pace().records.min(limits.batch.records_max).min(cap.records_max()).max(1)
    }

    /// Takes a batch, and describes it for the spread and the controller.
    fn take(&mut self, intake: &mut Intake, records_max: usize) -> (Vec<Taken>, Work) {
        self.is_last = self.shutdown.is_cancelled();
        let mut taken = intake.take(records_max, intake.batch_bytes(self.limits));
        for part in &mut taken {
            part.era = self.source.era(&part.partition, &part.next);
        }
        let all = || taken.iter().flat_map(|taken| &taken.records);
        let records = all().count();
        let bytes = all().map(Record::cost_bytes).sum();
        // What is left may be the beginning of the next batch, or a few that came in the meantime.
        let is_limited = records >= records_max || intake.records() > 0;
        let full = is_limited && intake.records().saturating_add(self.lag_records(intake)).saturating_mul(2) >= records;
        self.bounds.spread.taken(full);
        (taken, Work { pipeline: 0, records, bytes, full })
    }

    /// Records of the lane's partitions that are in the stream and not in its hands, as far as is known.
    fn lag_records(&self, intake: &Intake) -> usize {
        let lag = |want: Want| self.source.lag_records(&want.partition, &want.from);
        let all = intake.wants().into_iter().filter_map(lag).fold(0, u64::saturating_add);
        usize::try_from(all).unwrap_or(usize::MAX)
    }

    /// Whether the source has nothing more of these partitions, as far as it knows.
    fn is_at_end(&self, wants: &[Want]) -> bool {
        wants.iter().all(|want| self.source.lag_records(&want.partition, &want.from) == Some(0))
    }
}
