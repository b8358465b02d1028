//! When to do less at once, without waiting for a comparison.

use super::cost::Cost;

/// What is left of the concurrency after the database had too much to do, and after others were in the way or all was
/// slow or stood still.
pub(super) const OVERLOAD: f64 = 0.7;
pub(super) const MILD: f64 = 0.85;

/// Contention brakes when more than this part of the latest transactions met it: now and then a deadlock is normal, and
/// what it costs is already missing in goodput.
const CONTENTION_MAX: f64 = 0.2;

/// The latest transactions are about so many.
const LATEST: f64 = 20.0;

/// Nothing ends: not within so many times what a long transaction takes, and not within so many seconds.
const STALL_FLIGHTS: f64 = 5.0;
const STALL_SECONDS: f64 = 2.0;

/// Slowness brakes at most so often, seconds: after it, comparing is better.
const SLOW_EVERY: f64 = 15.0;

/// The state of the brakes.
#[derive(Clone, Debug)]
pub(super) struct Brakes {
    /// When concurrency was last lowered by one of them.
    pub(super) lowered: Option<f64>,
    /// When something last ended or, after a rest, began.
    progress: f64,
    contention: f64,
    /// Whether nothing new may begin.
    pub(super) stalled: bool,
    committed_since_overload: bool,
    /// The concurrency that held when some were turned away first, and whether all were after that.
    before_overload: usize,
    outage: bool,
    slow_at: f64,
}

/// What an overload tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overload {
    /// Of a flight that was already answered.
    Known,
    /// Some are written, some are turned away: so many are too many.
    TooMany,
    /// All are turned away, however few: it is not their number.
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

    /// Something was begun while nothing else was under way, or time has jumped: only from now on can it stall.
    pub(super) fn begin(&mut self, now: f64) {
        self.progress = now;
    }

    /// A transaction ended, whatever way.
    pub(super) fn ended(&mut self, now: f64, contention: bool, committed: bool) {
        self.progress = now;
        self.committed_since_overload |= committed;
        self.contention += (f64::from(u8::from(contention)) - self.contention) / LATEST;
    }

    /// Whether a transaction begun then belongs to a flight for which concurrency was lowered already.
    fn answered(&self, began: f64) -> bool {
        self.lowered.is_some_and(|lowered| began <= lowered)
    }

    /// The database had too much to do, while so many were allowed.
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

    /// The first commit after an outage: how many were allowed before it.
    pub(super) fn back(&mut self) -> Option<usize> {
        std::mem::take(&mut self.outage).then_some(self.before_overload)
    }

    /// Whether contention is to be answered.
    pub(super) fn contention(&mut self, now: f64, began: f64) -> bool {
        if self.contention <= CONTENTION_MAX || self.answered(began) {
            return false;
        }
        (self.lowered, self.contention) = (Some(now), 0.0);
        true
    }

    /// Whether slowness is to be answered.
    pub(super) fn slow(&mut self, now: f64, began: f64, cost: &Cost) -> bool {
        if !cost.is_slow() || self.answered(began) || now - self.slow_at < SLOW_EVERY {
            return false;
        }
        (self.lowered, self.slow_at) = (Some(now), now);
        true
    }

    /// Whether nothing has ended for so long that nothing more shall be begun.
    pub(super) fn stalls(&mut self, now: f64, inflight: usize, cost: &Cost) -> bool {
        let patience = (STALL_FLIGHTS * cost.long_seconds()).max(STALL_SECONDS);
        if self.stalled || inflight == 0 || now - self.progress < patience {
            return false;
        }
        self.stalled = true;
        true
    }
}
