//! No silent stall: a lane that has work and does not move is restarted, which is logged and counted.
//!
//! It does not fire while the sink is braked or the lane waits for a turn: waiting for the database is no stall.
//! Restarting is safe at any moment, because a lane begins at the stored positions.

use std::time::Duration;

use crate::progress::Lane;

/// Returns when the lane has had work, was not braked, and did not move for `limit`.
pub(crate) async fn stalled(lane: &Lane, has_lag: impl Fn() -> bool, limit: Duration) {
    let mut seen = lane.beats();
    let mut still = Duration::ZERO;
    // Four looks per limit: a stall is found at most a quarter late.
    let step = limit / 4;
    loop {
        tokio::time::sleep(step).await;
        let beats = lane.beats();
        if beats != seen || !lane.is_working() || !(lane.holds_work() || has_lag()) {
            seen = beats;
            still = Duration::ZERO;
            continue;
        }
        still += step;
        if still >= limit {
            return;
        }
    }
}
