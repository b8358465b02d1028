//! One lane: a group of partitions with a writer of its own. The steps of the loop in [`crate::run()`].

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::{Batch, Receipt, Taken};
use crate::concurrency::{Ending, Work};
use crate::decode::Columns;
use crate::gate::Turn;
use crate::intake::Intake;
use crate::limits::Limits;
use crate::progress::{Lane as LaneProgress, LaneState, Progress};
use crate::retry::{Backoff, Recovery};
use crate::run::{Bounds, now_ms};
use crate::sink::{Gap, Held, Sink, SinkError};
use crate::source::{Partition, Position, Record, Source, SourceError, Want};

/// How long a fetch waits when there is nothing. Only bounds how late a shutdown is seen by a source that cannot be
/// woken; new records end the wait at once.
const IDLE_WAIT: Duration = Duration::from_millis(500);

/// How often a halted partition is looked at: whether somebody said how to go on.
pub(crate) const DECISION_LOOK: Duration = Duration::from_secs(5);

/// How often a batch may be too slow in a row before it is divided: the first time may have been bad luck with a lock.
/// A part of such a batch has been too slow already.
const SLOW_IN_A_ROW: u32 = 2;

/// What a lane works with.
pub(crate) struct Lane<'a, C> {
    pub(crate) source: &'a dyn Source,
    pub(crate) sink: &'a mut dyn Sink<Columns = C>,
    /// The partitions of this lane, as they come and go.
    pub(crate) share: &'a mut watch::Receiver<Vec<Partition>>,
    /// When it began with these.
    pub(crate) began: Instant,
    pub(crate) limits: &'a Limits,
    pub(crate) bounds: &'a Bounds,
    /// How long the batch in hand has waited for turns and for the operator's cap.
    pub(crate) waited: Duration,
    pub(crate) progress: &'a Progress,
    pub(crate) state: &'a LaneProgress,
    pub(crate) shutdown: &'a CancellationToken,
}

/// Why a lane left its loop.
#[derive(Debug)]
pub(crate) enum Leave {
    /// Leases or positions are not what they were: take them again.
    Retake(String),
    /// The lane has other partitions now.
    Reassigned,
    /// Asked to stop, with nothing unwritten in hand.
    Drained,
    /// Asked to stop while the sink was away: what was in hand is read again next time.
    Interrupted,
    /// A person must decide.
    Halted(String),
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Written {
    /// It is in the sink.
    Whole(Receipt),
    /// Nothing of it: it takes too long in one piece.
    TooSlow {
        /// What the sink said.
        reason: String,
    },
    /// Nothing of it, and the lane cannot go on as it is.
    Nothing(Leave),
}

impl<C: Columns> Lane<'_, C> {
    /// Takes the leases of the lane's share and begins where the tables are.
    pub(crate) async fn acquire(&mut self, intake: &mut Intake) -> Result<(), Leave> {
        let share = self.share.borrow_and_update().clone();
        let mut backoff = self.backoff();
        let held = loop {
            match self.sink.acquire(&share).await {
                Ok(held) => break held,
                Err(error) => self.wait_out("take leases", &error, &mut backoff).await?,
            }
            if self.is_reassigned() {
                return Err(Leave::Reassigned);
            }
        };
        let mut positions = Vec::with_capacity(held.len());
        for lease in held {
            if let Some(position) = self.start(&lease).await? {
                self.progress.started_at(&lease.partition, &position);
                positions.push((lease.partition, position));
            }
        }
        if positions.is_empty() && !share.is_empty() {
            return Err(Leave::Halted("every partition of the lane is halted".to_owned()));
        }
        self.state.set(LaneState::Working);
        intake.restart(positions);
        Ok(())
    }

    /// Whether the lane has other partitions than those it took the leases of.
    fn is_reassigned(&self) -> bool {
        // Who assigns is gone only at the very end.
        self.share.has_changed().unwrap_or(false)
    }

    /// Whether it is time to look if somebody said how a halted partition goes on.
    fn is_decision_due(&self) -> bool {
        self.began.elapsed() >= DECISION_LOOK && self.progress.is_halted(&self.share.borrow())
    }

    /// Where to read a partition from; `None` when something was lost and a person must say how to go on.
    async fn start(&mut self, lease: &Held) -> Result<Option<Position>, Leave> {
        let mut backoff = self.backoff();
        loop {
            let error = match self.source.start(&lease.partition, lease.next.as_ref()).await {
                Ok(position) => return Ok(Some(position)),
                Err(error) => error,
            };
            if let SourceError::Gap { partition, stored, start, reason, .. } = &error {
                let gap = Gap {
                    partition: partition.clone(),
                    from: stored.clone(),
                    to: start.clone(),
                    reason: (*reason).to_owned(),
                };
                self.sink.record_gap(&gap).await.map_err(|error| Leave::Retake(error.to_string()))?;
                let go_on = format!(
                    "to go on with what is left, run `millstream positions reset --pipeline {} --partition {partition} --to earliest`",
                    self.progress.pipeline,
                );
                if self.progress.halt(partition, format!("{error}; {go_on}")) {
                    tracing::error!(%partition, %error, %go_on, "records were lost: the partition is halted until told to go on");
                }
                return Ok(None);
            }
            self.source_failed(&error, &mut backoff).await?;
        }
    }

    /// Waits for as long as the pipeline is paused.
    pub(crate) async fn go_ahead(&mut self) -> Result<(), Leave> {
        let mut paused = self.progress.paused();
        if paused.borrow().is_none() {
            return Ok(());
        }
        self.state.set(LaneState::Paused);
        tokio::select! {
            _ = paused.wait_for(Option::is_none) => {}
            () = self.shutdown.cancelled() => return Err(Leave::Interrupted),
        }
        self.state.beat();
        self.state.set(LaneState::Working);
        Ok(())
    }

    /// Fetches until a batch is full, its oldest record has waited long enough, a part of an earlier one is due, or it is
    /// time to stop.
    pub(crate) async fn gather(&mut self, intake: &mut Intake) -> Result<(Vec<Taken>, Work), Leave> {
        let mut backoff = self.backoff();
        // What was left over by the batch before has waited already.
        let mut first_seen = (!intake.is_empty()).then(Instant::now);
        let mut looked_last = false;
        loop {
            if self.is_reassigned() || self.is_decision_due() {
                return Err(Leave::Reassigned);
            }
            let wants = intake.wants();
            let (records_max, bytes_max) = (self.records_max(), self.limits.batch_bytes());
            let full = intake.records() >= records_max || intake.bytes() >= bytes_max || wants.is_empty();
            let rest = intake.part_due().map(|due| due.saturating_duration_since(Instant::now()));
            let whole = !intake.is_empty() && (full || looked_last || self.shutdown.is_cancelled());
            if whole || rest.is_some_and(|rest| rest.is_zero()) {
                return Ok(self.take(intake, records_max));
            }
            if self.shutdown.is_cancelled() {
                return Err(if rest.is_some() { Leave::Interrupted } else { Leave::Drained });
            }
            let mut wait = rest.map_or(IDLE_WAIT, |rest| rest.min(IDLE_WAIT));
            if let Some(at) = first_seen.filter(|_: &Instant| !intake.is_empty()) {
                let linger = self.bounds.gate.linger(self.limits.batch.linger).saturating_sub(at.elapsed());
                wait = wait.min(linger);
                if linger.is_zero() || self.is_at_end(&wants) {
                    // What arrives meanwhile is read in one go: a fetch for each append costs more than its records.
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
                        // What rests on purpose does not stand still.
                        self.state.beat();
                    }
                }
                // What is in hand was read before it, and may be nowhere else any more.
                Err(SourceError::Gap { .. }) if !intake.is_empty() => {
                    return Ok(self.take(intake, records_max));
                }
                Err(gap @ SourceError::Gap { .. }) => return Err(Leave::Retake(gap.to_string())),
                Err(error) => self.source_failed(&error, &mut backoff).await?,
            }
            if first_seen.is_none() && !intake.is_empty() {
                first_seen = Some(Instant::now());
                self.state.holds_since(Some(intake.oldest_ms().unwrap_or(i64::MAX)));
            }
        }
    }

    /// How many records a batch may hold just now.
    fn records_max(&self) -> usize {
        let Bounds { gate, cap, limits, .. } = self.bounds;
        gate.pace().records.min(limits.batch.records_max).min(cap.records_max()).max(1)
    }

    /// Takes a batch, and tells what it is to who decides about the pace.
    fn take(&self, intake: &mut Intake, records_max: usize) -> (Vec<Taken>, Work) {
        let taken = intake.take(records_max, self.limits.batch_bytes());
        let all = || taken.iter().flat_map(|taken| &taken.records);
        let (records, bytes) = (all().count(), all().map(Record::cost_bytes).sum());
        // What is left may be the beginning of the next batch, or a few that came in the meantime.
        let is_limited = records >= records_max || intake.records() > 0;
        let full = is_limited && (intake.records() + self.lag_records(intake)) * 2 >= records;
        self.bounds.spread.taken(full);
        (taken, Work { records, bytes, full })
    }

    /// Records of the lane's partitions that are in the stream and not in its hands, as far as is known.
    fn lag_records(&self, intake: &Intake) -> usize {
        let lag = |want: Want| self.source.lag_records(&want.partition, &want.from);
        usize::try_from(intake.wants().into_iter().filter_map(lag).sum::<u64>()).unwrap_or(usize::MAX / 4)
    }

    /// Whether the source has nothing more of these partitions, as far as it knows.
    fn is_at_end(&self, wants: &[Want]) -> bool {
        wants.iter().all(|want| self.source.lag_records(&want.partition, &want.from) == Some(0))
    }

    /// Writes a batch, trying again for as long as the sink asks for that.
    /// Meanwhile the queues are filled again, so that a batch waits for no fetch when there is a backlog.
    pub(crate) async fn write(&mut self, batch: &Batch<C>, work: Work, intake: &mut Intake) -> Written {
        self.waited = Duration::ZERO;
        match self.try_write(batch, work, intake).await {
            Ok(written) => written,
            Err(leave) => Written::Nothing(leave),
        }
    }

    async fn try_write(&mut self, batch: &Batch<C>, work: Work, intake: &mut Intake) -> Result<Written, Leave> {
        let (source, mut backoff) = (self.source, self.backoff());
        let slow_max = if intake.is_part(batch.ranges()) { 1 } else { SLOW_IN_A_ROW };
        let mut slow = 0;
        loop {
            // Each attempt by itself: what lies between two of them is not the database's doing.
            let turn = beside(self.turn(batch, work), read_ahead(source, intake)).await;
            let error = match beside(self.sink.write(batch), read_ahead(source, intake)).await {
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
                // Another lane of ours has taken its leases over already.
                SinkError::Fenced { .. } if self.is_reassigned() => return Err(Leave::Reassigned),
                error @ SinkError::Fenced { .. } => {
                    // With jitter, so that two who both believe to own it do not keep taking it from each other.
                    tokio::time::sleep(backoff.next_wait()).await;
                    if let Err(error) = self.source.confirm().await {
                        tracing::warn!(error = %chain(&error), "it is not known who owns the partitions now");
                    }
                    return Err(Leave::Retake(error.to_string()));
                }
                error @ SinkError::Moved { .. } => return Err(Leave::Retake(error.to_string())),
                error if slow >= slow_max => {
                    self.progress.retried();
                    self.state.set(LaneState::Working);
                    return Ok(Written::TooSlow { reason: chain(&error) });
                }
                error => self.wait_out("write a batch", &error, &mut backoff).await?,
            }
        }
    }

    /// Waits until this batch may be written.
    async fn turn(&mut self, batch: &Batch<C>, work: Work) -> Turn {
        let Bounds { gate, cap, .. } = self.bounds;
        let began = Instant::now();
        self.state.waits();
        cap.pass(work.records, || gate.capped()).await;
        // A range without records is as old as it is new.
        let oldest_ms = batch.records().iter().map(|record| record.published_at_ms).min().unwrap_or_else(now_ms);
        let turn = gate.enter(oldest_ms, work).await;
        self.state.waits_no_more();
        self.state.beat();
        self.waited += began.elapsed();
        turn
    }

    /// Gives a batch back that took too long in one piece, to be taken again in parts.
    pub(crate) fn divide(&self, intake: &mut Intake, batch: Batch<C>, reason: &str, took: Duration) {
        let (records, partitions) = (batch.records().len(), batch.ranges().len());
        let first = batch.ranges().first();
        let (partition, from) = first.map(|range| (&range.partition, &range.from)).unzip();
        let (partition, from) = (partition.map(tracing::field::display), from.map(tracing::field::display));
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

    /// Notes everywhere that a batch is in the sink.
    pub(crate) fn landed(&self, intake: &mut Intake, receipt: &Receipt, took: Duration) {
        self.progress.wrote(receipt, took, now_ms());
        self.progress.watch_flood(&self.limits.flood, receipt.outcome());
        for partition in intake.written(receipt.ranges()) {
            tracing::info!(%partition, "what was too slow in one piece is written");
            self.progress.slow_no_more(&partition);
        }
        self.state.beat();
        self.state.holds_since(intake.oldest_ms());
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.limits.retry_base, self.limits.retry_cap)
    }

    async fn wait_out(&mut self, doing: &'static str, error: &SinkError, backoff: &mut Backoff) -> Result<(), Leave> {
        let cause = chain(error);
        match error.recovery() {
            recovery @ (Recovery::Retry { .. } | Recovery::Split) => {
                self.progress.retried();
                let asked = if let Recovery::Retry { after: Some(after) } = recovery { after } else { Duration::ZERO };
                let wait = asked.max(backoff.next_wait());
                tracing::warn!(doing, error = %cause, attempt = backoff.attempts(), wait_ms = wait.as_millis() as u64, "the sink asks to wait");
                self.brake(cause, wait).await
            }
            Recovery::Alarm => {
                self.progress.retried();
                tracing::error!(doing, error = %cause, "the database must be mended; no record is lost, the pipeline waits");
                self.brake(cause, self.limits.retry_cap).await
            }
            Recovery::Quarantine | Recovery::Halt => Err(Leave::Halted(cause)),
        }
    }

    async fn source_failed(&mut self, error: &SourceError, backoff: &mut Backoff) -> Result<(), Leave> {
        let cause = chain(error);
        if error.recovery() == Recovery::Halt {
            return Err(Leave::Halted(cause));
        }
        self.progress.retried();
        tracing::warn!(error = %cause, attempt = backoff.attempts(), "the stream does not answer");
        self.brake(cause, backoff.next_wait()).await
    }

    async fn brake(&mut self, reason: String, wait: Duration) -> Result<(), Leave> {
        self.state.set(LaneState::Braked(reason));
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.shutdown.cancelled() => Err(Leave::Interrupted),
        }
    }
}

/// Does something else for as long as the work takes.
async fn beside<T>(work: impl Future<Output = T>, other: impl Future<Output = Infallible>) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = other => match never {},
    }
}

/// Fills the queues until it is dropped. Whatever goes wrong is met again by who needs the records.
async fn read_ahead(source: &dyn Source, intake: &mut Intake) -> Infallible {
    loop {
        let wants = intake.wants();
        if wants.is_empty() {
            break;
        }
        match source.fetch(&wants, IDLE_WAIT).await {
            Ok(batches) => intake.accept(batches),
            Err(_) => break,
        }
    }
    std::future::pending().await
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
