//! The results of the last looks at everything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_engine::{Named, Snapshot};
use tokio::time::Instant;

use super::probe::{Answer, Counted, Totals};
use crate::node::Node;

/// Interval between two log lines about filtered events, for each pipeline.
const FILTERED_EVERY: Duration = Duration::from_secs(60);
/// Maximum number of names in such a line.
const FILTERED_SHOWN: usize = 10;

/// When a probe began to fail, and what was committed then.
type Failing = (Instant, u64);

/// The results.
#[derive(Debug)]
pub(super) struct Looks(Mutex<Seen>);

#[derive(Debug, Default)]
pub(super) struct Seen {
    /// By pipeline, in the order of the configuration.
    pub(super) pipelines: Vec<Pipeline>,
    database: Database,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Pipeline {
    pub(super) snapshots: VecDeque<Arc<Snapshot>>,
    pub(super) oldest_unwritten_ms: Option<i64>,
    /// Since when a record is not in the tables, for streams that do not report the age of a record.
    pub(super) behind_since_ms: Option<i64>,
    /// Since when nothing can be written and it is unknown whether something waits.
    pub(super) blind_since_ms: Option<i64>,
    /// What was filtered at the last log line about it, and when that was.
    told: Option<(Instant, Arc<Named>)>,
}

impl Pipeline {
    /// Logs what was filtered by name since the last time, once a minute.
    pub(super) fn tell(&mut self, pipeline: &str, named: &Arc<Named>) {
        let (at, before) = match &self.told {
            Some((at, before)) => (Some(*at), Arc::clone(before)),
            None => (None, Arc::default()),
        };
        if at.is_some_and(|at| at.elapsed() < FILTERED_EVERY) {
            return;
        }
        let new = named.since(&before);
        if new.is_empty() {
            return;
        }
        let shown = new.iter().take(FILTERED_SHOWN);
        let shown: Vec<String> =
            shown.map(|one| format!("{} {} {}", one.events, one.reason, one.name.escape_debug())).collect();
        let events: u64 = new.iter().map(|one| one.events).sum();
        tracing::info!(pipeline, events, names = shown.join(", "), "events that change nothing were filtered");
        self.told = Some((Instant::now(), Arc::clone(named)));
    }
}

/// The database, as it was a moment ago.
#[derive(Clone, Debug, Default)]
pub(super) struct Database {
    /// Whether it answered; false before the first query.
    pub(super) reachable: bool,
    /// The error of the database or the network.
    pub(super) error: Option<String>,
    /// Whether the database itself refused this account: then it is not away.
    pub(super) refuses: bool,
    /// Since when it has not answered while nothing was committed either.
    pub(super) failing: Option<Failing>,
    /// What it last counted.
    counted: Counted,
}

impl Database {
    /// The statement that gives the account what it lacks.
    pub(super) fn lacking(self) -> Option<String> {
        self.counted.lacking.filter(|_| self.reachable)
    }

    /// Objects of one store, or of all of them.
    pub(super) fn totals(&self, store: Option<&str>) -> Totals {
        match store {
            Some(store) => self.counted.stores.get(store).cloned().unwrap_or_default(),
            None => self.counted.all.clone(),
        }
    }
}

impl Looks {
    pub(super) fn new(node: &Node) -> Self {
        let pipelines = vec![Pipeline::default(); node.pipelines.len()];
        Looks(Mutex::new(Seen { pipelines, database: Database::default() }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest snapshot of a pipeline that is still kept.
    pub(super) fn earlier(&self, pipeline: usize) -> Option<Arc<Snapshot>> {
        self.lock().pipelines.get(pipeline)?.snapshots.front().cloned()
    }

    /// When the oldest record that is not in the tables was accepted, if that had to be looked up in the stream.
    pub(super) fn oldest_unwritten_ms(&self, pipeline: usize) -> Option<i64> {
        let seen = self.lock();
        let pipeline = seen.pipelines.get(pipeline)?;
        pipeline.oldest_unwritten_ms.or(pipeline.behind_since_ms)
    }

    /// Since when nothing can be written and it is unknown whether something waits: a record may be that old.
    pub(super) fn blind_since_ms(&self, pipeline: usize) -> Option<i64> {
        self.lock().pipelines.get(pipeline)?.blind_since_ms
    }

    pub(super) fn database(&self) -> Database {
        self.lock().database.clone()
    }

    /// Keeps the answer of the database; after a failure the earlier counts stay. `transactions` are those committed so
    /// far.
    pub(super) fn heard(&self, answer: Answer, transactions: u64) {
        let database = &mut self.lock().database;
        match answer {
            Ok(counted) => *database = Database { reachable: true, counted, ..Database::default() },
            Err(failure) => {
                database.reachable = false;
                database.refuses = failure.is_refusal;
                database.error = Some(failure.said);
                if database.failing.is_none_or(|(_, before)| before != transactions) {
                    database.failing = Some((Instant::now(), transactions));
                }
            }
        }
    }
}
