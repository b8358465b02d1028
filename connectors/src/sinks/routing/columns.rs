//! The events of a batch: partial facts, each with the record it came in.

use millstream_engine::decode::Columns as EngineColumns;
use millstream_schemas::tasks::TaskEvent;

use crate::sinks::tables::columns::{Events, Settled};

/// About what an event takes in memory: a struct of two dozen members with short texts.
const EVENT_BYTES: usize = 1_024;

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The record it came in, as an index into the batch.
    pub record: u32,
    /// What it tells.
    pub event: TaskEvent,
}

/// The decoded events of a batch. Tasks change seldom: a struct for each event costs nothing that matters.
#[derive(Debug, Default)]
pub struct Columns {
    /// Events to write.
    pub events: Vec<Event>,
    /// Events that are settled already.
    pub settled: Settled,
}

impl EngineColumns for Columns {
    fn events(&self) -> usize {
        self.events.len() + self.settled.events() as usize
    }

    fn unpacked_bytes(&self) -> usize {
        self.events.len().saturating_mul(EVENT_BYTES)
    }
}

impl Events for Columns {
    fn settled(&self) -> &Settled {
        &self.settled
    }

    fn records(&self) -> impl Iterator<Item = u32> {
        self.events.iter().map(|event| event.record)
    }
}
