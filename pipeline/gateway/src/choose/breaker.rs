//! The breaker of a task at this gateway: takes it out after failures that it answered with, or that broke off.
//!
//! It opens after five failures in a row, or when less than half of at least twenty results of the last ten seconds are
//! good. Open for one second, doubled with each opening up to sixty, plus or minus a fifth; then one request, whose
//! result closes it or opens it again. Each opening and each such request has a number: what an older one ends with
//! changes nothing. How many breakers of a revision may be open is not decided here.

use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Failures in a row that open it. Fewer: a restart of a worker process takes the task out.
const ROW: u32 = 5;
/// Results in the window before its share means anything.
const WINDOW_MIN: u32 = 20;
/// The window, in slots of one second.
const SLOTS: usize = 10;
const OPEN_MIN: Duration = Duration::from_secs(1);
const OPEN_MAX: Duration = Duration::from_secs(60);

/// The result of an attempt, as the breaker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Any response that is none of the following.
    Good,
    /// 429: counts in the share of the window, and ends a row of failures.
    Busy,
    /// A reset before the head, a time-out, 502, 503, 504.
    Bad,
}

/// Whether requests may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Yes.
    Closed,
    /// No.
    Open,
    /// One.
    Due,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    Trying,
}

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Breaker {
    state: State,
    /// The number of the last opening or try.
    number: u64,
    /// Openings since it was closed.
    openings: u32,
    row: u32,
    window: Window,
}

impl Breaker {
    pub(crate) fn gate(&self, now: Instant) -> Gate {
        match self.state {
            State::Closed => Gate::Closed,
            State::Open { until } if now >= until => Gate::Due,
            State::Open { .. } | State::Trying => Gate::Open,
        }
    }

    /// Whether it is open, or its one request runs.
    pub(crate) fn is_out(&self) -> bool {
        !matches!(self.state, State::Closed)
    }

    /// When its one request may be sent; `None` where it is closed or that request runs.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::Trying => None,
        }
    }

    /// Begins the one request, and gives its number; `None` where one runs, or it is too early, or it is closed.
    pub(crate) fn try_once(&mut self, now: Instant) -> Option<u64> {
        if self.gate(now) != Gate::Due {
            return None;
        }
        self.state = State::Trying;
        self.number += 1;
        Some(self.number)
    }

    /// The one request ended without a result: the next one may be it.
    pub(crate) fn given_up(&mut self, number: u64, now: Instant) {
        if matches!(self.state, State::Trying) && self.number == number {
            self.state = State::Open { until: now };
        }
    }

    /// The result of the one request. Returns whether it opened again.
    pub(crate) fn tried(&mut self, number: u64, outcome: Outcome, key: u64, now: Instant) -> bool {
        if !matches!(self.state, State::Trying) || self.number != number {
            return false;
        }
        if outcome == Outcome::Good {
            *self = Self { number: self.number, ..Self::default() };
            return false;
        }
        self.open(key, now);
        true
    }

    /// The result of any other attempt. Returns whether the breaker should open: see [`Breaker::open`].
    ///
    /// Results that arrive while it is open belong to requests that began before: they change nothing.
    pub(crate) fn result(&mut self, outcome: Outcome, now: Instant) -> bool {
        if !matches!(self.state, State::Closed) {
            return false;
        }
        self.row = if outcome == Outcome::Bad { self.row.saturating_add(1) } else { 0 };
        self.window.add(outcome == Outcome::Good, now);
        outcome != Outcome::Good && (self.row >= ROW || self.window.is_bad(now))
    }

    /// Opens it. `key` identifies the task: tasks that fail together are tried again at different times.
    pub(crate) fn open(&mut self, key: u64, now: Instant) {
        self.number += 1;
        let base = OPEN_MIN.saturating_mul(1 << self.openings.min(16)).min(OPEN_MAX);
        let part = xxh3_64_with_seed(&self.number.to_le_bytes(), key) % 1_000;
        let until = now + base.mul_f64(0.8 + 0.4 * part as f64 / 1_000.0);
        self.openings = self.openings.saturating_add(1);
        self.state = State::Open { until };
        self.row = 0;
        self.window = Window::default();
    }
}

/// Results of the last ten seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    /// The second in which each slot was begun, counted from the first result, and its good results of all.
    slots: [(u64, u32, u32); SLOTS],
    since: Option<Instant>,
}

impl Window {
    fn second(&self, now: Instant) -> u64 {
        self.since.map_or(0, |since| now.saturating_duration_since(since).as_secs())
    }

    fn add(&mut self, is_good: bool, now: Instant) {
        self.since.get_or_insert(now);
        let second = self.second(now);
        let slot = &mut self.slots[(second % SLOTS as u64) as usize];
        if slot.0 != second {
            *slot = (second, 0, 0);
        }
        slot.1 = slot.1.saturating_add(u32::from(is_good));
        slot.2 = slot.2.saturating_add(1);
    }

    fn is_bad(&self, now: Instant) -> bool {
        let oldest = self.second(now).saturating_sub(SLOTS as u64 - 1);
        let recent = self.slots.iter().filter(|(second, ..)| *second >= oldest);
        let (good, all) =
            recent.fold((0_u64, 0_u64), |(good, all), slot| (good + u64::from(slot.1), all + u64::from(slot.2)));
        all >= u64::from(WINDOW_MIN) && good * 2 < all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Feeds results until it should open; how many it took, or `None`.
    fn opens_after(results: &[Outcome], every: Duration) -> Option<usize> {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        results.iter().position(|outcome| {
            now += every;
            breaker.result(*outcome, now)
        })
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        use Outcome::{Bad, Busy, Good};
        assert_eq!(opens_after(&[Bad, Bad, Bad, Bad, Bad], SECOND * 60), Some(4));
        assert_eq!(opens_after(&[Bad, Bad, Bad, Bad, Good, Bad, Bad, Bad, Bad], Duration::ZERO), None);
        assert_eq!(opens_after(&[Bad, Bad, Bad, Bad, Busy, Bad, Bad, Bad, Bad], Duration::ZERO), None);
    }

    #[test]
    fn less_than_half_of_twenty_results_in_ten_seconds_open_it() {
        use Outcome::{Bad, Busy, Good};
        let half = [Good, Bad].repeat(40);
        assert_eq!(opens_after(&half, Duration::from_millis(100)), None, "half are good");
        let less = [[Good, Busy, Bad].as_slice(); 20].concat();
        assert_eq!(opens_after(&less, Duration::from_millis(100)), Some(19), "429 counts here");
        assert_eq!(opens_after(&less[..19], Duration::from_millis(100)), None, "less than twenty");
        assert_eq!(opens_after(&less, SECOND), None, "ten in ten seconds");
        assert_eq!(opens_after(&[Busy; 20], Duration::ZERO), Some(19), "429 is no failure in a row");
    }

    #[test]
    fn it_is_open_for_one_second_doubling_to_sixty_with_jitter() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.open(3, now);
        let mut seen = Vec::new();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let until = breaker.due().unwrap();
            let open = until - now;
            assert!(open >= SECOND * seconds * 4 / 5 && open <= SECOND * seconds * 6 / 5, "{open:?}");
            seen.push(open.as_secs_f64() / f64::from(seconds));
            assert_eq!((breaker.gate(until - SECOND / 1_000), breaker.try_once(now)), (Gate::Open, None));
            now = until;
            assert_eq!(breaker.gate(now), Gate::Due);
            let number = breaker.try_once(now).unwrap();
            assert_eq!((breaker.gate(now), breaker.try_once(now)), (Gate::Open, None), "one request");
            assert!(breaker.tried(number, Outcome::Bad, 3, now));
        }
        seen.dedup();
        assert!(seen.len() > 5, "{seen:?}");
    }

    #[test]
    fn a_good_result_of_the_one_request_closes_it_and_the_delay_begins_anew() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        breaker.open(0, now);
        for outcome in [Outcome::Bad, Outcome::Good] {
            let number = breaker.try_once(now + SECOND * 60).unwrap();
            breaker.tried(number, outcome, 0, now);
        }
        assert_eq!(breaker.gate(now), Gate::Closed);
        breaker.open(0, now);
        assert!(breaker.due().unwrap() <= now + SECOND * 6 / 5);
    }

    #[test]
    fn what_belongs_to_an_older_opening_changes_nothing() {
        let now = Instant::now();
        let late = now + SECOND * 60;
        let mut breaker = Breaker::default();
        breaker.open(0, now);
        assert!(!breaker.result(Outcome::Good, now), "a request that began before");
        let old = breaker.try_once(late).unwrap();
        breaker.given_up(old, late);
        let new = breaker.try_once(late).unwrap();
        assert!(!breaker.tried(old, Outcome::Good, 0, late));
        assert_eq!(breaker.gate(late), Gate::Open, "the newer request decides");
        assert!(!breaker.tried(old, Outcome::Bad, 0, late));
        breaker.given_up(old, late);
        assert_eq!(breaker.gate(late), Gate::Open);
        assert!(breaker.tried(new, Outcome::Bad, 0, late));
        breaker.tried(new, Outcome::Good, 0, late);
        assert_eq!(breaker.gate(late), Gate::Open, "it opened again since");
    }
}
