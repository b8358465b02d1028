//! One transaction: lease rows locked and checked, rows, quarantine, counters, positions, commit.

use millstream_engine::{Batch, Outcome, Recovery, SinkError};
use millstream_postgres::Connection;
use sqlx::AssertSqlSafe;

use super::Metadata;
use super::apply::{Applied, Care};
use super::columns::Columns;
use super::counts::Slot;
use super::error::{Fault, failed};
use super::isolate::apply_isolating;
use super::lease::{Fence, random_uuid};
use super::{quarantine, shares};

/// Transactions begun for one batch before the engine is asked to wait: each resolves one race or up to 32 savepoints'
/// worth of bad records.
const ATTEMPTS_MAX: u32 = 1_000;
/// Slots that there are, as in `slot_lease.sql`: more than any database bears writers.
const SLOTS: u32 = 1_024;

impl Metadata {
    /// Writes a batch, in as many transactions as it takes to get one through.
    pub(super) async fn transact(
        &mut self,
        connection: &mut Connection,
        batch: &Batch<Columns>,
    ) -> Result<Outcome, SinkError> {
        if self.slot.is_none() {
            enter(connection).await.map_err(|error| failed("lease a counter slot", error))?;
            let slot = lease_slot(connection).await?;
            leave(connection).await.map_err(|error| failed("lease a counter slot", error))?;
            self.slot = Some(slot);
        }
        let mut care = Care::Optimistic;
        for _ in 0..ATTEMPTS_MAX {
            let fault = match self.attempt(connection, batch, care).await {
                Ok(outcome) => {
                    self.segments.committed();
                    self.leases.committed(batch.ranges());
                    return Ok(outcome);
                }
                Err(fault) => fault,
            };
            self.segments.rolled_back();
            let raced = fault.is_key_race();
            if raced {
                self.lookup.surprised();
            }
            let again = if raced || matches!(fault, Fault::Again) {
                care = Care::Locked;
                true
            } else {
                fault.blames_record()
            };
            if !again {
                return Err(fault.into_sink_error("write a batch"));
            }
            rollback(connection).await.map_err(|error| failed("roll back", error))?;
        }
        Err(Fault::Again.into_sink_error("write a batch"))
    }

    async fn attempt(
        &mut self,
        connection: &mut Connection,
        batch: &Batch<Columns>,
        care: Care,
    ) -> Result<Outcome, Fault> {
        let Some(slot) = self.slot.clone() else { return Err(Fault::Again) };
        // A call that was dropped before its COMMIT has told nobody that it was rolled back.
        self.segments.rolled_back();
        begin(connection, &self.options.set_local).await.map_err(Fault::ours)?;

        if self.leases.check(connection, &self.options, batch).await? == Fence::Passed {
            rollback(connection).await.map_err(Fault::ours)?;
            return self.resolved(batch);
        }
        // Whatever was sent before, it did not take effect.
        self.pending = None;

        shares::check(connection, &self.options, batch).await?;

        let Applied { mut outcome, deltas } =
            apply_isolating(connection, batch.columns(), care, &self.lookup, &mut self.verdicts).await?;

        if !self.verdicts.refused.is_empty() {
            outcome.isolating_tries = self.verdicts.tries.into();
        }
        let quarantined = quarantine::write(connection, &self.options, batch, &self.verdicts.refused).await?;
        (outcome.quarantined, outcome.bad) = (quarantined.events, quarantined.bad);

        deltas.write(connection, &slot, &mut self.segments).await?;

        self.leases.advance(connection, &self.options, batch, &slot).await?;

        for (reason, events) in &batch.columns().filtered {
            outcome.filter(reason, *events);
        }
        outcome.named.clone_from(&batch.columns().named);
        self.pending = Some((batch.ranges().to_vec(), outcome.clone()));
        let committed = commit(connection).await.map_err(Fault::ours);
        if committed.as_ref().is_err_and(Fault::is_too_slow) {
            // An answer, too: PostgreSQL cancelled it and rolled back.
            self.pending = None;
        }
        committed?;
        Ok(outcome)
    }

    /// The batch is committed although nobody told us: its outcome is the one that was sent with COMMIT.
    fn resolved(&self, batch: &Batch<Columns>) -> Result<Outcome, Fault> {
        match &self.pending {
            Some((ranges, outcome)) if ranges == batch.ranges() => {
                tracing::info!("the answer to COMMIT was lost; the stored positions show that it took effect");
                Ok(outcome.clone())
            }
            // Positions that we never sent: someone else moved them.
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

/// Begins a transaction with our settings, then those that the configuration adds.
pub(super) async fn begin(connection: &mut Connection, set_local: &str) -> Result<(), sqlx::Error> {
    begin_with(connection, include_str!("sql/transaction_begin.sql"), set_local).await
}

/// Before a statement that is committed by itself. Behind a pooler there is nothing outside of transactions; elsewhere
/// one would be two more answers to wait for, and to lose.
pub(super) async fn enter(connection: &mut Connection) -> Result<(), sqlx::Error> {
    let set_local = connection.set_local().to_owned();
    if connection.is_pooled() { begin_with(connection, "BEGIN;", &set_local).await } else { Ok(()) }
}

/// After it failed: behind a pooler nothing else can be said in its transaction.
pub(super) async fn give_up(connection: &mut Connection) -> Result<(), sqlx::Error> {
    if connection.is_pooled() { rollback(connection).await } else { Ok(()) }
}

/// After it.
pub(super) async fn leave(connection: &mut Connection) -> Result<(), sqlx::Error> {
    if connection.is_pooled() { commit(connection).await } else { Ok(()) }
}

async fn begin_with(connection: &mut Connection, statements: &str, set_local: &str) -> Result<(), sqlx::Error> {
    let statements = format!("{statements}\n{set_local}");
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await.map(drop)
}

pub(super) async fn commit(connection: &mut Connection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("COMMIT").execute(connection).await.map(drop)
}

pub(super) async fn rollback(connection: &mut Connection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("ROLLBACK").execute(connection).await.map(drop)
}

/// Leases a slot of the counters that no other writer has.
pub(super) async fn lease_slot(connection: &mut Connection) -> Result<Slot, SinkError> {
    let token = random_uuid();
    // Each answer without a slot means that another writer got one: as many tries as there are slots are enough.
    for _ in 0..SLOTS {
        let leased: Option<i16> = sqlx::query_scalar(include_str!("sql/slot_lease.sql"))
            .bind(&token)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| failed("lease a counter slot", error))?;
        if let Some(number) = leased {
            return Ok(Slot { number, token });
        }
    }
    let source = "every counter slot is leased to a writer that was active within the hour".into();
    Err(SinkError::Failed { doing: "lease a counter slot", recovery: Recovery::Alarm, pressure: None, source })
}
