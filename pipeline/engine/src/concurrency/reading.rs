//! What a window says about goodput, and how surely.

use super::Knob;
use super::meter::Window;
use super::part::{Mix, Part, weight};

/// A window counts if all turns were taken and more was ready for this part of it.
pub(super) const BUSY: f64 = 0.7;

/// Relative variance of times (they vary by half) that is assumed until the cost is known.
const NOISE_FIRST: f64 = 0.25;

/// Consecutive transactions are not independent: their variance is this multiple of that of independent ones.
const DEPENDENT: f64 = 1.3;

/// What the search needs to know about the rest of the controller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'a> {
    pub(super) parts: &'a [Part],
    /// What a transaction costs, of any of them.
    pub(super) mix: Mix,
    /// The pipeline whose size of transactions is looked at. The figures of sizes below are its own.
    pub(super) sizing: usize,
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
    /// Work per second, in records.
    work: f64,
    pub(super) records_per_second: f64,
    /// The same, in records of equal cost.
    equal_per_second: f64,
    variance: f64,
    /// Of the pipeline whose size is looked at: records per second of its transactions, and the variance of that.
    /// `None` if too few of them were committed.
    size: Option<(f64, f64)>,
    pub(super) seconds: f64,
    /// When it was read, in seconds.
    pub(super) ended: f64,
}

impl Reading {
    /// The reading of a window that is over; `None` if it was idle, capped or too short to say anything.
    pub(super) fn of(window: &Window, now: f64, around: &Around<'_>) -> Option<Self> {
        let costs = |index: usize| {
            let own = around.parts.get(index).map_or(0.0, |part| part.cost.transaction_records());
            (weight(around.parts, index), own)
        };
        let work = window.rate(costs);
        let records_per_second = window.records_per_second();
        if work <= 0.0 || window.busy_share(now) < BUSY || records_per_second > 0.9 * around.capped_at {
            return None;
        }
        let noise = if around.mix.is_known { around.mix.noise.clamp(0.003, 4.0) } else { NOISE_FIRST };
        let transactions = window.transactions();
        (transactions > 2.0).then(|| Self {
            work,
            records_per_second,
            equal_per_second: window.rate(|index| (weight(around.parts, index), 0.0)),
            variance: variance(noise, transactions),
            // A pipeline alone has all turns: then records per second of the clock say the same, and more exactly.
            size: match around.parts {
                [_] => Some((records_per_second, variance(noise, transactions))),
                _ => size(window, around),
            },
            seconds: window.seconds(now),
            ended: now,
        })
    }

    /// Whether it says something about this number.
    pub(super) fn is_of(&self, knob: Knob) -> bool {
        knob != Knob::Records || self.size.is_some()
    }

    /// Logarithm of goodput. Concurrencies are compared by work, which does not change when transactions happen to be
    /// larger; sizes are compared by records, of the pipeline whose size it is.
    pub(super) fn level(&self, knob: Knob) -> f64 {
        match self.size {
            Some((records, _)) if knob == Knob::Records => records.ln(),
            _ => self.work.ln(),
        }
    }

    /// Variance of that level.
    pub(super) fn variance(&self, knob: Knob) -> f64 {
        match self.size {
            Some((_, variance)) if knob == Knob::Records => variance,
            _ => self.variance,
        }
    }

    /// Logarithm of all records per second. Not of work: a transaction's own cost in records is fitted anew all the
    /// time.
    pub(super) fn usual(&self) -> f64 {
        self.equal_per_second.ln()
    }
}

fn variance(noise: f64, transactions: f64) -> f64 {
    DEPENDENT * noise / transactions + 0.25 / (transactions * transactions)
}

/// Records per second of the transactions of one pipeline among several, and the variance of that. Turns that others
/// have do not change it.
fn size(window: &Window, around: &Around<'_>) -> Option<(f64, f64)> {
    let tally = window.tally(around.sizing);
    let cost = &around.parts.get(around.sizing)?.cost;
    let noise = if cost.is_known() { cost.noise().clamp(0.003, 4.0) } else { NOISE_FIRST };
    let is_enough = tally.transactions > 2.0 && tally.seconds > 0.0 && tally.records > 0.0;
    is_enough.then(|| (tally.records / tally.seconds, variance(noise, tally.transactions)))
}
