//! The log reports a fault once, then once a minute, and reports its end and how long it took.

use std::time::Duration;

use tokio::time::Instant;

use super::Judgement;
use super::state::State;

/// Interval between two lines about the same fault.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Number of looks in a row, each at another fault, after which one is logged all the same.
const LOOKS_UNSETTLED_MAX: u32 = 5;

/// The faults that were logged and have not ended.
#[derive(Debug, Default)]
pub(in crate::http) struct Teller {
    /// Seen and not logged: one look is no fault yet.
    seen: Option<State>,
    /// Number of looks in a row at a fault that was not logged.
    unwell: u32,
    /// Logged faults that last, each worse than the one before it.
    told: Vec<Told>,
}

#[derive(Debug)]
struct Told {
    state: State,
    began: Instant,
    last: Instant,
}

/// A line of the log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// The fault is present.
    Fault,
    /// The fault is over, and lasted this long.
    Over(State, Duration),
}

impl Teller {
    /// Processes a look, once a second; `waiting` are the records that are not in the tables.
    pub(in crate::http) fn look(&mut self, now: &Judgement, waiting: u64, retries: u64) {
        let lasts = Duration::try_from_secs_f64(now.for_seconds).unwrap_or_default();
        for line in self.step(now.state, lasts, Instant::now()) {
            match line {
                Line::Fault => tell(now, waiting, retries),
                Line::Over(state, took) => {
                    let after_s = took.as_secs();
                    tracing::info!(after_s, waiting, "{} is over", words(state));
                }
            }
        }
    }

    /// The lines for a state that has lasted for `lasts`.
    fn step(&mut self, state: State, lasts: Duration, at: Instant) -> Vec<Line> {
        // A drain ends no fault.
        if state == State::Draining {
            return Vec::new();
        }
        let again = self.seen == Some(state);
        self.seen = Some(state);
        if state.is_well() {
            self.unwell = 0;
            return self.over(at, |_| true);
        }
        self.unwell += 1;
        if let Some(told) = self.told.iter_mut().find(|told| told.state == state) {
            self.unwell = 0;
            let is_due = at.saturating_duration_since(told.last) >= AGAIN_AFTER;
            if is_due {
                told.last = at;
            }
            let mut lines = self.over(at, |told| told.state < state);
            lines.extend(is_due.then_some(Line::Fault));
            return lines;
        }
        let worst = self.told.last().filter(|told| told.state < state);
        // The rest of a fault that is ending, such as waits between tries, is not logged unless it stays.
        let is_news = worst.is_none_or(|told| at.saturating_duration_since(told.last) >= AGAIN_AFTER);
        if !is_news || !(again || self.unwell >= LOOKS_UNSETTLED_MAX) {
            return Vec::new();
        }
        let mut lines = self.over(at, |told| told.state < state);
        self.told.push(Told { state, began: at.checked_sub(lasts).unwrap_or(at), last: at });
        lines.push(Line::Fault);
        lines
    }

    /// Removes faults, and returns the lines that they are over.
    fn over(&mut self, at: Instant, is_over: impl Fn(&Told) -> bool) -> Vec<Line> {
        let over = self.told.extract_if(.., |told| is_over(told));
        over.map(|told| Line::Over(told.state, at.saturating_duration_since(told.began))).collect()
    }
}

fn words(state: State) -> String {
    state.as_str().replace('_', " ")
}

fn tell(now: &Judgement, waiting: u64, retries: u64) {
    let said = words(now.state);
    let since = now.since.as_str();
    let reason = now.reason.as_deref();
    let next = now.next.as_deref();
    match now.state {
        State::Halted | State::StreamStopped => tracing::error!(reason, since, waiting, next, "{said}"),
        _ => tracing::warn!(reason, since, retries, waiting, next, "{said}"),
    }
}

#[cfg(test)]
mod tests {
    use State::{Braked, DatabaseAway, Draining, Halted, KeepingUp};

    use super::*;

    /// The lines of looks once a second, each with its second.
    fn lines(looks: impl IntoIterator<Item = State>) -> Vec<(u64, Line)> {
        let mut teller = Teller::default();
        let began = Instant::now();
        let mut last: Option<(State, u64)> = None;
        let mut lines = Vec::new();
        for (second, state) in (0..).zip(looks) {
            let since = last.filter(|(before, _)| *before == state).map_or(second, |(_, since)| since);
            last = Some((state, since));
            let step = teller.step(state, Duration::from_secs(second - since), began + Duration::from_secs(second));
            lines.extend(step.into_iter().map(|line| (second, line)));
        }
        lines
    }

    fn times(looks: &[(State, usize)]) -> impl Iterator<Item = State> {
        looks.iter().flat_map(|(state, times)| std::iter::repeat_n(*state, *times))
    }

    fn over(state: State, seconds: u64) -> Line {
        Line::Over(state, Duration::from_secs(seconds))
    }

    #[test]
    fn a_fault_is_told_once_then_each_minute_and_when_it_is_over() {
        let told = lines(times(&[(KeepingUp, 3), (DatabaseAway, 100), (Braked, 8), (KeepingUp, 5)]));
        assert_eq!(told, [(4, Line::Fault), (64, Line::Fault), (111, over(DatabaseAway, 108))]);
    }

    #[test]
    fn one_look_is_no_fault_and_a_drain_ends_none() {
        assert_eq!(lines(times(&[(KeepingUp, 1), (Braked, 1), (KeepingUp, 1), (Braked, 1), (KeepingUp, 1)])), []);
        assert_eq!(lines(times(&[(Braked, 3), (Draining, 3)])), [(1, Line::Fault)]);
    }

    #[test]
    fn a_worse_fault_is_told_at_once_and_ends_by_itself() {
        let told = lines(times(&[(Halted, 10), (DatabaseAway, 20), (Halted, 10), (KeepingUp, 1)]));
        let expected = [(1, Line::Fault), (11, Line::Fault), (30, over(DatabaseAway, 20)), (40, over(Halted, 40))];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_stays_of_a_fault_is_one_of_its_own() {
        let told = lines(times(&[(DatabaseAway, 5), (Braked, 100)]));
        assert_eq!(told, [(1, Line::Fault), (61, over(DatabaseAway, 61)), (61, Line::Fault)]);
    }

    #[test]
    fn faults_that_take_turns_are_told() {
        let looks = std::iter::repeat_n([Braked, DatabaseAway], 30).flatten();
        assert!(!lines(looks).is_empty());
    }
}
