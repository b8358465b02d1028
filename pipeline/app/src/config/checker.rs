//! `[checker]`: the part that probes tasks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;

/// The checker.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checker {
    /// Whether this process checks tasks; checkers divide the tasks among them.
    pub enabled: bool,
    /// Time between probes of a task, such as `5s`.
    #[serde(with = "duration")]
    pub interval: Duration,
    /// Maximum probes per second of this process; with more tasks the interval grows.
    pub probes_per_second_max: u32,
}

impl Default for Checker {
    fn default() -> Self {
        Checker { enabled: false, interval: Duration::from_secs(5), probes_per_second_max: 1_000 }
    }
}
