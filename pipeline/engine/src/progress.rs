//! What a pipeline has done and how it stands: counted once per batch, read by status, metrics and the page.

mod floods;
mod register;
mod shares;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::batch::Receipt;
use crate::flood::Flood;
use crate::gap::Gap;
use crate::histogram::{Histogram, Reading};
use crate::named::Named;
use crate::position::{Partition, Position};
use crate::share::Standing;
use crate::source::Source;
use floods::Floods;
use register::Register;
pub(crate) use register::{SHARES_EVERY, Stop, ToPause};

/// No rate is computed over less time than this: a transaction may take as long.
const RATE_WINDOW_MIN: Duration = Duration::from_secs(2);

/// The shared counters of one pipeline.
#[derive(Debug)]
pub struct Progress {
    /// The pipeline's name.
    pub pipeline: String,
    started: Instant,
    records: AtomicU64,
    written: AtomicU64,
    quarantined: AtomicU64,
    isolating_tries: AtomicU64,
    dropped: AtomicU64,
    transactions: AtomicU64,
    retries: AtomicU64,
    stalls: AtomicU64,
    /// Time from acceptance by the stream to commit in the database.
    pub freshness: Histogram,
    /// Records per transaction.
    pub batch_records: Histogram,
    /// How long a transaction took, with its retries.
    pub write_time: Histogram,
    inner: Mutex<Inner>,
    flood: Mutex<Flood>,
    floods: Mutex<Floods>,
    register: Mutex<Register>,
    /// Why every lane waits, if a flood of bad records paused the pipeline.
    paused: watch::Sender<Option<Stop>>,
    lanes: Vec<Lane>,
}

#[derive(Debug, Default)]
struct Inner {
    filtered: BTreeMap<&'static str, u64>,
    named: Arc<Named>,
    positions: BTreeMap<Partition, Position>,
    as_of_ms: BTreeMap<Partition, i64>,
    halted: BTreeMap<Partition, String>,
    /// Partitions of which records are too slow to be written together, and what the sink said.
    slow: BTreeMap<Partition, String>,
    /// Partitions that began again after a loss since a person last resumed the pipeline, and what was lost.
    began_again: BTreeMap<Partition, String>,
}

/// The state of one lane.
#[derive(Debug)]
pub(crate) struct Lane {
    beats: AtomicU64,
    /// When the oldest record it holds was accepted, in milliseconds since 1970; 0 when it holds none.
    oldest_ms: AtomicI64,
    state: Mutex<LaneState>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LaneState {
    Working,
    /// Has a batch, but no turn to write it yet.
    Waiting,
    Braked(String),
    Paused,
    /// Has no partition: other lanes or processes have them all.
    Resting,
    Halted(String),
    Ended,
}

/// Whether a pipeline keeps up, in one word.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// What arrives is written within the freshness goal.
    KeepingUp,
    /// There is a backlog, and it shrinks.
    CatchingUp {
        /// Seconds until it is gone at the present rate, if that is known.
        seconds_left: Option<u64>,
    },
    /// There is work, but nothing is written.
    Stalled,
    /// The database is away or asks for less; work waits and nothing is lost.
    Braked {
        /// What the database reported.
        reason: String,
    },
    /// A share with too many bad records is paused until a person resumes it; the others keep up or catch up.
    Flooding {
        /// Which shares, since when, and the command that resumes them.
        reason: String,
    },
    /// A person must decide.
    Halted {
        /// What happened.
        reason: String,
    },
}

/// The counters at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The pipeline's name.
    pub pipeline: String,
    /// When it was taken.
    pub at: Instant,
    /// Since the pipeline began.
    pub uptime: Duration,
    /// Records whose position was passed.
    pub records: u64,
    /// Events that changed a table.
    pub written: u64,
    /// Events that rightly changed nothing, by reason.
    pub filtered: BTreeMap<&'static str, u64>,
    /// The filtered events that have a name.
    pub named: Arc<Named>,
    /// Events quarantined.
    pub quarantined: u64,
    /// Attempts made to isolate them.
    pub isolating_tries: u64,
    /// Rows removed from the quarantine because it held too much of their share.
    pub dropped: u64,
    /// Committed transactions.
    pub transactions: u64,
    /// Attempts that failed and were made again.
    pub retries: u64,
    /// Lanes restarted by the watchdog.
    pub stalls: u64,
    /// Freshness so far.
    pub freshness: Reading,
    /// Batch sizes so far.
    pub batch_records: Reading,
    /// Next position by partition.
    pub positions: BTreeMap<Partition, Position>,
    /// When the last record written was accepted, in milliseconds since 1970, by partition.
    pub as_of_ms: BTreeMap<Partition, i64>,
    /// Partitions that wait for a person, and why.
    pub halted: BTreeMap<Partition, String>,
    /// When the oldest record in hand was accepted, in milliseconds since 1970.
    pub oldest_ms: Option<i64>,
    /// Why a flood of bad records paused the pipeline, if it did.
    pub paused: Option<String>,
    /// Shares that are paused or have rows in quarantine.
    pub shares: Vec<Standing>,
    /// What was lost, if the pipeline has gone on after a loss: its tables are complete again only after a reconcile.
    /// Stands until a person resumes the pipeline, or the process ends.
    pub reconcile_wanted: Option<String>,
    /// Shares with too many bad records in a pipeline that goes on all the same, in words.
    floods: Option<String>,
    braked: Option<String>,
    dead: Option<String>,
}

/// A poisoned lock means that another task panicked while counting; the counts themselves are still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Progress {
    /// Counters at zero for a pipeline of `lanes` lanes.
    pub fn new(pipeline: &str, lanes: usize) -> Self {
        let lane =
            || Lane { beats: AtomicU64::new(0), oldest_ms: AtomicI64::new(0), state: Mutex::new(LaneState::Working) };
        Progress {
            pipeline: pipeline.to_owned(),
            started: Instant::now(),
            records: AtomicU64::new(0),
            written: AtomicU64::new(0),
            quarantined: AtomicU64::new(0),
            isolating_tries: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            transactions: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            freshness: Histogram::default(),
            batch_records: Histogram::default(),
            write_time: Histogram::default(),
            inner: Mutex::default(),
            flood: Mutex::default(),
            floods: Mutex::default(),
            register: Mutex::default(),
            paused: watch::Sender::new(None),
            lanes: (0..lanes).map(|_| lane()).collect(),
        }
    }

    /// Sets why nothing is written before the pipeline runs; with `None`, it may begin.
    pub fn hold(&self, reason: Option<&str>) {
        for lane in &self.lanes {
            lane.set(reason.map_or(LaneState::Working, |reason| LaneState::Braked(reason.to_owned())));
        }
    }

    pub(crate) fn lane(&self, lane: usize) -> Option<&Lane> {
        self.lanes.get(lane)
    }

    pub(crate) fn wrote(&self, receipt: &Receipt, took: Duration, now_ms: i64) {
        let outcome = receipt.outcome();
        self.records.fetch_add(receipt.records() as u64, Relaxed);
        self.written.fetch_add(outcome.written, Relaxed);
        self.quarantined.fetch_add(outcome.quarantined, Relaxed);
        self.isolating_tries.fetch_add(outcome.isolating_tries, Relaxed);
        self.dropped.fetch_add(outcome.dropped, Relaxed);
        self.transactions.fetch_add(1, Relaxed);
        self.batch_records.record(receipt.records() as u64, 1);
        self.write_time.record(took.as_millis() as u64, 1);
        // Neighbours in a batch were mostly accepted together: count runs, not records.
        for run in receipt.published_at_ms().chunk_by(|a, b| a == b) {
            let age_ms = run.first().map_or(0, |at_ms| now_ms.saturating_sub(*at_ms).max(0));
            self.freshness.record(age_ms as u64, run.len() as u64);
        }
        let mut inner = lock(&self.inner);
        for (reason, events) in &outcome.filtered {
            *inner.filtered.entry(reason).or_default() += events;
        }
        if !outcome.named.is_empty() {
            Arc::make_mut(&mut inner.named).merge(&outcome.named);
        }
        for range in receipt.ranges() {
            inner.positions.insert(range.partition.clone(), range.next.clone());
            if let Some(last_ms) = receipt.published_at_ms().get(range.records.clone()).and_then(<[i64]>::last) {
                inner.as_of_ms.insert(range.partition.clone(), *last_ms);
            }
        }
    }

    pub(crate) fn paused(&self) -> watch::Receiver<Option<Stop>> {
        self.paused.subscribe()
    }

    /// Resumes a pipeline that a flood of bad records paused, and lets that flood pass. Returns whether it was paused.
    /// A reconcile is not wanted any more.
    pub fn resume(&self) -> bool {
        lock(&self.inner).began_again.clear();
        lock(&self.flood).let_pass(Instant::now());
        lock(&self.register).recount();
        let was_paused = self.paused.send_replace(None).is_some();
        if was_paused {
            tracing::info!(pipeline = self.pipeline, "the pipeline goes on");
        }
        was_paused
    }

    pub(crate) fn started_at(&self, partition: &Partition, position: &Position) {
        let mut inner = lock(&self.inner);
        inner.halted.remove(partition);
        inner.slow.remove(partition);
        inner.positions.insert(partition.clone(), position.clone());
    }

    /// Marks a partition as halted. Returns true if this was not known before.
    pub(crate) fn halt(&self, partition: &Partition, reason: String) -> bool {
        lock(&self.inner).halted.insert(partition.clone(), reason).is_none()
    }

    /// Notes that a partition begins again after a loss. Returns true if this loss was not known before.
    pub(crate) fn began_again(&self, gap: &Gap) -> bool {
        let lost = gap.to_string();
        let before = lock(&self.inner).began_again.insert(gap.partition.clone(), lost.clone());
        before.is_none_or(|before| before != lost)
    }

    /// Whether any of these partitions waits for a person.
    pub(crate) fn is_halted(&self, partitions: &[Partition]) -> bool {
        let inner = lock(&self.inner);
        partitions.iter().any(|partition| inner.halted.contains_key(partition))
    }

    /// Forgets the partitions that belong to others now.
    pub(crate) fn keep_only(&self, partitions: &[Partition]) {
        let mut inner = lock(&self.inner);
        inner.positions.retain(|partition, _| partitions.contains(partition));
        inner.as_of_ms.retain(|partition, _| partitions.contains(partition));
        inner.halted.retain(|partition, _| partitions.contains(partition));
        inner.slow.retain(|partition, _| partitions.contains(partition));
    }

    pub(crate) fn slow(&self, partition: &Partition, reason: String) {
        lock(&self.inner).slow.insert(partition.clone(), reason);
    }

    pub(crate) fn slow_no_more(&self, partition: &Partition) {
        lock(&self.inner).slow.remove(partition);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    pub(crate) fn stalled(&self) {
        self.stalls.fetch_add(1, Relaxed);
    }

    /// Transactions committed so far.
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Relaxed)
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        let states: Vec<LaneState> = self.lanes.iter().map(|lane| lock(&lane.state).clone()).collect();
        let inner = lock(&self.inner);
        let oldest = self.lanes.iter().map(|lane| lane.oldest_ms.load(Relaxed)).filter(|at_ms| *at_ms > 0).min();
        let shares = lock(&self.register).all();
        Snapshot {
            pipeline: self.pipeline.clone(),
            at: Instant::now(),
            uptime: self.started.elapsed(),
            records: self.records.load(Relaxed),
            written: self.written.load(Relaxed),
            filtered: inner.filtered.clone(),
            named: Arc::clone(&inner.named),
            quarantined: self.quarantined.load(Relaxed),
            isolating_tries: self.isolating_tries.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            transactions: self.transactions.load(Relaxed),
            retries: self.retries.load(Relaxed),
            stalls: self.stalls.load(Relaxed),
            freshness: self.freshness.read(),
            batch_records: self.batch_records.read(),
            positions: inner.positions.clone(),
            as_of_ms: inner.as_of_ms.clone(),
            halted: inner.halted.clone(),
            oldest_ms: oldest,
            paused: self.paused.borrow().as_ref().map(|stop| stop.reason.clone()),
            shares,
            reconcile_wanted: inner
                .began_again
                .iter()
                .next()
                .map(|(partition, lost)| format!("partition {partition}: {lost}")),
            floods: lock(&self.floods).says(Instant::now()),
            braked: inner.slow.values().next().cloned().or_else(|| {
                states.iter().find_map(|state| match state {
                    LaneState::Braked(reason) => Some(reason.clone()),
                    _ => None,
                })
            }),
            dead: states.iter().find_map(|state| match state {
                LaneState::Halted(reason) => Some(reason.clone()),
                _ => None,
            }),
        }
    }
}

impl Snapshot {
    /// The shares that are paused, in words, with the command that resumes each.
    fn flooding(&self) -> Option<String> {
        let told = self.shares.iter().filter_map(|standing| {
            let share = &standing.share;
            let pause = standing.pause.as_ref().filter(|pause| !pause.is_resumed)?;
            Some(format!("{share} is paused, {}: `millstream resume {} --store {share}`", pause.reason, self.pipeline))
        });
        let told: Vec<String> = told.chain(self.floods.clone()).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// The partitions of which everything in the stream is in the sink, as far as the source knows: those that are read
    /// here and have no lag. None while the stream or the sink does not answer: then nobody knows.
    pub fn read_to_end(&self, source: &dyn Source) -> Vec<Partition> {
        if self.braked.is_some() || self.dead.is_some() || self.paused.is_some() {
            return Vec::new();
        }
        let is_at_end = |(partition, next): &(&Partition, &Position)| {
            !self.halted.contains_key(*partition) && source.lag_records(partition, next) == Some(0)
        };
        self.positions.iter().filter(is_at_end).map(|(partition, _)| partition.clone()).collect()
    }

    /// Records passed per second since an earlier snapshot.
    pub fn records_per_second(&self, earlier: &Snapshot) -> f64 {
        let seconds = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        if seconds > 0.0 { self.records.saturating_sub(earlier.records) as f64 / seconds } else { 0.0 }
    }

    /// The verdict, given an earlier snapshot, how many records wait, and the age from which a record is late.
    pub fn verdict(&self, earlier: &Snapshot, lag_records: u64, late: Duration, now_ms: i64) -> Verdict {
        // The lane of a halted partition only reports that it is halted, so the partition's reason comes first.
        let halted = self.paused.as_ref().or_else(|| self.halted.values().next()).or(self.dead.as_ref());
        if let Some(reason) = halted.cloned() {
            return Verdict::Halted { reason };
        }
        if let Some(reason) = self.braked.clone() {
            return Verdict::Braked { reason };
        }
        let age_ms = self.oldest_ms.map_or(0, |at_ms| now_ms.saturating_sub(at_ms).max(0)) as u128;
        let is_late = lag_records > 0 && age_ms > late.as_millis();
        let rate = self.records_per_second(earlier);
        if is_late && self.at.saturating_duration_since(earlier.at) < RATE_WINDOW_MIN {
            return Verdict::CatchingUp { seconds_left: None };
        }
        if is_late && rate <= 0.0 {
            return Verdict::Stalled;
        }
        if let Some(reason) = self.flooding() {
            return Verdict::Flooding { reason };
        }
        if !is_late {
            return Verdict::KeepingUp;
        }
        Verdict::CatchingUp { seconds_left: Some((lag_records as f64 / rate).ceil() as u64) }
    }
}

impl Lane {
    /// Counts progress, which the watchdog looks at.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Relaxed);
    }

    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Relaxed)
    }

    pub(crate) fn holds_since(&self, oldest_ms: Option<i64>) {
        self.oldest_ms.store(oldest_ms.unwrap_or(0), Relaxed);
    }

    pub(crate) fn holds_work(&self) -> bool {
        self.oldest_ms.load(Relaxed) > 0
    }

    pub(crate) fn set(&self, state: LaneState) {
        *lock(&self.state) = state;
    }

    /// Marks the lane as halted. Returns true if this was not known before.
    pub(crate) fn halt(&self, reason: &str) -> bool {
        let halted = LaneState::Halted(reason.to_owned());
        std::mem::replace(&mut *lock(&self.state), halted.clone()) != halted
    }

    /// The lane waits for a turn, which is no stall. A lane that the sink has braked stays shown as braked.
    pub(crate) fn waits(&self) {
        let mut state = lock(&self.state);
        if *state == LaneState::Working {
            *state = LaneState::Waiting;
        }
    }

    /// The lane has its turn.
    pub(crate) fn waits_no_more(&self) {
        let mut state = lock(&self.state);
        if *state == LaneState::Waiting {
            *state = LaneState::Working;
        }
    }

    pub(crate) fn is_working(&self) -> bool {
        *lock(&self.state) == LaneState::Working
    }
}
