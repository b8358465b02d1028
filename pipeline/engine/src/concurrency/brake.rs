//! Brakes: when to lower concurrency at once, without waiting for a comparison.

use super::cost::Cost;

/// The part of the concurrency that is left after an overload, and (`MILD`) after contention, slow transactions or a
/// stall.
pub(super) const OVERLOAD: f64 = 0.7;
pub(super) const MILD: f64 = 0.85;

/// Contention brakes when more than this part of the latest transactions met it. A deadlock now and then is normal, and
/// its cost is already missing in goodput.
const CONTENTION_MAX: f64 = 0.2;

/// The latest transactions are about this many.
const LATEST: f64 = 20.0;

/// A stall: no transaction ended within this multiple of the time of a long one, and within this many seconds.
const STALL_FLIGHTS: f64 = 5.0;
const STALL_SECONDS: f64 = 2.0;

/// Slowness brakes at most once in this many seconds: after that, comparing is better.
const SLOW_EVERY: f64 = 15.0;

/// The state of the brakes.
#[derive(Clone, Debug)]
pub(super) struct Brakes {
    /// When a brake last lowered concurrency, in seconds.
    pub(super) lowered: Option<f64>,
    /// When a transaction last ended, or began while no other was under way, in seconds.
    progress: f64,
    contention: f64,
    /// Whether nothing new may begin.
    pub(super) stalled: bool,
    committed_since_overload: bool,
    /// The concurrency when transactions were first turned away, and whether all were turned away after that.
    before_overload: usize,
    outage: bool,
    slow_at: f64,
}

/// What an overload says about the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overload {
    /// Nothing new: concurrency was already lowered for the transactions begun by then.
    Known,
    /// Some transactions are written and some turned away: the concurrency is too high.
    TooMany,
    /// All are turned away, however few they are: the concurrency is not the cause.
    Away,
}

impl Brakes {
    pub(super) fn new(now: f64) -> Self {
        Self {
            lowered: None,
            progress: now,
            contention: 0.0,
            stalled: false,
            committed_since_overload: true,
            before_overload: 0,
            outage: false,
            slow_at: f64::NEG_INFINITY,
        }
    }

    /// A transaction began while no other was under way, or time has jumped: a stall is measured from now on.
    pub(super) fn begin(&mut self, now: f64) {
        self.progress = now;
    }

    /// A transaction ended, in whatever way.
    pub(super) fn ended(&mut self, now: f64, contention: bool, committed: bool) {
        self.progress = now;
        self.committed_since_overload |= committed;
        self.contention += (f64::from(u8::from(contention)) - self.contention) / LATEST;
    }

    /// Whether concurrency was already lowered since `began`, when the transaction began.
    fn answered(&self, began: f64) -> bool {
        self.lowered.is_some_and(|lowered| began <= lowered)
    }

    /// The database was overloaded while this concurrency was allowed.
    pub(super) fn overload(&mut self, now: f64, began: f64, concurrency: usize) -> Overload {
        if self.answered(began) {
            return Overload::Known;
        }
        self.lowered = Some(now);
        let some = std::mem::replace(&mut self.committed_since_overload, false);
        self.outage = !some;
        if some {
            self.before_overload = concurrency;
            Overload::TooMany
        } else {
            Overload::Away
        }
    }

    /// At the first commit after an outage, the concurrency before it.
    pub(super) fn back(&mut self) -> Option<usize> {
        std::mem::take(&mut self.outage).then_some(self.before_overload)
    }

    /// Whether to brake because of contention.
    pub(super) fn contention(&mut self, now: f64, began: f64) -> bool {
        if self.contention <= CONTENTION_MAX || self.answered(began) {
            return false;
        }
        self.lowered = Some(now);
        self.contention = 0.0;
        true
    }

    /// Whether to brake because transactions are slow.
    pub(super) fn slow(&mut self, now: f64, began: f64, cost: &Cost) -> bool {
        if !cost.is_slow() || self.answered(began) || now - self.slow_at < SLOW_EVERY {
            return false;
        }
        self.lowered = Some(now);
        self.slow_at = now;
        true
    }

    /// Whether no transaction has ended for so long that none may begin. `long_seconds`: all but a few take less.
    pub(super) fn stalls(&mut self, now: f64, inflight: usize, long_seconds: f64) -> bool {
        let patience = (STALL_FLIGHTS * long_seconds).max(STALL_SECONDS);
        if self.stalled || inflight == 0 || now - self.progress < patience {
            return false;
        }
        self.stalled = true;
        true
    }
}
