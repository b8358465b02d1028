//! How long the oldest record waits for others when there is no backlog.
//!
//! As long as the freshness goal allows: fewer, larger transactions cost the database least. What a transaction itself
//! takes is spent first, then some for noticing; waiting never takes more than half of the goal.

use std::time::Duration;

use super::Settings;
use super::cost::Cost;

/// What passes between a record's being due and its transaction's being begun, at worst, in seconds.
const NOTICED_WITHIN: f64 = 0.020;

/// Waiting less saves nothing.
const SECONDS_MIN: f64 = 0.005;

/// The wait that keeps events as fresh as they shall be.
pub(super) fn linger(settings: &Settings, cost: &Cost) -> Duration {
    let goal = settings.freshness.as_secs_f64().min(3600.0);
    let left = goal - cost.long_seconds() - NOTICED_WITHIN;
    Duration::from_secs_f64(left.min(goal / 2.0).max(SECONDS_MIN.min(goal / 2.0)).max(0.0))
}
