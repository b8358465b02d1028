//! The result of the last append, for streams that do not report their state.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long a failed append counts against a stream that does not report its state: three probes of ten seconds. Then a
/// post must be able to try again, or a process that gets none would never be ready again.
const FAILED_FOR: Duration = Duration::from_secs(30);

/// The error of the last append, for streams that do not report their state: Kafka and Kinesis.
#[derive(Debug, Default)]
pub(super) struct Appends(Mutex<Option<(Instant, String)>>);

impl Appends {
    /// An append has ended.
    pub(super) fn ended(&self, error: Option<&str>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = error.map(|error| (Instant::now(), error.to_owned()));
    }

    pub(super) fn failing(&self) -> Option<String> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|(at, _)| at.elapsed() < FAILED_FOR).map(|(_, error)| error.clone())
    }
}
