//! A look at everything once a second, kept for some seconds: so that rates have a past, and an answer about the state
//! never waits for a database that is away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_engine::{Position, Snapshot};
use tokio_util::sync::CancellationToken;

use super::App;
use super::query;
use crate::node::{Node, Running};

const EVERY: Duration = Duration::from_secs(1);
/// Looks kept for rates: long enough to smooth over batches, short enough that a figure follows what one sees happen.
const WINDOW_LOOKS: usize = 10;
/// The counters are a few rows for each bucket.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Debug)]
pub(super) struct Looks(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// By pipeline, in the order of the configuration.
    pipelines: Vec<Pipeline>,
    database: Database,
}

#[derive(Clone, Debug, Default)]
struct Pipeline {
    snapshots: VecDeque<Arc<Snapshot>>,
    oldest_unwritten_ms: Option<i64>,
}

/// The database, as it was a moment ago.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Database {
    pub(super) reachable: bool,
    /// What it, or the network, said.
    pub(super) error: Option<String>,
    /// Current objects, of all buckets together.
    pub(super) objects: i64,
    /// Their known sizes.
    pub(super) bytes: Option<Box<serde_json::value::RawValue>>,
    /// How many have none.
    pub(super) unknown_size: i64,
}

impl Looks {
    pub(super) fn new(node: &Node) -> Self {
        let pipelines = vec![Pipeline::default(); node.pipelines.len()];
        Looks(Mutex::new(Seen { pipelines, database: Database::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest look at a pipeline that is still kept.
    pub(super) fn earlier(&self, pipeline: usize) -> Option<Arc<Snapshot>> {
        self.lock().pipelines.get(pipeline)?.snapshots.front().cloned()
    }

    /// When the oldest record that is not in the tables was accepted, if that had to be looked up in the stream.
    pub(super) fn oldest_unwritten_ms(&self, pipeline: usize) -> Option<i64> {
        self.lock().pipelines.get(pipeline)?.oldest_unwritten_ms
    }

    pub(super) fn database(&self) -> Database {
        self.lock().database.clone()
    }
}

/// Looks until told to stop.
pub(super) async fn keep_looking(app: Arc<App>, stop: CancellationToken) {
    loop {
        for (index, running) in app.node.pipelines.iter().enumerate() {
            let snapshot = Arc::new(running.progress.snapshot());
            let oldest_unwritten_ms = oldest_unwritten_ms(running, &snapshot).await;
            let mut seen = app.looks.lock();
            if let Some(pipeline) = seen.pipelines.get_mut(index) {
                pipeline.oldest_unwritten_ms = oldest_unwritten_ms;
                pipeline.snapshots.push_back(snapshot);
                if pipeline.snapshots.len() > WINDOW_LOOKS {
                    pipeline.snapshots.pop_front();
                }
            }
        }
        let asked = tokio::time::timeout(DATABASE_TIMEOUT, query::totals(&app.node.pool, DATABASE_TIMEOUT)).await;
        let database = match asked {
            Ok(Ok((objects, bytes, unknown_size))) => {
                Database { reachable: true, error: None, objects, bytes: query::number(bytes), unknown_size }
            }
            Ok(Err(error)) => Database { error: Some(error.to_string()), ..app.looks.database() },
            Err(_) => {
                let error = format!("no answer within {} s", DATABASE_TIMEOUT.as_secs());
                Database { error: Some(error), ..app.looks.database() }
            }
        };
        let reachable = database.error.is_none();
        app.looks.lock().database = Database { reachable, ..database };
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Lanes know the age of what they hold. Of partitions that nobody works on, the stream is asked.
async fn oldest_unwritten_ms(running: &Running, snapshot: &Snapshot) -> Option<i64> {
    if snapshot.oldest_ms.is_some() && snapshot.halted.is_empty() {
        return None;
    }
    let behind = snapshot.positions.iter().filter_map(|(partition, next)| {
        let Position::Offset(from) = *next else { return None };
        let lag = running.source.lag_records(partition, next)?;
        (lag > 0).then(|| partition.as_str().parse().ok().map(|number: u32| (number, from)))?
    });
    let behind: Vec<(u32, u64)> = behind.collect();
    let topic = running.topic.clone()?;
    let read = tokio::task::spawn_blocking(move || {
        let first = |&(partition, from): &(u32, u64)| {
            topic.read(partition, from, 1).ok()?.records.first().map(|r| r.timestamp_ms)
        };
        behind.iter().filter_map(first).min()
    });
    read.await.ok().flatten()
}
