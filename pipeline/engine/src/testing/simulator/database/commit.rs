//! The log of the database, and the time until a commit is durable.

use super::Ticket;
use crate::testing::simulator::agenda::{Agenda, Happening};
use crate::testing::simulator::plant::Commit;

/// Seconds over which the storage averages how busy the processors were.
const BUSY_OVER: f64 = 1.0;
/// From this use of the processors on the storage is starved: AWS names 90 % (Aurora User Guide, "IO:XactSync").
const STARVED_FROM: f64 = 0.9;

/// The transactions that wait for the log.
#[derive(Debug)]
pub(super) struct Log {
    commit: Commit,
    waiting: Vec<(Ticket, u64)>,
    writing: Vec<(Ticket, u64)>,
    used: f64,
    seen: (f64, f64),
}

impl Log {
    pub(super) fn new(commit: Commit) -> Self {
        Self { commit, waiting: Vec::new(), writing: Vec::new(), used: 0.0, seen: (0.0, 0.0) }
    }

    /// Sessions that wait for the log.
    pub(super) fn waiting(&self) -> f64 {
        (self.waiting.len() + self.writing.len()) as f64
    }

    pub(super) fn commit(&mut self, now: f64, ticket: Ticket, records: u64, agenda: &mut Agenda) {
        match self.commit {
            Commit::Alone { seconds } => agenda.at(now + seconds, Happening::Committed(ticket)),
            Commit::Starved { seconds, slowdown } => {
                let starved = ((self.used - STARVED_FROM) / (1.0 - STARVED_FROM)).clamp(0.0, 1.0);
                let seconds = seconds * (1.0 + slowdown * starved * starved);
                agenda.at(now + seconds, Happening::Committed(ticket));
            }
            Commit::Group { .. } => {
                self.waiting.push((ticket, records));
                if self.writing.is_empty() {
                    self.write(now, agenda);
                }
            }
        }
    }

    /// A write of the log is done: returns its transactions. The next write begins at once with all that wait.
    pub(super) fn flushed(&mut self, now: f64, agenda: &mut Agenda) -> Vec<Ticket> {
        let written = std::mem::take(&mut self.writing);
        if !self.waiting.is_empty() {
            self.write(now, agenda);
        }
        written.into_iter().map(|waiter| waiter.0).collect()
    }

    /// Updates how busy the processors were: an exponential average.
    pub(super) fn look(&mut self, now: f64, used_seconds: f64) {
        let (at, before) = self.seen;
        if now > at {
            let used = (used_seconds - before) / (now - at);
            self.used += (used - self.used) * (1.0 - (-(now - at) / BUSY_OVER).exp());
            self.seen = (now, used_seconds);
        }
    }

    pub(super) fn clear(&mut self) {
        // A write that is under way then completes no transaction.
        self.waiting.clear();
        self.writing.clear();
    }

    fn write(&mut self, now: f64, agenda: &mut Agenda) {
        self.writing = std::mem::take(&mut self.waiting);
        let records: u64 = self.writing.iter().map(|waiter| waiter.1).sum();
        if let Commit::Group { seconds, record } = self.commit {
            agenda.at(now + seconds + record * records as f64, Happening::Flushed);
        }
    }
}
