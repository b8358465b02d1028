//! One transaction: lease rows locked and checked, rows, quarantine, what the domain adds, positions, commit.

use millstream_engine::{Batch, Outcome, SinkError};
use millstream_postgres::Connection;

use super::columns::Events as _;
use super::error::{Fault, failed};
use super::isolate::apply_isolating;
use super::lease::Fence;
use super::rows::{Applied, Care, Rows};
use super::session::{begin, commit, rollback};
use super::{Writer, quarantine, shares};

/// Attempts per batch before the error is returned to the engine. Each attempt settles one race or up to 32 savepoints
/// of bad records.
const ATTEMPTS_MAX: u32 = 1_000;

impl<R: Rows> Writer<R> {
    /// Writes a batch: starts transactions until one commits.
    pub(super) async fn transact(
        &mut self,
        connection: &mut Connection,
        batch: &Batch<R::Columns>,
    ) -> Result<Outcome, SinkError> {
        self.rows.before(connection).await?;
        let mut care = Care::Optimistic;
        for _ in 0..ATTEMPTS_MAX {
            let fault = match self.attempt(connection, batch, care).await {
                Ok(outcome) => {
                    self.rows.committed();
                    self.leases.committed(batch.ranges());
                    return Ok(outcome);
                }
                Err(fault) => fault,
            };
            self.rows.rolled_back();
            match fault {
                Fault::Again => care = Care::Locked,
                fault if fault.blames_record() => {}
                fault => return Err(fault.into_sink_error("write a batch")),
            }
            rollback(connection).await.map_err(|error| failed("roll back", error))?;
        }
        Err(Fault::Again.into_sink_error("write a batch"))
    }

    async fn attempt(
        &mut self,
        connection: &mut Connection,
        batch: &Batch<R::Columns>,
        care: Care,
    ) -> Result<Outcome, Fault> {
        // A call that was dropped before its COMMIT has not reported its rollback.
        self.rows.rolled_back();
        begin(connection, self.rows.settings(), &self.options.set_local).await.map_err(Fault::ours)?;

        if self.leases.check(connection, &self.options, batch.ranges()).await? == Fence::Passed {
            rollback(connection).await.map_err(Fault::ours)?;
            return self.resolved(batch);
        }
        // A COMMIT that was sent before did not take effect.
        self.pending = None;

        shares::check(connection, &self.options.pipeline, batch.paused()).await?;

        self.rows.enter(connection, batch.columns()).await?;
        let Applied { mut outcome, left } =
            apply_isolating(&mut self.rows, connection, batch.columns(), care, &mut self.verdicts).await?;

        if !self.verdicts.refused.is_empty() {
            outcome.isolating_tries = self.verdicts.tries.into();
        }
        let quarantined = quarantine::write(connection, &self.options, batch, &self.verdicts.refused).await?;
        outcome.quarantined = quarantined.events;
        outcome.bad = quarantined.bad;
        outcome.dropped = quarantined.dropped;

        self.rows.finish(connection, left).await?;

        self.leases.advance(connection, &self.options, batch.ranges()).await?;

        let settled = batch.columns().settled();
        for (reason, events) in &settled.filtered {
            outcome.filter(reason, *events);
        }
        outcome.named.clone_from(&settled.named);
        self.pending = Some((batch.ranges().to_vec(), outcome.clone()));
        let committed = commit(connection).await.map_err(Fault::ours);
        if committed.as_ref().is_err_and(Fault::is_too_slow) {
            // An answer, too: PostgreSQL cancelled it and rolled back.
            self.pending = None;
        }
        committed?;
        Ok(outcome)
    }

    /// The batch is committed although we got no answer: its outcome is the one that was sent with COMMIT.
    fn resolved(&self, batch: &Batch<R::Columns>) -> Result<Outcome, Fault> {
        match &self.pending {
            Some((ranges, outcome)) if ranges == batch.ranges() => {
                tracing::info!("the answer to COMMIT was lost; the stored positions show that it took effect");
                Ok(outcome.clone())
            }
            // We never sent these positions: another writer moved them.
            _ => {
                let range = batch.ranges().first();
                let partition = range.map(|range| range.partition.clone());
                Err(Fault::Fence(SinkError::Moved {
                    partition: partition.unwrap_or_else(|| millstream_engine::Partition::new("")),
                    stored: range.map(|range| range.next.clone()),
                }))
            }
        }
    }
}
