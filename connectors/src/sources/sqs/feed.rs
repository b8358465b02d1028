//! A queue while it is read: what receives, keeps invisible, deletes and counts, each a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use millstream_engine::retry::Backoff;
use millstream_engine::task;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::client::{POLL, Queue};
use super::counters::{Counters, add};
use super::error::Error;
use super::inbox::Inbox;
use super::shared::{RETRY_BASE, RETRY_CAP, Shared};
use super::{delete, keep};

/// How old the count of waiting messages may be. It is telemetry, and each look is a call that is paid for.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// How long a poll that waits takes at most to answer once there is something.
const WAKE_MAX: Duration = Duration::from_secs(1);

/// A queue that is being read. Dropped, it stops at once: what it holds becomes visible again by itself.
#[derive(Debug)]
pub(crate) struct Feed {
    shared: Arc<Shared>,
    is_receiving: AtomicBool,
    receiving: CancellationToken,
    all: CancellationToken,
    _stop: DropGuard,
}

impl Feed {
    /// Begins to count, and to do what later receipts need; nothing is received before [`Feed::receive`].
    pub(crate) fn new(queue: Queue, counters: Arc<Counters>) -> Self {
        let shared = Arc::new(Shared::new(queue, counters));
        let all = CancellationToken::new();
        let feed = Feed {
            shared: Arc::clone(&shared),
            is_receiving: AtomicBool::new(false),
            receiving: all.child_token(),
            _stop: all.clone().drop_guard(),
            all,
        };
        feed.run("sqs count", &feed.all, count(Arc::clone(&shared)));
        feed.run("sqs visibility", &feed.all, keep::keep_invisible(Arc::clone(&shared)));
        // As many as bring messages, so that deleting keeps up with receiving.
        for _ in 0..shared.queue.options.receivers_max {
            feed.run("sqs delete", &feed.all, delete::delete(Arc::clone(&shared)));
        }
        feed
    }

    /// Receives from now on.
    pub(crate) fn receive(&self) {
        if self.is_receiving.swap(true, Relaxed) {
            return;
        }
        for number in 0..self.shared.queue.options.receivers_max {
            let receiver = receive(Arc::clone(&self.shared), number, self.receiving.clone());
            self.run("sqs receive", &self.all, receiver);
        }
    }

    fn run(&self, name: &'static str, until: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
        // Ends with the token; there is nothing to wait for.
        drop(task::spawn(name, until.clone().run_until_cancelled_owned(work)));
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.shared.inbox
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    /// Counts of what was done.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Why nothing is received, if that is so.
    pub(crate) fn trouble(&self) -> Option<Error> {
        self.shared.trouble()
    }

    /// About how many messages wait to be received by anybody, when that is known.
    pub(crate) fn waiting(&self) -> Option<u64> {
        *self.shared.waiting.borrow()
    }

    /// Receivers that may poll now.
    pub(crate) fn polling(&self) -> usize {
        self.shared.pace.polling()
    }

    /// Polls anew, in case the polls under way are never answered.
    pub(crate) fn revive(&self) {
        self.shared.revived.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Stops receiving, deletes what is committed, makes the rest visible to others at once. Gives up after `within`:
    /// then both happen by themselves when the invisibility ends, with repeats.
    ///
    /// SQS goes on with a poll that nobody waits for any more: what is sent within its 20 s may be given to it, and is
    /// then invisible for as long as a message of a process that died.
    pub(crate) async fn close(&self, within: Duration) {
        self.receiving.cancel();
        let orderly = async { tokio::join!(self.shared.inbox.all_forgotten(), self.release()) };
        if tokio::time::timeout(within, orderly).await.is_err() {
            tracing::warn!("the queue does not answer in time: what this process holds comes again to others later");
        }
        self.all.cancel();
    }

    /// Makes everything visible to others, and again what polls of ours that still wait were given of it: each of them
    /// ends by that, and none begins.
    async fn release(&self) {
        let mut polls = self.shared.polls.subscribe();
        loop {
            let waiting = *polls.borrow_and_update();
            let handles = self.shared.inbox.let_all_go();
            keep::release(&self.shared, &handles).await;
            if handles.is_empty() || waiting == 0 {
                return;
            }
            let answered = polls.wait_for(|now| *now < waiting);
            if tokio::time::timeout(WAKE_MAX, answered).await.is_err() {
                // Somebody else was given them.
                return;
            }
        }
    }
}

/// One receiver: polls whenever it may and there is room, until `stop`. A poll under way is not dropped for that: what
/// it is given would be invisible, and in nobody's hands.
async fn receive(shared: Arc<Shared>, number: usize, stop: CancellationToken) {
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
    let mut revived = shared.revived.subscribe();
    loop {
        let room = async {
            shared.pace.turn(number).await;
            shared.inbox.room().await
        };
        let Some(room) = stop.run_until_cancelled(room).await else { return };
        let asked = Instant::now();
        let _poll = Poll::new(&shared.polls);
        // After an error the answer comes at once, so that it is known that the queue is back.
        let wait = if backoff.attempts() > 0 { Duration::ZERO } else { POLL };
        let polled = tokio::select! {
            polled = shared.queue.receive(room.messages, wait) => polled,
            _ = revived.changed() => continue,
        };
        match polled {
            Ok(messages) => {
                backoff.reset();
                shared.set_trouble(None);
                shared.pace.polled(room.messages, messages.len());
                if !messages.is_empty() {
                    add(&shared.counters.received, messages.len());
                    add(&shared.counters.again, shared.inbox.put(messages, found(asked)));
                }
            }
            // What a poll hears while the process leaves concerns nobody.
            Err(_) if stop.is_cancelled() => return,
            Err(error) => {
                drop(room);
                shared.failed(&error, backoff.attempts());
                shared.set_trouble(Some(error));
                shared.pace.failed();
                stop.run_until_cancelled(tokio::time::sleep(backoff.next_wait())).await;
            }
        }
    }
}

/// Counts a poll for as long as it is under way.
struct Poll<'a>(&'a watch::Sender<usize>);

impl<'a> Poll<'a> {
    fn new(polls: &'a watch::Sender<usize>) -> Self {
        polls.send_modify(|polls| *polls += 1);
        Poll(polls)
    }
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|polls| *polls = polls.saturating_sub(1));
    }
}

/// When messages of a poll that has just been answered became invisible: when they were found, which a long poll may
/// have waited for, and not later than an answer takes to arrive.
fn found(asked: Instant) -> Instant {
    const ANSWER: Duration = Duration::from_millis(500);
    Instant::now().checked_sub(ANSWER).map_or(asked, |earliest| earliest.max(asked))
}

/// Keeps the number of waiting messages known.
async fn count(shared: Arc<Shared>) {
    loop {
        match shared.queue.waiting().await {
            Ok(waiting) => {
                shared.waiting.send_replace(waiting);
            }
            Err(error) => {
                // Receivers say it loud enough.
                add(&shared.counters.errors, 1);
                tracing::debug!(%error, "the messages that wait are not counted");
                shared.waiting.send_replace(None);
            }
        }
        tokio::time::sleep(COUNT_EVERY).await;
    }
}
