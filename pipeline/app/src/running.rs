//! A running pipeline, as the endpoint and the demo see it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_connectors::sinks::stream::Append;
use millstream_engine::clock::now_ms;
use millstream_engine::{FloodLimits, Position, Progress, Snapshot, Source, Verdict};
use millstream_log::Topic;

use crate::config;
use crate::quarantine;

/// Period over which rates are measured: longer than a transaction takes.
const LOOK_BACK: Duration = Duration::from_secs(5);

/// One pipeline that runs.
#[derive(Debug)]
pub struct Running {
    /// Its part of the configuration.
    pub config: config::Pipeline,
    /// Its stream, to append to; `None` if it reads a queue.
    pub stream: Option<Arc<dyn Append>>,
    /// Its topic, if it reads the embedded log.
    pub topic: Option<Topic>,
    /// Where it reads.
    pub source: Arc<dyn Source>,
    /// Its counters.
    pub progress: Arc<Progress>,
    /// Counters of its quarantine.
    pub quarantine: Arc<quarantine::Counts>,
    /// How many bad records are too many.
    pub flood: FloodLimits,
    /// Earlier snapshots to compare with.
    pub recent: Recent,
}

/// Two earlier snapshots; the older one is compared with.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Option<(Snapshot, Snapshot)>>);

impl Running {
    /// Records in the stream that are not in the tables. Until a partition is leased its stored position is unknown; it
    /// is counted from its beginning, so that it does not seem to be caught up before it is.
    pub fn lag_records(&self, snapshot: &Snapshot) -> u64 {
        let lag = |partition| {
            let next = snapshot.positions.get(partition).unwrap_or(&Position::Offset(0));
            self.source.lag_records(partition, next)
        };
        self.source.assignment().borrow().iter().filter_map(lag).sum()
    }

    /// The counters, the lag, and the verdict from a comparison with some seconds ago, if there is a snapshot.
    pub fn look(&self) -> (Snapshot, u64, Verdict) {
        let now = self.progress.snapshot();
        let lag = self.lag_records(&now);
        let mut recent = self.recent.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (earlier, later) = recent.get_or_insert_with(|| (now.clone(), now.clone()));
        let verdict = now.verdict(earlier, lag, self.config.late(), now_ms());
        if now.at.saturating_duration_since(later.at) > LOOK_BACK {
            *earlier = std::mem::replace(later, now.clone());
        }
        (now, lag, verdict)
    }
}
