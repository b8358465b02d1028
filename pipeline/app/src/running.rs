//! One pipeline that runs, for those who look at it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millstream_connectors::sinks::stream::Append;
use millstream_engine::clock::now_ms;
use millstream_engine::{FloodLimits, Position, Progress, Snapshot, Source, Verdict};
use millstream_log::Topic;

use crate::config;
use crate::quarantine;

/// How far back rates are told from: longer than a transaction takes.
const LOOK_BACK: Duration = Duration::from_secs(5);

/// One pipeline that runs.
#[derive(Debug)]
pub struct Running {
    /// Its part of the configuration.
    pub config: config::Pipeline,
    /// Its stream, to append to; none where it reads a queue.
    pub stream: Option<Arc<dyn Append>>,
    /// Its topic, if it reads the embedded log.
    pub topic: Option<Topic>,
    /// Where it reads.
    pub source: Arc<dyn Source>,
    /// Its counters.
    pub progress: Arc<Progress>,
    /// What was done to its quarantine.
    pub quarantine: Arc<quarantine::Counts>,
    /// How many bad records are too many.
    pub flood: FloodLimits,
    /// What it is compared with.
    pub recent: Recent,
}

/// Two earlier looks, the older of them to compare with.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Option<(Snapshot, Snapshot)>>);

impl Running {
    /// Records in the stream that are not in the tables. Until a partition is leased nobody knows where its tables are;
    /// it is counted from its beginning, so that nothing seems to be caught up before it is.
    pub fn lag_records(&self, snapshot: &Snapshot) -> u64 {
        let lag = |partition| {
            let next = snapshot.positions.get(partition).unwrap_or(&Position::Offset(0));
            self.source.lag_records(partition, next)
        };
        self.source.assignment().borrow().iter().filter_map(lag).sum()
    }

    /// The counters, and whether it keeps up compared with a look some seconds ago, if there was one.
    pub fn look(&self) -> (Snapshot, u64, Verdict) {
        let now = self.progress.snapshot();
        let lag = self.lag_records(&now);
        let mut recent = self.recent.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (earlier, later) = recent.get_or_insert_with(|| (now.clone(), now.clone()));
        let late = self.config.freshness * 4;
        let verdict = now.verdict(earlier, lag, late, now_ms());
        if now.at.saturating_duration_since(later.at) > LOOK_BACK {
            *earlier = std::mem::replace(later, now.clone());
        }
        (now, lag, verdict)
    }
}
