//! Sources that read streams, and sinks that write tables. One feature each.

pub mod sources;

pub mod sinks;

#[cfg(feature = "sqs")]
pub mod bridge;

#[cfg(feature = "kinesis")]
pub mod kinesis;

#[cfg(feature = "assignment")]
pub mod assignment;
