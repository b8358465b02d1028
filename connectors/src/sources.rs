//! Streams to read from.

#[cfg(feature = "kafka")]
pub mod kafka;

#[cfg(feature = "log")]
pub mod log;
