//! Streams to append to: where `POST /v1/events` and a bridged queue put what they took.
//!
//! There is no transaction here as there is with the tables: at least once. That does no harm, because every table is
//! the same whatever order and number its events came in.

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
    /// The bytes as they came.
    pub payload: Bytes,
}

/// A stream that records can be appended to.
#[async_trait]
pub trait Append: Send + Sync + fmt::Debug {
    /// Appends records and returns once the stream has every one of them durably.
    ///
    /// Records of one key keep their order within a call, and over calls made one after another. After an error any of
    /// the records may be in the stream; appending all of them again is harmless.
    async fn append(&self, records: Vec<NewRecord>) -> Result<(), AppendError>;
}

/// Why an append is not known to be durable as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The process is shutting down.
    #[error("the stream is closed")]
    Closed,
    /// One of the records can never be taken, and says why; nothing was stored.
    #[error("{0}")]
    Refused(String),
    /// The stream has no room; it takes appends again by itself once there is some.
    #[error("{0}")]
    Full(String),
    /// The stream did not take everything, and says why; trying again may help.
    #[error("{0}")]
    NotDurable(String),
}
