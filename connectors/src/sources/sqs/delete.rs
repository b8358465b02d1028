//! Deletes messages that are durable elsewhere, and only those.

use std::sync::Arc;

use millstream_engine::retry::Backoff;

use super::client::NotDone;
use super::counters::add;
use super::inbox::Done;
use super::shared::{RETRY_BASE, RETRY_CAP, Shared};

/// Attempts within about a minute. After them a message comes again, which is harmless.
const TRIES_MAX: u32 = 8;

/// Deletes committed messages, in calls of ten.
pub(super) async fn delete(shared: Arc<Shared>) {
    loop {
        let done = shared.inbox.next_done().await;
        let left = attempt(&shared, done.clone()).await;
        if !left.is_empty() {
            add(&shared.counters.undeleted, left.len());
            tracing::warn!(
                messages = left.len(),
                "messages cannot be deleted: they come again, or go the way of the queue's redrive policy"
            );
        }
        add(&shared.counters.deleted, done.len().saturating_sub(left.len()));
        shared.inbox.forget(&done);
    }
}

/// Retries until all are deleted, at most [`TRIES_MAX`] times; returns those that are not.
async fn attempt(shared: &Shared, mut done: Vec<Done>) -> Vec<Done> {
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
    let mut never = Vec::new();
    while backoff.attempts() < TRIES_MAX {
        let handles: Vec<Arc<str>> = done.iter().map(|done| Arc::clone(&done.handle)).collect();
        match shared.queue.delete(&handles).await {
            Ok(not_done) => {
                let mut left = Vec::new();
                for entry in not_done.iter().filter(|entry| !entry.is_stale) {
                    let Some(done) = done.get(entry.index) else { continue };
                    say(entry);
                    if entry.is_final { &mut never } else { &mut left }.push(done.clone());
                }
                done = left;
            }
            Err(error) => shared.failed(&error, backoff.attempts()),
        }
        if done.is_empty() {
            return never;
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
    never.append(&mut done);
    never
}

fn say(entry: &NotDone) {
    tracing::debug!(reason = entry.reason, "a message was not deleted");
}
