//! What this gateway knows of a task: connections, requests in flight, and how they ended.
//!
//! A [`TaskState`] lives as long as the task has its address, over any number of published views. It belongs to the
//! task and never to the address: a new task at an old address begins with nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_schemas::tasks::{Pending, Standing};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::choose::breaker::Breaker;
use crate::choose::hard::Hard;
use crate::choose::peak::Peak;
use crate::forward::Pool;

/// Names a task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// Who emits its events.
    pub source: Arc<str>,
    /// Its id there.
    pub id: Arc<str>,
}

/// See the module.
#[derive(Debug)]
pub struct TaskState {
    key: TaskKey,
    network: Arc<str>,
    address: SocketAddr,
    /// Differs between tasks: spreads what is random in time.
    seed: u64,
    in_flight: AtomicUsize,
    /// Whether a try reached it while its health was not known.
    passed: AtomicBool,
    /// Whether `record` holds anything against it: without this mark a request need not lock it.
    marked: AtomicBool,
    record: Mutex<Record>,
    /// Its connections.
    pub pool: Pool,
}

/// How requests ended.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) peak: Peak,
    pub(crate) hard: Hard,
    pub(crate) breaker: Breaker,
    /// The service in whose view the task is.
    pub(crate) service: Arc<str>,
}

/// A task of a revision, as one view has it.
#[derive(Debug, Clone)]
pub struct Member {
    /// What is known here.
    pub task: Arc<TaskState>,
    /// Routable, unhealthy, of unknown health, or draining: no other task is a member.
    pub standing: Standing,
    /// Whether it was loaded from disk, and nobody has confirmed since that it lives.
    pub is_from_disk: bool,
}

impl TaskState {
    pub(crate) fn new(key: TaskKey, network: Arc<str>, address: SocketAddr) -> Self {
        let seed = xxh3_64(format!("{}\0{}", key.source, key.id).as_bytes());
        Self {
            key,
            network,
            address,
            seed,
            in_flight: AtomicUsize::new(0),
            passed: AtomicBool::new(false),
            marked: AtomicBool::new(false),
            record: Mutex::default(),
            pool: Pool::default(),
        }
    }

    /// Its name.
    pub fn key(&self) -> &TaskKey {
        &self.key
    }

    /// The network of the address.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// The address to connect to: it was checked before, and no other one may be dialled for this task.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests sent to it whose response bodies have not ended.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether a try reached it while its health was not known.
    pub fn is_passed(&self) -> bool {
        self.passed.load(Ordering::Relaxed)
    }

    pub(crate) fn pass(&self) {
        self.passed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn is_marked(&self) -> bool {
        self.marked.load(Ordering::Relaxed)
    }

    /// Reads or changes the record; held for some instructions only.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the mark as the record says; called with every change of it.
    pub(crate) fn mark(&self, record: &Record) {
        self.marked.store(record.hard.is_out() || record.breaker.is_out(), Ordering::Relaxed);
    }

    /// Takes a place among its requests; false where it has `max` already.
    pub(crate) fn enter(&self, max: Option<usize>) -> bool {
        let Some(max) = max else {
            self.in_flight.fetch_add(1, Ordering::Relaxed);
            return true;
        };
        let below = |count: usize| (count < max).then_some(count + 1);
        self.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok()
    }

    pub(crate) fn leave(&self) {
        let before = self.in_flight.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "a request leaves once");
    }
}

impl Member {
    /// Whether a try must reach it before it is sent requests, and none has.
    pub fn is_on_probation(&self) -> bool {
        let is_unknown = self.standing == Standing::Pending(Pending::UnknownHealth);
        (is_unknown || self.is_from_disk) && !self.task.is_passed() && self.standing != Standing::Draining
    }

    /// Whether trials are made until one reaches it, some time from now on.
    pub(crate) fn has_trials(&self) -> bool {
        let is_unreachable = || self.task.is_marked() && self.task.record().hard.is_out();
        self.standing != Standing::Draining && (self.is_on_probation() || is_unreachable())
    }

    /// Whether it counts as routable here, for all but what this gateway itself found.
    pub(crate) fn is_routable(&self) -> bool {
        let may = matches!(self.standing, Standing::Routable | Standing::Pending(Pending::UnknownHealth));
        may && !self.is_on_probation()
    }

    /// Whether it is routable here and can be reached: what a hold and a drawn revision are judged by.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        use crate::choose::hard::Reach;
        let reaches = || !self.task.is_marked() || self.task.record().hard.reach(now) == Reach::Open;
        self.is_routable() && reaches()
    }
}
