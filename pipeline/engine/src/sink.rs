//! Stage 4: where events take effect.
//!
//! A sink keeps positions and data together: one transaction writes the rows, the counters, the quarantine and the
//! positions, or nothing. To add one, implement [`Sink`] and run its contract suite, `testing::sink`.

use async_trait::async_trait;

use crate::batch::{Batch, Receipt, Unbalanced};
use crate::concurrency::Ending;
use crate::decode::Columns;
use crate::gap::Gap;
use crate::position::{Partition, Position};
use crate::retry::{Pressure, Recovery};
use crate::share::{Share, Standing};

/// A partition that this writer now owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The partition.
    pub partition: Partition,
    /// The position up to which its data is stored; `None` if it was never read.
    pub next: Option<Position>,
    /// The era of that position, see [`crate::Source::era`]; `None` where it is not known.
    pub era: Option<i64>,
    /// Why the partition is halted, if records were lost: it is not read until a person decides.
    pub halted: Option<String>,
}

/// A writer of batches. Each lane has its own.
///
/// Every method MUST be cancel-safe in this sense: after a call that was dropped at any moment the tables hold all of
/// its effect or none, and the writer can be used again, for the same batch or another.
#[async_trait]
pub trait Sink: Send {
    /// The columns it writes.
    type Columns: Columns;

    /// Takes the leases of partitions and returns the stored positions, exactly as they were written.
    ///
    /// MUST change epoch and token, so that earlier holders can no longer write: the positions it returns stay true
    /// until this writer moves them. A writer holds the partitions of its last call and no others. MUST fail with
    /// [`SinkError::MadeAnew`], and take nothing, while a partition has positions of another incarnation and no lease row
    /// of this one.
    async fn acquire(&mut self, partitions: &[Partition]) -> Result<Vec<Held>, SinkError>;

    /// Writes a batch in one transaction with its positions: all of its ranges move, or none.
    ///
    /// MUST fail with [`SinkError::Fenced`] if another writer has taken a lease since, even if the stored position
    /// would fit, and otherwise with [`SinkError::Moved`] if a stored position is not the one the batch begins at; then
    /// it MUST NOT have written anything. If no position is stored yet, any beginning is right. MUST be safe to call
    /// again with the same batch, also after an error or a lost answer: if the first call took effect, the second finds
    /// that out from the stored positions and returns its receipt. MUST isolate bad records and quarantine them itself.
    /// MUST fail with [`SinkError::Resumed`], and write nothing, if a share that the batch takes as paused is not paused
    /// any more: a redrive counts on finding all of its records.
    async fn write(&mut self, batch: &Batch<Self::Columns>) -> Result<Receipt, SinkError>;

    /// Fails with [`SinkError::Fenced`] if another writer has taken a lease since. Called while there is nothing to
    /// write, so that the lane reads at once from a position that a person moved.
    async fn confirm(&mut self) -> Result<(), SinkError>;

    /// Records a gap and halts its partition, both or neither: from then on [`Sink::acquire`] returns the halt,
    /// whatever happens to the stream, until a person ends it. Recording the same gap again is harmless. No other
    /// method of a sink ends a halt.
    async fn record_gap(&mut self, gap: &Gap) -> Result<(), SinkError>;

    /// Records a gap and moves the position of its partition to `to`, of era `era`, both or neither; halts nothing. The
    /// lease stays this writer's. Where there is no lease row yet, it makes one, which the next [`Sink::acquire`] takes.
    /// Doing so again is harmless.
    ///
    /// MUST fail with [`SinkError::Fenced`], and change nothing, if there is a lease row that is not this writer's.
    async fn go_on(&mut self, gap: &Gap, to: &Position, era: Option<i64>) -> Result<(), SinkError>;

    /// The record of this pipeline's shares; `None` from a sink that keeps none: then the decisions of this process
    /// hold until it ends.
    async fn shares(&mut self) -> Result<Option<Vec<Standing>>, SinkError> {
        Ok(None)
    }

    /// Records that a share is paused. Doing so again changes nothing, unless the share was resumed since.
    async fn pause_share(&mut self, _share: &Share, _reason: &str) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Another writer holds the lease of this partition now.
    #[error("the lease of partition {partition} was taken by another writer")]
    Fenced {
        /// The partition lost.
        partition: Partition,
    },
    /// The stored position is not the one the batch was built from.
    #[error("partition {partition} is stored at {}, the batch begins elsewhere", .stored.as_ref().map_or_else(|| "its beginning".to_owned(), ToString::to_string))]
    Moved {
        /// The partition concerned.
        partition: Partition,
        /// The position that is stored.
        stored: Option<Position>,
    },
    /// A share that the batch takes as paused was resumed since: its records must be decoded.
    #[error("share {share} was resumed")]
    Resumed {
        /// The share.
        share: Share,
    },
    /// The tables were filled from another incarnation of the stream.
    #[error("take leases: {reason}")]
    MadeAnew {
        /// The positions of the other incarnation that stand for records not read, which are on record as gaps.
        gaps: Vec<Gap>,
        /// What happened and what to do about it, in words for the operator.
        reason: String,
    },
    /// An operation of the database failed.
    #[error("{doing}")]
    Failed {
        /// The operation.
        doing: &'static str,
        /// What the engine does about it.
        recovery: Recovery,
        /// What the failure says about the sink's load, if anything.
        pressure: Option<Pressure>,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The sink's outcome does not account for every event.
    #[error(transparent)]
    Unbalanced(#[from] Unbalanced),
}

impl SinkError {
    /// What the engine does about it.
    pub fn recovery(&self) -> Recovery {
        match self {
            SinkError::Failed { recovery, .. } => *recovery,
            SinkError::Fenced { .. } | SinkError::Moved { .. } | SinkError::Resumed { .. } => Recovery::Retry,
            SinkError::MadeAnew { .. } | SinkError::Unbalanced(_) => Recovery::Halt,
        }
    }

    /// How an attempt with this error ended, for the controller.
    pub fn ending(&self) -> Ending {
        match self {
            SinkError::Failed { pressure: Some(Pressure::Overload), .. } => Ending::Overload,
            SinkError::Failed { pressure: Some(Pressure::Contention), .. } => Ending::Contention,
            SinkError::Failed { pressure: None, .. }
            | SinkError::Fenced { .. }
            | SinkError::Moved { .. }
            | SinkError::Resumed { .. }
            | SinkError::MadeAnew { .. }
            | SinkError::Unbalanced(_) => Ending::Other,
        }
    }
}
