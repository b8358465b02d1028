//! A queue while it is read: tasks that receive, keep invisible, delete and count.

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

/// Interval of counting the waiting messages. It is telemetry, and each call is paid for.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Longest time until a waiting poll answers once a message is there.
const WAKE_MAX: Duration = Duration::from_secs(1);

/// A queue that is being read. It stops at once when dropped: its messages become visible again by themselves.
#[derive(Debug)]
pub(crate) struct Feed {
    shared: Arc<Shared>,
    is_receiving: AtomicBool,
    receiving: CancellationToken,
    all: CancellationToken,
    _stop: DropGuard,
}

impl Feed {
    /// Starts the tasks that count, extend and delete; nothing is received before [`Feed::receive`].
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
        // As many as receivers, so that deleting keeps up with receiving.
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
        // The task ends with the token; there is nothing to wait for.
        drop(task::spawn(name, until.clone().run_until_cancelled_owned(work)));
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.shared.inbox
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.shared.queue
    }

    /// The counters of messages.
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// Why nothing is received, if receiving fails.
    pub(crate) fn trouble(&self) -> Option<Error> {
        self.shared.trouble()
    }

    /// About how many messages wait to be received, if that is known.
    pub(crate) fn waiting(&self) -> Option<u64> {
        *self.shared.waiting.borrow()
    }

    /// Receivers that may poll now.
    pub(crate) fn polling(&self) -> usize {
        self.shared.pace.polling()
    }

    /// Starts new polls, in case the running ones are never answered.
    pub(crate) fn revive(&self) {
        self.shared.revived.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Stops receiving, deletes committed messages, makes the others visible to other readers at once. Gives up after
    /// `within`: then all become visible when their invisibility ends, and some are repeated.
    ///
    /// SQS continues a poll that was abandoned: it may get messages sent within its 20 s, which are then invisible for
    /// as long as those of a process that died.
    pub(crate) async fn close(&self, within: Duration) {
        self.receiving.cancel();
        let orderly = async { tokio::join!(self.shared.inbox.all_forgotten(), self.release()) };
        if tokio::time::timeout(within, orderly).await.is_err() {
            tracing::warn!("the queue does not answer in time: what this process holds comes again to others later");
        }
        self.all.cancel();
    }

    /// Makes all messages visible to others, and again those that our waiting polls receive of them: each such poll
    /// ends by that, and no new one begins.
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
                // Another reader received them.
                return;
            }
        }
    }
}

/// One receiver: polls whenever it may and there is room, until `stop`. A running poll is not dropped then, because its
/// messages would be invisible and held by no process.
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
        // After an error, poll without waiting, to learn at once that the queue is back.
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
            // An error of a poll during shutdown does not matter.
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

/// Counts a poll as long as it runs.
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

/// The earliest time at which the messages of a poll that was just answered became invisible: at the end of a long
/// poll, less the time that an answer takes to arrive.
fn found(asked: Instant) -> Instant {
    const ANSWER: Duration = Duration::from_millis(500);
    Instant::now().checked_sub(ANSWER).map_or(asked, |earliest| earliest.max(asked))
}

/// Updates the number of waiting messages.
async fn count(shared: Arc<Shared>) {
    loop {
        match shared.queue.waiting().await {
            Ok(waiting) => {
                shared.waiting.send_replace(waiting);
            }
            Err(error) => {
                // Receivers log the same error as a warning.
                add(&shared.counters.errors, 1);
                tracing::debug!(%error, "the messages that wait are not counted");
                shared.waiting.send_replace(None);
            }
        }
        tokio::time::sleep(COUNT_EVERY).await;
    }
}
