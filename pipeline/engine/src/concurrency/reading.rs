//! What a window says about goodput, and how surely.

use super::Knob;
use super::cost::Cost;
use super::meter::Window;

/// A window counts if all turns were taken and more was ready for this part of it.
pub(super) const BUSY: f64 = 0.7;

/// Relative variance of times (they vary by half) that is assumed until the cost is known.
const NOISE_FIRST: f64 = 0.25;

/// Consecutive transactions are not independent: their variance is this multiple of that of independent ones.
const DEPENDENT: f64 = 1.3;

/// What the search needs to know about the rest of the controller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) cost: &'a Cost,
    pub(super) concurrency: usize,
    pub(super) records: usize,
    pub(super) concurrency_most: usize,
    /// Fewer are not allowed, or could not keep the processors busy that are busy now.
    pub(super) concurrency_least: usize,
    pub(super) records_most: usize,
    /// Records per second at which the operator's cap binds; infinite without one.
    pub(super) capped_at: f64,
    /// Whether most transactions are full: only then does their size matter.
    pub(super) full: bool,
}

impl Around<'_> {
    /// The present number, and the highest that is allowed.
    pub(super) fn of(&self, knob: Knob) -> (usize, usize) {
        match knob {
            Knob::Records => (self.records, self.records_most),
            _ => (self.concurrency, self.concurrency_most),
        }
    }

    /// The lowest number that may be better than the present one.
    pub(super) fn least(&self, knob: Knob) -> usize {
        match knob {
            Knob::Records => 1,
            _ => self.concurrency_least.min(self.concurrency),
        }
    }
}

/// What was measured in a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    concurrency: usize,
    size: usize,
    /// Work per second, in records.
    work: f64,
    pub(super) records_per_second: f64,
    pub(super) variance: f64,
    pub(super) seconds: f64,
    /// When it was read, in seconds.
    pub(super) ended: f64,
}

impl Reading {
    /// The reading of a window that is over; `None` if it was idle, capped or too short to say anything.
    pub(super) fn of(window: &Window, now: f64, around: &Around<'_>) -> Option<Self> {
        let work = window.rate(around.cost.transaction_records());
        let records_per_second = window.records_per_second();
        if work <= 0.0 || window.busy_share(now) < BUSY || records_per_second > 0.9 * around.capped_at {
            return None;
        }
        let noise = if around.cost.is_known() { around.cost.noise().clamp(0.003, 4.0) } else { NOISE_FIRST };
        let transactions = window.transactions();
        (transactions > 2.0).then(|| Self {
            concurrency: window.concurrency,
            size: window.size,
            work,
            records_per_second,
            variance: DEPENDENT * noise / transactions + 0.25 / (transactions * transactions),
            seconds: window.seconds(now),
            ended: now,
        })
    }

    /// The number at which it was measured.
    pub(super) fn at(&self, knob: Knob) -> usize {
        if knob == Knob::Records { self.size } else { self.concurrency }
    }

    /// Logarithm of goodput. Concurrencies are compared by work, which does not change when transactions happen to be
    /// larger; sizes are compared by records.
    pub(super) fn level(&self, knob: Knob) -> f64 {
        if knob == Knob::Records { self.records_per_second.ln() } else { self.work.ln() }
    }
}
