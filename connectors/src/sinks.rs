//! Sinks: tables and streams to write to.

#[cfg(feature = "metadata")]
pub mod metadata;

pub mod stream;

#[cfg(feature = "tables")]
pub mod tables;
