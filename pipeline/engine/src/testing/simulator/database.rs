//! The database of a plant: the stages of a transaction until it is committed.
//!
//! Round trips, then work on shared processors (in pieces, where hot rows must be locked in between), perhaps the
//! pending list of an index, then the commit. Nothing here knows of batches' best size or of a cost model: a
//! controller sees only when transactions begin and end.

pub(super) mod commit;
pub(super) mod cores;
pub(super) mod locks;

use std::collections::VecDeque;

use self::commit::Log;
use self::cores::Cores;
use self::locks::Table;
use super::agenda::{Agenda, Happening};
use super::plant::{Change, Cost, Gin, Plant};
use super::random::Random;
use crate::concurrency::Signals;

/// A transaction: its place, and a unique number, so that an event planned for one that failed is not applied to the
/// next in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) place: usize,
    pub(super) serial: u64,
}

/// A transaction that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) instance: usize,
    pub(super) began: f64,
    pub(super) records: u64,
    /// When its records came.
    pub(super) groups: Vec<(f64, u64)>,
    pub(super) committed: bool,
}

#[derive(Debug)]
struct Transaction {
    serial: u64,
    work: f64,
    done: f64,
    /// Hot rows still to be locked, each with its place in the work.
    rows: VecDeque<(usize, f64)>,
    held: Vec<usize>,
    ended: Ended,
}

/// The state of the database.
#[derive(Debug)]
pub(super) struct Database {
    cost: Cost,
    gin: Option<Gin>,
    pending: f64,
    gone: bool,
    cores: Cores,
    locks: Table,
    log: Log,
    places: Vec<Option<Transaction>>,
    free: Vec<usize>,
    serial: u64,
    random: Random,
    ended: Vec<Ended>,
    told: (f64, f64),
}

impl Database {
    pub(super) fn new(plant: &Plant, random: Random) -> Self {
        Self {
            cost: plant.cost,
            gin: plant.gin,
            pending: 0.0,
            gone: false,
            cores: Cores::new(plant.sharing),
            locks: Table::new(plant.locks),
            log: Log::new(plant.commit),
            places: Vec::new(),
            free: Vec::new(),
            serial: 0,
            random,
            ended: Vec::new(),
            told: (0.0, 0.0),
        }
    }

    pub(super) fn begin(&mut self, now: f64, instance: usize, groups: Vec<(f64, u64)>, agenda: &mut Agenda) {
        let records = groups.iter().map(|group| group.1).sum();
        self.serial += 1;
        let work = (self.cost.fixed + self.cost.record * records as f64) * self.random.lognormal(self.cost.cv);
        let rows = self.locks.draw(&mut self.random, records);
        let ended = Ended { instance, began: now, records, groups, committed: false };
        let transaction = Transaction { serial: self.serial, work, done: 0.0, rows, held: Vec::new(), ended };
        let place = self.free.pop().unwrap_or(self.places.len());
        let ticket = Ticket { place, serial: self.serial };
        match self.places.get_mut(place) {
            Some(free) => *free = Some(transaction),
            None => self.places.push(Some(transaction)),
        }
        agenda.at(now + self.cost.network, Happening::Arrived(ticket));
    }

    /// When the processors finish the next piece of work, if nothing changes.
    pub(super) fn next(&self) -> Option<f64> {
        self.cores.next()
    }

    /// The processors have finished a piece of work.
    pub(super) fn computed(&mut self, now: f64, agenda: &mut Agenda) {
        let Some(ticket) = self.cores.end(now) else { return };
        let Some(transaction) = self.transaction(ticket) else { return };
        let Some((row, _)) = transaction.rows.pop_front() else { return self.worked(now, ticket, agenda) };
        transaction.held.push(row);
        if self.locks.take(row, ticket) {
            self.go_on(now, ticket);
        }
    }

    /// A planned event happens.
    pub(super) fn happened(&mut self, now: f64, what: Happening, agenda: &mut Agenda) {
        match what {
            Happening::Arrived(ticket) if self.gone => self.end(now, ticket, false),
            Happening::Arrived(ticket) => self.go_on(now, ticket),
            Happening::WentOn(ticket) if self.transaction(ticket).is_some() => self.commit(now, ticket, agenda),
            Happening::Committed(ticket) => self.end(now, ticket, true),
            Happening::Flushed => {
                for ticket in self.log.flushed(now, agenda) {
                    self.end(now, ticket, true);
                }
            }
            Happening::Change(change) => self.change(now, change),
            _ => {}
        }
    }

    /// The transactions that have ended since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Measures how busy the processors are; called a few times a second.
    pub(super) fn look(&mut self, now: f64) {
        self.cores.advance(now);
        self.log.look(now, self.cores.used_seconds());
    }

    /// The signals that it reports; `None` while it is gone.
    pub(super) fn signals(&mut self, now: f64) -> Option<Signals> {
        self.cores.advance(now);
        let (at, before) = std::mem::replace(&mut self.told, (now, self.cores.used_seconds()));
        let used = (self.cores.used_seconds() - before) / (now - at).max(1e-9);
        (!self.gone).then(|| Signals {
            sessions_running: Some(self.cores.running()),
            sessions_of_others: None,
            sessions_locked: Some(self.locks.waiting as f64),
            sessions_waiting_io: Some(self.log.waiting()),
            processors: self.cores.count(),
            processors_used: self.cores.count().map(|_| used),
            processors_ours: None,
            replica_lag: None,
            processes: None,
        })
    }

    fn transaction(&mut self, ticket: Ticket) -> Option<&mut Transaction> {
        self.places.get_mut(ticket.place)?.as_mut().filter(|transaction| transaction.serial == ticket.serial)
    }

    /// Works up to the next hot row, or to the end.
    fn go_on(&mut self, now: f64, ticket: Ticket) {
        let Some(transaction) = self.transaction(ticket) else { return };
        let until = transaction.rows.front().map_or(1.0, |row| row.1);
        let work = transaction.work * (until - transaction.done).max(0.0);
        transaction.done = until;
        self.cores.begin(now, ticket, work);
    }

    /// The work is done. A transaction that makes the pending list too long also empties it.
    fn worked(&mut self, now: f64, ticket: Ticket, agenda: &mut Agenda) {
        let records = self.transaction(ticket).map_or(0, |transaction| transaction.ended.records);
        self.pending += records as f64;
        match self.gin {
            Some(gin) if self.pending >= gin.records => {
                self.pending = 0.0;
                let (median, low, high) = gin.seconds;
                let seconds = (median * self.random.normal().exp()).clamp(low, high);
                agenda.at(now + seconds, Happening::WentOn(ticket));
            }
            _ => self.commit(now, ticket, agenda),
        }
    }

    fn commit(&mut self, now: f64, ticket: Ticket, agenda: &mut Agenda) {
        let records = self.transaction(ticket).map_or(0, |transaction| transaction.ended.records);
        self.log.commit(now, ticket, records, agenda);
    }

    fn end(&mut self, now: f64, ticket: Ticket, committed: bool) {
        if self.transaction(ticket).is_none() {
            return;
        }
        let Some(mut transaction) = self.places.get_mut(ticket.place).and_then(Option::take) else { return };
        self.free.push(ticket.place);
        for row in std::mem::take(&mut transaction.held) {
            if let Some(next) = self.locks.give(row) {
                self.go_on(now, next);
            }
        }
        transaction.ended.committed = committed;
        self.ended.push(transaction.ended);
    }

    fn change(&mut self, now: f64, change: Change) {
        self.cores.advance(now);
        match change {
            Change::Capacity(part) => self.cores.capacity = part,
            Change::Speed(times) => self.cores.speed = times,
            Change::Back => self.gone = false,
            Change::Gone => {
                self.gone = true;
                self.cores.clear();
                self.locks.clear();
                self.log.clear();
                for place in 0..self.places.len() {
                    let serial = self.places.get(place).and_then(Option::as_ref).map(|open| open.serial);
                    if let Some(serial) = serial {
                        self.end(now, Ticket { place, serial }, false);
                    }
                }
            }
        }
    }
}
