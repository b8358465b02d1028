//! A look at everything once a second, kept for some seconds: so that rates have a past, and an answer about the state
//! never waits for a database that is away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_engine::{Named, Position, Snapshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::App;
use super::probe::{Answer, Counted, Totals};
use crate::node::{Node, Running};

const EVERY: Duration = Duration::from_secs(1);
/// Between two lines of the log about what was filtered, for each pipeline.
const FILTERED_EVERY: Duration = Duration::from_secs(60);
/// Names in such a line.
const FILTERED_SHOWN: usize = 10;
/// Looks kept for rates: long enough to smooth over batches, short enough that a figure follows what one sees happen.
const WINDOW_LOOKS: usize = 10;

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
    /// What was filtered when the log last said so, and when that was.
    told: Option<(Instant, Arc<Named>)>,
}

impl Pipeline {
    /// Says what was filtered by name since the last time, once a minute.
    fn tell(&mut self, pipeline: &str, named: &Arc<Named>) {
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
    /// Whether it answered; not before it was asked.
    pub(super) reachable: bool,
    /// What it, or the network, said instead.
    pub(super) error: Option<String>,
    /// What it last counted.
    counted: Counted,
}

impl Database {
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

    /// Keeps what the database answered; of a failure, beside what it counted before.
    pub(super) fn heard(&self, answer: Answer) {
        let database = &mut self.lock().database;
        match answer {
            Ok(counted) => *database = Database { reachable: true, error: None, counted },
            Err(error) => (database.reachable, database.error) = (false, Some(error)),
        }
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
                pipeline.tell(&running.config.name, &snapshot.named);
                pipeline.snapshots.push_back(snapshot);
                if pipeline.snapshots.len() > WINDOW_LOOKS {
                    pipeline.snapshots.pop_front();
                }
            }
        }
        app.looks.heard(app.probe.ask().await);
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
