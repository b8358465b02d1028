//! Streams to append to: `POST /v1/events` and bridged queues put their events here.
//!
//! Unlike the tables these have no transaction: at least once. That does no harm, because the order and the number of
//! repeats of events do not change the tables.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

#[cfg(feature = "log")]
mod log;

#[cfg(feature = "kafka")]
pub mod kafka;

#[cfg(feature = "kinesis")]
pub mod kinesis;

#[cfg(feature = "sqs")]
mod sqs;

/// A record on its way into a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// The entity key: records of one key stay in order, whatever partition the stream chooses for it.
    pub key: Bytes,
    /// Name and value, in order.
    pub headers: Vec<(Box<str>, Bytes)>,
    /// The bytes as they were received.
    pub payload: Bytes,
}

/// A stream that records can be appended to.
#[async_trait]
pub trait Append: Send + Sync + fmt::Debug {
    /// Appends records and returns once the stream has every one of them durably.
    ///
    /// Records of one key keep their order within a call, and over successive calls. After an error any of the records
    /// may be in the stream; appending all of them again is harmless.
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), AppendError>;
}

/// Why an append may not be durable as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The process is shutting down.
    #[error("the stream is closed")]
    Closed,
    /// The stream can never take one of the records, for this reason; nothing was stored.
    #[error("{0}")]
    Refused(String),
    /// The stream is full; it accepts appends again by itself once it has room.
    #[error("{0}")]
    Full(String),
    /// The stream did not take everything, for this reason; a retry may help.
    #[error("{0}")]
    NotDurable(String),
}
