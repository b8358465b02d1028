//! Streams to read from.

#[cfg(feature = "log")]
pub mod log;
