//! The contract of a [`Sink`], whatever it writes to.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use crate::decode::Columns;
use crate::{Decode, Gap, Partition, Position, Sink};

mod bench;

pub mod positions;

pub mod fence;

pub mod account;

pub mod dropped;

/// Tables for a test: empty, and used by no other test.
///
/// Payloads hold one event each. Events of different numbers concern different entities, so that none covers another.
#[async_trait]
pub trait Fixture: Send {
    /// The columns of the sink.
    type Columns: Columns + 'static;

    /// Makes columns of payloads.
    fn decoder(&self) -> Box<dyn Decode<Columns = Self::Columns>>;

    /// A writer of a process that has just started; earlier writers go on living beside it.
    async fn open(&mut self) -> Box<dyn Sink<Columns = Self::Columns>>;

    /// The payload of an event that is written.
    fn good(&self, number: u64) -> Bytes;

    /// Payloads that must be quarantined: one for each place that can find one bad, the decoder and the tables.
    fn bad(&self) -> Vec<Bytes>;

    /// The payload of an event that rightly changes nothing.
    fn filtered(&self) -> Bytes;

    /// Everything stored, in one snapshot. Also fails the test if the tables contradict each other.
    async fn stored(&mut self) -> Stored;
}

/// The contents of the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The stored position of each partition that has one.
    pub positions: BTreeMap<Partition, Position>,
    /// The numbers of the good events, sorted; one that took effect twice stands here twice, if that can be told.
    pub written: Vec<u64>,
    /// How many events took effect, by the sink's own counters; if it has none, the number of those written.
    pub effects: u64,
    /// The places of the records in quarantine, sorted; one that is kept twice stands here twice.
    pub quarantined: Vec<(Partition, Position)>,
    /// The gaps on record, in any order.
    pub gaps: Vec<Gap>,
}
