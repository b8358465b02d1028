//! Streams to read from.

#[cfg(feature = "kafka")]
pub mod kafka;

#[cfg(feature = "log")]
pub mod log;

#[cfg(feature = "kinesis")]
pub mod kinesis;
#[cfg(feature = "sqs")]
pub mod sqs;
