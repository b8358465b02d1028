//! A look at everything once a second, kept for some seconds: so that rates have a past, and an answer about the state
//! never waits for a database that is away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_engine::{Named, Partition, Position, Snapshot, Verdict};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::App;
use super::judge::{self, Failing, Teller};
use super::probe::{Answer, Counted, Totals};
use crate::node::Node;
use crate::running::Running;

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
    /// Since when there is something that is not in the tables, for streams that do not tell the age of a record.
    behind_since_ms: Option<i64>,
    /// Since when nothing can be written and the stream does not tell whether something waits.
    blind_since_ms: Option<i64>,
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
    /// Whether it was the database that said so, and it is of this account: it is not away.
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

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest look at a pipeline that is still kept.
    pub(super) fn earlier(&self, pipeline: usize) -> Option<Arc<Snapshot>> {
        self.lock().pipelines.get(pipeline)?.snapshots.front().cloned()
    }

    /// When the oldest record that is not in the tables was accepted, if that had to be looked up in the stream.
    pub(super) fn oldest_unwritten_ms(&self, pipeline: usize) -> Option<i64> {
        let seen = self.lock();
        let pipeline = seen.pipelines.get(pipeline)?;
        pipeline.oldest_unwritten_ms.or(pipeline.behind_since_ms)
    }

    /// Since when it is not known whether something waits, while nothing can be written: it may be as old.
    pub(super) fn blind_since_ms(&self, pipeline: usize) -> Option<i64> {
        self.lock().pipelines.get(pipeline)?.blind_since_ms
    }

    pub(super) fn database(&self) -> Database {
        self.lock().database.clone()
    }

    /// Keeps what the database answered; of a failure, beside what it counted before.
    /// `transactions` are those committed so far.
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

/// Looks until told to stop.
pub(super) async fn keep_looking(app: Arc<App>, stop: CancellationToken) {
    let mut teller = Teller::default();
    loop {
        for (index, running) in app.node.pipelines.iter().enumerate() {
            let snapshot = Arc::new(running.progress.snapshot());
            let oldest_unwritten_ms = oldest_unwritten_ms(running, &snapshot).await;
            let lag_records = running.lag_records(&snapshot);
            let is_blind = is_blind(&app, running, &snapshot);
            let mut seen = app.looks.lock();
            if let Some(pipeline) = seen.pipelines.get_mut(index) {
                pipeline.oldest_unwritten_ms = oldest_unwritten_ms;
                let before = pipeline.snapshots.back().map(|before| before.records);
                if lag_records == 0 || before != Some(snapshot.records) {
                    // What waits now may have come since.
                    pipeline.behind_since_ms = None;
                }
                if lag_records > 0 {
                    pipeline.behind_since_ms.get_or_insert_with(millstream_engine::clock::now_ms);
                }
                pipeline.blind_since_ms =
                    is_blind.then(|| pipeline.blind_since_ms.unwrap_or_else(millstream_engine::clock::now_ms));
                pipeline.tell(&running.config.name, &snapshot.named);
                pipeline.snapshots.push_back(snapshot);
                if pipeline.snapshots.len() > WINDOW_LOOKS {
                    pipeline.snapshots.pop_front();
                }
            }
        }
        app.looks.heard(app.probe.ask().await, app.transactions());
        tell(&app, &mut teller);
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Has everything judged, so that it is known since when it stands so, and lets the log know of faults.
fn tell(app: &App, teller: &mut Teller) {
    let mut waiting = 0;
    let mut retries = 0;
    for (index, running) in app.node.pipelines.iter().enumerate() {
        let (now, lag_records, verdict) = running.look();
        waiting += lag_records;
        retries += now.retries;
        judge::pipeline(app, index, running, (&now, lag_records, verdict));
    }
    let whole = judge::whole(app);
    // Until the tables are ready, who makes them ready says why they are not.
    if app.node.tables.borrow().reason().is_none() {
        teller.look(&whole, waiting, retries);
    }
}

/// Whether nothing is written, and the stream does not tell of every partition whether something waits: one that nobody
/// fetches from, or that the tables' position is not known of.
fn is_blind(app: &App, running: &Running, snapshot: &Snapshot) -> bool {
    let is_unknown = |partition: &Partition| {
        let next = snapshot.positions.get(partition);
        next.is_none_or(|next| running.source.lag_records(partition, next).is_none())
    };
    // The embedded stream knows what it has.
    if running.topic.is_some() {
        return false;
    }
    let (_, _, verdict) = running.look();
    let is_held = matches!(verdict, Verdict::Braked { .. }) || !app.looks.database().reachable;
    let assigned = running.source.assignment().borrow().clone();
    // Where a table divides the partitions, nobody has one as long as it cannot be read.
    is_held && (assigned.is_empty() || assigned.iter().any(is_unknown))
}

/// Lanes know the age of what they hold. Of partitions that nobody works on, the stream is asked.
async fn oldest_unwritten_ms(running: &Running, snapshot: &Snapshot) -> Option<i64> {
    if snapshot.oldest_ms.is_some() && snapshot.halted.is_empty() {
        return None;
    }
    let topic = running.topic.clone()?;
    let assigned = running.source.assignment().borrow().clone();
    let behind = assigned.iter().filter_map(|partition| {
        // Without a lease it is not known where the tables are, and the first record is the oldest that may be missing.
        let next = snapshot.positions.get(partition).unwrap_or(&Position::Offset(0));
        let Position::Offset(from) = *next else { return None };
        let lag = running.source.lag_records(partition, next)?;
        let number: u32 = partition.as_str().parse().ok()?;
        (lag > 0).then(|| (number, from.max(topic.range(number).start)))
    });
    let behind: Vec<(u32, u64)> = behind.collect();
    let read = tokio::task::spawn_blocking(move || {
        let first = |&(partition, from): &(u32, u64)| {
            topic.read(partition, from, 1).ok()?.records.first().map(|r| r.timestamp_ms)
        };
        behind.iter().filter_map(first).min()
    });
    read.await.ok().flatten()
}
