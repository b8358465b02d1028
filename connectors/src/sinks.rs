//! Sinks: tables and streams to write to.

#[cfg(feature = "metadata")]
pub mod metadata;

#[cfg(feature = "routing")]
pub mod routing;

pub mod stream;

#[cfg(feature = "tables")]
pub mod tables;
