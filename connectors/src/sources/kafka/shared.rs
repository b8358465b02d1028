//! What the client's thread and the lanes know of each other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use millstream_engine::Partition;
use rdkafka::error::KafkaError;
use tokio::sync::watch;

use super::buffers::Buffers;

/// Shared by the thread, its callbacks and the lanes.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) topic: String,
    buffers: Mutex<Buffers>,
    /// Told when readers made room.
    pub(super) drained: Condvar,
    /// Counts whatever a waiting reader should look at.
    pub(super) changed: watch::Sender<u64>,
    pub(super) assignment: watch::Sender<Vec<Partition>>,
    /// Partitions that were assigned in the poll that is under way.
    fresh: Mutex<Option<Vec<i32>>>,
    /// Positions to be told to the group.
    pub(super) commits: Mutex<BTreeMap<i32, u64>>,
    commits_failed: AtomicU64,
    /// What fails at the moment, and how often something new did.
    fault: Mutex<(u64, String)>,
    broken: Mutex<Option<String>>,
    pub(super) look_at_ranges: AtomicBool,
    pub(super) look_at_topic: AtomicBool,
    /// The topic is another one than was opened.
    pub(super) is_made_anew: AtomicBool,
    revive: AtomicBool,
    stop: AtomicBool,
    /// Rounds of the client's thread.
    pub(super) rounds: AtomicU64,
}

/// A poisoned lock means that another thread panicked; what it guards is replaced as a whole or counted.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(topic: &str) -> Self {
        Shared {
            topic: topic.to_owned(),
            buffers: Mutex::default(),
            drained: Condvar::new(),
            changed: watch::Sender::new(0),
            assignment: watch::Sender::new(Vec::new()),
            fresh: Mutex::default(),
            commits: Mutex::default(),
            commits_failed: AtomicU64::new(0),
            fault: Mutex::default(),
            broken: Mutex::default(),
            look_at_ranges: AtomicBool::new(false),
            look_at_topic: AtomicBool::new(false),
            is_made_anew: AtomicBool::new(false),
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

    /// The group gave us these; they are told to the lanes when a poll has passed without another change.
    pub(super) fn assigned(&self, mut partitions: Vec<i32>) {
        partitions.sort_unstable();
        tracing::info!(topic = self.topic, ?partitions, "partitions are assigned");
        self.buffers().assign(&partitions);
        *lock(&self.fresh) = Some(partitions);
    }

    pub(super) fn revoked(&self) {
        tracing::info!(topic = self.topic, "partitions are revoked");
        lock(&self.fresh).take();
        self.buffers().assign(&[]);
        self.commits().clear();
        self.assignment.send_replace(Vec::new());
        self.wake();
    }

    /// Tells the lanes of an assignment that is confirmed.
    pub(super) fn publish(&self) {
        let Some(mut partitions) = lock(&self.fresh).take() else { return };
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
            Meaning::Unavailable => {
                tracing::warn!(topic = self.topic, %error, reason, "the stream does not answer");
                let mut fault = lock(&self.fault);
                *fault = (fault.0.wrapping_add(1), said(error, reason));
                drop(fault);
                self.wake();
            }
            Meaning::Broken => {
                tracing::error!(topic = self.topic, %error, reason, "the stream cannot be read");
                self.break_with(said(error, reason));
            }
        }
    }

    /// Trying again cannot help: every reader is told so.
    pub(super) fn break_with(&self, reason: String) {
        *lock(&self.broken) = Some(reason);
        self.wake();
    }

    pub(super) fn broken(&self) -> Option<String> {
        lock(&self.broken).clone()
    }

    /// How often something failed, and what did last.
    pub(super) fn fault(&self) -> (u64, String) {
        lock(&self.fault).clone()
    }

    pub(super) fn commit_failed(&self, error: &KafkaError) {
        // Telemetry only: the first is worth a line, all of them are counted.
        if self.commits_failed.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(topic = self.topic, %error, "the group was not told our position; lag tools see an older one");
        }
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
        self.drained.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Waits for a moment, or until readers made room.
    pub(super) fn wait_for_room(&self, bytes_max: usize, wait: std::time::Duration) -> bool {
        let full = |buffers: &mut Buffers| buffers.bytes() >= bytes_max && !self.is_stopped();
        let waited = self.drained.wait_timeout_while(self.buffers(), wait, full);
        let (buffers, _) = waited.unwrap_or_else(PoisonError::into_inner);
        buffers.bytes() < bytes_max
    }
}

fn said(error: &KafkaError, reason: &str) -> String {
    if reason.is_empty() { error.to_string() } else { format!("{error}: {reason}") }
}
