//! The contract of a [`Source`], for streams of every kind.
//!
//! [`Abilities`] tells how streams differ, so that one suite fits the embedded log, whose offsets are dense, a log with
//! compaction and transaction markers, and shards whose positions are text. A check of what a stream cannot do prints
//! that and passes. A queue keeps no deleted record and has no positions of its own: as a [`Source`] it numbers the
//! records in hand, and lacks [`Abilities::replays`]; bridged into a stream it passes every check.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Partition, Source};

mod reader;

pub mod order;

pub mod resume;

pub mod fetch;

/// A stream for a test: empty, used by no other test, with at least two partitions unless it never has
/// ([`Abilities::several`]).
#[async_trait]
pub trait Fixture: Send {
    /// How this stream differs from others.
    fn abilities(&self) -> Abilities;

    /// Opens the source as a process that has just started does: MUST NOT pass on anything that an earlier source knew.
    /// Sources opened before are not used again.
    async fn open(&mut self) -> Arc<dyn Source>;

    /// Adds records to the end of a partition, as a producer does; returns once the stream has accepted them.
    async fn publish(&mut self, partition: &Partition, records: &[NewRecord]);

    /// Removes some but not all of the oldest records of a partition, as retention does, of 2 MB in 20 parts. Sources
    /// opened before are not used again. Called only where [`Abilities::expires`].
    async fn expire(&mut self, partition: &Partition);

    /// Leaves a range without records at the end of a partition. Called only where [`Abilities::skips`].
    async fn skip(&mut self, partition: &Partition);

    /// Deletes the stream and makes it anew under its name. Called only where [`Abilities::recreates`], before
    /// [`Fixture::open`].
    async fn recreate(&mut self);
}

/// How a stream differs from others.
#[derive(Clone, Debug)]
pub struct Abilities {
    /// Whether positions are offsets that count records one by one. Else offsets only rise, and text is only compared.
    pub dense: bool,
    /// Bytes by which the records of one partition may exceed what was asked for, beside a first record that is larger:
    /// for streams that hand out what was compressed together as a whole.
    pub overshoot_bytes: usize,
    /// Whether records keep headers.
    pub headers: bool,
    /// Whether the source knows how many records are left: exactly, or only whether there are any.
    pub lag: Lag,
    /// Whether records come in the order in which they were published. Otherwise they have a fixed order of their own.
    pub ordered: bool,
    /// Whether a process may have several partitions.
    pub several: bool,
    /// Whether another process can read again what one has read: from a stored position on, with its records at their
    /// positions, and whatever was committed. A queue gives uncommitted records again, as new ones.
    pub replays: bool,
    /// Whether old records can be removed on demand.
    pub expires: bool,
    /// Whether there are ranges without records.
    pub skips: bool,
    /// Whether the stream can be deleted and made anew.
    pub recreates: bool,
    /// The longest that a healthy stream takes to show a published record, and to answer at all. Waits end when the
    /// record is there, so a generous value costs nothing but the time to fail.
    pub patience: Duration,
    /// This many small records make a backlog far larger than a fetch.
    pub backlog: u64,
}

/// How precisely a source knows how many records are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// To the record.
    Exact,
    /// 0 only if there are none, and otherwise more.
    Rough,
    /// Not at all.
    Unknown,
}

/// A record to publish.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NewRecord {
    /// The key; which partition it goes to is the test's choice.
    pub key: Bytes,
    /// Name and value, in order; names may repeat.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// Any bytes.
    pub payload: Bytes,
}

impl fmt::Debug for NewRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A failing test shows many records; their beginnings tell them apart.
        let start = String::from_utf8_lossy(self.payload.get(..20).unwrap_or(&self.payload)).into_owned();
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        write!(f, "{:?} {names:?} {start:?} of {} bytes", self.key, self.payload.len())
    }
}

/// The partitions that a newly opened source may read, once it knows them.
async fn partitions(source: &dyn Source, abilities: &Abilities) -> Vec<Partition> {
    let mut assignment = source.assignment();
    let several = assignment.wait_for(|partitions| partitions.len() > usize::from(abilities.several));
    let several = tokio::time::timeout(abilities.patience, several).await.expect("partitions are assigned");
    several.expect("a source that lives").clone()
}

/// Records that their number tells apart, each with a payload of `bytes` bytes.
fn numbered(numbers: std::ops::Range<u64>, bytes: usize) -> Vec<NewRecord> {
    let record = |number: u64| {
        let mut payload = format!("record {number} ").into_bytes();
        // Bytes that do not compress, and that are no text.
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        payload.resize_with(bytes.max(payload.len()), || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        NewRecord { key: format!("key {number}").into(), headers: Vec::new(), payload: payload.into() }
    };
    numbers.map(record).collect()
}

/// Printed instead of a check that does not apply to a stream.
#[expect(clippy::print_stdout, reason = "a test's output is where it is looked for")]
fn not_applicable(why: &str) {
    println!("not checked: this stream {why}");
}
