//! Stage 1: where records come from.
//!
//! A source has no memory of its own: the engine says from which position it wants to read, and that position came
//! from the sink. On a crash nothing is lost, because nothing was kept here. To add one, implement [`Source`] and run
//! its contract suite, `testing::source`. A queue has no positions and forgets deleted records: it keeps the whole
//! contract except what the suite does not check for streams that cannot be read again.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::position::{Partition, Position};
use crate::{Checkpoint, Gap, Recovery};

/// What a source delivers at one position. It decodes to zero or more events.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its place in the partition. Reading from here MUST begin with this record: batches are cut between any two.
    pub position: Position,
    /// When the stream accepted it, in milliseconds since 1970: freshness counts from here.
    pub published_at_ms: i64,
    /// The entity key that chose the partition.
    pub key: Bytes,
    /// Name and value, in the order sent.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// The bytes as the producer sent them.
    pub payload: Bytes,
}

impl Record {
    /// What this record costs in memory: its bytes and a rough overhead.
    pub fn cost_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 48).sum();
        self.payload.len() + self.key.len() + headers + 128
    }
}

/// Consecutive records of one partition.
#[derive(Clone, Debug)]
pub struct RecordBatch {
    /// The partition of these records.
    pub partition: Partition,
    /// The records, in order; may be empty when only the position moved (control records, compaction).
    pub records: Vec<Record>,
    /// Where reading goes on after these.
    pub next: Position,
}

/// A request for the records of one partition.
#[derive(Clone, Debug)]
pub struct Want {
    /// The partition to read.
    pub partition: Partition,
    /// The first position wanted.
    pub from: Position,
    /// About how many bytes ([`Record::cost_bytes`]); a source gives at least one record if it has any, however large.
    pub bytes_max: usize,
}

/// A stream of records in partitions.
///
/// One source serves all lanes of a process at once, each with partitions of its own: a lane that waits MUST NOT keep
/// another waiting. Positions mean something only together with the incarnation; within it a record keeps its position,
/// key, headers, time and bytes for as long as the stream has it.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// Which stream this is: it changes when a topic is deleted and made again, so that old positions are never
    /// applied to new data.
    fn incarnation(&self) -> &str;

    /// The partitions that this process may read, as they come and go: sorted, each once. Other processes may read the
    /// rest of the stream. Lanes take the leases of partitions that come, and stop reading those that go.
    fn assignment(&self) -> watch::Receiver<Vec<Partition>>;

    /// Returns once the source has heard from the assigner of partitions since the call: a process that slept while it
    /// was replaced must not trust an old [`Source::assignment`]. Called before a lease is taken back from another.
    async fn confirm(&self) -> Result<(), SourceError>;

    /// Returns the position to begin at, given the stored position (`None`: never read before, so the oldest record)
    /// and its era, as [`Source::era`] returned it when it was stored (`None`: not known).
    ///
    /// MUST fail with [`SourceError::Gap`] if the stored position can no longer be read, never existed, or is of an era
    /// that the stream does not have up to there: the records before it are now others.
    async fn start(
        &self,
        partition: &Partition,
        stored: Option<&Position>,
        era: Option<i64>,
    ) -> Result<Position, SourceError>;

    /// The era in which the record before a position was written, as far as the source knows. A partition begins a new
    /// era whenever its end may have gone back: an opening of the embedded log, a leader epoch of Kafka. So the same
    /// position of another era may be another record. Called when a position is about to be stored.
    fn era(&self, partition: &Partition, next: &Position) -> Option<i64>;

    /// Reads from the wanted positions. While there is nothing at all, waits up to `wait`, but no longer than until
    /// there is something.
    ///
    /// MUST return records in order and without a gap from `from`; from a position that the stream does not have it
    /// MUST fail with [`SourceError::Gap`], from one that it cannot read with [`SourceError::Damaged`], instead of
    /// skipping or waiting; `start` then fails in the same way. MUST move `next` past positions without records. Is
    /// cancel-safe: it keeps no state that a dropped call could lose.
    async fn fetch(&self, wants: &[Want], wait: Duration) -> Result<Vec<RecordBatch>, SourceError>;

    /// Opens connections anew: a lane stood still although there was work. Records fetched before may come again.
    fn revive(&self);

    /// Tells the stream up to which positions the sink has everything durably. Telemetry only: lag exporters
    /// read it, recovery never does, and a later fetch from an earlier position MUST still give its records. A queue is
    /// the exception: it deletes here, and only here, so that a fetch from an earlier position is a gap.
    async fn commit(&self, checkpoint: &Checkpoint) -> Result<(), SourceError>;

    /// Ends reading: its partitions may go to others at once, nothing is fetched any more. Takes some seconds at most.
    async fn close(&self);

    /// How many records stand between `next` and the end of the partition, if the source knows. 0 only if there are
    /// none: otherwise the watchdog would take a stall for rest.
    fn lag_records(&self, partition: &Partition, next: &Position) -> Option<u64>;
}

/// Why a source could not deliver.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Records were lost between the stored position and what the stream still has.
    #[error("partition {partition}: position {stored} cannot be read, the stream holds {start} to {end}: {reason}")]
    Gap {
        /// The partition concerned.
        partition: Partition,
        /// The position that the tables are at.
        stored: Position,
        /// The oldest position the stream has.
        start: Position,
        /// The end of what the stream holds of the history that the tables were filled from.
        end: Position,
        /// What happened, in words for the operator.
        reason: Cow<'static, str>,
    },
    /// Records of one partition cannot be read, but are not known to be lost: the partition waits until the stream is
    /// repaired or a person gives them up. The other partitions go on.
    #[error("partition {partition}: {reason}")]
    Damaged {
        /// The partition concerned.
        partition: Partition,
        /// What is damaged and what to do about it, in words for the operator.
        reason: String,
    },
    /// The stream does not answer; retrying may help.
    #[error("read the stream")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The stream is damaged or misconfigured; retrying cannot help.
    #[error("read the stream")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl SourceError {
    /// The range of positions that is lost, to be recorded; `None` for any other error.
    pub fn gap(&self) -> Option<Gap> {
        let SourceError::Gap { partition, stored, start, end, reason } = self else { return None };
        // The tables are ahead of the stream: it no longer has the records between its end and their position.
        let is_ahead = matches!((stored, end), (Position::Offset(stored), Position::Offset(end)) if stored > end);
        let (from, to) = if is_ahead { (end, stored) } else { (stored, start) };
        Some(Gap {
            partition: partition.clone(),
            from: from.clone(),
            to: to.clone(),
            reason: reason.clone().into_owned(),
        })
    }

    /// What the engine does about it.
    pub fn recovery(&self) -> Recovery {
        match self {
            SourceError::Unavailable(_) => Recovery::Retry,
            SourceError::Gap { .. } | SourceError::Damaged { .. } | SourceError::Broken(_) => Recovery::Halt,
        }
    }
}
