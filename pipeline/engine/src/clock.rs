//! The machine's clock, which is never used for order.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970 by this machine's clock: for freshness only, never for order or leases.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as i64
}
