//! Object events into `millstream.objects`, with exact counters.
//!
//! Guarantees, beside those of [`tables`](super::tables): any order, duplication and split of the same events gives the
//! same rows, and counters change with the rows they count.
//!
//! The flow, by file: bytes become columns ([`columns`]); columns are folded by key (`fold`), compared with the stored
//! rows and written (`apply`), and counted (`counts`, `counters`). All domains share the rest of the transaction.

pub mod columns;

mod decode;

mod fold;

mod apply;
mod copy;
mod lookup;
mod stored;
mod versions;

mod counters;
mod counts;
mod gathered;
mod segments;
mod slot;

pub mod recount;

pub use decode::Decoder;

use std::time::Duration;

use async_trait::async_trait;
use millstream_engine::SinkError;
use millstream_postgres::Connection;
use millstream_schemas::Limits;

use super::tables::error::Fault;
use super::tables::redrive::Redrive;
use super::tables::rows::{Applied, Care, Include, Rows};
use super::tables::{Options, Writer};
use columns::Columns;
use counts::Deltas;
use lookup::Lookup;
use segments::Segments;
use slot::Slot;

/// A writer of objects.
pub type Metadata = Writer<Objects>;

/// The rows of `millstream.objects`, for one writer.
#[derive(Debug)]
pub struct Objects {
    slot: Option<Slot>,
    renew_slot_every: Duration,
    segments: Segments,
    lookup: Lookup,
}

impl Objects {
    /// `segments_max` limits the first path segments that are counted of a bucket; objects of others are counted in the
    /// bucket only.
    pub fn new(segments_max: i32) -> Self {
        Objects::sharing(segments_max, Lookup::default())
    }

    fn sharing(segments_max: i32, lookup: Lookup) -> Self {
        Objects { slot: None, renew_slot_every: slot::RENEW_EVERY, segments: Segments::new(segments_max), lookup }
    }

    /// Sets how often its counter slot is renewed: at least every hour, or another writer may take it.
    pub fn renewing_slots_every(self, renew_slot_every: Duration) -> Self {
        Objects { renew_slot_every, ..self }
    }
}

/// Rewrites quarantined records of objects; `limits` and `segments_max` are those of their pipeline.
pub fn redrive(limits: Limits, segments_max: i32, set_local: String, dry_run: bool) -> Redrive<Objects, Decoder> {
    // Every row of the quarantine names its store, so there is no default.
    let decoder = Decoder { store: String::new(), limits };
    Redrive::new(Objects::new(segments_max), decoder, set_local, dry_run)
}

impl Metadata {
    /// The writers of one pipeline. They share the set of keys that they wrote lately.
    pub fn several(options: Options, segments_max: i32, count: usize) -> impl Iterator<Item = Self> {
        let lookup = Lookup::default();
        (0..count).map(move |_| Writer::new(options.clone(), Objects::sharing(segments_max, lookup.clone())))
    }
}

#[async_trait]
impl Rows for Objects {
    type Columns = Columns;
    type Left = Deltas;

    fn settings(&self) -> &'static str {
        include_str!("metadata/sql/objects_settings.sql")
    }

    async fn before(&mut self, connection: &mut Connection) -> Result<(), SinkError> {
        let former = self.slot.as_ref().map(|slot| slot.number);
        Slot::keep(&mut self.slot, self.renew_slot_every, connection).await?;
        if self.slot.as_ref().map(|slot| slot.number) != former {
            self.segments.slot_changed();
        }
        Ok(())
    }

    async fn enter(&mut self, _: &mut Connection, _: &Columns) -> Result<(), Fault> {
        Ok(())
    }

    async fn apply(
        &mut self,
        connection: &mut Connection,
        columns: &Columns,
        include: Include<'_>,
        care: Care,
    ) -> Result<Applied<Deltas>, Fault> {
        match apply::apply(connection, columns, include, care, &self.lookup).await {
            Err(Fault::Data(error)) if is_key_race(&error) => {
                self.lookup.surprised();
                Err(Fault::Again)
            }
            applied => applied,
        }
    }

    async fn finish(&mut self, connection: &mut Connection, deltas: Deltas) -> Result<(), Fault> {
        let slot = match &self.slot {
            Some(slot) => slot.clone(),
            // A dry run: the slot is leased until the transaction is rolled back.
            None => Slot::lease(connection).await.map_err(Fault::Fence)?,
        };
        counters::write(connection, &deltas, &slot, &mut self.segments).await
    }

    fn committed(&mut self) {
        self.segments.committed();
    }

    fn rolled_back(&mut self) {
        self.segments.rolled_back();
    }
}

/// Whether a COPY failed because a key exists: another writer was faster, or it was not looked up. No record's fault.
fn is_key_race(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().as_deref() == Some("23505") && error.constraint() == Some("objects_pkey")
}
