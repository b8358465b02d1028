//! How records arrive.

use std::collections::VecDeque;

use super::random::Random;

/// Where many records come, those within this many seconds come together: no result here is that fine.
const TOGETHER_SECONDS: f64 = 0.005;
/// From this rate on, in records per second, records come together.
const TOGETHER_RATE: f64 = 2000.0;

/// How records come, per second. At any rate they are a Poisson process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// There is always more.
    Backlog,
    /// At a constant rate.
    Steady(f64),
    /// A number of records are there already, then more come at a constant rate.
    After {
        /// Records that are there.
        records: u64,
        /// Records per second.
        rate: f64,
    },
    /// Bursts at a multiple of the rate.
    Bursts {
        /// Records per second between bursts.
        rate: f64,
        /// The factor of the rate in a burst.
        times: f64,
        /// Seconds from burst to burst.
        every: f64,
        /// Seconds that each lasts.
        lasting: f64,
    },
    /// A day: a sine between the two.
    Day {
        /// Records per second at night.
        low: f64,
        /// Records per second at noon.
        high: f64,
        /// Seconds of a day.
        length: f64,
    },
}

impl Arrivals {
    /// Records per second at the time `at`.
    fn rate(self, at: f64) -> f64 {
        match self {
            Self::Backlog => 0.0,
            Self::Steady(rate) | Self::After { rate, .. } => rate,
            // The first burst comes after half of the time between two bursts.
            Self::Bursts { rate, times, every, lasting } => {
                if (at + every / 2.0) % every < lasting {
                    rate * times
                } else {
                    rate
                }
            }
            Self::Day { low, high, length } => {
                let height = 0.5 - 0.5 * (std::f64::consts::TAU * at / length).cos();
                low + (high - low) * height
            }
        }
    }
}

/// Records that wait, in the order in which they came.
#[derive(Debug)]
pub(super) struct Waiting {
    arrivals: Arrivals,
    random: Random,
    groups: VecDeque<(f64, u64)>,
    records: u64,
}

impl Waiting {
    pub(super) fn new(arrivals: Arrivals, random: Random) -> Self {
        let mut waiting = Self { arrivals, random, groups: VecDeque::new(), records: 0 };
        if let Arrivals::After { records, .. } = arrivals {
            waiting.put(0.0, records);
        }
        waiting
    }

    pub(super) fn is_endless(&self) -> bool {
        matches!(self.arrivals, Arrivals::Backlog)
    }

    /// The number of waiting records.
    pub(super) fn records(&self) -> u64 {
        if self.is_endless() { u64::MAX } else { self.records }
    }

    /// When the oldest waiting record came.
    pub(super) fn oldest(&self) -> Option<f64> {
        self.groups.front().map(|group| group.0)
    }

    /// Adds the records that come now; returns when the next ones come.
    pub(super) fn come(&mut self, now: f64, first: bool) -> Option<f64> {
        let rate = self.arrivals.rate(now);
        if self.is_endless() || rate <= 0.0 {
            return None;
        }
        if rate < TOGETHER_RATE {
            if !first {
                self.put(now, 1);
            }
            return Some(now + self.random.exponential(1.0 / rate));
        }
        let count = self.random.poisson(rate * TOGETHER_SECONDS);
        self.put(now, count);
        Some(now + TOGETHER_SECONDS)
    }

    fn put(&mut self, at: f64, records: u64) {
        if records > 0 {
            self.groups.push_back((at, records));
            self.records += records;
        }
    }

    /// Takes up to `most` of the oldest records, in groups, each with the time at which it came.
    pub(super) fn take(&mut self, most: u64, now: f64) -> Vec<(f64, u64)> {
        if self.is_endless() {
            return vec![(now, most)];
        }
        let mut taken = Vec::new();
        let mut left = most;
        while left > 0
            && let Some(group) = self.groups.front_mut()
        {
            let count = group.1.min(left);
            taken.push((group.0, count));
            left -= count;
            group.1 -= count;
            if group.1 == 0 {
                self.groups.pop_front();
            }
        }
        self.records -= most - left;
        taken
    }

    /// Puts records that could not be written back, before all others.
    pub(super) fn give_back(&mut self, groups: &[(f64, u64)]) {
        if self.is_endless() {
            return;
        }
        for group in groups.iter().rev() {
            self.groups.push_front(*group);
            self.records += group.1;
        }
    }
}
