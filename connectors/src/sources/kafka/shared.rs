//! The state shared by the client's thread and the lanes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream_engine::Partition;
use rdkafka::error::KafkaError;
use tokio::sync::watch;

use super::buffers::Buffers;

/// Minimum interval between equal warnings.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// Shared by the thread, its callbacks and the lanes.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) topic: String,
    /// The topic's id when it was opened.
    topic_id: String,
    buffers: Mutex<Buffers>,
    /// Whether the thread has something to do, and how it is woken.
    rung: Mutex<bool>,
    bell: Condvar,
    /// Counts changes that a waiting reader must see.
    pub(super) changed: watch::Sender<u64>,
    pub(super) assignment: watch::Sender<Vec<Partition>>,
    /// Partitions that were assigned and are not confirmed yet.
    fresh: Mutex<Option<Vec<i32>>>,
    /// The group is rebalancing.
    is_dividing: AtomicBool,
    give_up: AtomicBool,
    is_fenced: AtomicBool,
    commit_again: AtomicBool,
    /// Positions to commit to the group.
    pub(super) commits: Mutex<BTreeMap<i32, u64>>,
    commits_failed: AtomicU64,
    /// The last warning, and its time.
    warned: Mutex<Option<(String, Instant)>>,
    /// The number of failures, and the last one.
    fault: Mutex<(u64, String)>,
    broken: Mutex<Option<String>>,
    pub(super) look_at_ranges: AtomicBool,
    pub(super) look_at_topic: AtomicBool,
    /// The topic is not the one that was opened.
    is_made_anew: AtomicBool,
    /// A client may read another topic than was opened.
    is_unsure: AtomicBool,
    /// The brokers do not know the topic.
    missing: AtomicBool,
    revive: AtomicBool,
    stop: AtomicBool,
    /// Rounds of the client's thread so far.
    pub(super) rounds: AtomicU64,
}

/// Ignores poisoning by a panic of another thread: guarded values are replaced as a whole or counted.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(topic: &str, topic_id: String) -> Self {
        Shared {
            topic: topic.to_owned(),
            topic_id,
            buffers: Mutex::default(),
            rung: Mutex::default(),
            bell: Condvar::new(),
            changed: watch::Sender::new(0),
            assignment: watch::Sender::new(Vec::new()),
            fresh: Mutex::default(),
            is_dividing: AtomicBool::new(false),
            give_up: AtomicBool::new(false),
            is_fenced: AtomicBool::new(false),
            commit_again: AtomicBool::new(false),
            commits: Mutex::default(),
            commits_failed: AtomicU64::new(0),
            warned: Mutex::default(),
            fault: Mutex::default(),
            broken: Mutex::default(),
            look_at_ranges: AtomicBool::new(false),
            look_at_topic: AtomicBool::new(false),
            is_made_anew: AtomicBool::new(false),
            is_unsure: AtomicBool::new(false),
            missing: AtomicBool::new(false),
            revive: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
        }
    }

    pub(super) fn buffers(&self) -> MutexGuard<'_, Buffers> {
        lock(&self.buffers)
    }

    pub(super) fn commits(&self) -> MutexGuard<'_, BTreeMap<i32, u64>> {
        lock(&self.commits)
    }

    /// Wakes readers.
    pub(super) fn wake(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The group assigned these partitions; the lanes get them after a poll without another change.
    pub(super) fn assigned(&self, mut partitions: Vec<i32>) {
        partitions.sort_unstable();
        tracing::info!(topic = self.topic, ?partitions, "partitions are assigned");
        self.is_dividing.store(true, Relaxed);
        *lock(&self.fresh) = Some(partitions);
    }

    /// The group is rebalancing. Until it is done, lanes continue with their partitions; if another process has leased
    /// one meanwhile, they are fenced. Without this, a member that joins and leaves all the time would keep every
    /// process from reading.
    pub(super) fn revoked(&self) {
        tracing::info!(topic = self.topic, "the group divides the partitions anew");
        lock(&self.fresh).take();
        self.is_dividing.store(true, Relaxed);
    }

    /// No partition is ours any more. Only the client's thread may call it, or an assignment might come in between.
    pub(super) fn lost(&self) {
        self.buffers().assign(&[]);
        self.commits().clear();
        self.assignment.send_replace(Vec::new());
        self.wake();
    }

    /// As [`Shared::lost`], when the client is replaced.
    pub(super) fn left(&self) {
        lock(&self.fresh).take();
        self.lost();
    }

    /// Requests [`Shared::lost`], if the group is still rebalancing.
    pub(super) fn give_up(&self) {
        self.give_up.store(true, Relaxed);
    }

    pub(super) fn is_to_give_up(&self) -> bool {
        self.give_up.swap(false, Relaxed) && self.is_dividing()
    }

    /// Whether the group is rebalancing.
    pub(super) fn is_dividing(&self) -> bool {
        self.is_dividing.load(Relaxed)
    }

    /// Publishes a confirmed assignment to the lanes.
    pub(super) fn publish(&self) {
        let Some(mut partitions) = lock(&self.fresh).take() else { return };
        self.is_dividing.store(false, Relaxed);
        self.commits().retain(|partition, _| partitions.contains(partition));
        self.buffers().assign(&partitions);
        partitions.sort_by_key(ToString::to_string);
        self.assignment.send_replace(partitions.iter().map(|number| Partition::new(number.to_string())).collect());
        self.wake();
    }

    /// Whether an assignment waits to be confirmed.
    pub(super) fn is_unconfirmed(&self) -> bool {
        lock(&self.fresh).is_some()
    }

    pub(super) fn client_failed(&self, error: &KafkaError, reason: &str) {
        use super::fault::{Meaning, meaning};
        match meaning(error) {
            Meaning::OutOfRange => self.look_at_ranges.store(true, Relaxed),
            Meaning::Topic => self.look_at_topic.store(true, Relaxed),
            Meaning::Passing => tracing::debug!(topic = self.topic, %error, reason, "the client goes on by itself"),
            Meaning::Fenced => self.is_fenced.store(true, Relaxed),
            Meaning::Unavailable => {
                if self.is_news(error, reason) {
                    tracing::warn!(topic = self.topic, %error, reason, "the stream does not answer");
                }
                self.unavailable(said(error, reason));
            }
            Meaning::Broken => {
                tracing::error!(topic = self.topic, %error, reason, "the stream cannot be read");
                self.break_with(said(error, reason));
            }
        }
    }

    /// False if the same warning was logged lately: while brokers are away, every attempt gives the same error.
    fn is_news(&self, error: &KafkaError, reason: &str) -> bool {
        let (said, mut last) = (said(error, reason), lock(&self.warned));
        let news = last.as_ref().is_none_or(|(what, at)| *what != said || at.elapsed() >= WARN_EVERY);
        if news {
            *last = Some((said, Instant::now()));
        }
        news
    }

    /// Returns the error to every reader that waits.
    pub(super) fn unavailable(&self, reason: String) {
        let mut fault = lock(&self.fault);
        *fault = (fault.0.wrapping_add(1), reason);
        drop(fault);
        self.wake();
    }

    /// Sets the id of the topic with our name. A topic other than the opened one has other records at the same offsets:
    /// its readers get a gap over all of them.
    pub(super) fn topic_is(&self, id: &str) {
        if id == self.topic_id || self.is_made_anew.swap(true, Relaxed) {
            return;
        }
        tracing::error!(topic = self.topic, "the topic was deleted and made again");
        let mut buffers = self.buffers();
        for (partition, offset) in buffers.read() {
            buffers.out_of_range(partition, offset, Some((0, 0, super::MADE_ANEW)));
        }
        drop(buffers);
        self.wake();
    }

    /// Which topic the client reads. If it is another one than was opened, nothing of it is read before the client, or the
    /// brokers, have told more.
    pub(super) fn topic_may_be(&self, id: &str) {
        self.is_unsure.store(id != self.topic_id, Relaxed);
    }

    pub(super) fn is_unsure(&self) -> bool {
        self.is_unsure.load(Relaxed)
    }

    pub(super) fn is_made_anew(&self) -> bool {
        self.is_made_anew.load(Relaxed)
    }

    /// Returns true if this was not known before.
    pub(super) fn set_missing(&self, missing: bool) -> bool {
        let news = self.missing.swap(missing, Relaxed) != missing;
        if news {
            self.wake();
        }
        news
    }

    pub(super) fn is_missing(&self) -> bool {
        self.missing.load(Relaxed)
    }

    /// A retry cannot help: every reader gets this error.
    pub(super) fn break_with(&self, reason: String) {
        *lock(&self.broken) = Some(reason);
        self.wake();
    }

    pub(super) fn broken(&self) -> Option<String> {
        lock(&self.broken).clone()
    }

    /// The number of failures, and the last one.
    pub(super) fn fault(&self) -> (u64, String) {
        lock(&self.fault).clone()
    }

    /// A commit to the group failed; it is retried.
    pub(super) fn commit_failed(&self, said: &str) {
        // Telemetry only: the first failure is logged, all are counted.
        if self.commits_failed.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(topic = self.topic, said, "the group was not told our position; lag tools see an older one");
        }
        self.commit_again.store(true, Relaxed);
    }

    pub(super) fn is_to_commit_again(&self) -> bool {
        self.commit_again.swap(false, Relaxed)
    }

    /// Another member has our name in the group, or the coordinator believes so: this client cannot continue.
    pub(super) fn is_fenced(&self) -> bool {
        self.is_fenced.load(Relaxed)
    }

    pub(super) fn forget_fence(&self) -> bool {
        self.is_fenced.swap(false, Relaxed)
    }

    pub(super) fn commits_failed(&self) -> u64 {
        self.commits_failed.load(Relaxed)
    }

    pub(super) fn revive(&self) {
        self.revive.store(true, Relaxed);
    }

    pub(super) fn is_to_revive(&self) -> bool {
        self.revive.swap(false, Relaxed)
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
        self.ring();
    }

    /// Sleeps for `time`, or until it is stopped.
    pub(super) fn rest(&self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time && !self.is_stopped() {
            std::thread::sleep(Duration::from_millis(20).min(time));
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Wakes the thread: records came, or lanes took some or want to read elsewhere.
    pub(super) fn ring(&self) {
        *lock(&self.rung) = true;
        self.bell.notify_one();
    }

    /// Waits for [`Shared::ring`], for at most `wait`.
    pub(super) fn wait_for_ring(&self, wait: Duration) {
        let waited = self.bell.wait_timeout_while(lock(&self.rung), wait, |rung| !*rung);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *rung = false;
    }
}

fn said(error: &KafkaError, reason: &str) -> String {
    if reason.is_empty() { error.to_string() } else { format!("{error}: {reason}") }
}
