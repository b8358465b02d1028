//! Published controllers of concurrency, written anew from their formulas, each with its published constants.
//!
//! None of them decides how large a batch is: each gets the plant's best size, found by the oracle's grid, and the same
//! linger. None knows of lanes: what it allows beyond them is not used, and it sees only what is open.

mod aimd;
mod arc;
mod gradient2;
mod sui;
mod vegas;

use std::collections::VecDeque;
use std::time::Duration;

use super::policy::{LINGER, Policy};
use crate::concurrency::{Ending, Event, Pace};

pub use aimd::Aimd;
pub use arc::Arc;
pub use gradient2::Gradient2;
pub use sui::SuiAdaptive;
pub use vegas::Vegas;

/// What a limiter learns of each transaction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// When it ended, in seconds.
    pub now: f64,
    /// Seconds that it took.
    pub rtt: f64,
    /// Transactions that were open when it began, including itself.
    pub inflight: usize,
    /// Whether it was refused for overload.
    pub dropped: bool,
}

/// Decides how many transactions may be open, from how earlier ones went.
pub trait Limiter {
    /// Its published name.
    const NAME: &'static str;

    /// A transaction was begun: `inflight` are open, including it.
    fn begun(&mut self, _inflight: usize) {}

    /// A transaction has ended.
    fn ended(&mut self, sample: &Sample);

    /// How many transactions may be open.
    fn limit(&self) -> usize;
}

/// A limiter with a fixed batch size.
#[derive(Debug)]
pub struct Limited<L> {
    limiter: L,
    records: usize,
    lanes: usize,
    open: VecDeque<(Duration, usize)>,
}

impl<L: Limiter> Limited<L> {
    /// Transactions of `records` records, at most `lanes` at a time.
    pub fn new(limiter: L, records: usize, lanes: usize) -> Self {
        Self { limiter, records, lanes, open: VecDeque::new() }
    }
}

impl<L: Limiter> Policy for Limited<L> {
    fn on_event(&mut self, now: Duration, event: &Event) {
        match event {
            Event::Begun(_) => {
                let inflight = self.open.len() + 1;
                self.open.push_back((now, inflight));
                self.limiter.begun(inflight);
            }
            Event::Ended { began, ending, .. } => {
                let at = self.open.iter().position(|open| open.0 == *began).unwrap_or(0);
                let inflight = self.open.remove(at).map_or(1, |open| open.1);
                let rtt = now.saturating_sub(*began).as_secs_f64();
                let dropped = *ending == Ending::Overload;
                self.limiter.ended(&Sample { now: now.as_secs_f64(), rtt, inflight, dropped });
            }
            _ => {}
        }
    }

    fn pace(&self) -> Pace {
        Pace {
            concurrency: self.limiter.limit().clamp(1, self.lanes),
            records: self.records,
            linger: LINGER,
            rests: false,
        }
    }
}

/// A competitor's name, and how to make one from a batch size, a number of lanes and a seed.
pub type Competitor = (&'static str, fn(usize, usize, u64) -> Box<dyn Policy>);

/// All of them.
pub const COMPETITORS: [Competitor; 5] = [
    (Arc::NAME, |records, lanes, _| Box::new(Limited::new(Arc::default(), records, lanes))),
    (Vegas::NAME, |records, lanes, seed| Box::new(Limited::new(Vegas::new(seed), records, lanes))),
    (Gradient2::NAME, |records, lanes, _| Box::new(Limited::new(Gradient2::default(), records, lanes))),
    (Aimd::NAME, |records, lanes, _| Box::new(Limited::new(Aimd::default(), records, lanes))),
    (SuiAdaptive::NAME, |records, lanes, seed| Box::new(Limited::new(SuiAdaptive::new(seed), records, lanes))),
];

/// A limit as a whole number, truncated as in Java and Rust.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
fn cut(limit: f64) -> usize {
    limit.clamp(0.0, 1e9) as usize
}
