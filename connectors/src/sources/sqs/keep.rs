//! Keeps messages invisible to others while we hold them.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::task;
use tokio::time::Instant;

use super::client::BATCH;
use super::counters::add;
use super::error::Error;
use super::inbox::Due;
use super::shared::Shared;

/// Checks per invisibility period: enough to extend soon after half of it.
const LOOKS: u32 = 8;
/// Longest interval of the checks, so that a failed call is retried in time.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// Concurrent calls: a full inbox is extended within seconds.
const CALLS_MAX: usize = 8;

/// Extends messages after half of their invisibility, until `age_max`, when they are let go.
pub(super) async fn keep_invisible(shared: Arc<Shared>) {
    let visibility = shared.queue.options.visibility;
    let age_max = shared.queue.options.age_max;
    let look = (visibility / LOOKS).min(LOOK_MAX);
    loop {
        tokio::time::sleep(look).await;
        let (due, let_go) = shared.inbox.due(Instant::now(), visibility, age_max);
        if let_go > 0 {
            add(&shared.counters.let_go, let_go);
            tracing::warn!(
                messages = let_go,
                age_s = age_max.as_secs(),
                "messages were not durable in time: others may receive them"
            );
        }
        let parts: Vec<Vec<Due>> = calls(&due).map(<[Due]>::to_vec).collect();
        let extend = |parts: &[Vec<Due>]| {
            let shared = Arc::clone(&shared);
            let parts = parts.to_vec();
            task::spawn("sqs extend", async move {
                for part in parts {
                    if let Err(error) = extend(&shared, &part, visibility).await {
                        // The next check retries, as long as that may help.
                        return shared.failed(&error, 0);
                    }
                }
            })
        };
        let size = parts.len().div_ceil(CALLS_MAX).max(1);
        let running: Vec<_> = parts.chunks(size).map(extend).collect();
        for call in running {
            // A panic is logged where it happened; the next check retries.
            call.await.ok();
        }
    }
}

async fn extend(shared: &Shared, due: &[Due], visibility: Duration) -> Result<(), Error> {
    let handles: Vec<Arc<str>> = due.iter().map(|due| Arc::clone(&due.handle)).collect();
    let asked = Instant::now();
    let not_done = shared.queue.keep_invisible(&handles, visibility).await?;
    let is_left = |index: usize| not_done.iter().any(|entry| entry.index == index);
    let extended: Vec<Due> =
        due.iter().enumerate().filter(|(index, _)| !is_left(*index)).map(|(_, due)| due.clone()).collect();
    let lost = not_done.iter().filter(|entry| entry.is_final).filter_map(|entry| due.get(entry.index).cloned());
    let lost: Vec<Due> = lost.collect();
    if let Some(first) = not_done.first() {
        tracing::debug!(entries = not_done.len(), reason = first.reason, "messages were not kept invisible");
    }
    add(&shared.counters.extended, extended.len());
    shared.inbox.extended(&extended, asked);
    add(&shared.counters.let_go, shared.inbox.let_go(&lost));
    Ok(())
}

/// Makes messages visible to others at once. After a failure they become visible by themselves later.
pub(super) async fn release(shared: &Shared, handles: &[Arc<str>]) {
    for part in calls(handles) {
        if let Err(error) = shared.queue.keep_invisible(part, Duration::ZERO).await {
            return shared.failed(&error, 0);
        }
    }
}

/// Splits into the parts of one call.
fn calls<T>(all: &[T]) -> std::slice::Chunks<'_, T> {
    all.chunks(BATCH)
}
