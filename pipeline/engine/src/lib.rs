//! The pipeline: source -> decode -> batch -> sink -> commit.
//!
//! Guarantees: a position moves only with a [`Receipt`] for every record before it; every event ends as written,
//! filtered or quarantined, and is counted; nothing is dropped silently; every queue, wait and retry has a limit.
//! This crate names no vendor: sources and sinks are connectors behind [`Source`] and [`Sink`].
//!
//! The modules stand in the order in which a record meets them; `flow` is the whole pipeline, read forwards. Above it,
//! `keep` restarts the flow of a lane, and `run` begins it for every lane.

pub mod position;

pub mod gap;

pub mod source;

mod assign;

pub mod memory;

pub mod intake;

pub mod decode;

pub mod share;

pub mod batch;

pub mod sink;

pub mod commit;

pub mod concurrency;

pub mod gate;

mod cap;

mod spread;

mod bounds;

pub mod lane;

mod flow;

mod keep;

pub mod run;

pub mod clock;
pub mod limits;
pub mod retry;

pub mod flood;
pub mod histogram;
pub mod named;
pub mod progress;
pub mod watchdog;

pub mod task;

#[cfg(feature = "testing")]
pub mod testing;

pub use batch::{Batch, Outcome, Range, Receipt, Unbalanced};
pub use commit::Checkpoint;
pub use decode::Decode;
pub use flood::{FloodLimits, Irrefusable, OnFlood};
pub use gap::{Gap, OnGap, goes_on_at};
pub use gate::Gate;
pub use limits::{BatchLimits, Limits};
pub use memory::Budget;
pub use named::Named;
pub use position::{Partition, Position};
pub use progress::{Progress, Snapshot, Verdict};
pub use retry::{Pressure, Recovery};
pub use run::{Pipeline, Summary, run};
pub use share::{Pause, Share, Standing};
pub use sink::{Held, Sink, SinkError};
pub use source::{Record, RecordBatch, Source, SourceError, Want};
