//! Tables to write to.

#[cfg(feature = "metadata")]
pub mod metadata;
