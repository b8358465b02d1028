//! Hot rows: a transaction that writes one holds it until it has committed, and others wait for it in turn.

use std::collections::VecDeque;

use super::Ticket;
use crate::testing::simulator::random::Random;

/// Which rows are hot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Locks {
    /// How many hot rows there are.
    pub rows: usize,
    /// Part of all records that go to the hottest of them; the others follow Zipf's law with exponent 1.
    pub hottest: f64,
}

/// The holder of each row, and those that wait for it.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<(Option<Ticket>, VecDeque<Ticket>)>,
    hottest: f64,
    pub(super) waiting: usize,
}

impl Table {
    pub(super) fn new(locks: Option<Locks>) -> Self {
        let rows = locks.map_or(0, |locks| locks.rows);
        let hottest = locks.map_or(0.0, |locks| locks.hottest);
        Self { rows: (0..rows).map(|_| Default::default()).collect(), hottest, waiting: 0 }
    }

    /// The hot rows of a batch, each with its place in the batch, 0 to 1. All batches are in the order of the key, so
    /// no two wait for each other; the place of a row follows from its number.
    pub(super) fn draw(&self, random: &mut Random, records: u64) -> VecDeque<(usize, f64)> {
        let mut drawn: Vec<(usize, f64)> = Vec::new();
        for row in 0..self.rows.len() {
            let part = self.hottest / (row + 1) as f64;
            if random.unit() > (1.0 - part).powf(records as f64) {
                // The golden ratio spreads the rows without any two close together.
                drawn.push((row, (0.618_034 * (row + 1) as f64).fract()));
            }
        }
        drawn.sort_by(|a, b| a.1.total_cmp(&b.1));
        drawn.into()
    }

    /// Takes the row, or waits for it. Returns whether it was taken.
    pub(super) fn take(&mut self, row: usize, ticket: Ticket) -> bool {
        let Some((holder, queue)) = self.rows.get_mut(row) else { return true };
        if holder.is_none() {
            *holder = Some(ticket);
            return true;
        }
        queue.push_back(ticket);
        self.waiting += 1;
        false
    }

    /// Gives the row back; returns its next holder.
    pub(super) fn give(&mut self, row: usize) -> Option<Ticket> {
        let (holder, queue) = self.rows.get_mut(row)?;
        *holder = queue.pop_front();
        self.waiting -= usize::from(holder.is_some());
        *holder
    }

    pub(super) fn clear(&mut self) {
        for row in &mut self.rows {
            *row = Default::default();
        }
        self.waiting = 0;
    }
}
