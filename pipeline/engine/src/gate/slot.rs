//! The places of pipelines at a gate: their numbers are the indices of these.

use std::sync::Arc;
use std::time::Duration;

/// A place of a pipeline at the gate.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    /// Whether a pipeline has it now.
    pub(super) taken: bool,
    pub(super) freshness: Option<Duration>,
}

impl Slot {
    /// The first place, before any pipeline has joined.
    pub(super) fn first() -> Self {
        Slot { name: Arc::from(""), taken: false, freshness: None }
    }
}
