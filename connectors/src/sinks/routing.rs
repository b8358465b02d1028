//! Events of tasks, deploys and health into the fact tables of `millstream`, with the log that gateways follow.
//!
//! Guarantees, beside those of [`tables`](super::tables): any order, duplication and split of the same events gives the
//! same facts; every change has a number without gaps, in the order of the commits, and every commit has a hash of all
//! facts after it, so that a follower knows whether it has missed anything.
//!
//! The flow, by file: bytes become facts (`decode`, `columns`); a transaction takes its turn ([`turn`]), reads the
//! stored facts ([`stored`]), folds the events into them (`fold`), writes the rows and then the log ([`log`]). Routes,
//! which are set by people and not by events, are written in the same way.

mod columns;
mod decode;

pub mod turn;

pub mod stored;

mod fold;

pub mod log;

pub mod edit;

pub mod purge;

pub use columns::Columns;
pub use decode::Decoder;

use async_trait::async_trait;
use millstream_engine::SinkError;
use millstream_postgres::Connection;

use super::tables::Writer;
use super::tables::error::Fault;
use super::tables::redrive::Redrive;
use super::tables::rows::{Applied, Care, Include, Rows};
use fold::{Floors, fold};
use log::Change;
use turn::Turn;

/// A writer of tasks.
pub type Routing = Writer<Tasks>;

/// The rows of the fact tables, for one writer.
#[derive(Debug, Default)]
pub struct Tasks {
    /// The turn of the transaction under way.
    turn: Option<Turn>,
}

/// Rewrites quarantined records of tasks.
pub fn redrive(decoder: Decoder, set_local: String, dry_run: bool) -> Redrive<Tasks, Decoder> {
    Redrive::new(Tasks::default(), decoder, set_local, dry_run)
}

#[async_trait]
impl Rows for Tasks {
    type Columns = Columns;
    type Left = Vec<Change>;

    fn settings(&self) -> &'static str {
        ""
    }

    async fn before(&mut self, _: &mut Connection) -> Result<(), SinkError> {
        Ok(())
    }

    async fn enter(&mut self, connection: &mut Connection, columns: &Columns) -> Result<(), Fault> {
        self.turn = match columns.events.is_empty() {
            // It would make everybody wait, and write nothing.
            true => None,
            false => Some(Turn::take(connection).await?),
        };
        Ok(())
    }

    async fn apply(
        &mut self,
        connection: &mut Connection,
        columns: &Columns,
        include: Include<'_>,
        _: Care,
    ) -> Result<Applied<Vec<Change>>, Fault> {
        let Some(turn) = &self.turn else { return Ok(Applied::default()) };
        let events: Vec<_> = columns.events.iter().filter(|event| include.has(event.record)).collect();
        let stored = stored::read(connection, events.iter().map(|event| event.event.fact.key())).await?;
        let floors = Floors::read(connection).await?;
        let folded = fold(&events, stored, &floors);
        stored::write(connection, turn, &folded.left).await?;
        Ok(folded)
    }

    async fn finish(&mut self, connection: &mut Connection, changes: Vec<Change>) -> Result<(), Fault> {
        match &self.turn {
            Some(turn) => log::write(connection, turn, &changes).await,
            None => Ok(()),
        }
    }

    fn committed(&mut self) {
        self.turn = None;
    }

    fn rolled_back(&mut self) {
        self.turn = None;
    }
}
