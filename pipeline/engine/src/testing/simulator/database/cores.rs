//! Processors that all running transactions share evenly.
//!
//! Processor sharing by virtual time: every job is served at the same rate, so a job that needs `w` seconds of a
//! processor ends when the service that each has received since its arrival reaches `w`. The job that ends next is the
//! one with the smallest sum of arrival and need, whatever the rate does in between (Kleinrock, Queueing Systems II,
//! 4.4).

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::Ticket;

/// How fast each of `n` transactions runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sharing {
    /// This many processors: full speed up to that many, then an even share. A hard knee.
    Cores(f64),
    /// The universal scalability law: `1 / (1 + sigma (n - 1) + kappa n (n - 1))`. A soft knee at
    /// `sqrt((1 - sigma) / kappa)`, and less beyond it (Gunther, Guerrilla Capacity Planning, 2007, chapter 4).
    Scalability {
        /// Part of the work that only one can do at a time.
        sigma: f64,
        /// The cost of agreement for each pair.
        kappa: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Job {
    until: f64,
    ticket: Ticket,
}

impl Eq for Job {}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> Ordering {
        self.until.total_cmp(&other.until).then(self.ticket.serial.cmp(&other.ticket.serial))
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The processors and the transactions that run on them.
#[derive(Debug)]
pub(super) struct Cores {
    sharing: Sharing,
    /// Part of the processors that is ours, 0 to 1.
    pub(super) capacity: f64,
    /// How fast work goes on one of them, 1 when nothing else is in the way.
    pub(super) speed: f64,
    jobs: BinaryHeap<Reverse<Job>>,
    served: f64,
    at: f64,
    busy: f64,
}

impl Cores {
    pub(super) fn new(sharing: Sharing) -> Self {
        Self { sharing, capacity: 1.0, speed: 1.0, jobs: BinaryHeap::new(), served: 0.0, at: 0.0, busy: 0.0 }
    }

    pub(super) fn running(&self) -> f64 {
        self.jobs.len() as f64
    }

    /// How many processors there are, if the shape has any.
    pub(super) fn count(&self) -> Option<f64> {
        match self.sharing {
            Sharing::Cores(count) => Some(count),
            Sharing::Scalability { .. } => None,
        }
    }

    /// Part of the available processors in use, 0 to 1.
    pub(super) fn used(&self) -> f64 {
        match self.sharing {
            Sharing::Cores(count) => (self.running() / (count * self.capacity).max(1e-9)).min(1.0),
            Sharing::Scalability { .. } => f64::from(u8::from(!self.jobs.is_empty())),
        }
    }

    /// Processor seconds in use since the beginning, as part of all.
    pub(super) fn used_seconds(&self) -> f64 {
        self.busy
    }

    /// Seconds of service that each running job gets in a second.
    fn rate(&self) -> f64 {
        let running = self.running().max(1.0);
        let share = match self.sharing {
            Sharing::Cores(count) => (count * self.capacity / running).min(1.0),
            Sharing::Scalability { sigma, kappa } => {
                self.capacity / (1.0 + sigma * (running - 1.0) + kappa * running * (running - 1.0))
            }
        };
        share * self.speed
    }

    /// Moves time on. To be called before anything changes.
    pub(super) fn advance(&mut self, now: f64) {
        if now > self.at {
            self.busy += self.used() * (now - self.at);
            if !self.jobs.is_empty() {
                self.served += self.rate() * (now - self.at);
            }
            self.at = now;
        }
    }

    pub(super) fn begin(&mut self, now: f64, ticket: Ticket, work: f64) {
        self.advance(now);
        self.jobs.push(Reverse(Job { until: self.served + work, ticket }));
    }

    /// When the next job ends, if nothing changes.
    pub(super) fn next(&self) -> Option<f64> {
        let Reverse(job) = self.jobs.peek()?;
        let rate = self.rate();
        (rate > 0.0).then(|| self.at + ((job.until - self.served) / rate).max(0.0))
    }

    /// Removes the job that has ended.
    pub(super) fn end(&mut self, now: f64) -> Option<Ticket> {
        self.advance(now);
        let Reverse(job) = self.jobs.pop()?;
        // Rounding must not let service run behind a job that has ended.
        self.served = self.served.max(job.until);
        Some(job.ticket)
    }

    pub(super) fn clear(&mut self) {
        self.jobs.clear();
    }
}
