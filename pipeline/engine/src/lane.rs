//! One lane: a group of partitions with a writer of its own. The steps of `flow`.

mod again;
mod aside;
mod gather;
mod write;

pub(crate) use aside::look_at_shares;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::Receipt;
use crate::bounds::Bounds;
use crate::clock::now_ms;
use crate::decode::Columns;
use crate::gap::{Gap, OnGap, goes_on_at};
use crate::intake::Intake;
use crate::limits::Limits;
use crate::position::{Partition, Position};
use crate::progress::{Lane as LaneProgress, LaneState, Progress};
use crate::retry::{Backoff, Recovery};
use crate::sink::{Held, Sink, SinkError};
use crate::source::{Source, SourceError};

/// How long a fetch waits when there is nothing new. It only delays a shutdown with a source that cannot be woken; new
/// records end the wait at once.
const IDLE_WAIT: Duration = Duration::from_millis(500);

/// How often a lane with a halted partition, or without work, checks whether a person moved a position.
pub(crate) const DECISION_LOOK: Duration = Duration::from_secs(5);

/// What a lane works with.
pub(crate) struct Lane<'a, C> {
    pub(crate) source: &'a dyn Source,
    pub(crate) sink: &'a mut dyn Sink<Columns = C>,
    /// The partitions of this lane, as they come and go.
    pub(crate) share: &'a mut watch::Receiver<Vec<Partition>>,
    /// When the lane began with these partitions.
    pub(crate) began: Instant,
    pub(crate) limits: &'a Limits,
    pub(crate) bounds: &'a Bounds,
    /// How long the batch in hand has waited for turns and for the operator's cap.
    pub(crate) waited: Duration,
    /// Whether the batch in hand was taken at shutdown, as the last one.
    pub(crate) is_last: bool,
    pub(crate) progress: &'a Progress,
    pub(crate) state: &'a LaneProgress,
    pub(crate) shutdown: &'a CancellationToken,
}

/// Why a lane left its loop.
#[derive(Debug)]
pub(crate) enum Leave {
    /// Leases or positions have changed: the lane takes its leases again.
    Retake(String),
    /// The lane has other partitions now.
    Reassigned,
    /// Shutdown, and every batch under way is written.
    Drained,
    /// Shutdown while the sink was away: the records in hand are read again after the restart.
    Interrupted,
    /// A person must decide.
    Halted(String),
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Written {
    /// It is in the sink.
    Whole(Receipt),
    /// Not written: the batch takes too long in one piece.
    TooSlow {
        /// What the sink reported.
        reason: String,
    },
    /// Not written, and the lane cannot go on as it is.
    Nothing(Leave),
}

impl<C: Columns> Lane<'_, C> {
    /// Takes the leases of the lane's share and begins at the stored positions.
    pub(crate) async fn acquire(&mut self, intake: &mut Intake) -> Result<(), Leave> {
        let share = self.share.borrow_and_update().clone();
        let mut backoff = self.backoff();
        let held = loop {
            match self.sink.acquire(&share).await {
                Ok(held) => break held,
                Err(SinkError::MadeAnew { gaps, .. }) if self.limits.on_gap == OnGap::GoOn => {
                    self.begin_anew(gaps).await?;
                }
                Err(error) => self.wait_out("take leases", &error, &mut backoff).await?,
            }
            if self.is_reassigned() {
                return Err(Leave::Reassigned);
            }
        };
        self.look_at_shares().await?;
        let mut positions = Vec::with_capacity(held.len());
        for lease in held {
            if let Some(reason) = &lease.halted {
                self.tell_halt(&lease.partition, reason);
                continue;
            }
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

    /// Whether the lane's partitions have changed since it took its leases.
    fn is_reassigned(&self) -> bool {
        // The sender is dropped only when the pipeline ends.
        self.share.has_changed().unwrap_or(false)
    }

    /// Whether it is time to check if a person decided how a halted partition goes on.
    fn is_decision_due(&self) -> bool {
        self.began.elapsed() >= DECISION_LOOK && self.progress.is_halted(&self.share.borrow())
    }

    /// The position to read a partition from; `None` if records were lost or damaged and a person must decide.
    async fn start(&mut self, lease: &Held) -> Result<Option<Position>, Leave> {
        let mut backoff = self.backoff();
        let mut lease = lease.clone();
        let mut passed: Option<Gap> = None;
        loop {
            let error = match self.source.start(&lease.partition, lease.next.as_ref(), lease.era).await {
                Ok(position) => return Ok(Some(position)),
                Err(error) => error,
            };
            if let Some(gap) = error.gap() {
                if self.limits.on_gap == OnGap::GoOn {
                    if passed.as_ref() == Some(&gap) {
                        self.tell_unreadable(&gap);
                        return Ok(None);
                    }
                    lease = self.begin_again(&gap, &error).await?;
                    passed = Some(gap);
                    continue;
                }
                // The mark in the lease halts the partition from now on, also for its next owner.
                self.sink.record_gap(&gap).await.map_err(|error| Leave::Retake(chain(&error)))?;
                self.tell_halt(&lease.partition, &gap.to_string());
                return Ok(None);
            }
            if let SourceError::Damaged { partition, reason } = &error {
                if self.progress.halt(partition, reason.clone()) {
                    tracing::error!(%partition, reason, "records cannot be read: the partition is halted");
                }
                return Ok(None);
            }
            self.source_failed(&error, &mut backoff).await?;
        }
    }

    /// Reports that a partition is halted because records were lost, and how to end the halt.
    fn tell_halt(&self, partition: &Partition, reason: &str) {
        let go_on = format!(
            "nothing of it is written until you decide: `millstream positions show` lists what is lost, \
             `millstream positions reset --pipeline {} --partition {partition} --to {}` goes on with what is left",
            self.progress.pipeline,
            goes_on_at(reason),
        );
        if self.progress.halt(partition, format!("{reason}; {go_on}")) {
            tracing::error!(%partition, reason, "records were lost: the partition is halted");
        }
    }

    /// Notes in the progress, the queues and the lane's state that a batch is in the sink.
    pub(crate) fn landed(&self, intake: &mut Intake, receipt: &Receipt, took: Duration) {
        intake.moves();
        self.progress.wrote(receipt, took, now_ms());
        for partition in intake.written(receipt.ranges()) {
            tracing::info!(%partition, "divided batch written");
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
            Recovery::Retry | Recovery::Split => {
                self.progress.retried();
                let wait = backoff.next_wait();
                // Only failures that last are logged at a higher level, once for the whole process.
                tracing::debug!(doing, error = %cause, attempt = backoff.attempts(), wait_ms = wait.as_millis() as u64, "failed, retrying");
                self.brake(cause, wait).await
            }
            Recovery::Alarm => {
                self.progress.retried();
                tracing::debug!(doing, error = %cause, "the database must be mended");
                self.brake(format!("the database must be mended, nothing is lost: {cause}"), self.limits.retry_cap)
                    .await
            }
            Recovery::Halt => Err(Leave::Halted(cause)),
        }
    }

    async fn source_failed(&mut self, error: &SourceError, backoff: &mut Backoff) -> Result<(), Leave> {
        let cause = chain(error);
        if error.recovery() == Recovery::Halt {
            return Err(Leave::Halted(cause));
        }
        self.progress.retried();
        tracing::debug!(error = %cause, attempt = backoff.attempts(), "the stream does not answer");
        self.brake(format!("the stream does not answer: {cause}"), backoff.next_wait()).await
    }

    async fn brake(&mut self, reason: String, wait: Duration) -> Result<(), Leave> {
        self.state.set(LaneState::Braked(reason));
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = self.shutdown.cancelled() => Err(Leave::Interrupted),
        }
    }
}

/// An error with its causes, in one line. A cause that the line already has is left out: many errors repeat theirs.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    for cause in std::iter::successors(error.source(), |error| error.source()) {
        let said = cause.to_string();
        if !line.contains(&said) {
            line = format!("{line}: {said}");
        }
    }
    without_place(&line)
}

/// Removes the line number in the database's own source that its driver adds: no user has that file.
fn without_place(line: &str) -> String {
    let mut parts = line.split(" at line ");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|digit: char| digit.is_ascii_digit());
        if rest.len() == part.len() || !(rest.is_empty() || rest.starts_with(':')) {
            kept += " at line ";
            kept += part;
        } else {
            kept += rest;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Said(&'static str, #[source] Option<Box<Said>>);

    #[test]
    fn a_cause_is_said_once() {
        let of = |outer, inner| chain(&Said(outer, Some(Box::new(Said(inner, None)))));
        assert_eq!(
            of("write a batch: refused (os error 111)", "refused (os error 111)"),
            "write a batch: refused (os error 111)"
        );
        assert_eq!(of("write a batch", "no room"), "write a batch: no room");
        let denied = "denied for table objects at line 3655";
        assert_eq!(of(denied, "denied for table objects"), "denied for table objects");
        assert_eq!(of("bad JSON at line 2 column 3", "bad"), "bad JSON at line 2 column 3");
    }
}
