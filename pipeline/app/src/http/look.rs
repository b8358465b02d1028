//! Takes a look at everything once a second, and keeps it for some seconds: rates need earlier values, and an answer
//! about the state must not wait for a database that is away.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::{Partition, Position, Snapshot, Verdict};
use tokio_util::sync::CancellationToken;

use super::judge::{self, Teller};
use super::shared::App;
use crate::running::Running;

const EVERY: Duration = Duration::from_secs(1);
/// Looks kept for rates: enough to smooth over batches, few enough that a figure follows what one sees happen.
const WINDOW_LOOKS: usize = 10;

/// Takes looks until told to stop.
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
                    // The records that wait now may be new ones.
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

/// Judges everything, so that it is known since when each state lasts, and logs faults.
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
    // Until the tables are ready, the task that prepares them logs why they are not.
    if app.node.tables.borrow().reason().is_none() {
        teller.look(&whole, waiting, retries);
    }
}

/// Whether nothing is written and the lag of some partition is unknown: no lane fetches from it, or its stored position
/// is unknown.
fn is_blind(app: &App, running: &Running, snapshot: &Snapshot) -> bool {
    let is_unknown = |partition: &Partition| {
        let next = snapshot.positions.get(partition);
        next.is_none_or(|next| running.source.lag_records(partition, next).is_none())
    };
    // The embedded stream knows its records.
    if running.topic.is_some() {
        return false;
    }
    let (_, _, verdict) = running.look();
    let is_held = matches!(verdict, Verdict::Braked { .. }) || !app.looks.database().reachable;
    let assigned = running.source.assignment().borrow().clone();
    // If a table assigns the partitions, no process has one while that table cannot be read.
    is_held && (assigned.is_empty() || assigned.iter().any(is_unknown))
}

/// Lanes know the age of what they hold. For partitions that no lane works on, the stream is asked.
async fn oldest_unwritten_ms(running: &Running, snapshot: &Snapshot) -> Option<i64> {
    if snapshot.oldest_ms.is_some() && snapshot.halted.is_empty() {
        return None;
    }
    let topic = running.topic.clone()?;
    let assigned = running.source.assignment().borrow().clone();
    let behind = assigned.iter().filter_map(|partition| {
        // Without a lease the stored position is unknown, and the first record is the oldest that may be missing.
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
