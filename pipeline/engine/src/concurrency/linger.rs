//! How long the oldest record waits for others when there is no backlog.
//!
//! As long as the freshness goal allows: fewer, larger transactions cost the database least. A transaction's own time
//! comes off the goal first, then some for noticing; waiting never takes more than half of the goal. With a goal of a
//! few milliseconds nothing waits: the records that come while one transaction runs are the next.

use std::time::Duration;

use super::Settings;
use super::cost::Cost;

/// The longest time from when a record is due to when its transaction begins, in seconds.
const NOTICED_WITHIN: f64 = 0.020;

/// The shortest wait, in seconds: waiting less saves nothing, and so is left out.
const SECONDS_MIN: f64 = 0.005;

/// The wait that keeps events within the freshness goal.
pub(super) fn linger(settings: &Settings, cost: &Cost) -> Duration {
    let goal = settings.freshness.as_secs_f64().min(3600.0);
    let left = goal - cost.long_seconds() - NOTICED_WITHIN;
    let most = goal / 2.0;
    if most < SECONDS_MIN {
        return Duration::ZERO;
    }
    Duration::from_secs_f64(left.clamp(SECONDS_MIN, most))
}
