//! How far the tables are behind a stream, in time.

use millstream_engine::Snapshot;

use super::shared::App;

/// Age of the oldest record that is not in the tables.
pub(super) fn lag_seconds(app: &App, index: usize, now: &Snapshot, lag_records: u64) -> Option<f64> {
    let age = |at_ms: i64| millstream_engine::clock::now_ms().saturating_sub(at_ms).max(0) as f64 / 1000.0;
    if lag_records == 0 {
        // An alert must not fall silent because the lag is unknown.
        return Some(app.looks.blind_since_ms(index).map_or(0.0, age));
    }
    let oldest_ms = now.oldest_ms.into_iter().chain(app.looks.oldest_unwritten_ms(index)).min()?;
    Some(age(oldest_ms))
}
