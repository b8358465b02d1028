//! The queue of events: by time, and in order of entry for events at the same time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::database::Ticket;
use super::plant::Change;

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Happening {
    /// Records reach an instance.
    Records(usize),
    /// The oldest record of an instance has waited long enough.
    Lingered(usize),
    /// A lane of an instance has waited after a failure, and is available again.
    Recovered(usize),
    /// The statements of a transaction reach the database.
    Arrived(Ticket),
    /// A transaction that was held up goes on to its commit.
    WentOn(Ticket),
    /// A commit that waits for no other one is done.
    Committed(Ticket),
    /// The log was written.
    Flushed,
    /// The plant changes.
    Change(Change),
    /// Time passes: a tick for the policies.
    Tick,
    /// The database reports its signals.
    Signals,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Entry {
    at: f64,
    order: u64,
    what: Happening,
}

impl Eq for Entry {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at.total_cmp(&other.at).then(self.order.cmp(&other.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    entries: BinaryHeap<Reverse<Entry>>,
    order: u64,
}

impl Agenda {
    pub(super) fn at(&mut self, at: f64, what: Happening) {
        self.order += 1;
        self.entries.push(Reverse(Entry { at, order: self.order, what }));
    }

    /// The time of the next event.
    pub(super) fn next(&self) -> Option<f64> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    pub(super) fn take(&mut self) -> Option<Happening> {
        self.entries.pop().map(|Reverse(entry)| entry.what)
    }
}
